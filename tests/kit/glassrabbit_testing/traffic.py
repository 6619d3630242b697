"""What is published, and what is unacked, read from the frames that pass: exact now, for clients of any library.
The broker itself says what is unacked by its management API alone, up to ten seconds late.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from broker.wire.frames import Frame
from broker.wire.values import Value
from protocol.names import TASKS

_DELAYED = "tasks.delay."
#: What moves a message.
_MOVES = {"basic.publish", "basic.deliver", "basic.get-ok", "basic.ack", "basic.nack", "basic.reject"}


@dataclass(slots=True)
class Unacked:
    """A delivery that its consumer holds."""

    queue: str
    #: Its property ``type``, which of a task is its name, and ``message_id``; empty if it has none.
    type: str = ""
    id: str = ""


@dataclass(slots=True)
class Published:
    """A message that a client has sent."""

    exchange: str
    routing_key: str
    properties: dict[str, Value] = field(default_factory=dict)
    body: bytes = b""

    @property
    def is_task(self) -> bool:
        """It went to a queue, or into the delay line before one."""
        return self.exchange == TASKS or self.exchange.startswith(_DELAYED)


@dataclass(slots=True)
class _Channel:
    #: Queue and ``no_ack`` of each consumer, by its tag; of what was asked for and is not answered yet.
    consumers: dict[Value, tuple[str, bool]] = field(default_factory=dict)
    asked: list[tuple[str, bool]] = field(default_factory=list)
    held: dict[int, Unacked] = field(default_factory=dict)
    #: The content header of this delivery comes next; the rest of this message.
    latest: Unacked | None = None
    coming: Published | None = None


class Traffic:
    """``note`` for every frame, ``ended`` for a connection that is over. May be asked from any thread."""

    def __init__(self) -> None:
        #: Grows with everything that moves a message.
        self.moves = 0
        #: Ids of tasks that were sent, or given back, and not delivered since.
        self.sent: set[str] = set()
        #: Messages that are complete, if somebody wants to know (``is_read``).
        self.published: list[Published] = []
        self.is_read = False
        self._channels: dict[tuple[int, int], _Channel] = {}
        self._lock = threading.Lock()

    def unacked(self) -> list[Unacked]:
        """On all connections, the oldest of each channel first."""
        with self._lock:
            return [held for channel in self._channels.values() for held in channel.held.values()]

    def ended(self, connection: int) -> None:
        with self._lock:
            self.moves += 1
            for key in [key for key in self._channels if key[0] == connection]:
                self._drop(key)

    def note(self, frame: Frame, connection: int, by_client: bool) -> None:
        if frame.problem:
            return
        with self._lock:
            self.moves += frame.method in _MOVES
            channel = self._channels.setdefault((connection, frame.channel), _Channel())
            if frame.method in ("channel.close-ok", "channel.open"):
                self._drop((connection, frame.channel))
            elif by_client:
                self.sent.update(_by_client(frame, channel))
                self._publish(frame, channel)
            else:
                self.sent.discard(_by_broker(frame, channel))

    def _drop(self, key: tuple[int, int]) -> None:
        self.sent.update(held.id for held in self._channels.pop(key).held.values() if held.id)

    def _publish(self, frame: Frame, channel: _Channel) -> None:
        coming = channel.coming
        if frame.method == "basic.publish":
            channel.coming = Published(str(frame.fields["exchange"]), str(frame.fields["routing_key"]))
        elif coming is not None and frame.kind in ("header", "body"):
            if frame.kind == "header":
                coming.properties = frame.fields
                if coming.is_task and "message_id" in frame.fields:
                    self.sent.add(str(frame.fields["message_id"]))
            elif self.is_read:
                coming.body += frame.payload
            if self.is_read and len(coming.body) == coming.properties["body_size"]:
                self.published.append(coming)
                channel.coming = None


def _by_client(frame: Frame, channel: _Channel) -> list[str]:
    """The ids of what is given back."""
    fields = frame.fields
    match frame.method:
        case "basic.consume" | "basic.get":
            asked = (str(fields["queue"]), fields["no_ack"] is True)
            if fields.get("nowait") is True:
                channel.consumers[fields["consumer_tag"]] = asked
            else:
                channel.asked.append(asked)
        case "basic.ack" | "basic.nack" | "basic.reject":
            tag = fields["delivery_tag"]
            assert isinstance(tag, int)
            # The tag 0 with multiple means all.
            is_multiple = fields.get("multiple") is True
            tags = [one for one in channel.held if one == tag or (is_multiple and (one <= tag or not tag))]
            settled = [channel.held.pop(tag) for tag in tags]
            return [held.id for held in settled if held.id and fields.get("requeue") is True]
        case "basic.recover":
            back, channel.held = channel.held, {}
            return [held.id for held in back.values() if held.id]
    return []


def _by_broker(frame: Frame, channel: _Channel) -> str:
    """The id of what is delivered."""
    fields = frame.fields
    latest, channel.latest = channel.latest, None
    match frame.method:
        case "basic.consume-ok" if channel.asked:
            channel.consumers[fields["consumer_tag"]] = channel.asked.pop(0)
        case "basic.deliver":
            _delivered(fields, channel, *channel.consumers.get(fields["consumer_tag"], ("", False)))
        case "basic.get-ok" if channel.asked:
            _delivered(fields, channel, *channel.asked.pop(0))
        case "basic.get-empty":
            del channel.asked[:1]
        case "" if latest is not None and frame.kind == "header":
            latest.type, latest.id = str(fields.get("type", "")), str(fields.get("message_id", ""))
            return latest.id
    return ""


def _delivered(fields: dict[str, Value], channel: _Channel, queue: str, is_acked_already: bool) -> None:
    channel.latest, tag = Unacked(queue), fields["delivery_tag"]
    if not is_acked_already and isinstance(tag, int):
        channel.held[tag] = channel.latest
