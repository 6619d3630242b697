"""What belongs together on one connection: a publish and its confirm, a delivery and its ack. Pure; the clock is a
parameter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from statistics import median

from broker.wire.frames import Frame


@dataclass(slots=True)
class _Channel:
    #: Sequence number of the latest publish; None without confirm mode.
    published: int | None = None
    #: When each unconfirmed publish, and each unsettled delivery, was sent.
    unconfirmed: dict[int, float] = field(default_factory=dict)
    unsettled: dict[int, float] = field(default_factory=dict)
    #: Tags of consumers that settle nothing; whether those that were asked for do, the oldest first.
    automatic: set[str] = field(default_factory=set)
    asked: list[bool] = field(default_factory=list)


@dataclass(slots=True)
class Conversation:
    """``note`` for each frame of either direction, in the order in which they passed."""

    frames: Counter[tuple[bool, str]] = field(default_factory=Counter)
    bytes: Counter[bool] = field(default_factory=Counter)
    confirm_s: list[float] = field(default_factory=list)
    settle_s: list[float] = field(default_factory=list)
    refused: int = 0
    returned: int = 0
    _channels: dict[int, _Channel] = field(default_factory=dict)

    def note(self, frame: Frame, *, by_client: bool, at_s: float) -> str:
        """What the frame refers to, in words; empty if it stands for itself."""
        self.frames[by_client, frame.method or frame.kind] += 1
        self.bytes[by_client] += len(frame.raw)
        channel = self._channels.setdefault(frame.channel, _Channel())
        if by_client:
            return self._by_client(frame, channel, at_s)
        return self._by_broker(frame, channel, at_s)

    def _by_client(self, frame: Frame, channel: _Channel, at_s: float) -> str:
        match frame.method:
            case "channel.open":
                self._channels[frame.channel] = _Channel()
            case "confirm.select":
                channel.published = channel.published or 0
            case "basic.publish" if channel.published is not None:
                channel.published += 1
                channel.unconfirmed[channel.published] = at_s
                return f"publish {channel.published} of the channel"
            case "basic.consume" | "basic.get":
                channel.asked.append(frame.fields.get("no_ack") is True)
            case "basic.ack" | "basic.nack" | "basic.reject":
                return self._covered(frame, channel.unsettled, self.settle_s, at_s, "delivery")
        return ""

    def _by_broker(self, frame: Frame, channel: _Channel, at_s: float) -> str:
        match frame.method:
            case "basic.ack" | "basic.nack":
                self.refused += frame.method == "basic.nack"
                return self._covered(frame, channel.unconfirmed, self.confirm_s, at_s, "publish")
            case "basic.return":
                self.returned += 1
            case "basic.consume-ok" if channel.asked and channel.asked.pop(0):
                channel.automatic.add(str(frame.fields.get("consumer_tag")))
            case "basic.deliver" if str(frame.fields.get("consumer_tag")) not in channel.automatic:
                channel.unsettled[_number(frame, "delivery_tag")] = at_s
            case "basic.get-ok" if not (channel.asked and channel.asked.pop(0)):
                channel.unsettled[_number(frame, "delivery_tag")] = at_s
            case "basic.get-empty":
                del channel.asked[:1]
        return ""

    def summary(self) -> list[tuple[str, str]]:
        """Name and value of each figure."""
        waiting = list(self._channels.values())
        rows = [
            (f"{'→' if by_client else '←'} {name}", str(count))
            for (by_client, name), count in sorted(self.frames.items(), key=lambda one: (not one[0][0], one[0][1]))
        ]
        return [
            *rows,
            ("bytes → broker, ← broker", f"{self.bytes[True]}, {self.bytes[False]}"),
            ("confirms, median", _told(self.confirm_s)),
            ("settled deliveries, median", _told(self.settle_s)),
            ("refused, returned", f"{self.refused}, {self.returned}"),
            ("unconfirmed at the end", str(sum(len(one.unconfirmed) for one in waiting))),
            ("unsettled at the end", str(sum(len(one.unsettled) for one in waiting))),
        ]

    def _covered(
        self, frame: Frame, waiting: dict[int, float], ages_s: list[float], at_s: float, what: str
    ) -> str:
        """Take out what an ack covers: one number, or all up to it."""
        number = _number(frame, "delivery_tag")
        is_multiple = frame.fields.get("multiple") is True
        # The number 0 with multiple means all.
        covered = [one for one in waiting if one <= number or not number] if is_multiple else [number]
        found = [one for one in covered if one in waiting]
        if not found:
            return f"{what} {number}, which is not outstanding"
        ages = [at_s - waiting.pop(one) for one in found]
        ages_s += ages
        numbers = str(found[0]) if len(found) == 1 else f"{found[0]} to {found[-1]}"
        return f"{what} {numbers} after {1000 * max(ages):.1f} ms"


def _number(frame: Frame, name: str) -> int:
    value = frame.fields.get(name)
    return value if isinstance(value, int) else 0


def _told(ages_s: list[float]) -> str:
    return f"{len(ages_s)}, {1000 * median(ages_s):.1f} ms" if ages_s else "0"
