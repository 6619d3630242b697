"""What systemd or compose is to a worker: whenever it has ended, another one takes its place."""

from __future__ import annotations

import threading
from types import TracebackType

from tests.support.installation import Installation
from tests.support.workers import WorkerProcess

_START_S = 90.0
_POLL_S = 0.05


class Supervisor:
    """``with Supervisor(installation)``: one worker at a time, until the end of the block."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor")
        self.worker: WorkerProcess = installation.worker(ready=False).wait_ready(_START_S)
        #: Workers that have ended.
        self.deaths = 0

    def __enter__(self) -> Supervisor:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_START_S)

    def _watch(self) -> None:
        while not self._over.wait(_POLL_S):
            if not self.worker.is_alive:
                self.deaths += 1
                self.worker = self._installation.worker(ready=False)
