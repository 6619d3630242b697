"""The rules about the system as a whole: work flows again, quiet is quiet, nothing is left. Pure."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from tests.chaos.explain import Surplus
from tests.chaos.history import Campaign, Story
from tests.chaos.records import Ended, Finished, LeftOver, Queue, Told, Violation
from tests.chaos.trouble import Faults


def violations(campaign: Campaign, rule: str) -> Iterator[str]:
    """What was read off the wire."""
    for record in campaign.records[Violation]:
        if isinstance(record, Violation) and record.rule == rule:
            yield f"{record.at:.3f} {record.text}"


def drained(campaign: Campaign) -> Iterator[str]:
    """Nothing waits and nothing is held at the end, but dead letters."""
    for record in campaign.records[Queue]:
        if isinstance(record, Queue) and campaign.is_drained and not record.dead and record.ready + record.unacked:
            yield f"{record.name} at {record.at:.3f}: {record.ready} ready, {record.unacked} unacked"


def left_over(campaign: Campaign) -> Iterator[str]:
    for record in campaign.records[LeftOver]:
        assert isinstance(record, LeftOver)
        yield f"{record.what} at {record.at:.3f}: {record.text}"


def recoveries(campaign: Campaign, faults: Faults) -> tuple[list[float], list[str]]:
    """Seconds from the healing of the last fault that was on to the next task that finished, where work waited;
    and in words those that took too long. What the next fault cuts short is not judged."""
    limit_s = campaign.promise.recovery_s
    finished = [record.at for record in campaign.records[Finished]]
    began = sorted(fault.at for fault in faults.all)
    waiting = _Waiting(campaign)
    times, late = [], []
    for fault in faults.all:
        healed = fault.healed
        is_last = not any(other.at <= healed < other.healed < math.inf for other in faults.all)
        if math.isinf(healed) or not is_last or not waiting.at(healed):
            continue
        flows = _next(finished, healed)
        disturbed = min(_next(began, healed), campaign.last_at)
        if flows <= min(disturbed, healed + limit_s):
            times.append(flows - healed)
        elif disturbed >= healed + limit_s:
            times.append(min(flows, campaign.last_at) - healed)
            when = "never" if math.isinf(flows) else f"{flows - healed:.1f} s later"
            late.append(f"{fault.name} healed at {healed:.3f} while work waited; the next task finished {when}")
    return times, late


def quiet(campaign: Campaign, faults: Faults, surplus: Sequence[Surplus]) -> Iterator[str]:
    """Where no fault is, and none just was, nothing runs twice and nobody is left without an answer."""
    slices = _quiet_slices(campaign, faults)
    for extra in surplus:
        if _within(slices, extra.published, extra.run.at):
            yield f"{extra.story.key}: one too many in a quiet slice: {extra.run}"
    for story in campaign.tasks():
        told: list[Told | Ended] = [*story.told, *story.ended]
        for answer in told:
            if answer.answer == "unknown" and _within(slices, story.first.at, answer.at):
                yield f"{story.key}: asked at {story.first.at:.3f} and unknown at {answer.at:.3f}, all in quiet"


def _quiet_slices(campaign: Campaign, faults: Faults) -> list[tuple[float, float]]:
    slices, since = [], campaign.first_at
    for fault in faults.all:
        if fault.since > since:
            slices.append((since, fault.since))
        since = max(since, fault.until)
    return [*slices, (since, math.inf)]


def _within(slices: Sequence[tuple[float, float]], since: float, until: float) -> bool:
    place = bisect_right(slices, (since, math.inf)) - 1
    return place >= 0 and until < slices[place][1]


def _next(times: Sequence[float], since: float) -> float:
    place = bisect_left(times, since)
    return times[place] if place < len(times) else math.inf


class _Waiting:
    """Whether there is work that could be done: it was due, and nothing of it had ever started."""

    def __init__(self, campaign: Campaign) -> None:
        spans = sorted(span for story in campaign.tasks() for span in _span(story))
        self._since = [since for since, _ in spans]
        self._until = list(accumulate((until for _, until in spans), max))

    def at(self, time: float) -> bool:
        place = bisect_right(self._since, time) - 1
        return place >= 0 and self._until[place] > time


def _span(story: Story) -> Iterator[tuple[float, float]]:
    since = story.first.at + story.first.delay_s
    if story.runs:
        yield since, story.runs[0].at
    elif story.is_accepted and not story.letters:
        yield since, math.inf
