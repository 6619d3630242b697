"""What passed between the clients of a lesson and their broker, as events that every run repeats.

Ids and times are masked. What the broker answers stays where it came; what it sends by itself (a delivery, a
cancel) may come a moment sooner or later, so it stands as late as it can: before the next event of its own
client, or at the end of its step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from broker.wire.frames import Frame
from broker.wire.text import preview, to_map

#: Frames that say no more than that a connection, or a request, went well.
_QUIET = re.compile(
    r"protocol|heartbeat|connection\.(start|tune|open|close|secure)(-ok)?|channel\.(open|open-ok|close-ok)"
    r"|confirm\.select-ok|basic\.(qos|consume|cancel)-ok|queue\.(bind|unbind|delete)-ok|exchange\.declare-ok"
)
_BY_ITSELF = {"basic.deliver", "basic.cancel", "connection.blocked", "connection.unblocked"}
#: Fields that say something even when they are false, and those that say nothing here.
_ALWAYS = {"redelivered", "delivery_tag", "message_count", "no_ack"}
_NOISE = {"body_size", "class_id", "method_id", "consumer_tag", "cluster_id", "prefetch_size"}
_DETAIL = re.compile(
    r" (exchange=''|no_ack=False|durable=True|message_count=\d+|redelivered=False|(arguments|headers)=\{.*\})"
)
_MASKS = (
    (re.compile(r"amq\.rabbitmq\.reply-to\.[\w+/=.-]+"), "amq.rabbitmq.reply-to.…"),
    (re.compile(r"amq\.gen-[\w-]+"), "amq.gen-…"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[^ ,}'\]]*"), "…"),
    (re.compile(r"(test|lesson|mutant)-[0-9a-f]{8}"), "lesson"),
)


@dataclass(frozen=True)
class Event:
    """One method with what belongs to it, or what happened to a connection (``by_client``, and no method)."""

    client: str
    by_client: bool
    method: str
    words: str
    step: int

    @property
    def is_unasked(self) -> bool:
        """Whether the broker chose the time."""
        return not self.by_client and self.method in _BY_ITSELF

    @property
    def text(self) -> str:
        return f"{self.method} {self.words}".strip()

    @property
    def gist(self) -> str:
        """Without what a picture has no room for."""
        return _DETAIL.sub("", self.text)


class Recording:
    """``frame`` for each that passed; ``step`` counts the claims that were made."""

    def __init__(self) -> None:
        self.step = 1
        self._events: list[Event] = []
        #: Of each client and direction, where the header and body that come next belong.
        self._open: dict[tuple[str, bool, int], int] = {}

    def frame(self, frame: Frame, client: str, by_client: bool) -> None:
        key = client, by_client, frame.channel
        if frame.kind in ("header", "body"):
            if (at := self._open.get(key)) is not None:
                words = _words(frame) if frame.kind == "header" else preview(frame.payload)
                event = self._events[at]
                self._events[at] = replace(event, words=f"{event.words} {words}".strip())
        elif not _is_quiet(frame, by_client):
            self._open[key] = len(self._events)
            self._events.append(Event(client, by_client, frame.method or frame.kind, _words(frame), self.step))

    def happened(self, client: str, what: str) -> None:
        """Something that is no frame, like the end of a process."""
        self._events.append(Event(client, True, "", what, self.step))

    def events(self) -> list[Event]:
        """All so far, in the order that every run has."""
        steps = sorted({event.step for event in self._events})
        return [event for step in steps for event in _ordered([one for one in self._events if one.step == step])]


def _is_quiet(frame: Frame, by_client: bool) -> bool:
    # Further channels are those by which the kit waits for what was sent before.
    if by_client and frame.method == "channel.close" and frame.channel > 1:
        return True
    if frame.method == "connection.close":
        return by_client
    # A prefetch without a limit changes nothing: lessons ask for it to hear of a channel that the broker closed.
    if frame.method == "basic.qos" and not frame.fields.get("prefetch_count"):
        return True
    return _QUIET.fullmatch(frame.method or frame.kind) is not None


def _ordered(events: Sequence[Event]) -> list[Event]:
    """Those of one step: what came unasked waits for the next event of its client."""
    found: list[Event] = []
    waiting: list[Event] = []
    for event in events:
        if event.is_unasked:
            waiting.append(event)
            continue
        found += [one for one in waiting if one.client == event.client]
        waiting = [one for one in waiting if one.client != event.client]
        found.append(event)
    return found + sorted(waiting, key=lambda one: one.client)


def _words(frame: Frame) -> str:
    fields = to_map(frame, connection=0, by_client=True, at=datetime.fromtimestamp(0, UTC), refers_to="")["fields"]
    assert isinstance(fields, dict)
    # The default exchange has no name, which is worth a word where a message goes through it.
    always = _ALWAYS | ({"exchange"} if "routing_key" in fields else set())
    shown = {name: value for name, value in fields.items() if name not in _NOISE and (value or name in always)}
    words = " ".join(f"{name}={_shown(value)}" for name, value in shown.items())
    for pattern, mask in _MASKS:
        words = pattern.sub(mask, words)
    return words


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_shown(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return repr(value) if isinstance(value, str) else str(value)
