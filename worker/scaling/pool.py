"""A pool: N local worker processes for each queue, whatever happens to them.

A slot is one of these places. Its worker is started again when it ends by itself, each time later if that happens
again and again; a slot that leaves lets its worker finish what runs, for as long as a task may take.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence

from broker.backoff import Backoff
from broker.config.settings import Settings
from worker.scaling.pool_process import End, WorkerProcess
from worker.scaling.target import Held

log = logging.getLogger("glassrabbit.pool")

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
#: A worker that was ready and lived this long had no trouble at its start.
WELL_S = 10.0
#: For a new worker to get ready, beside its imports, while an old one waits to be replaced.
START_S = 30.0
#: For a worker to end after its second signal to stop.
ABORT_S = 10.0


class Slot:
    """A place for one worker of a queue. ``run`` ends after ``leave``, once its worker has ended."""

    def __init__(self, name: str, make: Callable[[], WorkerProcess]) -> None:
        self.name = name
        self._make = make
        self._leaving = asyncio.Event()
        self._logged: tuple[int, str] | None = None
        #: The worker that runs, or ran last.
        self.worker = make()
        #: Started to take the place of another one, and not counted before it does.
        self.is_successor = False
        #: How the last worker ended, if that was before it was ready.
        self.problem: End | None = None

    @property
    def is_leaving(self) -> bool:
        return self._leaving.is_set()

    def leave(self) -> None:
        """Let the worker finish what runs, and start no other."""
        if not self.is_leaving:
            self._leaving.set()
            self.worker.send(signal.SIGTERM)

    def abort(self) -> None:
        """End it at once: what is unfinished goes back to its queue."""
        self._leaving.set()
        self.worker.send(signal.SIGTERM)

    def kill(self) -> None:
        self.worker.send(signal.SIGKILL)

    async def run(self) -> None:
        loop, backoff = asyncio.get_running_loop(), Backoff(FIRST_BACKOFF_S, LONGEST_BACKOFF_S)
        while not self.is_leaving:
            began_s = loop.time()
            end = await self._once()
            if self.is_leaving:
                break
            if end.was_ready and loop.time() - began_s >= WELL_S:
                backoff.reset()
            self.problem = None if end.was_ready else end
            wait_s = backoff.next_s()
            self._log_end(end, wait_s)
            try:
                await asyncio.wait_for(self._leaving.wait(), wait_s)
            except TimeoutError:
                continue
        log.info("%s: stopped", self.name)

    async def _once(self) -> End:
        self.worker = worker = self._make()
        running = asyncio.create_task(worker.run(quietly=self._logged is not None))
        ready = asyncio.create_task(worker.ready.wait())
        try:
            await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
            if worker.ready.is_set():
                self.problem = self._logged = None
                log.info("%s: ready, pid %s", self.name, worker.pid)
            return await running
        finally:
            ready.cancel()

    def _log_end(self, end: End, wait_s: float) -> None:
        """Why a worker cannot start is logged once, until the reason is another one."""
        if end.was_ready:
            log.warning("%s: %s; the next one starts in %g s", self.name, end, wait_s)
        elif end.kind != self._logged:
            self._logged = end.kind
            log.error(
                "%s: %s; it is tried again, at last every %g s, and logged again when that changes",
                self.name,
                end,
                LONGEST_BACKOFF_S,
            )


class Pool:
    """``want`` says how many workers a queue has; ``stop`` ends them all. All of it on one event loop."""

    at_stop = "the workers finish what runs (again: stop at once)"

    def __init__(self, settings: Settings, options: Sequence[str], environ: Mapping[str, str]) -> None:
        """``options`` and ``environ`` are for each worker."""
        self._settings = settings
        self._options = tuple(options)
        self._environ = environ
        self._slots: dict[str, list[Slot]] = {}
        self._tasks: dict[Slot, asyncio.Task[None]] = {}
        self._made = 0

    def count(self, queue: str) -> int:
        """Workers that the queue is to have; those that leave do not count."""
        return len(self._staying(queue))

    def want(self, queue: str, count: int, held: Held | None = None) -> None:
        """Start workers, or let some leave: those without a worker that runs, then those that hold least."""
        staying, here = self._staying(queue), socket.gethostname()
        for _ in range(count - len(staying)):
            self._add(queue)

        def worth(slot: Slot) -> tuple[bool, int]:
            return slot.worker.ready.is_set(), (held or {}).get((here, slot.worker.pid or 0), 0)

        for slot in sorted(staying, key=worth)[: max(0, len(staying) - count)]:
            log.info("%s: leaves, finishing what runs", slot.name)
            slot.leave()

    async def refresh(self) -> None:
        """Nobody else starts or stops them."""

    async def roll(self) -> None:
        """Replace each worker by one that is ready before the old one leaves. Stops at the first failure."""
        log.info("SIGHUP: a new worker takes the place of each")
        for queue in list(self._slots):
            for old in self._staying(queue):
                new = self._add(queue)
                new.is_successor = True
                is_ready = await _is_ready(new, START_S + self._settings.worker.import_timeout_s)
                if old.is_leaving:
                    new.leave()  # meanwhile fewer were wanted
                    continue
                if not is_ready:
                    log.error("%s: does not get ready; %s and all after it stay as they are", new.name, old.name)
                    new.leave()
                    return
                log.info("%s: takes the place of %s", new.name, old.name)
                new.is_successor = False
                old.leave()
        log.info("all workers are new")

    def abort(self) -> None:
        """All workers stop at once, and what is unfinished goes back."""
        for slot in self._tasks:
            slot.abort()

    async def stop(self) -> None:
        """Let all finish what runs within ``worker.grace_s``; what then is unfinished goes back."""
        for slot in self._tasks:
            slot.leave()
        for wait_s, further in ((self._settings.worker.grace_s, Slot.abort), (ABORT_S, Slot.kill)):
            if self._tasks:
                await asyncio.wait(self._tasks.values(), timeout=wait_s)
            for slot in self._tasks:
                further(slot)
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    def _staying(self, queue: str) -> list[Slot]:
        return [slot for slot in self._slots.get(queue, []) if not (slot.is_leaving or slot.is_successor)]

    def _add(self, queue: str) -> Slot:
        self._made += 1
        environ = {**self._environ, "GLASSRABBIT__WORKER__GRACE_S": f"{self._longest_s(queue):g}"}
        slot = Slot(f"{queue} #{self._made}", lambda: WorkerProcess(queue, self._options, environ))
        self._slots.setdefault(queue, []).append(slot)
        task = self._tasks[slot] = asyncio.create_task(slot.run(), name=slot.name)
        task.add_done_callback(lambda _: self._forget(queue, slot))
        return slot

    def _forget(self, queue: str, slot: Slot) -> None:
        del self._tasks[slot]
        self._slots[queue].remove(slot)

    def _longest_s(self, queue: str) -> float:
        """A worker that leaves may take as long as its longest task; how long all may take is up to ``stop``."""
        limits = (task.timeout_s for task in self._settings.tasks.values() if task.queue == queue)
        return min(1_000_000.0, max(limits, default=0.0) + self._settings.worker.grace_s)


async def _is_ready(slot: Slot, within_s: float) -> bool:
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while loop.time() < deadline_s and slot.problem is None and not slot.is_leaving:
        if slot.worker.ready.is_set():
            return True
        await asyncio.sleep(0.1)
    return False
