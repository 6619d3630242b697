"""The rules about attempts: their numbers, what led to each, and what is told of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.chaos.explain import backoff_s, ends_as, parents_of, settled
from tests.chaos.history import BY_BROKER, UNDELIVERED, Campaign, Run, Story
from tests.chaos.records import Letter, Promise
from tests.chaos.trouble import Faults

#: The broker counts whole milliseconds, at each of up to twenty hops, and its clock is not ours.
CLOCK_S = 0.03
#: The fault that ends a process which runs handlers, and not the one that holds the connection.
CHILD_LOST = "child lost"
#: The one under which a worker can neither report a large result nor write that it is too large.
UNTOLD = "small messages"


def attempts(campaign: Campaign, faults: Faults) -> Iterator[str]:
    """1, 2, 3 …, each because the one before did not end it, up to what the policy allows; and told as it was."""
    for story in campaign.tasks():
        for runs in story.ids.values():
            yield from _numbers(story, runs, campaign.promise, faults)
        yield from _as_asked(story)
        yield from _letters(story, campaign.promise, faults)
        if campaign.is_drained:
            yield from _heard(story)
            yield from _unburied(story)


def early(campaign: Campaign) -> Iterator[str]:
    """No attempt starts before its time."""
    for story in campaign.tasks():
        for runs in story.ids.values():
            for run in runs:
                if run.attempt == 1:
                    since, wait_s = story.first.at, story.first.delay_s
                elif parents := parents_of(run, runs):
                    since = min(parent.earliest_end for parent in parents)
                    wait_s = backoff_s(campaign.promise, run.attempt - 1)
                else:
                    continue
                if run.at + CLOCK_S < since + wait_s:
                    yield f"{story.key}: due {wait_s:g} s after {since:.3f}: {run}"


def again(campaign: Campaign, faults: Faults) -> Iterator[str]:
    """What a worker has done it does not do a second time: it remembers it, whatever becomes of its connections.
    Only what a child had done that was killed before its worker heard of it is done again, and what could not be
    reported."""
    for story in campaign.tasks():
        for runs in story.ids.values():
            for run in runs:
                before = [
                    other
                    for other in runs
                    if other.ending == "done"
                    and other.latest_end < run.at
                    and other.started.worker == run.started.worker
                    and not _is_unheard(other, faults)
                ]
                if before:
                    yield f"{story.key}: {before[-1]}, and again by the same worker: {run}"


def _is_unheard(run: Run, faults: Faults) -> bool:
    """Whether the child that ran it was killed at its end, or its result could not be reported."""
    near = faults.meeting(run.at, settled(run.latest_end))
    return any(
        fault.name in (CHILD_LOST, UNTOLD)
        and fault.hits_worker(run.started.worker)
        and fault.meets(run.at, run.latest_end)
        for fault in near
    )


def _numbers(story: Story, runs: Sequence[Run], promise: Promise, faults: Faults) -> Iterator[str]:
    for run in runs:
        if not 1 <= run.attempt <= promise.max_attempts:
            yield f"{story.key}: {promise.max_attempts} attempts are allowed: {run}"
        elif run.attempt > 1 and not parents_of(run, runs) and not _is_unseen(story, run.at, faults):
            yield f"{story.key}: no failure of attempt {run.attempt - 1} before it: {run}"


def _is_unseen(story: Story, until: float, faults: Faults) -> bool:
    """Whether an attempt may have ended before its handler could write that it had started: the process that was
    to run it was killed with the task in its hands."""
    lost = (fault for fault in faults.meeting(story.first.at, until) if fault.name == CHILD_LOST)
    return any(fault.meets(story.first.at, until) for fault in lost)


def _as_asked(story: Story) -> Iterator[str]:
    """A handler that fails by count is done at the attempt after that: no failure was skipped, none counted twice.
    Later only if that attempt was cut off."""
    kind, expected = story.first.kind, story.first.failures + 1
    if kind not in ("fails", "crashes_child"):
        return
    cut_off = {run.attempt for run in story.runs if not run.ending}
    for run in story.runs:
        is_later = run.attempt > expected and expected in cut_off
        if run.ending == "done" and run.attempt != expected and not is_later:
            yield f"{story.key} ({kind}): done at another attempt than {expected}: {run}"


def _letters(story: Story, promise: Promise, faults: Faults) -> Iterator[str]:
    """A history tells of every attempt, in order. Only where the broker buried the task may one that was cut off
    be missing: no worker was left to tell of it."""
    started = {run.attempt for run in story.runs}
    until = max((run.at for run in story.runs), default=story.first.at) + promise.recovery_s
    for letter in story.letters:
        history, length = letter.attempts, len(letter.attempts)
        if letter.reason == UNDELIVERED:
            continue
        if _is_unseen(story, until, faults) and set(history) - started:
            continue
        if history != tuple(range(1, length + 1)) or not started.issuperset(history):
            yield f"{story.key}: the history of a letter ({letter.reason}) is {_shown(history)}; {_ran(story)}"
        elif letter.reason in BY_BROKER:
            continue
        elif not history:
            yield f"{story.key}: a letter ({letter.reason}) without a history; {_ran(story)}"
        elif not any(run.attempt == length and ends_as(run, letter, promise) for run in story.runs):
            yield f"{story.key}: a letter ({letter.reason}) after attempt {length}, not the last; {_ran(story)}"


def _heard(story: Story) -> Iterator[str]:
    """A reply tells the attempt that it comes from; 0: it does not tell."""
    done = {run.attempt for run in story.runs if run.ending == "done"}
    for reply in story.replies:
        dead = {_reach(letter) for letter in story.letters if letter.reason == reply.code}
        known = done if reply.answer == "done" else dead
        # That there is none at all is for ``truth`` to say.
        if reply.attempts and known and reply.attempts not in known:
            yield f"{story.key}: the reply at {reply.at:.3f} tells of {reply.attempts} attempts; {_ran(story)}"


def _unburied(story: Story) -> Iterator[str]:
    """The last attempt that was started is the one that a letter tells of, unless the task was done."""
    if story.is_done or not story.letters or not story.runs:
        return
    last, reach = max(run.attempt for run in story.runs), max(_reach(letter) for letter in story.letters)
    if last > reach:
        yield f"{story.key}: attempt {last} was started, and its letters know of {reach} attempts"


def _reach(letter: Letter) -> int:
    return len(letter.attempts) + (letter.reason in BY_BROKER)


def _shown(history: Sequence[int]) -> str:
    return ", ".join(map(str, history)) or "empty"


def _ran(story: Story) -> str:
    return "; ".join(map(str, story.runs)) or "nothing ran"
