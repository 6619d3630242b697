"""The deliveries of one channel that are not settled, and how their acks are put into few frames. Pure.

An ack with ``multiple`` covers all that is outstanding up to its tag, and must itself name an outstanding tag
(else 406, the channel is closed). So it is used for what was acked without a gap from the oldest one on.
"""

from __future__ import annotations

from broker.amqp.encoding import ack_frames


class Held:
    """How many deliveries of one consumer are not acked."""

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0


class Acks:
    """Tags as the broker counts them. ``ack`` collects; what ``frames`` returns has to be written at once."""

    def __init__(self) -> None:
        #: In order, each with its consumer; None: it was acked, and that is not written yet.
        self._tags: dict[int, Held | None] = {}
        self._acked: list[int] = []

    def add(self, tag: int, of: Held) -> int:
        """It was delivered to a consumer; how many acks are not written yet."""
        of.count += 1
        self._tags[tag] = of
        return len(self._acked)

    def ack(self, tag: int) -> bool:
        """Collect an ack; False if the tag is not outstanding here: the broker may judge it."""
        of = self._tags.get(tag)
        if of is None:
            return False
        of.count -= 1
        self._tags[tag] = None
        self._acked.append(tag)
        return True

    def remove(self, tag: int) -> None:
        """It was settled in another way."""
        if (of := self._tags.pop(tag, None)) is not None:
            of.count -= 1

    @property
    def outstanding(self) -> int:
        """Deliveries that nobody has settled."""
        return len(self._tags) - len(self._acked)

    @property
    def held(self) -> int:
        """Deliveries of which the broker does not know that they are settled."""
        return len(self._tags)

    @property
    def collected(self) -> int:
        """Acks that are not written yet."""
        return len(self._acked)

    def frames(self, channel: int) -> list[bytes]:
        """The acks that were collected."""
        acked, self._acked = self._acked, []
        up_to = covered = 0
        for tag, of in self._tags.items():
            if of is not None:
                break
            up_to, covered = tag, covered + 1
        for tag in acked:
            del self._tags[tag]
        if covered < 2:
            return ack_frames(channel, 0, acked)
        return ack_frames(channel, up_to, [tag for tag in acked if tag > up_to])
