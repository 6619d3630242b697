"""The executors of a worker: one for each kind that its tasks ask for. Knows nothing of AMQP."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from broker.config.settings import Settings
from worker.execution.async_executor import AsyncExecutor
from worker.execution.executor import Executor
from worker.execution.handler import fallback_of
from worker.execution.handler_folders import handler_folders
from worker.execution.process_executor import ProcessExecutor
from worker.execution.thread_executor import ThreadExecutor


class Executors:
    """Life: ``begin`` → ``started`` → ``stop``; all of it on one loop."""

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        """Raises ``ConfigError`` for a queue that the configuration does not know."""
        settings.require_queues(queues)
        kinds = {
            kind: _executor(kind, handlers, settings) for kind, handlers in _handlers(settings, queues).items()
        }
        self._all = list(kinds.values())
        self._starts: list[asyncio.Task[None]] = []
        #: What runs each task of these queues.
        self.of_task = {
            name: kinds[task.executor] for name, task in settings.tasks.items() if task.queue in queues
        }
        #: How many may run at once; None: the one executor that there is, of threads or children, bounds that.
        self.concurrency_limit = None if _bounds_itself(self._all) else settings.worker.concurrency

    @property
    def problem(self) -> str | None:
        """What keeps one of them from running as many as it should."""
        return next((executor.problem for executor in self._all if executor.problem), None)

    @property
    def run_coroutines(self) -> bool:
        """Whether the async executor is among them."""
        return any(isinstance(one, AsyncExecutor) for one in self._all)

    @property
    def restarts(self) -> int:
        """Children that were replaced so far."""
        return sum(one.restarts for one in self._all if isinstance(one, ProcessExecutor))

    def begin(self) -> None:
        """Begin to get ready to run, if that was not begun before."""
        self._starts = self._starts or [asyncio.create_task(executor.start()) for executor in self._all]

    async def started(self, stopping: asyncio.Task[Any]) -> bool:
        """Return True once all are ready, False if ``stopping`` ends first. Raises ``ConfigError`` for a handler
        that cannot be loaded."""
        self.begin()
        started: asyncio.Future[Any] = asyncio.gather(*self._starts)
        await asyncio.wait({stopping, started}, return_when=asyncio.FIRST_COMPLETED)
        if not stopping.done():
            started.result()
            return True
        # The signal that stops this worker may have reached a child that was about to start.
        started.cancel()
        await asyncio.gather(started, *self._starts, return_exceptions=True)
        return False

    async def stop(self) -> None:
        """End at once; what still runs is abandoned."""
        await asyncio.gather(*[executor.stop() for executor in self._all])


def _bounds_itself(executors: Sequence[Executor]) -> bool:
    return len(executors) == 1 and not isinstance(executors[0], AsyncExecutor)


def _handlers(settings: Settings, queues: Sequence[str]) -> dict[str, dict[str, str]]:
    """For each kind of executor the handlers and fallbacks that it runs."""
    kinds: dict[str, dict[str, str]] = {}
    for name, task in settings.tasks.items():
        if task.queue in queues:
            handlers = kinds.setdefault(task.executor, {})
            handlers[name] = task.handler
            if task.fallback is not None:
                handlers[fallback_of(name)] = task.fallback
    return kinds


def _executor(kind: str, handlers: dict[str, str], settings: Settings) -> Executor:
    size, limits = settings.worker.concurrency, settings.limits.messages
    if kind == "thread":
        return ThreadExecutor(size, handlers, limits)
    if kind == "async":
        return AsyncExecutor(handlers, limits)
    worker = settings.worker
    wear = (worker.max_tasks_per_child, worker.max_memory_per_child_mb)
    options = {
        "forks": worker.start == "fork",
        "with_login": worker.handlers_get_login,
        "import_timeout_s": worker.import_timeout_s,
    }
    return ProcessExecutor(
        size, handlers, limits, handler_folders(settings), wear, worker.cancel_grace_s, **options
    )
