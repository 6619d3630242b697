"""What is read off the wire and out of the queues of a stage, as records."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import msgpack

from tests.chaos.records import Letter, digest
from tests.support import vhost
from tests.support.frames import Event
from tests.support.vhost import Vhost


class Held:
    """What workers hold unacked, as an observer of their connections sees it. ``take`` each event, in order."""

    def __init__(self) -> None:
        self._queues: dict[tuple[int, str], str] = {}
        self._unacked: dict[tuple[int, int, int], tuple[int, str]] = {}
        self._numbers: dict[tuple[int, str], int] = defaultdict(int)
        #: Most that one consumer of a queue ever held.
        self.most: dict[str, int] = defaultdict(int)

    @property
    def now(self) -> int:
        return len(self._unacked)

    def take(self, event: Event) -> None:
        match event.kind:
            case "consume":
                self._queues[event.connection, event.name] = event.queue
            case "deliver":
                consumer = (event.connection, event.name)
                self._unacked[event.connection, event.channel, event.tag] = consumer
                self._numbers[consumer] += 1
                queue = self._queues.get(consumer, "")
                self.most[queue] = max(self.most[queue], self._numbers[consumer])
            case "ack" | "nack" | "reject":
                self._drop(self._settled(event))
            case "end":
                self._drop([place for place in self._unacked if place[0] == event.connection])

    def _settled(self, event: Event) -> list[tuple[int, int, int]]:
        """A multiple one covers all that is outstanding on its channel, up to its tag; tag 0: all."""
        if not event.multiple:
            return [(event.connection, event.channel, event.tag)]
        channel = event.connection, event.channel
        return [place for place in self._unacked if place[:2] == channel and place[2] <= (event.tag or place[2])]

    def _drop(self, places: Iterable[tuple[int, int, int]]) -> None:
        for place in places:
            if place in self._unacked:
                self._numbers[self._unacked.pop(place)] -= 1


def letters(place: Vhost, queue: str) -> Iterator[Letter]:
    """Take the dead letters out of a queue; that of a batch is one for each of its tasks."""
    for letter in place.messages(queue, count) if (count := place.ready(queue)) else []:
        letter_id = _text(letter.properties.message_id or letter.properties.correlation_id)
        for task_id, key in _batch(letter) or [(letter_id, _key(letter.body))]:
            yield Letter(
                queue=queue,
                id=task_id,
                key=key,
                reason=letter.reason.code,
                attempts=_attempts(letter),
                body=digest(letter.body),
            )


def _batch(letter: vhost.Letter) -> list[tuple[str, str]]:
    """The id and the key of each task of a batch; none if it is no batch of tasks of ours."""
    entries = _value(letter.body) if "batch" in letter.headers else None
    if not isinstance(entries, list):
        return []
    return [(_text(entry[0]), _text(entry[1].get("key"))) for entry in entries if _is_entry(entry)]


def _is_entry(entry: object) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], dict)


def _attempts(letter: vhost.Letter) -> tuple[int, ...]:
    history = letter.headers.get("history", [])
    return tuple(int(entry["attempt"]) for entry in history)


def _key(body: bytes) -> str:
    value = _value(body)
    return _text(value.get("key")) if isinstance(value, dict) else ""


def _value(body: bytes) -> Any:
    try:
        return msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException):
        return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
