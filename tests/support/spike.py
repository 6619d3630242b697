"""A spike of tasks on workers that autoscale, local ones or containers: what was sent, seen and decided, and
what is wrong with it."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika

from broker.config import loader as config
from broker.config.settings import Settings
from dispatcher.client import Dispatcher
from protocol.errors import GlassrabbitError
from tests.support.installation import make_topology
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess, environment
from worker.scaling.autoscale import Decision, Sample

if TYPE_CHECKING:
    from tests.integration.test_compose import Project

QUEUE = "queue_a"
_MOUNTED = "/spike"
#: What stands beside the configuration, on this machine and in containers.
HANDLERS = '''
import time
from worker import current

def nap(journal, seconds):
    """Note that it was run, and take a while."""
    with open(journal, "a") as file:
        file.write(current().id + "\\n")
    time.sleep(seconds)
'''
_SAMPLE_S = 0.5
#: Busy machines start workers slowly.
_START_S = 90.0
_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Plan:
    """``tasks`` at ``rate`` a second, each of ``seconds``, beside ``trickle`` a second all the time."""

    tasks: int = 5000
    seconds: float = 0.05
    rate: float = 500.0
    trickle: float = 4.0
    #: Before the spike, and after the way back.
    rest_s: float = 5.0
    scaling: Mapping[str, Any] = field(
        default_factory=lambda: {
            "max_replica_count": 6,
            "polling_interval_s": 2.0,
            "stabilization_window_s": 20.0,
        }
    )

    def configuration(self) -> dict[str, Any]:
        return {
            "queues": {QUEUE: {}},
            "tasks": {"nap": {"queue": QUEUE, "handler": "spike_handlers:nap"}},
            "worker": {"concurrency": 2},
            "scaling": dict(self.scaling),
        }


#: Over soon, and not before the last worker is there.
SMALL = Plan(
    tasks=300,
    rate=300.0,
    rest_s=0.5,
    scaling={
        "mode": "QueueLength",
        "value": 20,
        "max_replica_count": 3,
        "polling_interval_s": 0.5,
        "stabilization_window_s": 5.0,
    },
)


@dataclass(frozen=True)
class Site:
    """Where it happens. ``environment`` is that of commands on this machine; ``journal`` as handlers name it."""

    over: str
    environment: Mapping[str, str]
    folder: Path
    journal: str

    @property
    def url(self) -> str:
        return self.environment["BROKER_URL"]

    def prepare(self, plan: Plan) -> None:
        """Write what commands and handlers need into the folder, for whatever user a container has."""
        self.folder.chmod(0o777)
        (self.folder / "config.yml").write_text(json.dumps(plan.configuration()))
        (self.folder / "spike_handlers.py").write_text(HANDLERS)
        journal = self.folder / "journal"
        journal.write_text("")
        journal.chmod(0o666)


def local(folder: Path, url: str, management_url: str) -> Site:
    own = environment(folder / "config.yml", url, GLASSRABBIT__BROKER__MANAGEMENT_URL=management_url)
    return Site("local", own, folder, str(folder / "journal"))


def override(project: Project, folder: Path) -> None:
    """Have ``worker-a`` take configuration and handlers from a folder. Before the project is up."""
    path = folder / "compose.override.json"
    service = {
        "environment": {"GLASSRABBIT_CONFIG": f"{_MOUNTED}/config.yml"},
        "volumes": [f"{folder}:{_MOUNTED}"],
    }
    path.write_text(json.dumps({"services": {"worker-a": service}}))
    project.environ["COMPOSE_FILE"] += os.pathsep + str(path)


def compose(project: Project, folder: Path) -> Site:
    """Of a project that is up, and has the override."""
    ports = [project.compose("port", "rabbitmq", port).strip() for port in ("5672", "15672")]
    own = environment(
        folder / "config.yml",
        f"amqp://guest:guest@{ports[0]}/",
        GLASSRABBIT__BROKER__MANAGEMENT_URL=f"http://{ports[1]}",
    )
    ours = {key: value for key, value in project.environ.items() if key.startswith(("COMPOSE_", "GLASSRABBIT_"))}
    # What compose.yaml is filled in with is not a setting of ours.
    return Site(
        "compose", {**own, **ours, "GLASSRABBIT_CONFIG": str(folder / "config.yml")}, folder, f"{_MOUNTED}/journal"
    )


class Seen:
    """Ready tasks and consumers of the queue by AMQP, exact at their moment, until the end of the block."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_over = threading.Event()
        self.samples: list[tuple[float, int, int]] = []
        self._thread = threading.Thread(target=self._look, name="samples", daemon=True)

    def __enter__(self) -> Seen:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join(10)

    @property
    def workers(self) -> int:
        return self.samples[-1][2] if self.samples else 0

    def _look(self) -> None:
        connection = pika.BlockingConnection(pika.URLParameters(self._url))
        channel = connection.channel()
        while not self._is_over.is_set():
            method = channel.queue_declare(QUEUE, passive=True).method
            self.samples.append((time.monotonic(), method.message_count, method.consumer_count))
            connection.sleep(_SAMPLE_S)
        connection.close()


@contextmanager
def autoscaling(site: Site) -> Iterator[tuple[WorkerProcess, Path]]:
    """``worker autoscale`` and where it writes its decisions. Stopped as an operator stops it."""
    path = site.folder / "decisions"
    words = ["autoscale", QUEUE, "--over", site.over, "-o", "json"]
    with path.open("w") as out:
        process = WorkerProcess(words, site.environment, out)
    try:
        yield process, path
    finally:
        process.sigterm()
        try:
            process.wait(_START_S)
        finally:
            process.stop()


def decisions(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def text(decision: Mapping[str, Any]) -> str:
    """A decision of ``-o json`` as the line that it is without that option."""
    one = decision
    sample = None if one["ready"] is None else Sample(one["ready"], one["unacked"], one["rate"])
    said = Decision(one["before"], one["after"], one["wanted"], sample, one["target"], one["why"])
    return f"{one['time'][11:19]} {one['queue']} {said}"


@dataclass
class _Sent:
    ids: int = 0
    answered: int = 0
    worked: Counter[str] = field(default_factory=Counter)
    #: When a reply came, and how long after its task was sent.
    latencies: list[tuple[float, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def spike(site: Site, plan: Plan) -> dict[str, Any]:
    """Run it: from one worker to as many as it takes and back to one. The run as data."""
    site.prepare(plan)
    settings = config.load(str(site.folder / "config.yml"), dict(site.environment))
    make_topology(settings)
    began_at = time.time()
    with autoscaling(site) as (process, path):
        process_ready = eventually(lambda: decisions(path) or not process.is_alive, "a decision", _START_S)
        assert process_ready, process.log
        with Seen(site.url) as seen:
            eventually(lambda: seen.workers == 1, "one worker", _START_S)
            started_s, started_at = time.monotonic(), time.time()

            def is_back() -> bool:
                return decisions(path)[-1]["after"] == 1 and seen.workers == 1

            sent = asyncio.run(_send(settings, site, plan, is_back))
        decided = decisions(path)
    ran = Counter((site.folder / "journal").read_text().split())
    return {
        "over": site.over,
        "began_at": round(began_at),
        "cores": os.cpu_count(),
        "plan": asdict(plan),
        "sent": sent.ids,
        "answered": sent.answered,
        "lost": sent.ids - len(ran),
        "twice": sum(count > 1 for count in ran.values()),
        "problems": sent.problems[:10],
        "workers": dict(sent.worked.most_common()),
        "decisions": decided,
        "started_at": started_at,
        "samples": _table(seen.samples, sent.latencies, started_s),
    }


async def _send(settings: Settings, site: Site, plan: Plan, is_back: Callable[[], bool]) -> _Sent:
    sent, tasks = _Sent(), set[asyncio.Task[None]]()
    async with Dispatcher(settings) as dispatcher:

        async def ask() -> None:
            began_s = time.monotonic()
            try:
                reply = await dispatcher.ask(
                    "nap", {"journal": site.journal, "seconds": plan.seconds}, timeout_s=_TIMEOUT_S
                )
            except GlassrabbitError as error:
                sent.problems.append(str(error))
                return
            sent.latencies.append((time.monotonic(), time.monotonic() - began_s))
            if reply.failure is None and reply.run.attempts == 1:
                sent.answered += 1
                sent.worked[reply.run.worker] += 1
            else:
                sent.problems.append(str(reply.failure or f"{reply.run.attempts} attempts"))

        def one() -> None:
            sent.ids += 1
            tasks.add(asyncio.create_task(ask()))

        async def at(rate: float, count: float) -> None:
            started_s, number = time.monotonic(), 0
            while number < count:
                one()
                number += 1
                await asyncio.sleep(max(0.0, started_s + number / rate - time.monotonic()))

        trickle = asyncio.create_task(at(plan.trickle, math.inf))
        await asyncio.sleep(plan.rest_s)
        await at(plan.rate, plan.tasks)
        await asyncio.gather(*tasks)
        await asyncio.to_thread(eventually, is_back, "the way back to one worker", _TIMEOUT_S)
        await asyncio.sleep(plan.rest_s)
        trickle.cancel()
        await asyncio.gather(*tasks)
    return sent


def _table(
    samples: list[tuple[float, int, int]], latencies: list[tuple[float, float]], started_s: float
) -> list[list[float | None]]:
    """Each half second: seconds since the start, ready, workers, and median and p95 of the latencies (ms)."""
    rows: list[list[float | None]] = []
    for (after_s, ready, workers), before_s in zip(samples, [0.0, *(at for at, *_ in samples)], strict=False):
        values = sorted(took_s * 1000 for at, took_s in latencies if before_s < at <= after_s)
        row: list[float | None] = [round(after_s - started_s, 2), ready, workers]
        row += [_percentile(values, 50), _percentile(values, 95)]
        if after_s >= started_s:
            rows.append(row)
    return rows


def _percentile(values: list[float], percent: float) -> float | None:
    return round(values[math.ceil(percent / 100 * len(values)) - 1], 1) if values else None


def wrong(run: Mapping[str, Any]) -> list[str]:
    """What a run shows that must not be."""
    scaling, decided = run["plan"]["scaling"], run["decisions"]
    changes = [(one["before"], one["after"]) for one in decided if one["before"] != one["after"]]
    most = max((after for _, after in changes), default=1)
    down = [after < before for before, after in changes]
    workers = [int(row[2]) for row in run["samples"]]
    rules = {
        "tasks were lost": run["lost"] == 0,
        "tasks ran twice": run["twice"] == 0,
        "tasks failed": run["answered"] == run["sent"] and not run["problems"],
        "the maximum was not reached": most == scaling["max_replica_count"],
        "it did not begin with one worker": workers[0] == 1,
        "workers that were decided on did not all work": max(workers) == most,
        "it did not come back to one worker": workers[-1] == 1 and decided[-1]["after"] == 1,
        "more than the double came at once": all(after <= 2 * max(before, 1) for before, after in changes),
        "it went up again on the way down": down == sorted(down),
        "a decision has no reason": all(one["target"] and one["ready"] is not None for one in decided),
    }
    return [name for name, holds in rules.items() if not holds]
