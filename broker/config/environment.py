"""The environment over the file: which variable stands for which key, and how its text is read.

``GLASSRABBIT__SECTION__KEY`` sets one key, ``BROKER_URL`` the list of URLs. The same name with ``_FILE`` behind it
names a file that holds the value, as secrets of containers come (https://docs.docker.com/compose/how-tos/use-secrets).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from broker.config.endpoint import is_plain, split_urls
from broker.config.settings import Settings
from broker.config.yaml_document import Draft, Loc, Reader, dotted
from broker.errors import ConfigError

_PREFIX = "GLASSRABBIT__"
_FILE = "_FILE"
_URL = "BROKER_URL"
#: Set where a worker has taken the broker's URL out of the environment of its handlers.
WITHHELD = "GLASSRABBIT_URL_WITHHELD"
#: What may say where the broker is, and with which login.
URLS = (_URL, _URL + _FILE, f"{_PREFIX}BROKER__URL", f"{_PREFIX}BROKER__URL{_FILE}")
_LARGEST_FILE = 64 * 1024
_NULL = {"~", "null", "Null", "NULL"}


#: A key, and the type of its value.
_Key = tuple[Loc, Any]


def overlay(draft: Draft, environ: Mapping[str, str]) -> None:
    """Put what the environment sets over what the draft has. An empty variable counts as not set."""
    known: dict[str, list[_Key]] = {}
    for key in _leaves(Settings, draft.tree, ()):
        known.setdefault(_PREFIX + "__".join(map(str, key[0])).replace(".", "_").upper(), []).append(key)
    if environ.get(WITHHELD) and not any(map(environ.get, URLS)):
        draft.problems.append(
            "BROKER_URL is kept from handlers. Set worker.handlers_get_login: true for those that send tasks."
        )
    # Last what wins.
    known[_URL] = known[f"{_PREFIX}BROKER__URL"]
    given = [name for name in sorted(environ) if name.upper().startswith(_PREFIX)] + [_URL + _FILE, _URL]
    for variable in given:
        name = variable.upper().replace(".", "_")
        is_file = name not in known and name.endswith(_FILE)
        keys = known.get(name.removesuffix(_FILE) if is_file else name, [])
        if not environ.get(variable, "").strip():
            continue
        if len(keys) != 1:
            draft.problems.append(f"{variable}: {_no_variable(variable, keys, known)}")
            continue
        try:
            _put(draft, keys[0], variable, _content(variable, environ) if is_file else environ[variable])
        except ConfigError as error:
            draft.problems += error.problems


def _content(variable: str, environ: Mapping[str, str]) -> str:
    """Of the file that a variable names. Raises ``ConfigError``."""
    other = variable[: -len(_FILE)]
    if environ.get(other, "").strip():
        raise ConfigError([f"{variable}: {other} is set as well. Leave one of them out."])
    try:
        with Path(environ[variable]).open(encoding="utf-8") as file:
            return file.read(_LARGEST_FILE)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigError(
            [f"{variable}: {environ[variable]} cannot be read: {reason}. Check its name, and who may read it."]
        ) from error


def _put(draft: Draft, key: _Key, variable: str, text: str) -> None:
    """Raises ``ConfigError`` for what is not YAML where only text would not need to be."""
    loc, kind = key
    parent: Any = draft.tree
    for depth, part in enumerate(loc[:-1], start=1):
        if parent.get(part) is None:
            parent[part] = {}
            draft.places[loc[:depth]] = variable
        parent = parent[part]
        if not isinstance(parent, dict):
            return  # what stands there is wrong by itself
    draft.forget(loc)
    draft.places[loc] = variable
    text = text.strip()
    if loc == ("broker", "url"):
        parent[loc[-1]] = split_urls(text)
        draft.places |= {(*loc, index): variable for index in range(len(parent[loc[-1]]))}
    elif _is_text(kind) and text not in _NULL and text[0] not in "\"'":
        parent[loc[-1]] = text  # 1234e12 is no number there, and # begins no comment
    else:
        parent[loc[-1]] = Reader(draft, lambda *_: variable).read(text, loc)


def _is_text(kind: Any) -> bool:
    """Whether a value of this type is text, whatever it looks like."""
    if get_origin(kind) in (Annotated, Union, UnionType):
        return _is_text(next(inner for inner in get_args(kind) if inner is not NoneType))
    return kind in (str, SecretStr, Path)


def _no_variable(variable: str, keys: list[_Key], known: Iterable[str]) -> str:
    if keys:
        return f"stands for {' and '.join(dotted(loc) for loc, _ in keys)}. Set these in the file."
    # A high bar, since what the names share is most of them.
    close = closest(variable.upper(), known, 0.85)
    cure = f"Did you mean {close[0]}?" if close else f"Write {_PREFIX}SECTION__KEY with a key of the file."
    return f"there is no such setting. {cure}"


def keys_of(kind: Any) -> dict[str | int, Any]:
    """The keys of a section, each with its type; nothing for any other type."""
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return {}
    fields = kind.model_fields.items()
    return {known.alias or name: known.annotation for name, known in fields if (kind, name) != (Settings, "path")}


def _leaves(kind: Any, value: Any, loc: Loc) -> Iterator[_Key]:
    """Every place that one variable can set: what is no section, in all sections that there are."""
    inside = keys_of(kind)
    if not inside and get_origin(kind) is dict and keys_of(get_args(kind)[1]):
        names: Iterable[str] = value if isinstance(value, dict) else ()
        inside = {name: get_args(kind)[1] for name in names if is_plain(name)}
    if not inside and loc and get_origin(kind) is not dict:
        yield loc, kind
    for key, below in inside.items():
        yield from _leaves(below, value.get(key) if isinstance(value, dict) else None, (*loc, key))


def closest(word: str, known: Iterable[str], cutoff: float) -> list[str]:
    """The known word that is most like this one, if any is."""
    # Not needed for a configuration that is right, and a worker would keep it in memory.
    import difflib

    return difflib.get_close_matches(word, known, 1, cutoff)
