"""A bare ``python -m dispatcher``: the configured workload, all at once, and what concurrency gained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.config.settings import WorkItem
from dispatcher.client import Dispatcher
from dispatcher.pending import End
from protocol.errors import ExitCode, GlassrabbitError, worst
from protocol.reply import Reply

HEAD = ("task", "worker", "attempts", "queued", "ran", "end")


@dataclass(frozen=True, slots=True)
class Sent:
    """One task of the workload and how it ended."""

    task: str
    end: Reply | GlassrabbitError


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a workload. ``sequence_s``: the run times added up, as if one had waited for the other."""

    sent: tuple[Sent, ...]
    wall_s: float

    @property
    def replies(self) -> list[Reply]:
        return [one.end for one in self.sent if isinstance(one.end, Reply)]

    @property
    def sequence_s(self) -> float:
        return sum(reply.run.ran_ms for reply in self.replies) / 1000

    @property
    def speed_up(self) -> float:
        return self.sequence_s / self.wall_s if self.wall_s else 0.0

    @property
    def exit_code(self) -> ExitCode:
        return worst([code_of(one.end) for one in self.sent])

    @property
    def summary(self) -> str:
        done = sum(reply.failure is None for reply in self.replies)
        return (
            f"{done} of {len(self.sent)} done · wall time {self.wall_s:.2f} s · "
            f"in sequence {self.sequence_s:.2f} s · speed-up {self.speed_up:.2f}"
        )

    def rows(self) -> list[tuple[str, ...]]:
        return [_row(one) for one in self.sent]

    def to_map(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "tasks": [task_map(one) for one in self.sent],
            "wall_s": round(self.wall_s, 3),
            "sequence_s": round(self.sequence_s, 3),
            "speed_up": round(self.speed_up, 3),
        }


def task_map(sent: Sent) -> dict[str, Any]:
    from dispatcher.json_lines import error_map

    end = sent.end.to_map() if isinstance(sent.end, Reply) else {"error": error_map(sent.end)}
    return {"task": sent.task, **end}


async def send(
    dispatcher: Dispatcher,
    items: Sequence[WorkItem],
    timeout_s: float,
    on_end: Callable[[Sent], None] = lambda _sent: None,
) -> Report:
    """Send all tasks at once and wait for their ends; ``on_end`` is called for each as it comes."""
    started = time.monotonic()

    async def one(task: str, arguments: Mapping[str, Any]) -> Sent:
        try:
            end: Reply | GlassrabbitError = await dispatcher.ask(task, arguments, timeout_s=timeout_s)
        except GlassrabbitError as error:
            end = error
        sent = Sent(task, end)
        on_end(sent)
        return sent

    sent = await asyncio.gather(*(one(item.task, item.arguments) for item in items for _ in range(item.count)))
    return Report(tuple(sent), time.monotonic() - started)


def code_of(end: End) -> ExitCode:
    """The exit code that one end asks for."""
    if isinstance(end, GlassrabbitError):
        return end.exit_code
    return ExitCode.FAILED if isinstance(end, Reply) and end.failure is not None else ExitCode.OK


def _row(sent: Sent) -> tuple[str, ...]:
    if isinstance(sent.end, GlassrabbitError):
        return (sent.task, "", "", "", "", str(sent.end))
    run = sent.end.run
    failure = sent.end.failure
    return (
        sent.task,
        run.worker,
        str(run.attempts),
        f"{run.queued_ms / 1000:.2f} s",
        f"{run.ran_ms / 1000:.2f} s",
        "done" if failure is None else f"failed: {failure.code}",
    )
