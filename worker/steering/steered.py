"""What a worker does when something is said by the control stream, and what it says of itself when it is asked."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

from broker.control.state import State
from broker.control.stream import now_ms
from protocol.control import Answer, AnyRecord, Cancel, Do, Order, Running, Watch
from protocol.names import ID_LENGTH
from worker.execution.executor import Begun
from worker.intake.consumer import Consumer
from worker.lifecycle import Lifecycle
from worker.steering.log_level import LogLevel
from worker.steering.obedience import Obedience, end_of

if TYPE_CHECKING:
    from worker.steering.watching import Send

log = logging.getLogger("glassrabbit.worker")


class Steered:
    """Consumes what is not paused, and has its tasks see to what is paused and what is cancelled."""

    def __init__(
        self,
        identity: str,
        queues: Sequence[str],
        consumer: Consumer,
        lifecycle: Lifecycle,
        stop: Callable[[], None],
    ) -> None:
        """``stop`` begins the end of the worker."""
        self.identity = identity
        self._queues = queues
        self._consumer = consumer
        self._lifecycle = lifecycle
        self._stop = stop
        self._paused: frozenset[str] = frozenset()
        #: Who had this worker take no tasks.
        self.drained_by = ""
        self._exiting: asyncio.Task[None] | None = None
        self._log_level = LogLevel(lifecycle)

    def obey(self, state: State, record: AnyRecord | None = None) -> None:
        """``record``: the latest one; None: all was read that was there."""
        paused, before = state.paused, self._paused
        for queue in self._queues:
            if queue in paused and queue not in before:
                log.warning("%s is paused by %s", queue, paused[queue].by)
            elif queue in before and queue not in paused:
                log.warning("%s is resumed", queue)
        self._paused = frozenset(paused)
        closed = self._paused.union(self._queues) if self.drained_by else self._paused
        changed = closed != self._consumer.paused
        if changed or isinstance(record, Cancel) or (record is None and state.has_cancels):
            # Its consumers may not be there yet, and then they are not made.
            self._consumer.paused = closed
            self._lifecycle.spawn(self._follow(state))

    def take(self, order: Order, state: State) -> None:
        """Do what one says to this worker."""
        match order.do:
            case Do.DEBUG | Do.INFO | Do.WARNING:
                self._log_level.change(order, now_ms())
            case Do.DRAIN | Do.EXIT | Do.RESUME:
                if self._exiting is not None:
                    self._exiting.cancel()
                self.drained_by = "" if order.do is Do.RESUME else order.by
                self.obey(state)
                self._exiting = asyncio.create_task(self._exit()) if order.do is Do.EXIT else None

    async def _exit(self) -> None:
        await self._lifecycle.finish()
        log.warning("drained by %s: stopping", self.drained_by)
        self._stop()

    async def _follow(self, state: State) -> None:
        """What goes back must not come again at once."""
        await self._consumer.pause(self._consumer.paused)
        life, before = self._lifecycle, self._lifecycle.obedience
        obedience = life.obedience = self._obedience(self._consumer.paused, state)
        obedience.watching = None if before is None else before.watching
        # What has not begun goes back, or ends as cancelled; what runs and is cancelled is stopped.
        running = {key[:ID_LENGTH]: batch.task for key, batch in life.ledger.running()}
        obedience.begin(running, life.limits)

    def _obedience(self, paused: Collection[str], state: State) -> Obedience:
        life = self._lifecycle
        return Obedience(life, life.runner, life.failures, self.identity, paused, state)

    def ends_of(self, ids: Collection[str]) -> Answer:
        """What became of tasks, of those that this worker knows."""
        life = self._lifecycle
        ends = {task: end_of(reply, life.limits) for task, reply in life.ledger.ends_of(ids).items()}
        return Answer(worker=self.identity, ends=ends)

    def watch(self, record: Watch, reply_to: str, state: State, send: Send) -> None:
        """Report what becomes of tasks here, until the time of the record is over."""
        # Only a worker that is watched loads it.
        from worker.steering.watching import Watching, over_at

        for_ms = over_at(record) - now_ms()
        if for_ms <= 0:
            return
        life = self._lifecycle
        obedience = life.obedience = life.obedience or self._obedience((), state)
        watching = obedience.watching = obedience.watching or Watching(
            self.identity, life.limits, life.runner.running, send
        )
        life.outbox.show(watching.sees)
        watching.attach(record, reply_to, dict.fromkeys(batch for _, batch in life.ledger.running()))
        asyncio.get_running_loop().call_later(for_ms / 1000, self._end_watch)

    def _end_watch(self) -> None:
        obedience = self._lifecycle.obedience
        if obedience is not None and obedience.watching is not None and obedience.watching.ends():
            obedience.watching = None
            self._lifecycle.outbox.show(None)

    def answer(self) -> Answer:
        """What runs here, the slowest first."""
        now, now_s = now_ms(), time.monotonic()
        tasks = [
            _running(kind, begun, now - int(1000 * (now_s - begun.since_s)))
            for kind, begun in self._lifecycle.runner.running()
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
