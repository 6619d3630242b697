"""What a load test sends, and when. Pure: the same plan sends the same tasks in the same order."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dispatcher.errors import BadRequest
from dispatcher.pace import LARGEST_WINDOW, Batch, pace
from protocol.limits import Limits

#: Without ``--window``: more threads than this do not help.
THREADS = 32


@dataclass(frozen=True, slots=True)
class Part:
    """One task of the mix, and how many of the total weight are its."""

    task: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``count`` tasks or those of ``duration_s``, whichever ends first.

    With ``rate`` (tasks a second) each has its time, and is sent whether earlier ones have ended or not; else it
    is sent as soon as fewer than ``window`` are in progress.
    """

    parts: tuple[Part, ...]
    arguments: Mapping[str, Any]
    count: int | None
    duration_s: float | None = None
    rate: float | None
    window: int = 1
    batch: Batch = None
    timeout_s: float
    collect: str = "async"
    #: The part of all tasks, 0 to 1, that gets ``failing_with`` as further arguments.
    failing: float = 0.0
    failing_with: Mapping[str, Any] = field(default_factory=dict)

    def inputs(self) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
        """The number from 0, the task and its arguments; the parts and the failures are spread evenly."""
        failing = {**self.arguments, **self.failing_with}
        for number, task in zip(
            itertools.count() if self.count is None else range(self.count), spread(self.parts), strict=False
        ):
            fails = int((number + 1) * self.failing) > int(number * self.failing)
            yield number, task, failing if fails else self.arguments

    def due_s(self, number: int) -> float | None:
        """When this one is to be sent, in seconds from the start; None: as soon as there is room."""
        return None if self.rate is None else number / self.rate

    def is_over(self, after_s: float) -> bool:
        return self.duration_s is not None and after_s >= self.duration_s

    def to_map(self) -> dict[str, Any]:
        return {
            "tasks": {part.task: part.weight for part in self.parts},
            "count": self.count,
            "duration_s": self.duration_s,
            "rate": self.rate,
            "window": self.window,
            "batch": self.batch,
            "collect": self.collect,
            "failing": self.failing,
        }


def spread(parts: Sequence[Part]) -> Iterator[str]:
    """Tasks for ever, by weight: each part is always within a few tasks of its share."""
    total = sum(part.weight for part in parts)
    credit = [0] * len(parts)
    while True:
        credit = [have + part.weight for have, part in zip(credit, parts, strict=True)]
        most = credit.index(max(credit))
        credit[most] -= total
        yield parts[most].task


def parts_of(texts: Sequence[str]) -> tuple[Part, ...]:
    """``NAME=WEIGHT`` or ``NAME``, which weighs 1. Raises ``ValueError``."""
    parts: dict[str, Part] = {}
    for text in texts:
        name, has_weight, weight = text.partition("=")
        if not name or name in parts:
            raise ValueError(f"{text!r}: each task once, as NAME or NAME=WEIGHT")
        if has_weight and not (weight.isascii() and weight.isdigit() and 0 < int(weight[:10]) <= 1_000_000):
            raise ValueError(f"{text!r}: the weight must be a whole number from 1 to 1000000")
        parts[name] = Part(name, int(weight) if has_weight else 1)
    return tuple(parts.values())


def in_progress(
    collect: str, window: int | None, batch: Batch, limits: Limits, *, is_open: bool
) -> tuple[int, Batch]:
    """How many tasks may be in progress, and the batch. Raises ``BadRequest`` for what does not go together."""
    if collect in ("sequential", "threads"):
        if is_open or batch is not None:
            raise BadRequest(f"--collect {collect} goes with neither --rate nor --batch. Leave them out.")
        if collect == "sequential" and window not in (None, 1):
            raise BadRequest("--collect sequential has one task in progress. Leave --window out.")
        return (1 if collect == "sequential" else window or THREADS), None
    if collect == "batch":
        batch = batch or "auto"
    chosen = LARGEST_WINDOW if is_open else window
    return pace(batch, chosen, limits).window, batch
