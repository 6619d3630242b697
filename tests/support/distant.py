"""An installation behind two networks, a load for it, and the verdict on what became of the load."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from broker.config import loader as config
from broker.config.settings import Settings
from dispatcher.window import Ended
from protocol.reply import Reply
from tests.support.ack_auditor import audit
from tests.support.caller import Caller
from tests.support.frames import Event
from tests.support.idle import until_quiet
from tests.support.installation import Installation
from tests.support.journal import Journal
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess


class Load:
    """Calls of ``step``, a window of them at a time, from its start until ``stop`` or so many."""

    def __init__(
        self, caller: Caller, journal: Journal, most: int | None, arguments: Mapping[str, Any], **options: Any
    ) -> None:
        self.journal = journal
        #: Calls made so far.
        self.count = 0
        self.ends: list[Ended] = []
        #: When each of ``ends`` came.
        self.times: list[float] = []
        self._arguments = {**arguments, "journal": str(journal)}
        self._most = most
        self._stopped = threading.Event()
        self._timeout_s = options["timeout_s"]
        self._over = caller.start(self._run(caller, options))

    async def _run(self, caller: Caller, options: Mapping[str, Any]) -> None:
        async for end in caller.dispatcher.map("step", self._inputs(), **options):
            self.ends.append(end)
            self.times.append(time.monotonic())

    def _inputs(self) -> Iterator[dict[str, Any]]:
        while not self._stopped.is_set() and self.count != self._most:
            self.count += 1
            yield {**self._arguments, "number": self.count}

    def stop(self) -> None:
        """Make no more calls."""
        self._stopped.set()

    def progress(self, since_s: float = 0.0, within_s: float = 20.0) -> float:
        """Wait for a call that ends after this time; how long after it that was."""
        eventually(lambda: bool(self.times) and self.times[-1] > since_s, "the end of another call", within_s)
        return next(at for at in self.times if at > since_s) - since_s

    def wait(self) -> None:
        """Until every call has ended. Raises ``TimeoutError`` if one hangs beyond its own deadline."""
        if self._most is None:
            self.stop()
        self._over.result(self._timeout_s + 10)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a load, in numbers."""

    asked: int
    #: Calls that ended with a result.
    done: int
    #: Calls that ended with anything else, with both, or not at all.
    stuck: int
    #: Tasks that never ran.
    lost: int
    #: Runs beyond the first of a task.
    duplicated: int
    dead: int
    #: Messages left in the queue at the end.
    left: int
    #: Deliveries that no attempt asked for: what the faults made the broker and the dispatcher send again.
    delivered_again: int
    connections: int
    dishonest: tuple[str, ...]

    def __str__(self) -> str:
        fields = ("asked", "done", "stuck", "lost", "duplicated", "dead", "left", "delivered_again", "connections")
        numbers = ", ".join(f"{name} {getattr(self, name)}" for name in fields)
        return "\n".join([f"{numbers}, dishonest {len(self.dishonest)}", *self.dishonest[:10]])

    def check(self) -> None:
        """Every call has its one result, every task ran, a run too many has a delivery to explain it, acks are
        honest, and nothing is left."""
        assert (self.done, self.stuck, self.lost, self.dead, self.left) == (self.asked, 0, 0, 0, 0), str(self)
        assert self.duplicated <= self.delivered_again, str(self)
        assert not self.dishonest, str(self)


class Distant:
    """``workers`` and ``dispatchers`` are the proxies before the broker. ``close`` ends its dispatchers."""

    def __init__(self, installation: Installation, workers: Proxy, dispatchers: Proxy) -> None:
        self._cleanup = contextlib.ExitStack()
        self.installation = installation
        self.workers = workers
        self.dispatchers = dispatchers

    @property
    def vhost(self) -> Vhost:
        return self.installation.vhost

    @property
    def proxies(self) -> tuple[Proxy, Proxy]:
        return self.workers, self.dispatchers

    def url(self, *proxies: Proxy) -> str:
        """The broker by way of these proxies, one endpoint each."""
        broker = self.vhost.broker
        urls = [self.vhost.url.replace(f":{broker.port}/", f":{proxy.port}/") for proxy in proxies]
        return ",".join(urls)

    def worker(self, **further: str) -> WorkerProcess:
        """A worker of ``queue_a`` behind its proxy, ready."""
        return self.installation.worker(ready=True, BROKER_URL=self.url(self.workers), **further)

    def caller(self) -> Caller:
        """A dispatcher behind its proxy, connected."""
        return self._cleanup.enter_context(Caller(self.settings()))

    def settings(self, *proxies: Proxy) -> Settings:
        """For a dispatcher behind its proxy, or behind these."""
        urls = self.url(*(proxies or (self.dispatchers,)))
        return config.load(None, {**self.installation.environment, "BROKER_URL": urls})

    def close(self) -> None:
        self._cleanup.close()

    def load(
        self,
        caller: Caller,
        most: int | None = None,
        *,
        timeout_s: float = 60.0,
        window: int = 50,
        **arguments: Any,
    ) -> Load:
        """Start a load; ``arguments`` are those of ``step``."""
        return Load(caller, self.installation.journal(), most, arguments, timeout_s=timeout_s, window=window)

    def verdict(self, load: Load, *workers: WorkerProcess) -> Verdict:
        """Wait for the end of the load, drain and stop the workers, judge, and print it."""
        load.wait()
        until_quiet(self.vhost, "queue_a")
        for worker in workers:
            worker.sigterm()
        codes = [worker.wait(20) for worker in workers]
        assert codes == [0] * len(workers), "\n".join(worker.log for worker in workers)
        verdict = Verdict(
            asked=load.count,
            connections=sum(proxy.accepted for proxy in self.proxies),
            left=self.vhost.ready("queue_a"),
            dead=self.vhost.ready("queue_a.dead"),
            delivered_again=sent_again(self.workers.log),
            dishonest=tuple(audit(self.workers.log)),
            **ends_of(load),
        )
        print(verdict)
        return verdict


def ends_of(load: Load) -> dict[str, int]:
    """How its calls ended and how often they ran, as ``Verdict`` counts it."""
    results = Counter(one.line for one in load.ends if isinstance(one.end, Reply) and one.end.failure is None)
    others = Counter(one.line for one in load.ends) - results
    lines = range(1, load.count + 1)
    runs = Counter((entry["number"], entry["attempt"]) for entry in load.journal.entries)
    ran = {number for number, _attempt in runs}
    return {
        "done": sum(results[line] == 1 for line in lines),
        "stuck": sum(results[line] != 1 or others[line] > 0 for line in lines),
        "lost": sum(line not in ran for line in lines),
        "duplicated": sum(runs.values()) - len(runs),
    }


def sent_again(log: Iterable[Event]) -> int:
    """Deliveries of tasks beyond the first, and beyond the one that a retry means."""
    delivered: Counter[str] = Counter()
    retried = set()
    for event in log:
        if event.kind == "deliver" and event.type == "step":
            delivered[event.id] += 1
        elif event.kind == "publish" and event.exchange.startswith("tasks.delay."):
            retried.add(event.id)
    return sum(delivered.values()) - len(delivered) - len(retried)
