"""Carries out a schedule: each fault in a thread of its own, quiet only once all of an episode have healed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from tests.chaos.faults import FAULTS
from tests.chaos.incidents import Incidents
from tests.chaos.records import now
from tests.chaos.schedule import KINDS, MOST_AT_ONCE, Episode, Planned
from tests.chaos.target import Target


class Nemesis:
    """``until``: when time is over. Then nothing begins any more, and what is on is healed."""

    def __init__(self, target: Target, incidents: Incidents, until: float) -> None:
        self._target = target
        self._incidents = incidents
        self._until = until
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._on: list[Planned] = []

    def suffer(self, episodes: Iterable[Episode]) -> int:
        """Play episodes as long as time allows; how many these were. Raises whatever kept a fault from healing,
        once all others have healed."""
        played = 0
        for each in episodes:
            if (episode := each.within(self._until - now())) is None:
                break
            with ThreadPoolExecutor(MOST_AT_ONCE) as threads:
                since = now()
                suffering = [threads.submit(self._suffer, fault, since) for fault in episode.faults]
                try:
                    for fault in suffering:
                        fault.result()
                except BaseException:
                    self._over.set()
                    raise
            self._over.wait(min(episode.quiet_s, max(0.0, self._until - now())))
            played += 1
        return played

    def _suffer(self, planned: Planned, since: float) -> None:
        self._over.wait(max(0.0, since + planned.begins_s - now()))
        with self._changed:
            # What meets it may take longer to heal than was foreseen.
            self._changed.wait_for(lambda: not any(other.meets(planned) for other in self._on))
            if self._over.is_set() or now() > self._until:
                return
            self._on.append(planned)
        try:
            self._do(planned)
        finally:
            with self._changed:
                self._on.remove(planned)
                self._changed.notify_all()

    def _do(self, planned: Planned) -> None:
        target = self._target
        places = target.places(planned)
        # A whole side needs no names: whoever is or comes there is hit.
        one = tuple(place.name for place in places) if len(places) == 1 else ()
        pids = tuple(place.pid for place in places) if one else ()
        # A network stays as it is for the next process; a process takes what hit it with it.
        stays = one if KINDS[planned.kind].part == "network" else ()
        with self._incidents.incident(planned.kind, target.touched(planned), pids, stays, text=" ".join(one)):
            FAULTS[planned.kind](target, planned, self._hold(min(now() + planned.lasts_s, self._until)))

    def _hold(self, until: float) -> Callable[[float | None], bool]:
        def hold(seconds: float | None) -> bool:
            left_s = max(0.0, until - now())
            is_over = self._over.wait(left_s if seconds is None else min(seconds, left_s))
            return not is_over and now() < until

        return hold
