"""How many workers a queue should have, from what is known of it. Pure.

HPA's rule: how much more or less the load is than what the workers are for, with a tolerance; up at once, but at
most to the double; down only to the most that was wanted within the stabilization window. Without numbers
nothing changes, until the fallback.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from broker.config.scaling_settings import ScalingSettings

#: By this factor at most workers grow with one decision.
STEP_UP = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """What a look found. ``unacked`` and ``rate`` (tasks done a second) are None where they are unknown."""

    ready: int
    unacked: int | None = None
    rate: float | None = None

    @property
    def load(self) -> int:
        return self.ready + (self.unacked or 0)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a decision leaves to the next: what was wanted when (seconds), and looks without numbers in a row."""

    wanted: tuple[tuple[float, int], ...] = ()
    missing: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """From ``before`` to ``after`` workers. ``wanted`` is what the load alone asks for; None without numbers."""

    before: int
    after: int
    wanted: int | None
    sample: Sample | None
    target: str
    why: str

    def __str__(self) -> str:
        change = f"{self.before}→{self.after}" if self.before != self.after else f"{self.before}"
        return f"{change}: " + ", ".join(part for part in (*_facts(self.sample), self.target, self.why) if part)

    def as_json(self) -> dict[str, Any]:
        sample = self.sample
        return {
            "before": self.before,
            "after": self.after,
            "wanted": self.wanted,
            "ready": sample and sample.ready,
            "unacked": sample and sample.unacked,
            "rate": sample and sample.rate,
            "target": self.target,
            "why": self.why,
        }


def decide(
    settings: ScalingSettings, sample: Sample | None, before: int, holds: int, memory: Memory, now_s: float
) -> tuple[Decision, Memory]:
    """The next number. ``holds``: deliveries that one worker holds, at first; ``now_s`` never goes back."""
    low, high = settings.min_replica_count, settings.max_replica_count
    if sample is None:
        missing = memory.missing + 1
        fallback = settings.fallback.replicas
        is_over = missing >= settings.fallback.failure_threshold
        after = min(max(before if fallback is None or not is_over else fallback, low), high)
        why = f"no numbers for {missing} looks: {'held' if after == before else 'fallback'}"
        return Decision(before, after, None, None, "", why), replace(memory, missing=missing)
    one, target = _of_one_worker(settings, sample, before, holds)
    raw = math.ceil(sample.load / one)
    is_near = before > 0 and abs(sample.load / (one * before) - 1) <= settings.tolerance
    wanted = min(max(before if is_near else raw, low), high)
    # How it begins counts as wanted: a worker that somebody started is not stopped at the first look.
    known = memory.wanted or ((now_s, before),)
    recent = (*(at for at in known if at[0] > now_s - settings.stabilization_window_s), (now_s, wanted))
    most = max(count for _, count in recent)
    why = ""
    if wanted > before:
        after = min(wanted, max(before * STEP_UP, 1))
        if after < low:
            after = low
        elif after < wanted:
            why = f"{wanted} wanted, at most the double at once"
        elif raw > high:
            why = f"{raw} wanted, at most {high} allowed"
    else:
        after = min(before, max(wanted, most), high)
        if after > wanted:
            why = f"{wanted} would do, {after} wanted within {settings.stabilization_window_s:g} s"
        elif is_near and before == wanted:
            why = f"within {settings.tolerance:.0%} of the target"
    return Decision(before, after, raw, sample, target, why), Memory(recent)


def _of_one_worker(settings: ScalingSettings, sample: Sample, workers: int, holds: int) -> tuple[float, str]:
    """Tasks that one worker is for, and the target in words.

    Only workers that have all they can hold (something is ready) show how quick they are; as long as that is not
    known, and while there is nothing for more of them to do, a worker is for what it holds.
    """
    if settings.mode == "QueueLength":
        return settings.value, f"target {settings.value:g} tasks each"
    if sample.ready and sample.rate and workers:
        # One task at least: less than that no further worker gets done sooner.
        return max(sample.rate / workers * settings.value, 1.0), f"target {settings.value:g} s"
    if not sample.ready and workers:
        # A worker whose prefetch finds itself may hold more than at first, and nothing is left for another one.
        holds = max(holds, math.ceil(sample.load / workers))
    return float(holds), f"target {settings.value:g} s" if sample.rate else f"target {holds} tasks each"


def _facts(sample: Sample | None) -> list[str]:
    if sample is None:
        return []
    facts = [f"ready {sample.ready}", f"unacked {'unknown' if sample.unacked is None else sample.unacked}"]
    if sample.rate is not None:
        facts.append(f"{sample.rate:.3g}/s")
        if sample.rate > 0:
            facts.append(f"{sample.load / sample.rate:.0f} s to empty")
    return facts
