"""A worker's health and metrics, as a probe and as Prometheus see them."""

from __future__ import annotations

import http.client
import re
import threading
import time
from collections.abc import Mapping
from types import TracebackType

from prometheus_client.parser import text_string_to_metric_families

from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess

_WITHIN_S = 5.0
_POLL_S = 0.02
_ADDRESS = re.compile(r"health and metrics at http://(\S+):(\d+)$")

#: Name, without the common beginning, and values of the labels in the order of their names → value.
Numbers = dict[tuple[str, ...], float]


class Health:
    """Asks a worker at the address that its log tells."""

    def __init__(self, worker: WorkerProcess) -> None:
        worker.wait_for("health and metrics at ")
        found = _ADDRESS.search(worker.lines("health and metrics at ")[0])
        assert found is not None, worker.log
        self.host, self.port = found[1], int(found[2])

    def get(self, path: str, headers: Mapping[str, str] = {}, within_s: float = _WITHIN_S) -> tuple[int, str]:
        """Status and text of a page."""
        link = http.client.HTTPConnection(self.host, self.port, timeout=within_s)
        try:
            link.request("GET", path, headers=dict(headers))
            answer = link.getresponse()
            return answer.status, answer.read().decode()
        finally:
            link.close()

    @property
    def is_ready(self) -> bool:
        return self.get("/readyz") == (200, "ok\n")

    def numbers(self) -> Numbers:
        """The page of metrics as its reader understands it."""
        status, text = self.get("/metrics")
        assert status == 200, text
        return {
            (sample.name.removeprefix("glassrabbit_worker_"), *in_order(sample.labels)): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def wait(self, expected: Numbers, within_s: float = 15.0) -> Numbers:
        """Return the numbers as soon as these are as expected."""
        latest: Numbers = {}

        def agree() -> bool:
            nonlocal latest
            latest = self.numbers()
            return expected.items() <= latest.items()

        try:
            eventually(agree, "what was expected", within_s)
        except AssertionError:
            differing = {
                key: (latest.get(key), value) for key, value in expected.items() if latest.get(key) != value
            }
            raise AssertionError(f"(is, should be): {differing}") from None
        return latest


class LivenessProbe:
    """``with LivenessProbe(health)``: asks whether the worker lives, all the time; fails if it once did not."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="liveness probe", daemon=True)
        self.asked = 0
        self.wrong: list[str] = []

    def __enter__(self) -> LivenessProbe:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(2 * _WITHIN_S)
        if error is None:
            assert not self.wrong, self.wrong
            assert self.asked

    def _ask(self) -> None:
        while not self._over.is_set():
            started_s = time.monotonic()
            try:
                answer = self._health.get("/livez")
            except (OSError, http.client.HTTPException) as error:
                self.wrong.append(f"{error!r} after {time.monotonic() - started_s:.1f} s")
            else:
                if answer != (200, "ok\n"):
                    self.wrong.append(repr(answer))
            self.asked += 1
            self._over.wait(_POLL_S)


def in_order(labels: dict[str, str]) -> list[str]:
    """The values of labels: the task first, then by name."""
    return [labels[name] for name in sorted(labels, key=lambda name: (name != "task", name))]
