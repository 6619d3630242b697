"""Property lists that are alike: what one requester sends again and again differs in a few places only.

Such a list is cut into what varies (ids, the timestamp, 64-bit numbers among the headers: all of a fixed size) and
the rest. One with the same rest as a list that was read before has the same fields in the same places, since their
sizes are in the rest. So it is read only where somebody asks for its fields, and a caller that knows what to make
of the one knows what to make of the other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from operator import itemgetter
from typing import Any

from broker.amqp.decoding import read_properties, varying
from broker.amqp.pika_errors import fields_by_pika

#: How many shapes are kept, and the bytes and varying places of a list, at most: a peer that makes up its own
#: cannot fill memory.
KEPT, LONGEST, MOST_PLACES = 512, 1024, 8
#: Where every list is of a new shape, only this number of them cost the time to learn it.
LEARNT_EACH = 8


class Shape:
    """What is common to lists that are alike."""

    __slots__ = ("values", "varying")

    def __init__(self, varying: tuple[str, ...], values: Callable[[bytes], Any]) -> None:
        #: Names of what varies, in order; a header is ``headers.`` and its key.
        self.varying = varying
        #: The bytes of that in a list of this shape: a tuple, if there is more than one.
        self.values = values


class Shaped:
    """The properties of a message whose list is of a known shape, by their names as in pika.

    They may be copied, and those of a copy changed, as with pika's: ``raw`` is what was received.
    """

    def __init__(self, shape: Shape, flags: int, raw: bytes) -> None:
        self.shape = shape
        self.raw = raw
        self._flags = flags
        self._is_read = False

    def __getattr__(self, name: str) -> Any:
        """Called for what is no attribute yet: at the first of the properties all of them become attributes."""
        if name.startswith("_") or self._is_read:
            raise AttributeError(name)
        fields = read_properties(self.raw, 0, len(self.raw), self._flags)
        if fields is None:
            # Of what varies only the ids can be other than plain: text that is not UTF-8.
            fields = fields_by_pika(self._flags, self.raw)
        # What was set before holds.
        self.__dict__ = {**fields, **self.__dict__, "_is_read": True}
        return getattr(self, name)


class Shapes:
    """The shapes of lists that one connection has received."""

    def __init__(self) -> None:
        self._rests: dict[tuple[int, int], Callable[[bytes], Hashable]] = {}
        self._shapes: dict[tuple[int, int, Hashable], Shape] = {}
        self._misses = 0

    def find(self, flags: int, raw: bytes) -> Shape | None:
        """The shape of a list, if it is known: then the list can be read."""
        rest = self._rests.get((flags, len(raw)))
        return None if rest is None else self._shapes.get((flags, len(raw), rest(raw)))

    def learn(self, flags: int, raw: bytes) -> None:
        """A list could be read that is of no known shape."""
        self._misses += 1
        if self._misses % LEARNT_EACH or len(raw) > LONGEST:
            return
        try:
            places = list(varying(flags, raw))
        except ValueError:
            return
        if not 0 < len(places) <= MOST_PLACES:
            return
        if len(self._shapes) >= KEPT:
            self._rests.clear()
            self._shapes.clear()
        rest = itemgetter(*_between([(start, end) for _, start, end in places], len(raw)))
        values = itemgetter(*[slice(start, end) for _, start, end in places])
        self._rests[flags, len(raw)] = rest
        self._shapes[flags, len(raw), rest(raw)] = Shape(tuple(name for name, _, _ in places), values)


def _between(places: list[tuple[int, int]], size: int) -> Iterator[slice]:
    at = 0
    for start, end in places:
        yield slice(at, start)
        at = end
    yield slice(at, size)
