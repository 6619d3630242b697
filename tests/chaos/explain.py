"""Which runs, and which letters, are one too many, and which fault explains each. Pure.

At least once is the promise, so a task may run again where a fault kept something from being settled. Every
allowance below is such a place, and says why it exists; what none of them covers has no excuse.

An excuse is a fault together with what it hit: a run, a message, a call. Each can have led to one further message,
so the n-th run too many needs n excuses that began before it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.chaos.history import BY_BROKER, UNDELIVERED, UNSENDABLE, Campaign, Run, Story
from tests.chaos.records import Letter, Promise
from tests.chaos.trouble import Fault, Faults

#: From the end of a handler until the broker has the ack: reply, confirm, ack, on a loaded machine. The ack itself
#: is nowhere written down. A fault may keep it back for longer, and is an excuse then itself.
SETTLE_S = 2.0
#: A requester that is cut off time and again comes back, and asks again, once in so long at most.
RECONNECT_S = 0.2
#: What is not run leaves no trace until its letter is read: so long it may wait for a worker.
BACKLOG_S = 60.0


@dataclass(frozen=True, slots=True)
class Surplus:
    """A run too many, and the name of the fault that explains it, if one does."""

    story: Story
    run: Run
    #: When the message of this attempt was published, at the earliest.
    published: float
    excuse: str | None


def surplus(campaign: Campaign, faults: Faults) -> list[Surplus]:
    """Every run that is one too many for its message and attempt.

    Of attempt 1 there is one. Of each later one as many as runs of the one before that may have led to it: so the
    attempts of a second lineage need no excuse of their own, the run that began it does.
    """
    found: list[Surplus] = []
    for story in campaign.tasks():
        if len(story.runs) > 1:
            for runs in story.ids.values():
                found += _surplus_of(story, runs, faults, campaign.promise)
    return found


def _surplus_of(story: Story, runs: Sequence[Run], faults: Faults, promise: Promise) -> Iterator[Surplus]:
    levels: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        levels[run.attempt].append(run)
    for attempt, level in levels.items():
        parents = [run for run in levels.get(attempt - 1, ()) if run.may_go_on]
        published = min((parent.earliest_end for parent in parents), default=story.first.at)
        for number, run in enumerate(level[max(1, len(parents)) :], 1):
            excuses = list(_excuses(story, run, level, parents, faults, promise))
            excuse = max(excuses, key=lambda fault: fault.at).name if len(excuses) >= number else None
            yield Surplus(story, run, published, excuse)


def _excuses(
    story: Story, run: Run, level: Sequence[Run], parents: Sequence[Run], faults: Faults, promise: Promise
) -> Iterator[Fault]:
    """The excuses for a run: a fault once for each thing that it hit."""
    asked = story.first
    delay_s = asked.delay_s if run.attempt == 1 else backoff_s(promise, run.attempt - 1)
    published = min((parent.earliest_end for parent in parents), default=asked.at)
    is_back = False
    for fault in faults.meeting(asked.at, run.at):
        for number, other in enumerate(level):
            if other is run:
                is_hit = _is_stale(run, level, published + delay_s, fault)
            else:
                until = max([other.latest_end, *(story.batch_ends[number:][:1] if run.attempt == 1 else ())])
                is_hit = other.at <= run.at and _is_hit(other, until, published + delay_s, fault, promise)
            if is_hit:
                yield fault
        # The worker published its retry copy, the confirm got lost, and it published the copy again.
        # The broker may moreover have copied what was on its way from one delay queue to the next.
        for parent in parents:
            until = run.at if fault.copies else settled(parent.latest_end)
            if fault.hits_worker(parent.started.worker) and fault.meets(parent.earliest_end, until):
                yield fault
        if run.attempt == 1:
            if asked.delay_s and fault.copies and fault.meets(asked.at, run.at):
                yield fault
            yield from [fault] * _asked_again(fault, story)
            if fault.spoils_workers and fault.meets(asked.at, run.at):
                # The worker that gets a batch again splits it and runs nothing of it: whatever hits a worker from
                # then on may hit that one, while some of the copies are out.
                if asked.batch and (is_back or fault.spoils_all_workers):
                    yield fault
                is_back = True


def _is_hit(run: Run, held_until: float, due: float, fault: Fault, promise: Promise) -> bool:
    """Whether a fault may have taken the delivery of a run back before it was settled: then it came again.

    A delivery may have been lost since the message was due, although its run started later: see ``_is_stale``.
    """
    # The broker may have forgotten an ack that is as young as that.
    forgotten_s = promise.ack_loss_s if fault.is_of_broker else 0.0
    until = settled(held_until) + forgotten_s
    return fault.hits_worker(run.started.worker) and fault.meets(due, until)


def _is_stale(run: Run, level: Sequence[Run], due: float, fault: Fault) -> bool:
    """Whether a run may be that of a delivery which was lost before: its worker had it waiting for a slot, and ran
    it after another worker to which it went had begun."""
    is_lost = fault.hits_worker(run.started.worker) and not fault.is_death and fault.meets(due, run.at)
    return is_lost and any(
        fault.at <= other.at <= run.at and other.started.worker != run.started.worker for other in level
    )


def _asked_again(fault: Fault, story: Story) -> int:
    """How often a fault may have made a requester publish again what it still waits for: a reply, or a confirm.

    Once when it is back, and as often as it can have come back before, if it was cut off again each time.
    """
    since, until = story.first.at, story.waits_until
    if not (fault.makes_ask_again(story.first.requester) and fault.meets(since, until)):
        return 0
    return 1 + math.floor(max(0.0, min(fault.healed, until) - max(fault.at, since)) / RECONNECT_S)


def duplicate(campaign: Campaign, faults: Faults, surplus: Iterable[Surplus]) -> Iterator[str]:
    """What there is once too often, and no fault explains."""
    for extra in surplus:
        if extra.excuse is None:
            others = "; ".join(str(run) for run in extra.story.runs if run is not extra.run)
            yield f"{extra.story.key}: no fault explains {extra.run}, beside {others}"
    for story in campaign.tasks():
        # Whoever does not know may ask again, under another id.
        most = len(story.asked) + sum(told.answer == "unknown" for told in story.told)
        yield from _too_many(story, len(story.ids), most, "messages")
    yield from _surplus_letters(campaign, faults)


def _surplus_letters(campaign: Campaign, faults: Faults) -> Iterator[str]:
    for story in campaign.stories.values():
        letters = [letter for letter in story.letters if letter.reason != UNDELIVERED]
        if len(letters) <= 1:
            continue
        if story.is_hostile:
            # Nobody writes down when it was buried, or by whom: whatever hit a worker may have hit this one.
            until = story.asked[-1].at + BACKLOG_S
            hits = sum(fault.spoils_workers and fault.meets(story.first.at, until) for fault in faults.all)
            yield from _too_many(story, len(letters), len(story.asked) + hits, "letters")
            continue
        buried = sum(letter.reason in BY_BROKER for letter in letters)
        until = settled(max((run.at for run in story.runs), default=story.first.at))
        # A message that was asked for again is buried again, and so is a retry copy that was published twice. The
        # broker may copy what it buries.
        hits = sum(_asked_again(fault, story) for fault in faults.meeting(story.first.at, story.waits_until))
        hits += sum(fault.copies and fault.meets(story.first.at, until) for fault in faults.all)
        failed = [run for run in story.runs if run.ending and run.may_go_on]
        yield from _too_many(story, buried, 1 + hits + _unconfirmed(failed, faults), "letters by the broker")
        # Each last run leaves a letter, and writes it again if its confirm was lost.
        last = [run for run in story.runs if any(ends_as(run, one, campaign.promise) for one in letters)]
        most = max(1, len(last)) + _unconfirmed(last, faults)
        yield from _too_many(story, len(letters) - buried, most, "letters by workers")


def _unconfirmed(runs: Sequence[Run], faults: Faults) -> int:
    """How often a confirm may have been lost of what was published after these runs."""
    return sum(
        fault.hits_worker(run.started.worker) and fault.meets(run.earliest_end, settled(run.latest_end))
        for run in runs
        for fault in faults.all
    )


def _too_many(story: Story, number: int, most: int, what: str) -> Iterator[str]:
    if number > most:
        yield f"{story.key}: {number} {what}, and the faults since {story.first.at:.3f} explain {most} at most"


def backoff_s(promise: Promise, attempt: int) -> float:
    """Between the end of an attempt and the next one, at least."""
    return promise.backoff_s[min(attempt, len(promise.backoff_s)) - 1]


def settled(ended: float) -> float:
    """Until when something that has ended may not have been settled."""
    return ended + SETTLE_S


def ends_as(run: Run, letter: Letter, promise: Promise) -> bool:
    """Whether a task may be dead after this run, as its letter says."""
    if letter.reason == UNSENDABLE:
        return run.ending == "done"
    return run.ending == "rejected" or (run.may_go_on and run.attempt == promise.max_attempts)


def parents_of(run: Run, runs: Sequence[Run]) -> list[Run]:
    """The runs that may have led to a later attempt."""
    return [
        other
        for other in runs
        if other.attempt == run.attempt - 1 and other.may_go_on and other.earliest_end <= run.at
    ]
