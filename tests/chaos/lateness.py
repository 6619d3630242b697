"""How long after it was due each attempt started, and what of that nothing excuses. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter

from tests.chaos.explain import SETTLE_S, backoff_s, parents_of
from tests.chaos.history import Campaign, Run, Story
from tests.chaos.records import Promise
from tests.chaos.trouble import Faults, covered_s

#: What starts as soon as this is not looked at any further.
SOON_S = 1.0
#: No run takes longer.
LONGEST_S = 60.0


@dataclass(frozen=True, slots=True)
class Wait:
    """Of the first run of an attempt that did not start at once."""

    story: Story
    run: Run
    due: float
    #: Since it was due, but for the time in which faults were on or its worker did what had been due before it.
    waited_s: float
    #: Whether there was a fault meanwhile.
    is_disturbed: bool

    def __str__(self) -> str:
        late_s = self.run.at - self.due
        return f"due at {self.due:.3f}, {late_s:.1f} s late, {self.waited_s:.1f} s of it unexcused: {self.run}"


def late(campaign: Campaign, waits: Sequence[Wait]) -> Iterator[str]:
    """No attempt starts long after its time; after a fault it may take a little longer."""
    promise = campaign.promise
    if promise.late_s is None:
        return
    for wait in waits:
        if wait.waited_s > (promise.late_after_s if wait.is_disturbed else promise.late_s):
            yield f"{wait.story.key}: {wait}"


def waits_of(campaign: Campaign, faults: Faults) -> list[Wait]:
    """All of them, in no order."""
    runs = [
        (run, story, _due(story, run, lineage, campaign.promise))
        for story in campaign.tasks()
        for lineage in story.ids.values()
        for run in lineage
    ]
    workers = _Workers(runs)
    found = []
    for run, story, due in runs:
        if due is not None and run.at - due > SOON_S:
            on = [fault for fault in faults.meeting(due, run.at) if fault.meets(due, run.at)]
            excused = [(fault.since, fault.healed) for fault in on] + workers.busy(story, run, due)
            found.append(Wait(story, run, due, run.at - due - covered_s(excused, due, run.at), bool(on)))
    return found


class _Workers:
    """What each worker did, and how far it had come in each queue."""

    def __init__(self, runs: Iterable[tuple[Run, Story, float | None]]) -> None:
        #: When each run began and when it was due; what ran again was due long ago.
        self._runs: dict[int, list[tuple[float, float, Run]]] = defaultdict(list)
        self._begun: dict[tuple[int, str], list[tuple[float, float]]] = defaultdict(list)
        for run, story, due in sorted(runs, key=lambda one: one[0].at):
            worker = run.started.worker
            self._runs[worker].append((run.at, due or 0.0, run))
            begun = self._begun[worker, story.first.queue]
            begun.append((run.at, max(due or 0.0, begun[-1][1] if begun else 0.0)))

    def busy(self, story: Story, run: Run, due: float) -> list[tuple[float, float]]:
        """When its worker was at work on what had been due before, since it was in its queue: a queue gives first
        what is due first, so what others overtook was not there."""
        worker = run.started.worker
        begun = self._begun[worker, story.first.queue]
        place = bisect_left(begun, run.at, key=itemgetter(0))
        since = max(due, begun[place - 1][1] if place else 0.0)
        runs = self._runs[worker]
        first, last = (bisect_left(runs, at, key=itemgetter(0)) for at in (since - LONGEST_S, run.at))
        return [
            (max(since, at - SETTLE_S), other.earliest_end + SETTLE_S)
            for at, other_due, other in runs[first:last]
            if other_due <= due
        ]


def _due(story: Story, run: Run, runs: Sequence[Run], promise: Promise) -> float | None:
    """When the first run of an attempt is to start, if that is known."""
    if any(other.attempt == run.attempt and other.at < run.at for other in runs):
        return None
    if run.attempt == 1:
        asked = [one.at for one in story.asked if one.at <= run.at]
        return max(asked) + story.first.delay_s if asked else None
    ends = [parent.latest_end for parent in parents_of(run, runs)]
    if not ends or math.isinf(max(ends)):
        return None
    return max(ends) + backoff_s(promise, run.attempt - 1)
