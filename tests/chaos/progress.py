"""How a campaign goes, told every few seconds while it runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.chaos.incidents import Incidents
from tests.chaos.records import now

EVERY_S = 10.0
_END_S = 10.0
#: Records that are counted, and how each is called.
_COUNTED = {"Asked": "asked", "Finished": "finished", "Violation": "violations", "LeftOver": "complaints"}


class Progress:
    """``with Progress(folder, incidents, tell)``: reads what is new in the ledgers, and nothing twice."""

    def __init__(self, ledgers: Path, incidents: Incidents, tell: Callable[[str], None]) -> None:
        self._ledgers = ledgers
        self._incidents = incidents
        self._tell = tell
        self._since = now()
        self._read: dict[Path, int] = {}
        self._counts: Counter[str] = Counter()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress")

    def __enter__(self) -> Progress:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(_END_S)

    def _run(self) -> None:
        while not self._over.wait(EVERY_S):
            self._look()
            counts = ", ".join(f"{self._counts[kind]} {word}" for kind, word in _COUNTED.items())
            faults = "; ".join(self._incidents.on) or "quiet"
            self._tell(f"{now() - self._since:4.0f} s: {counts}. {faults}")

    def _look(self) -> None:
        for path in self._ledgers.glob("*.jsonl"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                # Every line begins with the name of its record.
                self._counts.update(line.split(b'"', 4)[3].decode() for line in file)
                self._read[path] = file.tell()
