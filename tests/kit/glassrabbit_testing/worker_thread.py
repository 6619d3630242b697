"""A worker in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from broker.config.settings import Settings
from worker.execution.executors import Executors
from worker.execution.handler_folders import add_to_path, handler_folders
from worker.worker import Worker

_READY_S = 30.0
_END_S = 5.0


class WorkerThread:
    """A worker in this process, so that its handlers can be patched and debugged. Handlers that would run in child
    processes run in threads, where one that hangs cannot be stopped."""

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        """Returns when it consumes. Raises what keeps it from that."""
        threads = {
            name: task.model_copy(update={"executor": "thread" if task.executor == "process" else task.executor})
            for name, task in settings.tasks.items()
        }
        self._settings, self._queues = settings.model_copy(update={"tasks": threads}), queues
        self._ready: Future[tuple[Worker, asyncio.AbstractEventLoop]] = Future()
        self._thread = threading.Thread(target=self._run, name=f"worker {' '.join(queues)}", daemon=True)
        self._thread.start()
        self._worker, self._loop = self._ready.result(_READY_S)

    def stop(self) -> None:
        """Let what runs finish within a few seconds, give back the rest."""
        for end in (self._worker.drain, self._worker.abort):
            if self._thread.is_alive():
                self._loop.call_soon_threadsafe(end)
                self._thread.join(_END_S)

    def _run(self) -> None:
        try:
            asyncio.run(self._work())
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    async def _work(self) -> None:
        add_to_path(handler_folders(self._settings))
        worker = Worker(self._settings, self._queues, Executors(self._settings, self._queues))
        running, ready = asyncio.create_task(worker.run()), asyncio.create_task(worker.wait_ready())
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not running.done():
            self._ready.set_result((worker, asyncio.get_running_loop()))
        await running
