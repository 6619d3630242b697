"""YAML as a draft of settings: plain values, the place where each was written, and what is wrong so far.

Decides what YAML may look like here (plain values, no anchors, aliases or tags, bounded in size and depth); knows
nothing of what the values mean. No problem quotes a line: a line may hold a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from broker.config.endpoint import is_plain, shown
from broker.errors import ConfigError

#: A place in the configuration, such as ``("tasks", "task_a", "queue")``.
Loc = tuple[str | int, ...]

_DEEPEST = 32
_UNFILLED = (
    "${…} is filled in by nobody. Write the value, or set it by BROKER_URL or GLASSRABBIT__SECTION__KEY in the "
    "environment."
)


@dataclass(slots=True)
class Draft:
    """What was read so far: plain values, where each was written, and what is wrong."""

    tree: dict[str, Any] = field(default_factory=dict)
    places: dict[Loc, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def written(self, loc: Loc) -> Loc:
        """The nearest place at or above ``loc`` that somebody wrote."""
        while loc and loc not in self.places:
            loc = loc[:-1]
        return loc

    def forget(self, loc: Loc) -> None:
        """Something else is about to stand at ``loc``."""
        self.places = {at: place for at, place in self.places.items() if at[: len(loc)] != loc}

    def report(self, loc: Loc, text: str) -> None:
        loc = self.written(loc)
        parts = [self.places.get(loc, ""), dotted(loc), text]
        self.problems.append(": ".join(part for part in parts if part))


def dotted(loc: Loc) -> str:
    text = ""
    for part in loc:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part if is_plain(part) else shown(part)}"
    return text.removeprefix(".")


class _Loader(yaml.SafeLoader):
    """Plain values only: null, true, false, numbers, text, lists, mappings. ``yes`` and dates stay text."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) or getattr(event, "tag", None):
            raise _refused(
                "anchors, aliases and tags (& * !) have no meaning here", "Write it out, or quote it", event
            )
        if self.depth >= _DEEPEST:
            raise _refused(f"more than {_DEEPEST} levels are nested", "Flatten it", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _refused(problem: str, cure: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark, note=cure)


_Loader.yaml_implicit_resolvers = {}

for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]{0,30})", list("-+0123456789")),
    ("float", r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), _first)


@dataclass(frozen=True, slots=True)
class Reader:
    """Turns YAML text into values of a draft. ``place`` names a line and column."""

    draft: Draft
    place: Callable[[int, int], str]

    def read(self, text: str, loc: Loc) -> Any:
        """The value of ``text``, to stand at ``loc``. Raises ConfigError for what is not YAML."""
        try:
            node = _Loader(text).get_single_node()
        # Without a cause: PyYAML's errors quote the line, and the line may hold a password.
        except yaml.MarkedYAMLError as error:
            problem = re.sub(r"^but | '!.*", "", error.problem or "it cannot be read")
            cure = error.note or "Check the indentation, quotes and colons around here"
            raise ConfigError([f"{self._at(error.problem_mark)}: not valid YAML: {problem}. {cure}."]) from None
        except yaml.reader.ReaderError as error:
            where = self.place(text.count("\n", 0, error.position) + 1, 1)
            raise ConfigError([f"{where}: a control character is not allowed in YAML. Remove it."]) from None
        return None if node is None else self._value(node, loc)

    def _at(self, mark: yaml.Mark | None) -> str:
        return self.place(mark.line + 1, mark.column + 1) if mark else self.place(1, 1)

    def _value(self, node: yaml.Node, loc: Loc) -> Any:
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, loc)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.draft.places[(*loc, index)] = self._at(item.start_mark)
            return [self._value(item, (*loc, index)) for index, item in enumerate(node.value)]
        value = yaml.constructor.SafeConstructor().construct_object(node)
        # The arguments of a task are text for a handler, which may mean it so.
        if isinstance(value, str) and "${" in value and "arguments" not in loc:
            self.draft.problems.append(f"{self._at(node.start_mark)}: {dotted(loc)}: {_UNFILLED}")
        return value

    def _mapping(self, node: yaml.MappingNode, loc: Loc) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in node.value:
            here = (*loc, key.value) if key.tag == "tag:yaml.org,2002:str" else None
            if here is None:
                parts = [self._at(key.start_mark), dotted(loc), "a key is not text. Put quotes around it."]
                self.draft.problems.append(": ".join(part for part in parts if part))
                continue
            if key.value in values:
                first = self.draft.places[here]
                self.draft.forget(here)
                self.draft.problems.append(
                    f"{self._at(key.start_mark)}: {dotted(here)}: this key stands twice, first at {first}. "
                    "Remove one of them."
                )
            self.draft.places[here] = self._at(key.start_mark)
            values[key.value] = self._value(value, here)
        return values
