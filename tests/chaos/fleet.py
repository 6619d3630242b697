"""The processes of a campaign: each has a name and a network of its own, and whoever dies is replaced."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal

from tests.chaos.incidents import Incidents
from tests.chaos.records import now
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, patiently
from tests.support.workers import ROOT

Side = Literal["workers", "requesters"]

#: What a worker says once it consumes; requesters are taken to be ready when they start.
READY = " ready: "
_POLL_S = 0.03
_END_S = 10.0


class Place:
    """A name and one process after the other. ``command`` tells the module and its arguments, by how many were
    there before."""

    def __init__(
        self,
        name: str,
        side: Side,
        network: Proxy,
        command: Callable[[int], Sequence[str]],
        environment: Mapping[str, str],
        folder: Path,
    ) -> None:
        self.name = name
        self.side = side
        self.network = network
        self.ready = threading.Event()
        #: Processes so far.
        self.count = 0
        #: The exit code that a fault means it to have.
        self.expected: int | None = None
        #: It is not replaced any more.
        self.is_retired = False
        #: When it was last seen alive.
        self.seen_s = 0.0
        #: Is closed once the one that died has been replaced.
        self.healing = contextlib.ExitStack()
        #: Held while one process takes the place of another.
        self.lock = threading.RLock()
        self._command = command
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.poll()

    @property
    def log(self) -> Path:
        return self._folder / f"{self.name}-{self.count}.log"

    def start(self) -> None:
        words = self._command(self.count)
        self.count += 1
        self.ready.clear()
        self.expected, self.seen_s = None, now()
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def look(self) -> None:
        """Notice that it is ready. One that is about to end is not any more."""
        if self.ready.is_set() or self.expected is not None:
            return
        if self.side == "requesters" or READY in self.log.read_text(errors="replace"):
            self.ready.set()
            self.healing.close()

    def send(self, number: signal.Signals) -> None:
        """Harmless if it has ended."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals, pid: int) -> None:
        """Make this process end by a signal; it is not taken for dead by itself then. Harmless if it has ended."""
        with self.lock:
            if pid == self.pid:
                self.expected = 0 if number == signal.SIGTERM else -number
                self.ready.clear()
                self.send(number)

    def wait(self, within_s: float) -> int | None:
        """Its exit code; None if it still runs after so long of a machine with nothing else to do."""
        patiently(self._ends_within, within_s)
        return self.code

    def _ends_within(self, seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self.code is not None


class Fleet:
    """``with Fleet(places, incidents) as fleet``: once they are started each is replaced until it is retired. None
    of them runs any more at the end of the block."""

    def __init__(self, places: Sequence[Place], incidents: Incidents) -> None:
        self.places = {place.name: place for place in places}
        self._incidents = incidents
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="fleet")

    def __enter__(self) -> Fleet:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._end_all()

    def side(self, side: Side) -> list[Place]:
        return [place for place in self.places.values() if place.side == side]

    def start(self, within_s: float) -> None:
        """Workers first, and requesters once these are ready: nothing is asked before somebody can do it."""
        sides: tuple[Side, ...] = ("workers", "requesters")
        for side in sides:
            for place in self.side(side):
                with place.lock:
                    place.start()
            for place in self.side(side):
                eventually(place.ready.is_set, f"{place.name} ready (see {place.log})", within_s)

    def retire(self, places: Sequence[Place], within_s: float) -> None:
        """Tell them to end: they are not replaced, and it is a complaint if one does not end with 0 by then."""
        until = now() + within_s
        for place in places:
            with place.lock:
                place.is_retired = True
                place.end(signal.SIGTERM, place.pid)
        for place in places:
            code = place.wait(max(0.0, until - now()))
            if code is None:
                self._incidents.complain("process", f"{place.name} was told to end and did not in {within_s:g} s")
            elif code:
                self._incidents.complain("exit", f"{place.name} ended with code {code}: see {place.log.name}")

    def _watch(self) -> None:
        while not self._over.wait(_POLL_S):
            for place in self.places.values():
                with place.lock:
                    if place.count:
                        self._look_at(place)

    def _look_at(self, place: Place) -> None:
        seen_s, code = now(), place.code
        if place.is_retired:
            return
        if code is None:
            place.seen_s = seen_s
            place.look()
        else:
            self._replace(place, code)

    def _replace(self, place: Place, code: int) -> None:
        """If no fault meant it to end so it is an incident, and a complaint unless it was a SIGKILL."""
        if code != place.expected:
            if code != -signal.SIGKILL:
                self._incidents.complain("exit", f"{place.name} ended with code {code}: see {place.log.name}")
            incident = self._incidents.incident(
                f"{place.side[:-1]} died", (place.side,), (place.pid,), text=place.name, at=place.seen_s
            )
            place.healing.enter_context(incident)
        place.start()
        self._incidents.started(place.name, place.pid)

    def _end_all(self) -> None:
        for place in self.places.values():
            if place.count and place.code is None:
                place.send(signal.SIGKILL)
                place.wait(_END_S)
            place.healing.close()
