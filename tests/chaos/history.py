"""What the ledgers tell, put in order: a story for each key that was asked for. Decides nothing.

Everything else that the checker does reads this, so each record is looked at once, whatever their number.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from tests.chaos.records import (
    Asked,
    Collected,
    Drained,
    Ended,
    Finished,
    Letter,
    Promise,
    Record,
    Started,
    Told,
)

#: Reasons of letters that the broker makes by itself. Nobody adds an interrupted attempt to their history.
BY_BROKER = frozenset({"delivery_limit", "expired"})
#: A letter that holds a reply which could not be delivered. Its task is done or dead apart from it.
UNDELIVERED = "no_mailbox"
#: The reason of a letter of a task that was done, and whose result the broker does not take.
UNSENDABLE = "result_too_large"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a handler; ``finished`` is None if it was cut off."""

    started: Started
    finished: Finished | None = None

    @property
    def at(self) -> float:
        return self.started.at

    @property
    def attempt(self) -> int:
        return self.started.attempt

    @property
    def ending(self) -> str:
        return "" if self.finished is None else self.finished.ending

    @property
    def earliest_end(self) -> float:
        return self.started.at if self.finished is None else self.finished.at

    @property
    def latest_end(self) -> float:
        return math.inf if self.finished is None else self.finished.at

    @property
    def may_go_on(self) -> bool:
        """Whether a further attempt may follow from it: it failed, or was cut off."""
        return self.ending in ("", "failed", "retry")

    def __str__(self) -> str:
        end = "never finished" if self.finished is None else f"{self.ending} at {self.finished.at:.3f}"
        return f"attempt {self.attempt} at {self.at:.3f} by worker {self.started.worker}, {end}"


@dataclass(slots=True)
class Story:
    """All that is known of one key. ``asked`` is never empty; every list is in order of time."""

    key: str
    asked: list[Asked]
    told: list[Told] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    collected: list[Collected] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    #: Until when its batch was held: the last end of the first runs of all that came in it; of the second ones; …
    batch_ends: list[float] = field(default_factory=list)

    @property
    def first(self) -> Asked:
        return self.asked[0]

    @property
    def is_hostile(self) -> bool:
        return self.first.kind == "hostile"

    @property
    def replies(self) -> list[Ended | Collected]:
        ended = [end for end in self.ended if end.answer in ("done", "failed")]
        return [*ended, *self.collected]

    @property
    def answers(self) -> set[str]:
        """Everything that anyone was told of it."""
        told: list[Told | Ended | Collected] = [*self.told, *self.ended, *self.collected]
        return {one.answer for one in told}

    @property
    def is_accepted(self) -> bool:
        """Whether someone was told that the broker has it; a reply tells that too."""
        return not self.answers.isdisjoint(("accepted", "done", "failed"))

    @property
    def is_done(self) -> bool:
        return any(run.ending == "done" for run in self.runs)

    @property
    def ids(self) -> dict[str, list[Run]]:
        """The runs of each message: a key that is asked for again becomes a message of another id."""
        found: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            found[run.started.id].append(run)
        return found

    @property
    def waits_until(self) -> float:
        """Until when its requester may publish it again: a direct call until it ends, any other until it knows."""
        ends: Sequence[Record] = self.ended if self.first.mode == "direct" else self.told
        return ends[-1].at if ends else self.asked[-1].at + self.asked[-1].within_s


@dataclass(slots=True)
class Campaign:
    """All stories, and what belongs to none."""

    promise: Promise
    stories: dict[str, Story]
    records: dict[type[Record], list[Record]]
    #: What belongs to nothing that was asked for, in words.
    strays: list[str]
    drained: Drained | None
    first_at: float
    last_at: float

    @property
    def is_drained(self) -> bool:
        return self.drained is not None and self.drained.complete

    def tasks(self) -> Iterator[Story]:
        return (story for story in self.stories.values() if not story.is_hostile)

    def hostile(self) -> Iterator[Story]:
        return (story for story in self.stories.values() if story.is_hostile)


def gather(records: Iterable[Record]) -> Campaign | None:
    """Put records in order; None without a ``Promise``, since then nothing was promised."""
    kinds: dict[type[Record], list[Record]] = defaultdict(list)
    ordered = sorted(records, key=lambda record: record.at)
    for record in ordered:
        kinds[type(record)].append(record)
    promises = [record for record in kinds[Promise] if isinstance(record, Promise)]
    if not promises:
        return None
    stories: dict[str, Story] = {}
    for asked in kinds[Asked]:
        assert isinstance(asked, Asked)
        if asked.key in stories:
            stories[asked.key].asked.append(asked)
        else:
            stories[asked.key] = Story(asked.key, [asked])
    drained = kinds[Drained][-1] if kinds[Drained] else None
    assert drained is None or isinstance(drained, Drained)
    strays = _distribute(ordered, stories)
    _end_batches(stories.values())
    return Campaign(
        promise=promises[0],
        stories=stories,
        records=kinds,
        strays=strays,
        drained=drained,
        first_at=ordered[0].at,
        last_at=ordered[-1].at,
    )


def _end_batches(stories: Iterable[Story]) -> None:
    batches: dict[str, list[Story]] = defaultdict(list)
    for story in stories:
        if story.first.batch:
            batches[story.first.batch].append(story)
    for together in batches.values():
        ends = [[run.latest_end for run in story.runs if run.attempt == 1] for story in together]
        for story in together:
            story.batch_ends = [max(level) for level in zip_longest(*ends, fillvalue=0.0)]


def _distribute(records: Sequence[Record], stories: dict[str, Story]) -> list[str]:
    """Give every record to its story; what is left, in words."""
    keys = _keys(records, stories)
    strays: list[str] = []
    #: Runs that have not finished, by message, attempt and process.
    open_runs: dict[tuple[str, str, int, int], list[int]] = defaultdict(list)
    for record in records:
        if not isinstance(record, Told | Ended | Collected | Started | Finished | Letter):
            continue
        story = stories.get(_key(record, keys))
        if story is None:
            name = record.key or record.id or getattr(record, "body", "")
            strays.append(f"{name}: {type(record).__name__} at {record.at:.3f}, and nobody asked for it: {record}")
            continue
        match record:
            case Told():
                story.told.append(record)
            case Ended():
                story.ended.append(record)
            case Collected():
                story.collected.append(record)
            case Letter():
                story.letters.append(record)
            case Started():
                place = (record.key, record.id, record.attempt, record.pid)
                open_runs[place].append(len(story.runs))
                story.runs.append(Run(record))
            case Finished():
                waiting = open_runs[record.key, record.id, record.attempt, record.pid]
                if waiting:
                    run = waiting.pop(0)
                    story.runs[run] = Run(story.runs[run].started, record)
                else:
                    strays.append(f"{record.key}: Finished at {record.at:.3f} without a start: {record}")
    return strays


def _keys(records: Iterable[Record], stories: dict[str, Story]) -> dict[str, str]:
    """The key of each id, and of each body of a hostile message."""
    keys = {story.first.digest: story.key for story in stories.values() if story.is_hostile}
    for record in records:
        if isinstance(record, Told | Ended | Collected | Started | Letter) and record.id and record.key in stories:
            keys.setdefault(record.id, record.key)
    return keys


def _key(record: Told | Ended | Collected | Started | Finished | Letter, keys: dict[str, str]) -> str:
    if isinstance(record, Letter):
        # A hostile body may hold any key, or a true id: it is its body that tells.
        return keys.get(record.body) or record.key or keys.get(record.id, "")
    return record.key or keys.get(record.id, "")
