"""What is broken on purpose, or found broken, and when that is over: numbered, and written down."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.chaos.records import FaultBegan, FaultHealed, Ledger, LeftOver, now


@dataclass(slots=True)
class Incident:
    """One of those that are on. It has a further number for each process that takes the place of one it hit."""

    fault: str
    touches: tuple[str, ...]
    #: Names under which it also hits the next process.
    names: tuple[str, ...]
    #: Names that it is written down with.
    text: str
    numbers: list[int] = field(default_factory=list)


class Incidents:
    """Usable from any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._count = 0
        self._on: list[Incident] = []

    @property
    def on(self) -> list[str]:
        """What is broken now."""
        with self._lock:
            return [incident.fault for incident in self._on]

    @contextlib.contextmanager
    def incident(
        self,
        fault: str,
        touches: tuple[str, ...],
        pids: tuple[int, ...] = (),
        names: tuple[str, ...] = (),
        text: str | None = None,
        at: float | None = None,
    ) -> Iterator[None]:
        """It has begun (``at``: then already), and has healed at the end of the block. With ``names`` it also hits
        whatever process takes the place of one that had such a name; ``text``: these names, if not others."""
        incident = Incident(fault, touches, names, " ".join(names) if text is None else text)
        with self._lock:
            self._on.append(incident)
            self._begin(incident, pids, at)
        try:
            yield
        finally:
            with self._lock:
                self._on.remove(incident)
                for number in incident.numbers:
                    self._ledger.write(FaultHealed(number=number))

    def started(self, name: str, pid: int) -> None:
        """A process has started in the place of another one: what spoils its network spoils it, too."""
        with self._lock:
            for incident in self._on:
                if name in incident.names:
                    self._begin(incident, (pid,), None)

    def complain(self, what: str, text: str) -> None:
        """Something is as it must never be, whatever the faults were."""
        self._ledger.write(LeftOver(what=what, text=text))

    def _begin(self, incident: Incident, pids: tuple[int, ...], at: float | None) -> None:
        self._count += 1
        incident.numbers.append(self._count)
        self._ledger.write(
            FaultBegan(
                at=now() if at is None else at,
                number=self._count,
                fault=incident.fault,
                touches=incident.touches,
                pids=pids,
                text=incident.text,
            )
        )
