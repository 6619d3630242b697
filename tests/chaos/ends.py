"""The rules about how what was asked for ended, and what its requester was told of it. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Set

from tests.chaos.explain import settled
from tests.chaos.history import BY_BROKER, UNDELIVERED, UNSENDABLE, Campaign, Story
from tests.chaos.trouble import Fault, Faults

#: A call ends so much after its deadline at most, and so much later on a loaded machine.
LATE_S = 1.0
LOADED_S = 2.0


def lost(campaign: Campaign) -> Iterator[str]:
    """What the broker has taken is done, or it is a dead letter. Only a drained campaign can tell."""
    if not campaign.is_drained:
        return
    for story in campaign.stories.values():
        if story.is_accepted and not story.letters and not story.is_done:
            how = "no dead letter" if story.is_hostile else "neither done nor a dead letter"
            yield f"{story.key} ({story.first.kind}), asked at {story.first.at:.3f} and accepted, is {how}"


def ghost(campaign: Campaign) -> Iterator[str]:
    """Nothing runs, or ends, that was not asked for as it is; and what nobody may run does not."""
    yield from campaign.strays
    for story in campaign.stories.values():
        digests = {asked.digest for asked in story.asked}
        for run in story.runs:
            if story.is_hostile:
                yield f"{story.key}: hostile, and it ran: {run}"
            elif run.started.digest not in digests:
                yield f"{story.key}: ran with arguments that were not asked for: {run}"


def returned_ran(campaign: Campaign) -> Iterator[str]:
    """What a requester was told is nowhere is nowhere."""
    for story in campaign.stories.values():
        told = story.answers & {"returned", "refused"}
        # Of what was unknown first, or was taken another time, that one may have run.
        if told and not story.answers & {"accepted", "unknown", "done", "failed"}:
            for run in story.runs:
                yield f"{story.key}: {'/'.join(sorted(told))} at {_told_at(story)}, and it ran: {run}"
            for letter in story.letters:
                yield f"{story.key}: {'/'.join(sorted(told))} at {_told_at(story)}, and a letter ({letter.reason})"


def _told_at(story: Story) -> str:
    return f"{min(told.at for told in (*story.told, *story.ended)):.3f}"


def replies(campaign: Campaign, faults: Faults) -> Iterator[str]:
    """A call ends once. A mailbox gives each reply once, and one for each task that was accepted."""
    owed = campaign.is_drained and campaign.promise.has_mailboxes
    requesters = {story.first.requester for story in campaign.stories.values()}
    for story in campaign.tasks():
        if len(story.ended) > len(story.asked):
            times = ", ".join(f"{end.answer} at {end.at:.3f}" for end in story.ended)
            yield f"{story.key}: asked {len(story.asked)} times, and it ended {len(story.ended)} times: {times}"
        yield from _collected_twice(story, faults, requesters)
        is_undelivered = any(letter.reason == UNDELIVERED for letter in story.letters)
        is_owed = owed and story.first.mode == "mailbox" and story.is_accepted and not is_undelivered
        if is_owed and not story.collected:
            yield f"{story.key}: asked at {story.first.at:.3f} and accepted, and its mailbox never gave a reply"


def _collected_twice(story: Story, faults: Faults, requesters: Set[str]) -> Iterator[str]:
    times: dict[str, list[float]] = defaultdict(list)
    for reply in story.collected:
        times[reply.id].append(reply.at)
    for task_id, (first, *further) in times.items():
        for number, at in enumerate(further, 1):
            excuses = sum(_spoils_collector(fault, requesters) and fault.meets(first, at) for fault in faults.all)
            if excuses < number:
                yield f"{story.key}: the reply of {task_id} was given at {first:.3f}, and again at {at:.3f}"


def _spoils_collector(fault: Fault, requesters: Set[str]) -> bool:
    """Whether a collector may have forgotten what it gave: it died, or the broker refused it its mailbox for a
    while. One whose connection alone is lost remembers."""
    died = fault.kills_requesters and (not fault.names or not requesters >= set(fault.names))
    return fault.is_of_broker or died


def truth(campaign: Campaign, forked: Set[str]) -> Iterator[str]:
    """A reply tells what happened. ``forked``: the keys that more than one lineage is known of."""
    for story in campaign.tasks():
        results: dict[str, float] = {}
        for run in story.runs:
            if run.finished is not None and run.ending == "done":
                digest, at = run.finished.digest, run.finished.at
                results[digest] = min(at, results.get(digest, at))
        reasons = Counter(letter.reason for letter in story.letters)
        for reply in story.replies:
            if reply.answer == "done":
                if results.get(reply.digest, math.inf) > reply.at:
                    yield f"{story.key}: the reply at {reply.at:.3f} has a result that no run had finished with"
            elif campaign.is_drained and reply.code not in reasons:
                told = ", ".join(reasons) or "none"
                yield f"{story.key}: the reply at {reply.at:.3f} says {reply.code}; its letters say: {told}"
        failed = [one.reason for one in story.letters if one.reason not in (UNDELIVERED, UNSENDABLE)]
        if results and failed and story.key not in forked:
            at = min(results.values())
            yield f"{story.key}: done at {at:.3f}, and a letter ({', '.join(failed)}), of one lineage"


def forked(campaign: Campaign, faults: Faults, surplus: Set[str]) -> set[str]:
    """The keys that may rightly be both done and a letter: of a second lineage, or of a delivery that the broker
    buried while the handler to which it had gone was still at it."""
    found = set(surplus)
    for story in campaign.tasks():
        if any(letter.reason in BY_BROKER for letter in story.letters) and any(
            fault.hits_worker(run.started.worker) and fault.meets(story.first.at, settled(run.latest_end))
            for run in story.runs
            for fault in faults.all
        ):
            found.add(story.key)
    return found


def deadline(campaign: Campaign, faults: Faults) -> Iterator[str]:
    """Every call is over by its time, but those of a requester that was killed over it."""
    kills: dict[str, list[float]] = defaultdict(list)
    for fault in faults.all:
        for name in fault.names if fault.kills_requesters else ():
            kills[name].append(fault.at)
    for story in campaign.tasks():
        last = story.asked[-1]
        over = last.at + last.within_s + LATE_S + LOADED_S
        if over > campaign.last_at or any(last.at <= at <= over for at in kills[last.requester]):
            continue
        ends = [end.at for end in (story.ended if last.mode == "direct" else story.told) if end.at >= last.at]
        if not ends or ends[0] > over:
            when = f"ended at {ends[0]:.3f}" if ends else "never ended"
            yield f"{story.key}: asked at {last.at:.3f} with {last.within_s:g} s, and {when}"
