"""What a worker does when something is said by the control stream, and what it says of itself when it is asked."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from broker.control.state import State
from protocol.control import Answer, AnyRecord, Cancel, Running
from worker.execution.executor import Begun
from worker.intake.consumer import Consumer
from worker.lifecycle import Lifecycle

log = logging.getLogger("glassrabbit.worker")


class Steered:
    """Consumes what is not paused, and has its tasks see to what is paused and what is cancelled."""

    def __init__(self, identity: str, queues: Sequence[str], consumer: Consumer, lifecycle: Lifecycle) -> None:
        self.identity = identity
        self._queues = queues
        self._consumer = consumer
        self._lifecycle = lifecycle

    def obey(self, state: State, record: AnyRecord | None = None) -> None:
        """``record``: the latest one; None: all was read that was there."""
        paused, before = state.paused, self._consumer.paused
        for queue in self._queues:
            if queue in paused and queue not in before:
                log.warning("%s is paused by %s", queue, paused[queue].by)
            elif queue in before and queue not in paused:
                log.warning("%s is resumed", queue)
        if paused.keys() != before or isinstance(record, Cancel) or (record is None and state.has_cancels):
            # Its consumers may not be there yet, and then they are not made.
            self._consumer.paused = frozenset(paused)
            self._lifecycle.spawn(self._follow(state))

    async def _follow(self, state: State) -> None:
        """What goes back must not come again at once."""
        await self._consumer.pause(self._consumer.paused)
        self._lifecycle.steer(self._consumer.paused, state)

    def answer(self, now_ms: int) -> Answer:
        """What runs here, the slowest first."""
        now_s = time.monotonic()
        tasks = [
            _running(kind, begun, now_ms - int(1000 * (now_s - begun.since_s)))
            for kind, begun in self._lifecycle.running()
        ]
        return Answer(worker=self.identity, tasks=tuple(sorted(tasks, key=lambda task: task.since)))


def _running(kind: str, begun: Begun, since_ms: int) -> Running:
    run = begun.run
    return Running(
        id=run.ids[begun.position],
        task=run.terms.task,
        queue=run.terms.queue,
        attempt=run.attempt,
        since=since_ms,
        executor=kind.removesuffix("Executor").lower(),
    )
