"""What a campaign comes to in numbers: for the table of its report, not for its verdict. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from tests.chaos.explain import Surplus
from tests.chaos.history import Campaign, Run, Story
from tests.chaos.lateness import Wait
from tests.chaos.records import FaultBegan, FaultHealed, Finished, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Those of one campaign. All of them can be added up but for the last ones, of which the greatest counts."""

    #: From the first record to the last.
    minutes: float = 0.0
    #: Keys, by kind.
    asked: Mapping[str, int] = field(default_factory=dict)
    #: Of these, by what their requesters were told of the publish in the end.
    accepted: int = 0
    unknown: int = 0
    refused: int = 0
    returned: int = 0
    #: Answers to callers, and replies out of mailboxes.
    done: int = 0
    failed: int = 0
    unknown_ends: int = 0
    #: Letters, by reason.
    dead: Mapping[str, int] = field(default_factory=dict)
    runs: int = 0
    #: Runs that are one too many, by the fault that explains them; and those that none explains.
    explained: Mapping[str, int] = field(default_factory=dict)
    unexplained: int = 0
    #: Lineages beyond the first of each message: second runs of an attempt that finished, too.
    forks: int = 0
    #: Faults, by name. One that goes on at a process that was started meanwhile is still one.
    faults: Mapping[str, int] = field(default_factory=dict)
    #: From the end of a fault to the first task that finished after it.
    recovery_s: tuple[float, ...] = ()
    #: The longest time in which no task finished.
    worst_gap_s: float = 0.0
    #: The latest start after a task was due: with no fault meanwhile, and with one, its own time left out.
    late_s: float = 0.0
    late_after_s: float = 0.0


def count(
    campaign: Campaign, surplus: Sequence[Surplus], recovery_s: Sequence[float], waits: Sequence[Wait]
) -> Counts:
    stories = list(campaign.stories.values())
    told = Counter(_told(story) for story in stories)
    replies = Counter(reply.answer for story in stories for reply in story.replies)
    finished = [record.at for record in campaign.records[Finished]]
    return Counts(
        minutes=(campaign.last_at - campaign.first_at) / 60,
        asked=Counter(story.first.kind for story in stories),
        accepted=told["accepted"],
        unknown=told["unknown"],
        refused=told["refused"],
        returned=told["returned"],
        done=replies["done"],
        failed=replies["failed"],
        unknown_ends=sum(end.answer == "unknown" for story in stories for end in story.ended),
        dead=Counter(letter.reason for story in stories for letter in story.letters),
        runs=sum(len(story.runs) for story in stories),
        explained=Counter(extra.excuse for extra in surplus if extra.excuse is not None),
        unexplained=sum(extra.excuse is None for extra in surplus),
        forks=sum(_forks(runs) for story in stories if len(story.runs) > 1 for runs in story.ids.values()),
        faults=_faults(
            sorted((*campaign.records[FaultBegan], *campaign.records[FaultHealed]), key=lambda r: r.at)
        ),
        recovery_s=tuple(recovery_s),
        worst_gap_s=max((later - earlier for earlier, later in pairwise(finished)), default=0.0),
        late_s=max((wait.waited_s for wait in waits if not wait.is_disturbed), default=0.0),
        late_after_s=max((wait.waited_s for wait in waits if wait.is_disturbed), default=0.0),
    )


def quantile(values: Sequence[float], part: float) -> float:
    """The value that a part (0 to 1) of all values do not exceed; 0 of none."""
    return sorted(values)[max(0, math.ceil(part * len(values)) - 1)] if values else 0.0


def _told(story: Story) -> str:
    if story.is_accepted:
        return "accepted"
    return next((answer for answer in ("unknown", "refused", "returned") if answer in story.answers), "unknown")


def _forks(runs: Sequence[Run]) -> int:
    """What was cut off began no lineage: it came again as the same attempt."""
    levels = Counter(run.attempt for run in runs if run.ending)
    return max(0, max(levels.values(), default=1) - 1)


def _faults(records: Sequence[Record]) -> Counter[str]:
    counts: Counter[str] = Counter()
    on: dict[int, tuple[str, str]] = {}
    for record in records:
        if isinstance(record, FaultBegan):
            what = (record.fault, record.text)
            counts[record.fault] += what not in on.values()
            # One without names hits whatever comes in the place of what it hit.
            if record.text:
                on[record.number] = what
        elif isinstance(record, FaultHealed):
            on.pop(record.number, None)
    return counts
