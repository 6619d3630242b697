"""The end of a campaign: nobody asks any more, everything comes to rest, all stop, and what is left is read."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

from broker.topology.model import topology_of
from tests.chaos import installation, procfs
from tests.chaos.fleet import Fleet
from tests.chaos.reading import letters
from tests.chaos.records import Drained, Queue, now
from tests.chaos.site import Site
from tests.support.vhost import Vhost

#: From the last request until nothing moves.
DRAIN_S = 240.0
#: Between the end of the last call and that of its requester.
LAST_WORDS_S = 30.0
#: A collector sees that its mailbox is empty.
COLLECTED_S = 90.0
#: Nothing waits and nothing is held for so long: then nothing is on its way either.
REST_S = 2.0
#: What the broker knows of its queues and connections is so old at most, and some more.
LAG_S = 15.0
LOOK_S = 0.5


@dataclass(frozen=True, slots=True)
class Ending:
    """``play`` it once."""

    site: Site
    fleet: Fleet
    #: A call may take so long.
    within_s: float
    #: Descriptors that a worker had open before the first fault.
    descriptors: int

    def play(self) -> None:
        """Leave the last records. Never raises for what is wrong with the system: that is written down."""
        requesters, workers = self.fleet.side("requesters"), self.fleet.side("workers")
        until = now() + DRAIN_S
        collector = [place for place in requesters if place.name == installation.COLLECTOR]
        self.fleet.retire([place for place in requesters if place not in collector], self.within_s + LAST_WORDS_S)
        moving = self._until_rest(until)
        self._count_descriptors()
        self.fleet.retire(collector, COLLECTED_S)
        self.fleet.retire(workers, installation.GRACE_S + LAST_WORDS_S)
        self._count_processes()
        self._count_connections()
        for witness in self.site.witnesses:
            witness.sum_up(list(self.site.settings.queues))
        left = self._read_queues()
        text = moving or (f"left in the end: {left}" if left else "")
        self.site.ledger.write(Drained(complete=not text, text=text))

    def _until_rest(self, until: float) -> str:
        """Wait until nothing moves; what still does if that takes too long."""
        still_since = now()
        while now() < until:
            moving = self._moving()
            if moving:
                still_since = now()
            elif now() > still_since + REST_S and not (moving := self._known_to_broker()):
                return ""
            time.sleep(LOOK_S)
        return f"after {DRAIN_S:g} s there was still: {moving}"

    def _moving(self) -> str:
        """What waits in queues where nothing stays, and what workers hold. Exact now."""
        with self.site.vhost.connection() as connection:
            channel = connection.channel()
            counts = {
                name: channel.queue_declare(name, passive=True).method.message_count for name in self._passing()
            }
        held = sum(witness.held for witness in self.site.witnesses)
        found = [f"{count} in {name}" for name, count in counts.items() if count]
        return ", ".join(found + ([f"{held} held by workers"] if held else []))

    def _known_to_broker(self) -> str:
        """The same by the broker's own books: also what it is about to move from one queue to the next."""
        books = dict(_rows(self.site.vhost, "list_queues", "name", "messages"))
        return ", ".join(f"{books[name]} in {name}" for name in self._passing() if books.get(name) != "0")

    def _passing(self) -> list[str]:
        queues = topology_of(self.site.settings).queues
        return [queue.name for queue in queues if queue.name not in installation.DEAD]

    def _count_descriptors(self) -> None:
        for place in self.fleet.side("workers"):
            count = procfs.descriptors(place.pid)
            if count > self.descriptors:
                text = f"{place.name} has {count} open; before the faults {self.descriptors} was the most"
                self.site.incidents.complain("descriptor", text)

    def _count_processes(self) -> None:
        for pid in procfs.marked(self.site.mark):
            self.site.incidents.complain("process", f"{pid} outlives all: {procfs.command(pid)}")
            os.kill(pid, signal.SIGKILL)

    def _count_connections(self) -> None:
        for row in _rows(self.site.vhost, "list_connections", "name", "state"):
            self.site.incidents.complain("connection", f"still open: {' '.join(row)}")

    def _read_queues(self) -> str:
        """Write down what every queue holds, and the letters; what is where it should not be."""
        until = now() + LAG_S
        while (left := self._known_to_broker()) and now() < until:
            time.sleep(LOOK_S)
        for name, ready, unacked in _rows(
            self.site.vhost, "list_queues", "name", "messages_ready", "messages_unacknowledged"
        ):
            is_dead = name in installation.DEAD
            self.site.ledger.write(Queue(name=name, ready=int(ready), unacked=int(unacked), dead=is_dead))
            for letter in letters(self.site.vhost, name) if is_dead else ():
                self.site.ledger.write(letter)
        return left


def _rows(vhost: Vhost, listing: str, *columns: str) -> Iterator[list[str]]:
    """What rabbitmqctl lists of this vhost alone."""
    words = ["--quiet", "--no-table-headers", listing]
    if listing == "list_queues":
        text = vhost.broker.ctl(*words, "--vhost", vhost.name, *columns)
        return (line.split("\t") for line in text.splitlines() if line)
    text = vhost.broker.ctl(*words, "vhost", *columns)
    rows = (line.split("\t") for line in text.splitlines() if line)
    return (row[1:] for row in rows if row[0] == vhost.name)
