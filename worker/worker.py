"""A worker: two links, executors, and the deliveries in between. Decides when it starts, drains and stops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from broker.amqp.link import LinkSettings
from broker.config.holding import goes_back, granted_s
from broker.config.settings import Settings, effective_prefetch, finds_itself
from broker.topology.model import topology_of
from worker.execution.executors import Executors
from worker.intake.consumer import Consumer
from worker.intake.tuner import tune
from worker.lifecycle import Lifecycle
from worker.settlement.outbox import Outbox
from worker.telemetry.snapshot import Snapshot

if TYPE_CHECKING:
    from worker.steering.steering import Steering

log = logging.getLogger("glassrabbit.worker")

#: How long a broker may take to answer when we close a connection, or cancel a consumer.
CLOSE_TIMEOUT_S = 2.0
#: How long it may take to answer after a second signal to stop.
ABORT_TIMEOUT_S = 0.5


class Worker:
    """Life: ``run`` until ``drain`` (finish what runs, give back the rest) or ``abort`` (give back everything)."""

    def __init__(self, settings: Settings, queues: Sequence[str], executors: Executors) -> None:
        """``executors``: those of these queues."""
        self._settings = settings
        self.identity = f"{socket.gethostname()}:{os.getpid()}"
        name = f"worker-{self.identity.replace(':', '-')}"
        link = replace(LinkSettings.of(settings), properties={"concurrency": settings.worker.concurrency})
        self.queues = list(dict.fromkeys(queues))
        self._executors = executors
        self._outbox = Outbox(link, f"{name} publish", settings.broker.confirm_timeout_s)
        self._lifecycle = Lifecycle(
            settings,
            self.identity,
            executors.of_task,
            self._outbox,
            executors.concurrency_limit,
            self._on_defect,
        )
        prefetch = {queue: effective_prefetch(settings.queues[queue], settings.worker) for queue in self.queues}
        self._consumer = Consumer(
            link,
            name,
            prefetch,
            settings.worker.concurrency,
            topology_of(settings),
            self._lifecycle.taken,
            self._lifecycle.obituary,
            partial(granted_s, settings, self.queues),
        )
        self._steering = self._steered(link, name) if settings.control.enabled else None
        self._growing = {queue: prefetch[queue] for queue in self.queues if finds_itself(settings, queue)}
        self._draining = asyncio.Event()
        self._aborting = asyncio.Event()
        self._defect: BaseException | None = None

    def _steered(self, link: LinkSettings, name: str) -> Steering:
        # A worker that nobody steers does without.
        from worker.steering.steered import Steered
        from worker.steering.steering import Steering

        steered = Steered(self.identity, self.queues, self._consumer, self._lifecycle, self.drain)
        return Steering(link, self._settings.control, name, steered)

    @property
    def counts(self) -> Mapping[str, int]:
        return self._lifecycle.counts

    @property
    def problem(self) -> str | None:
        """Why this worker is not ready, or None if it is."""
        if not self._consumer.is_consuming:
            return "not consuming"
        if not self._outbox.link.is_open:
            return "cannot publish"
        if self._outbox.link.state == "blocked":
            return "blocked: the broker takes no publishes"
        if self._outbox.refused:
            return f"the next hop refuses messages: {', '.join(self._outbox.refused_by)}"
        if self._steering is not None and (problem := self._steering.unready):
            return problem
        return self._executors.problem

    @property
    def remarks(self) -> Iterator[str]:
        """What is to be known of a worker that is ready."""
        if self._steering is not None:
            if self._steering.problem:
                yield self._steering.problem
            yield from (f"{queue} is paused" for queue in self.queues if queue in self._steering.state.paused)

    def snapshot(self) -> Snapshot:
        """Its numbers as they are now."""
        links = {"consume": self._consumer.link, "publish": self._outbox.link}
        traffic = self._outbox.link.traffic
        return Snapshot(
            identity=self.identity,
            prefetch=self._consumer.prefetch,
            is_ready=self.problem is None,
            busy=self._lifecycle.busy,
            concurrency=self._settings.worker.concurrency,
            unacked=self._consumer.unacked,
            refused=self._outbox.refused,
            obituaries=self.counts["obituaries"],
            child_restarts=self._executors.restarts,
            reconnects={name: max(0, link.generation - 1) for name, link in links.items()},
            traffic=traffic,
            blocked_s=traffic.blocked_s(time.monotonic()),
            metered=self._lifecycle.metered(),
        )

    async def wait_ready(self) -> None:
        """Return once every queue is consumed."""
        await self._consumer.consuming.wait()

    async def run(self) -> None:
        """Work until ``drain`` or ``abort``. Raises ``ConfigError`` if a handler cannot be loaded, or takes longer
        than the broker lets it."""
        asyncio.get_running_loop().set_exception_handler(self._on_loop_error)
        links = [asyncio.create_task(self._outbox.run())]
        stopping = asyncio.create_task(self._draining.wait())
        tuning = asyncio.create_task(self._tune())
        tuning.add_done_callback(self._on_tuned)
        try:
            # No delivery may come before there is something that can run it.
            if await self._executors.started(stopping):
                if self._steering is not None:
                    links.append(asyncio.create_task(self._steering.run()))
                    await self._steering.first_read(stopping)
                links.append(asyncio.create_task(self._consumer.run()))
                await asyncio.wait({stopping, *links}, return_when=asyncio.FIRST_COMPLETED)
                await self._drain()
        finally:
            stopping.cancel()
            tuning.cancel()
            await self._stop()
            await asyncio.gather(*links)
        if self._defect is not None:
            raise self._defect

    @property
    def is_draining(self) -> bool:
        return self._draining.is_set()

    def drain(self) -> None:
        """Cancel the consumers, finish what runs within ``grace_s``, give back the rest."""
        self._draining.set()

    def abort(self) -> None:
        """Stop at once; everything that is not settled goes back to its queue."""
        self._aborting.set()
        self._draining.set()

    async def _tune(self) -> None:
        """Hold as many deliveries as is good, for as long as it runs."""
        concurrency, life = self._settings.worker.concurrency, self._lifecycle
        await tune(
            self._consumer,
            self._growing,
            concurrency,
            lambda: life.busy,
            life.give_back_surplus,
            returns_old=goes_back(self._settings, self.queues),
        )

    def _on_tuned(self, tuning: asyncio.Task[None]) -> None:
        if not tuning.cancelled() and (error := tuning.exception()) is not None:
            self._on_defect(error)

    async def _drain(self) -> None:
        aborted = asyncio.create_task(self._aborting.wait())
        drained = asyncio.create_task(self._finish_what_runs())
        await asyncio.wait(
            {aborted, drained}, timeout=self._settings.worker.grace_s, return_when=asyncio.FIRST_COMPLETED
        )
        if not drained.done():
            log.warning("%d deliveries were not settled in time and go back to their queues", self._lifecycle.open)
        for task in (aborted, drained):
            task.cancel()
        await asyncio.gather(aborted, drained, return_exceptions=True)

    async def _finish_what_runs(self) -> None:
        self._lifecycle.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._consumer.cancel(), CLOSE_TIMEOUT_S)
        self._lifecycle.give_back_held()
        await self._lifecycle.finish()

    async def _stop(self) -> None:
        """First the consume link, so that nothing can be settled any more; then what still runs."""
        timeout_s = ABORT_TIMEOUT_S if self._aborting.is_set() else CLOSE_TIMEOUT_S
        closing = asyncio.create_task(self._consumer.stop(timeout_s))
        await asyncio.sleep(0)
        await self._lifecycle.stop()
        goodbye = [] if self._steering is None else [self._steering.stop(timeout_s)]
        await asyncio.gather(closing, self._outbox.stop(timeout_s), self._executors.stop(), *goodbye)

    def _on_defect(self, error: BaseException) -> None:
        """A defect of ours must not pass in silence, and must not leave a delivery unsettled: stop at once."""
        log.critical("stopping at once, everything goes back: a delivery could not be handled")
        self._defect = error
        self.abort()

    def _on_loop_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What a callback of ours raises is a defect as well: deliveries and outcomes are handled in callbacks."""
        error = context.get("exception")
        if error is not None and ("handle" in context or "transport" in context) and _is_ours(error):
            self._on_defect(error)
        else:
            loop.default_exception_handler(context)


def _is_ours(error: BaseException) -> bool:
    """Whether it passed through this package. pika's own timers raise too, at a connection that ends while it is
    being made, and harm nobody."""
    return any(
        str(frame.f_globals.get("__name__", "")).startswith("worker.")
        for frame, _line in traceback.walk_tb(error.__traceback__)
    )
