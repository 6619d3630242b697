"""A requester on Celery: its results are drained as they come."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from tests.benchmarks.blocking_requester import serve
from tests.benchmarks.peers.celery_app import app, noop
from tests.benchmarks.work import DATA


class CeleryRequester:
    def start(self, on_done: Callable[[], None]) -> None:
        def on_result(result: Any) -> None:
            if not result.successful():
                raise SystemExit(f"a task failed: {result}")
            on_done()

        noop.delay(DATA).then(on_result)

    def pump(self, timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            app.backend.result_consumer.drain_events(timeout=timeout_s)

    def send(self) -> None:
        noop.apply_async((DATA,), ignore_result=True)


if __name__ == "__main__":
    serve(CeleryRequester())
