"""The configuration as it takes effect: one row for each value, with where it comes from. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.config.settings import DefaultSettings, Settings, effective_prefetch
from broker.config.tls import TlsSettings
from broker.config.yaml_document import Loc, dotted
from broker.management import Management

DEFAULT = "default"
#: The password in a URL that stands anywhere in a value.
_PASSWORD = re.compile(r"(://[^/@\s:\"]*):[^\s\"]*@")


#: Names of arguments that are shown to nobody.
_SECRET = re.compile(r"passw|secret|token", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Row:
    """One value. ``origin``: ``default``, ``file:line`` or the name of a variable."""

    key: str
    value: Any
    origin: str

    @property
    def text(self) -> str:
        """The value as YAML would read it."""
        return self.value if isinstance(self.value, str) else json.dumps(self.value, ensure_ascii=False)


def rows(settings: Settings, places: Mapping[Loc, str]) -> list[Row]:
    """Every value, in the order of the keys; ``places`` as ``config.with_places`` has them.

    What null stands for is computed. Passwords are ``***``.
    """
    tree = settings.model_dump(by_alias=True, mode="json", exclude={"path"})
    computed = _computed(settings)
    found = []
    for loc, value in _leaves(tree, ()):
        if value is None and loc in computed:
            value, formula = computed[loc]
            found.append(Row(dotted(loc), value, f"{DEFAULT}: {formula}"))
        else:
            found.append(Row(dotted(loc), _redacted(value), _origin(loc, places)))
    return found


def _computed(settings: Settings) -> dict[Loc, tuple[object, str]]:
    """What null stands for where that follows from other keys, and how."""
    computed: dict[Loc, tuple[object, str]] = {
        ("queues", name, "prefetch"): (
            effective_prefetch(queue, settings.worker),
            "worker.concurrency + 2, at first",
        )
        for name, queue in settings.queues.items()
    }
    # The address needs no file of broker.tls, which may be missing where somebody only looks.
    management = Management.of(settings.broker.model_copy(update={"tls": TlsSettings()}))
    computed["broker", "management_url"] = (management.base_url, "from broker.url")
    return computed


def _leaves(value: Any, loc: Loc) -> Iterator[tuple[Loc, Any]]:
    """A list of sections or URLs has a row for each; one of numbers or names, or without any, is a value."""
    if isinstance(value, dict) and value and loc[-1:] != ("arguments",):
        for key, below in value.items():
            yield from _leaves(below, (*loc, key))
    elif isinstance(value, list) and (loc == ("broker", "url") or any(isinstance(item, dict) for item in value)):
        for index, below in enumerate(value):
            yield from _leaves(below, (*loc, index))
    else:
        yield loc, value


def _origin(loc: Loc, places: Mapping[Loc, str]) -> str:
    if loc not in places and loc[0] == "tasks" and loc[2] in DefaultSettings.model_fields:
        loc = ("defaults", *loc[2:])
        return f"{_line(places[loc])}, {dotted(loc)}" if loc in places else DEFAULT
    # One URL may stand where a list can.
    written = loc if loc in places or not isinstance(loc[-1], int) else loc[:-1]
    return _line(places[written]) if written in places else DEFAULT


def _line(place: str) -> str:
    """Without the column, which says nothing of a value."""
    return re.sub(r"(:\d+):\d+$", r"\1", place)


def _redacted(value: Any) -> Any:
    match value:
        case str():
            return _PASSWORD.sub(r"\1:***@", value)
        case list():
            return [_redacted(item) for item in value]
        case dict():
            return {key: "***" if _SECRET.search(key) else _redacted(item) for key, item in value.items()}
        case _:
            return value
