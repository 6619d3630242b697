"""Reads the configuration: the file, then the environment over it, and reports all that is wrong at once.

Decides where a value comes from and how a problem reads: place, key, what is wrong, what would be right. What
a value may be is decided in ``broker.config.settings``. No problem shows a URL or what could be a piece of one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from broker.config.consistency import dangling, unbroken
from broker.config.endpoint import shown
from broker.config.environment import closest, keys_of, overlay
from broker.config.settings import Settings, with_example
from broker.config.yaml_document import Draft, Loc, Reader
from broker.errors import ConfigError

log = logging.getLogger("glassrabbit.broker")

_LARGEST_FILE = 1024 * 1024

#: pydantic's error types in our words. ``{shown}`` is what was given, the rest is pydantic's context.
_SENTENCES = {
    "int_type": "{shown} is not a whole number. Write digits, without quotes.",
    "float_type": "{shown} is not a number. Write digits, without quotes, such as 2.5.",
    "finite_number": "{shown} is not a finite number. Write digits, such as 2.5.",
    "string_type": "{shown} is not text. Put quotes around it.",
    "path_type": "{shown} is not a file name. Put quotes around it.",
    "greater_than_equal": "{shown} is too small. Use {ge} or more.",
    "greater_than": "{shown} is too small. Use more than {gt}.",
    "less_than_equal": "{shown} is too large. Use {le} or less.",
    "literal_error": "{shown} is not {expected}. Use one of these.",
    "dict_type": "{shown} is not a mapping. Write keys with their values, indented, below it.",
    "model_type": "{shown} is not a mapping. Write keys with their values, indented, below it.",
    "tuple_type": "{shown} is not a list. Write it like [a, b].",
    "value_error": "{error}",
}


def load(path: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Read ``path``, else the file that GLASSRABBIT_CONFIG names, else ``./config.yml`` if there is one.

    ``BROKER_URL`` and ``GLASSRABBIT__SECTION__KEY`` win over the file; empty variables count as not set.
    Raises ConfigError with every problem, one line each (a file that is not YAML at all is reported alone).
    Touches nothing but that file.
    """
    return with_places(path, environ)[0]


def with_places(
    path: str | Path | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[Settings, dict[Loc, str]]:
    """What ``load`` returns, and where each value was written: ``file:line:column``, or the name of a variable.

    Null is no value: it leaves what it stands for at its default.
    """
    file = _file(path, environ)
    draft = Draft() if file is None else _read(file)
    draft.tree = with_example(draft.tree)
    overlay(draft, environ)
    settings = _settings_of(draft)
    if settings is None or draft.problems:
        raise ConfigError(draft.problems)
    if file is None:
        log.info(
            "no config.yml in %s: going by the built-in example, with tasks %s and the broker at %s",
            Path.cwd(),
            ", ".join(settings.tasks),
            ", ".join(map(str, settings.broker.endpoints)),
        )
    places = {loc: place for loc, place in draft.places.items() if _at(draft.tree, loc) is not None}
    return settings.model_copy(update={"path": file and file.absolute()}), places


def _file(path: str | Path | None, environ: Mapping[str, str]) -> Path | None:
    named = path or environ.get("GLASSRABBIT_CONFIG")
    if named:
        return Path(named)
    return Path("config.yml") if os.path.exists("config.yml") else None


def _read(file: Path) -> Draft:
    try:
        with file.open("rb") as stream:
            raw = stream.read(_LARGEST_FILE + 1)
    except OSError as error:
        cure = "Check the name behind --config or in GLASSRABBIT_CONFIG, and who may read the file."
        raise ConfigError([f"{file}: cannot be read: {error.strerror or error}. {cure}"]) from error
    if len(raw) > _LARGEST_FILE:
        raise ConfigError([f"{file}: is larger than 1 MiB. Give a configuration file."])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{file}:{line}: is not UTF-8 text. Save it as UTF-8."]) from None
    draft = Draft()
    tree = Reader(draft, lambda line, column: f"{file}:{line}:{column}").read(text, ())
    if not isinstance(tree, dict | None):
        raise ConfigError([f"{file}:1:1: is not a mapping. Write sections such as worker: with keys below them."])
    draft.tree = tree or {}
    draft.places[()] = str(file)
    return draft


def _settings_of(draft: Draft) -> Settings | None:
    """The settings of what is right in the draft. What is wrong is reported and left out."""
    tree, cut = deepcopy(draft.tree), set[Loc]()
    while True:
        try:
            settings = Settings.model_validate(tree)
            break
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False)
        wrong = {_whole(draft.written(loc)) for loc in _wrong(draft, tree, errors, cut)}
        if not wrong or () in wrong:  # nothing to leave out, so nothing more to find
            return None
        _prune(tree, wrong)
        cut |= wrong
    for loc, text in _unknown_names(draft.tree):
        draft.report(loc, text)
    if "breakers" not in {loc[0] for loc in cut}:
        left_out = {loc[1] for loc in cut if len(loc) > 1 and loc[0] == "tasks"}
        for loc, text in unbroken(settings):
            if loc[1] not in left_out:
                draft.report(loc, text)
    return settings


def _unknown_names(tree: Mapping[str, Any]) -> Iterable[tuple[Loc, str]]:
    """From what was written, so that a task with another fault still counts as a task."""
    queues, tasks, workload = tree.get("queues"), tree.get("tasks") or {}, tree.get("workload")
    if not isinstance(queues, dict) or not isinstance(tasks, dict):
        return ()
    items = workload if isinstance(workload, list) else []
    goes_to = {name: _at(task, ("queue",)) for name, task in tasks.items()}
    return dangling(queues, goes_to, [_at(item, ("task",)) for item in items])


def _wrong(
    draft: Draft, tree: Mapping[str, Any], errors: Iterable[ErrorDetails], cut: Collection[Loc]
) -> Iterator[Loc]:
    """Report pydantic's errors in our words, and yield what to leave out for each."""
    for error in errors:
        loc = error["loc"][:-1] if error["loc"][-1] == "[key]" else error["loc"]
        missing = error["type"] == "missing"
        # Inherited from defaults, where it is reported once.
        if loc[:1] == ("tasks",) and loc not in draft.places and not missing:
            continue
        if loc in cut:  # only missing since it was left out
            yield loc[:-1]
            continue
        if missing:
            text = f"the key {loc[-1]} is missing. Add it."
        elif error["type"] == "extra_forbidden" or loc == ("path",):
            text = _no_key(loc)
        else:
            context = {**error.get("ctx", {}), "shown": shown(_at(tree, loc))}
            text = _SENTENCES.get(error["type"], "{shown} has no meaning here. See the comments in config.yml.")
            text = text.format_map(context)
        draft.report(loc, text)
        yield loc


def _no_key(loc: Loc) -> str:
    kind: Any = Settings
    for part in loc[:-1]:
        keys = keys_of(kind)
        kind = keys[part] if part in keys else next(a for a in reversed(get_args(kind)) if a is not Ellipsis)
    keys = keys_of(kind)
    close = closest(str(loc[-1]).lower(), map(str, keys), 0.6)
    cure = f"Did you mean {close[0]}?" if close else f"The keys here are {', '.join(map(str, keys))}."
    return f"there is no such key. {cure}"


def _at(tree: Any, loc: Loc) -> Any:
    for part in loc:
        try:
            tree = tree[part]
        except (KeyError, IndexError, TypeError):
            return None
    return tree


def _whole(loc: Loc) -> Loc:
    """A list with a wrong item is left out as a whole: a shorter one would have faults that nobody wrote."""
    return next((loc[:depth] for depth, part in enumerate(loc) if isinstance(part, int)), loc)


def _prune(tree: Any, wrong: Iterable[Loc]) -> None:
    for *above, last in sorted(wrong, key=len, reverse=True):
        del _at(tree, tuple(above))[last]
