"""How many deliveries of a queue a worker holds, found from what it sees of them. Pure.

With ``prefetch: null`` it starts with ``concurrency + 2`` and looks every ``LOOK_S``. It holds more as long as
the queue has more for it and tasks are short, so that about ``AHEAD_S`` of work waits here; and as little as at
first once they are long, once nothing ends any more, or once there is little to do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from broker.config.holding import LONGEST_WAIT_S

#: Between two looks.
LOOK_S = 0.05
#: So much work may wait here.
AHEAD_S = 0.05
#: More than this is no faster, in deliveries; nor may the bodies that wait be more, in bytes.
MOST, MOST_BYTES = 400, 16 << 20
#: It becomes ``STEP`` times as much at once at most, ``MORE`` times as much at least, or ``LESS`` of it.
STEP, MORE, LESS = 8, 1.5, 0.25
#: Looks. With every slot taken and no end in ``STILL`` of them, tasks are long; with little to do in ``QUIET`` of
#: them, few deliveries are enough.
STILL, QUIET = 6, 20
#: With no end in ``WAIT`` looks, what has not begun goes back if others consume the queue, but for what came back
#: ``FEW`` times.
WAIT, FEW = 100, 3
#: Where it has to, it goes back ``LONGEST_WAIT`` looks after it came, twice as many at most: looks may be late.
LONGEST_WAIT = int(0.3 * LONGEST_WAIT_S / LOOK_S)
#: After tasks were long it does not grow for so long, and twice as long the next time.
PATIENCE_S, MOST_PATIENCE_S = 1.0, 32.0
#: What one delivery counts in a mean.
WEIGHT = 0.01


@dataclass(slots=True)
class Flow:
    """Deliveries of one queue by one connection: how many are held now, and the rest since the last look."""

    #: Not settled.
    held: int = 0
    taken: int = 0
    #: Of those that were taken: the broker had no room left for another.
    full: int = 0
    size: int = 0
    #: Deliveries that were run, and for how long; of a batch the part that was.
    ran: float = 0.0
    ran_s: float = 0.0
    looks: int = 0
    aim: Aim | None = None

    def look_again(self) -> None:
        """From now on it counts anew."""
        self.looks += 1
        self.taken = self.full = self.size = 0
        self.ran = self.ran_s = 0.0


class Return(Enum):
    """Which deliveries go back now, of those that have not begun."""

    OLD = auto()
    #: All, where others consume the queue.
    IF_SHARED = auto()
    ALL = auto()


@dataclass(frozen=True, slots=True)
class Aim:
    """What was concluded so far."""

    prefetch: int
    #: Means of a delivery; None: not known yet.
    run_s: float | None = None
    size: float = 0.0
    still: int = 0
    quiet: int = 0
    patience_s: float = PATIENCE_S
    grows_from_s: float = 0.0
    returns: Return = Return.OLD


def next_aim(
    aim: Aim,
    flow: Flow,
    concurrency: int,
    least: int,
    busy: int,
    apart: int,
    now_s: float,
    *,
    has_more: bool = False,
) -> Aim:
    """What follows from a look, by a clock of seconds. ``busy``: tasks that run now, of any queue. ``least`` is
    held at least, ``apart`` of it by consumers that were replaced: the prefetch is what remains. ``has_more``:
    messages wait in the queue."""
    run_s = _mean(aim.run_s, flow.ran_s, flow.ran)
    size = _mean(aim.size, flow.size, flow.taken) or 0.0
    still = aim.still + 1 if busy >= concurrency and not flow.ran else 0
    quiet = aim.quiet + 1 if flow.taken <= least else 0
    returns = Return.IF_SHARED if still and not still % WAIT else Return.OLD
    seen = replace(aim, run_s=run_s, size=size, still=still, quiet=quiet, returns=returns)
    wanted = least if run_s is None or still >= STILL else _wanted(concurrency, least, run_s, size)
    if aim.prefetch > least and (still >= STILL or wanted <= LESS * aim.prefetch):
        return replace(
            seen,
            # What runs goes on to fill slots.
            prefetch=max(1, wanted - min(flow.held, busy)),
            # What those take that run now is not known.
            run_s=None if still >= STILL else run_s,
            patience_s=min(2 * aim.patience_s, MOST_PATIENCE_S),
            grows_from_s=now_s + aim.patience_s,
            returns=Return.ALL,
        )
    if aim.prefetch < least and (not apart or least - apart >= 2 * aim.prefetch):
        return replace(seen, prefetch=least - apart)
    if aim.prefetch > least and quiet >= QUIET:
        return Aim(least)
    if (flow.full or has_more) and wanted >= MORE * aim.prefetch and now_s >= aim.grows_from_s:
        return replace(seen, prefetch=min(wanted, STEP * aim.prefetch))
    return seen


def returned(aim: Aim, looks: int, *, is_shared: bool, returns_old: bool) -> tuple[int, int | None] | None:
    """What goes back now of what has not begun: that came before a look, by its number, and came back less often
    than a number. ``is_shared``: others consume the queue. ``returns_old``: nothing is to wait for long."""
    if aim.returns is Return.ALL:
        return looks + 1, None
    if aim.returns is Return.IF_SHARED and is_shared:
        return looks, FEW
    return (looks - LONGEST_WAIT, None) if returns_old and not looks % LONGEST_WAIT else None


def _mean(before: float | None, total: float, count: float) -> float | None:
    if not count:
        return before
    weight = 1.0 if before is None else min(1.0, WEIGHT * count)
    return weight * total / count + (1.0 - weight) * (before or 0.0)


def _wanted(concurrency: int, least: int, run_s: float, size: float) -> int:
    """What keeps the slots busy, and for ``AHEAD_S`` what follows on it."""
    ahead = min(MOST, AHEAD_S * concurrency / max(run_s, 1e-6))
    return max(least, min(MOST, int(concurrency + ahead), int(MOST_BYTES / max(size, 1.0))))
