"""A campaign in small: a vhost of its own, workers, requesters and a collector, the same ledgers and checker.

Workers have a network of their own and requesters another one, for ``tests.chaos.scenario`` to spoil. There is no
process executor: a handler runs in a thread of its worker, which makes a stage cheap and changes no promise.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import yaml

from broker import config
from broker.connection import connect
from broker.declare import declare
from broker.topology import topology_of
from tests.chaos import mutant, records
from tests.chaos.checker import Verdict, check
from tests.chaos.incidents import Incidents
from tests.chaos.mutants import Role
from tests.chaos.reading import held, letters, violations
from tests.chaos.records import Drained, Ledger, Mode, Promise, Queue, Record
from tests.support.brokers import Broker
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost
from tests.support.waiting import eventually, run
from tests.support.workers import ROOT, environment

QUEUES = ("queue_a", "queue_b")
MAILBOX = "m"
#: Where letters are kept.
DEAD = ("queue_a.dead", "queue_b.dead", "tasks.lost")
#: More than one waits behind the one that runs, and more than that in the queue.
PREFETCH = 3
KINDS = ("ok", "slow", "large", "fails", "always", "rejects")
#: Not a whole number of the delay line's units of 0.1 s.
BACKOFF_S = 0.59
MAX_ATTEMPTS = 3
GRACE_S = 8.0
#: What design and README promise.
RECOVERY_S = 10.0
ACK_LOSS_S = 0.5

#: Of each requester, a second: together with the others more than two workers can do at once for long.
RATE = 10.0
#: With it each requester asks for every kind of task soon.
SEED = 180
WITHIN_S = 15.0

READY_S = 60.0
DRAIN_S = 12.0
#: A process that was told to end, or has asked for the last time, has so much more than it needs.
LAST_WORDS_S = 25.0
#: Nothing waits and nothing is held for so long: then nothing is on its way either.
REST_S = 1.0
LOOK_S = 0.2


def configuration() -> dict[str, object]:
    """Two queues; the second one is there for what goes astray."""
    tasks = {f"chaos.{kind}": ("queue_a", kind) for kind in KINDS} | {"chaos.other": ("queue_b", "ok")}
    return {
        "queues": {queue: {"prefetch": PREFETCH} for queue in QUEUES},
        "tasks": {
            name: {"queue": queue, "handler": f"tests.chaos.handlers:{kind}", "executor": "thread"}
            for name, (queue, kind) in tasks.items()
        },
        "mailboxes": [MAILBOX],
        "defaults": {
            "retry": {"max_retries": MAX_ATTEMPTS - 1, "backoff_s": [BACKOFF_S], "jitter": 0},
            "timeout_s": 20,
        },
        "worker": {"concurrency": 1, "grace_s": GRACE_S},
    }


def promise() -> Promise:
    return Promise(
        system="glassrabbit",
        max_attempts=MAX_ATTEMPTS,
        backoff_s=(BACKOFF_S,),
        prefetch=PREFETCH,
        recovery_s=RECOVERY_S,
        ack_loss_s=ACK_LOSS_S,
        has_mailboxes=True,
    )


class Process:
    """One of ours, and what it says."""

    def __init__(self, name: str, command: Sequence[str], env: dict[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("w") as file:
            self._popen = subprocess.Popen(
                command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def is_alive(self) -> bool:
        return self._popen.poll() is None

    def tell(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def ends(self, within_s: float) -> bool:
        """Whether it has ended by then."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(within_s)
        return not self.is_alive


class Stage:
    """``with Stage(broker, folder, bug) as stage``: play a scenario on it, then ask for the ``verdict``."""

    def __init__(self, broker: Broker, folder: Path, bug: str | None = None) -> None:
        """``bug``: the name of a mutant that every process of its role is started with."""
        self._folder = folder
        self._bug = bug
        self._broker = broker
        self.vhost = Vhost(broker, f"stage-{secrets.token_hex(4)}")
        self._ledgers = folder / "ledger"
        self._ledgers.mkdir()
        self._ledger = Ledger(self._ledgers, "stage")
        self.incidents = Incidents(self._ledger)
        (folder / "config.yml").write_text(yaml.safe_dump(configuration()))
        self.settings = config.load(None, environment(folder / "config.yml", self.vhost.url))
        self.workers: list[Process] = []
        self._others: list[Process] = []
        self._stack = contextlib.ExitStack()
        self.workers_network = Proxy(broker.host, broker.port)
        self.requesters_network = Proxy(broker.host, broker.port)

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as stack:
            self._broker.management.add_vhost(self.vhost.name)
            stack.callback(self._broker.management.remove_vhost, self.vhost.name)
            stack.enter_context(self.workers_network)
            stack.enter_context(self.requesters_network)
            stack.callback(self._kill)
            self.declare()
            self._ledger.write(promise())
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()
        self._ledger.close()

    def _kill(self) -> None:
        for process in (*self.workers, *self._others):
            if process.is_alive:
                process.tell(signal.SIGKILL)
                process.ends(LAST_WORDS_S)

    def declare(self) -> None:
        """Make the topology, or what is missing of it."""

        async def make() -> None:
            connection = await connect(
                self.settings.broker.endpoints[0], name="stage", heartbeat_s=30, timeout_s=10
            )
            await declare(connection, topology_of(self.settings))
            await connection.close()

        run(make())

    def worker(self, **further: str) -> Process:
        """Start a worker; it need not be ready yet. ``further`` is added to its environment."""
        started = self._start("worker", QUEUES, self.workers_network.port, **further)
        self.workers.append(started)
        return started

    def two_workers(self) -> tuple[Process, Process]:
        first, second = self.worker(), self.worker()
        self.wait_ready(first)
        self.wait_ready(second)
        return first, second

    def wait_ready(self, worker: Process) -> None:
        eventually(lambda: " ready: " in worker.log, f"ready of {worker.name}", READY_S)

    def requester(
        self, mode: Mode, seconds: float, *, within_s: float = WITHIN_S, rate: float = RATE, seed: int = SEED
    ) -> Process:
        """Start to ask for ``seconds``. Of each mode, seed by seed, one: keys come from both."""
        arguments = ["--name", mode, "--mode", mode, "--seed", str(seed), "--seconds", str(seconds)]
        arguments += ["--rate", str(rate), "--within", str(within_s), "--poison-every", "1e9"]
        arguments += ["--mailbox", MAILBOX] if mode == "mailbox" else []
        started = self._start("requester", arguments, self.requesters_network.port)
        self._others.append(started)
        return started

    def requesters(self, seconds: float, *, seed: int = SEED) -> list[Process]:
        """One of each mode."""
        modes: tuple[Mode, ...] = ("direct", "mailbox", "nobody")
        return [self.requester(mode, seconds, seed=seed) for mode in modes]

    def collector(self) -> Process:
        self._collector = self._start("collector", ["--mailbox", MAILBOX], self._broker.port)
        self._others.append(self._collector)
        return self._collector

    def hostile_publisher(self, seconds: float, rate: float) -> Process:
        arguments = ["--seed", str(SEED), "--seconds", str(seconds), "--rate", str(rate)]
        command = [sys.executable, "-m", "tests.chaos.hostile_publisher", *arguments]
        started = self._process("hostile", command, self.requesters_network.port)
        self._others.append(started)
        return started

    def count(self, kind: type[Record], **fields: object) -> int:
        """How many records there are of a kind, with these values."""
        return sum(
            type(record) is kind and all(getattr(record, key) == value for key, value in fields.items())
            for record in records.read(self._ledgers)
        )

    def _start(self, role: Role, arguments: Sequence[str], port: int, **further: str) -> Process:
        command = (
            [sys.executable, "-m", mutant.MODULES[role], *arguments]
            if self._bug is None
            else mutant.command(self._bug, role, *arguments)
        )
        return self._process(role, command, port, **further)

    def _process(self, role: str, command: Sequence[str], port: int, **further: str) -> Process:
        url = f"amqp://{self._broker.user}:{self._broker.password}@127.0.0.1:{port}/{self.vhost.name}"
        env = environment(self._folder / "config.yml", url, CHAOS_LEDGER=str(self._ledgers), **further)
        name = f"{role}-{len(self.workers) + len(self._others)}"
        return Process(name, command, env, self._folder / f"{name}.log")

    def verdict(self) -> Verdict:
        """Let everybody finish, wait until nothing moves, stop all, read what is left, and judge."""
        for process in self._others:
            if process is not self._collector and not process.ends(WITHIN_S + LAST_WORDS_S):
                self.incidents.complain("process", f"{process.name} does not end")
        is_at_rest = self._comes_to_rest()
        for process in (*self.workers, self._collector):
            if process.is_alive:
                process.tell(signal.SIGTERM)
        for process in (*self.workers, self._collector):
            if not process.ends(GRACE_S + LAST_WORDS_S):
                self.incidents.complain("process", f"{process.name} was told to end, and goes on")
        self._kill()
        for violation in violations(self.workers_network.log, dict.fromkeys(QUEUES, PREFETCH)):
            self._ledger.write(violation)
        left = self._read_queues()
        text = "" if is_at_rest else f"something still moved after {DRAIN_S:g} s"
        self._ledger.write(Drained(complete=is_at_rest and not left, text=text or f"{left} messages are left"))
        return check(records.read(self._ledgers))

    def _comes_to_rest(self) -> bool:
        deadline, still_since = time.monotonic() + DRAIN_S, time.monotonic()
        names = [queue.name for queue in topology_of(self.settings).queues if queue.name not in DEAD]
        with self.vhost.connection() as connection:
            channel = connection.channel()
            while time.monotonic() < deadline:
                waiting = sum(channel.queue_declare(name, passive=True).method.message_count for name in names)
                if waiting or held(list(self.workers_network.log)).now:
                    still_since = time.monotonic()
                elif time.monotonic() > still_since + REST_S:
                    return True
                time.sleep(LOOK_S)
        return False

    def _read_queues(self) -> int:
        """Write down what every queue holds, and the letters; how many messages should not be there."""
        left = 0
        for queue in topology_of(self.settings).queues:
            ready, is_dead = self.vhost.ready(queue.name), queue.name in DEAD
            self._ledger.write(Queue(name=queue.name, ready=ready, unacked=0, dead=is_dead))
            for letter in letters(self.vhost, queue.name) if is_dead else ():
                self._ledger.write(letter)
            left += 0 if is_dead else ready
        return left
