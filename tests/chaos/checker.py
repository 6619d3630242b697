"""Whether a campaign kept its promises: a pure decision over its ledgers, which knows no code of any system.

``lost``, ``drained`` and whatever else needs the end of everything is judged of drained campaigns only. What was
not drained is ``unknown`` at best, and never passes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.chaos import attempts, ends, explain, flow, lateness
from tests.chaos.counts import Counts, count
from tests.chaos.history import Campaign, gather
from tests.chaos.records import Record
from tests.chaos.trouble import faults_of

#: The names of all invariants.
INVARIANTS = (
    "lost",
    "ghost",
    "returned_ran",
    "duplicate",
    "attempts",
    "early",
    "late",
    "again",
    "replies",
    "truth",
    "deadline",
    "ack",
    "prefetch",
    "letter_first",
    "answered",
    "recovery",
    "drained",
    "left_over",
    "quiet",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    state: Literal["pass", "broken", "unknown"]
    #: Of each invariant that is broken, in words: what broke it, with its key and times.
    broken: dict[str, list[str]]
    counts: Counts
    #: Why it is unknown.
    text: str = ""


def check(records: Sequence[Record]) -> Verdict:
    """Judge the records of one campaign, in any order."""
    campaign = gather(records)
    if campaign is None:
        return Verdict(state="unknown", broken={}, counts=Counts(), text="nothing was promised")
    faults = faults_of(campaign)
    surplus = explain.surplus(campaign, faults)
    recovery_s, idle = flow.recoveries(campaign, faults)
    waits = lateness.waits_of(campaign, faults)
    forked = ends.forked(campaign, faults, {extra.story.key for extra in surplus})
    found: dict[str, Iterable[str]] = {
        "lost": ends.lost(campaign),
        "ghost": ends.ghost(campaign),
        "returned_ran": ends.returned_ran(campaign),
        "duplicate": explain.duplicate(campaign, faults, surplus),
        "attempts": attempts.attempts(campaign, faults),
        "early": attempts.early(campaign),
        "late": lateness.late(campaign, waits),
        "again": attempts.again(campaign, faults),
        "replies": ends.replies(campaign, faults),
        "truth": ends.truth(campaign, forked),
        "deadline": ends.deadline(campaign, faults),
        "ack": flow.violations(campaign, "ack"),
        "prefetch": flow.violations(campaign, "prefetch"),
        "letter_first": flow.violations(campaign, "letter_first"),
        "answered": flow.violations(campaign, "answered"),
        "recovery": idle,
        "drained": flow.drained(campaign),
        "left_over": flow.left_over(campaign),
        "quiet": flow.quiet(campaign, faults, surplus),
    }
    assert tuple(found) == INVARIANTS
    broken = {name: texts for name, lines in found.items() if (texts := list(lines))}
    why_unknown = _why_unknown(campaign)
    state: Literal["pass", "broken", "unknown"] = "broken" if broken else "unknown" if why_unknown else "pass"
    return Verdict(
        state=state, broken=broken, counts=count(campaign, surplus, recovery_s, waits), text=why_unknown
    )


def _why_unknown(campaign: Campaign) -> str:
    if campaign.drained is None:
        return "the ledgers have no end"
    if not campaign.drained.complete:
        return f"not drained: {campaign.drained.text}"
    return "" if campaign.stories else "nothing was asked for"
