"""A campaign in small: a vhost of its own, workers, requesters and a collector, the same ledgers and checker.

Workers have a network of their own and requesters another one, for ``tests.chaos.scenario`` to spoil. There is no
process executor: a handler runs in a thread of its worker, which makes a stage cheap and changes no promise.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import yaml

from broker.config import loader as config
from broker.topology.model import topology_of
from tests.chaos import installation, mutant, records
from tests.chaos.checker import Verdict, check
from tests.chaos.fleet import Place, Side
from tests.chaos.incidents import Incidents
from tests.chaos.installation import DEAD, HANDLERS, MAILBOX
from tests.chaos.mutants import Role
from tests.chaos.reading import letters
from tests.chaos.records import Drained, Kind, Ledger, Mode, Promise, Queue, Record
from tests.chaos.witness import AnswerWitness, Witness
from tests.support.brokers import Broker
from tests.support.installation import make_topology
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost
from tests.support.waiting import eventually, patiently
from tests.support.workers import environment

QUEUES = ("queue_a", "queue_b")
#: More than one waits behind the one that runs, and more than that in the queue.
PREFETCH = 3
KINDS = ("ok", "slow", "large", "fails", "always", "rejects")
#: Not a whole number of the delay line's units of 0.1 s.
BACKOFF_S = 0.59
MAX_ATTEMPTS = 3
GRACE_S = 8.0
FOR_EVER_S = 1e6

#: Of each requester, a second: together with the others more than two workers can do at once for long.
RATE = 10.0
#: Calls of each requester at a time: it asks no faster than workers work, however slow a machine is.
MOST = 20
#: With it each requester asks for every kind of task soon.
SEED = 180
WITHIN_S = 15.0

READY_S = 60.0
#: Nothing comes to an end for so long: then it never will.
DRAIN_S = 12.0
#: What moves for ever, by a bug, is given up after so long.
LONGEST_S = 90.0
#: Beyond what a process may take to end: so much later on a loaded machine.
LAST_WORDS_S = 20.0
#: Nothing waits and nothing is held for so long: then nothing is on its way either.
REST_S = 1.0
LOOK_S = 0.2


def configuration() -> dict[str, object]:
    """Two queues; the second one is there for what goes astray."""
    tasks = {f"chaos.{kind}": ("queue_a", kind) for kind in KINDS} | {"chaos.other": ("queue_b", "ok")}
    return {
        "queues": {queue: {"prefetch": PREFETCH} for queue in QUEUES},
        "tasks": {
            name: {"queue": queue, "handler": f"{HANDLERS}:{kind}", "executor": "thread"}
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
        recovery_s=installation.RECOVERY_S,
        ack_loss_s=installation.ACK_LOSS_S,
        has_mailboxes=True,
        late_s=installation.LATE_S,
        late_after_s=installation.LATE_AFTER_S,
    )


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
        self.workers: list[Place] = []
        self._others: list[Place] = []
        self._stack = contextlib.ExitStack()
        self.witness = Witness(self._ledger, PREFETCH)
        self.workers_network = Proxy(broker.host, broker.port, keep_log=False)
        self.workers_network.on_event = self.witness.take
        self.requesters_network = Proxy(broker.host, broker.port, keep_log=False)
        self.requesters_network.on_event = AnswerWitness(self._ledger).take
        #: Nobody spoils it.
        self.collector_network = Proxy(broker.host, broker.port, keep_log=False)

    def __enter__(self) -> Stage:
        with contextlib.ExitStack() as stack:
            self._broker.management.add_vhost(self.vhost.name)
            stack.callback(self._broker.management.remove_vhost, self.vhost.name)
            for network in (self.workers_network, self.requesters_network, self.collector_network):
                stack.enter_context(network)
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
            process.send(signal.SIGKILL)
            process.wait(LAST_WORDS_S)

    def declare(self) -> None:
        """Make the topology, or what is missing of it."""
        make_topology(self.settings)

    def worker(self, **further: str) -> Place:
        """Start a worker; it need not be ready yet. ``further`` is added to its environment."""
        started = self._start("worker", QUEUES, self.workers_network, **further)
        self.workers.append(started)
        return started

    def two_workers(self) -> tuple[Place, Place]:
        first, second = self.worker(), self.worker()
        self.wait_ready(first)
        self.wait_ready(second)
        return first, second

    def wait_ready(self, worker: Place) -> None:
        def is_ready() -> bool:
            worker.look()
            return worker.ready.is_set()

        eventually(is_ready, f"{worker.name} ready (see {worker.log})", READY_S)

    def requester(
        self,
        mode: Mode,
        seconds: float = FOR_EVER_S,
        *,
        within_s: float = WITHIN_S,
        rate: float = RATE,
        seed: int = SEED,
        batched: float = 0.0,
        kinds: Sequence[Kind] = (),
        most: int = MOST,
    ) -> Place:
        """Start to ask, until the verdict or for ``seconds``. Of each mode, seed by seed, one: keys come from
        both."""
        arguments = ["--name", mode, "--mode", mode, "--seed", str(seed), "--seconds", str(seconds)]
        arguments += ["--rate", str(rate), "--within", str(within_s), "--poison-every", "1e9"]
        arguments += ["--mailbox", MAILBOX] if mode == "mailbox" else []
        arguments += ["--batched", str(batched), "--most", str(most)]
        arguments += [f"--kind={kind}" for kind in kinds]
        started = self._start("requester", arguments, self.requesters_network)
        self._others.append(started)
        return started

    def requesters(self, *, seed: int = SEED, kinds: Sequence[Kind] = ()) -> list[Place]:
        """One of each mode, until the verdict. ``kinds``: of tasks, if not all."""
        modes: tuple[Mode, ...] = ("direct", "mailbox", "nobody")
        return [self.requester(mode, seed=seed, kinds=kinds) for mode in modes]

    def collector(self) -> Place:
        self._collector = self._start("collector", ["--mailbox", MAILBOX], self.collector_network)
        self._others.append(self._collector)
        return self._collector

    def hostile_publisher(self, rate: float) -> Place:
        arguments = ["--seed", str(SEED), "--seconds", str(FOR_EVER_S), "--rate", str(rate)]
        started = self._process("hostile", ["tests.chaos.hostile_publisher", *arguments], self.requesters_network)
        self._others.append(started)
        return started

    def count(self, kind: type[Record], **fields: str) -> int:
        """How many records there are of a kind, with these values. Cheap: it is asked time and again."""
        head = f'{{"what": "{kind.__name__}"'
        words = [f'"{key}": "{value}"' for key, value in fields.items()]
        return sum(
            line.startswith(head) and all(word in line for word in words)
            for path in self._ledgers.glob("*.jsonl")
            for line in path.read_text().splitlines()
        )

    def _start(self, role: Role, arguments: Sequence[str], network: Proxy, **further: str) -> Place:
        return self._process(role, mutant.words(self._bug, role, *arguments), network, **further)

    def _process(self, role: str, words: Sequence[str], network: Proxy, **further: str) -> Place:
        # Of a cluster the node that tests look through: nobody comes to the others unseen.
        url = Broker.url(self._broker, self.vhost.name).replace(f":{self._broker.port}/", f":{network.port}/")
        env = environment(self._folder / "config.yml", url, CHAOS_LEDGER=str(self._ledgers), **further)
        name = f"{role}-{len(self.workers) + len(self._others)}"
        side: Side = "workers" if role == "worker" else "requesters"
        started = Place(name, side, network, lambda _: words, env, self._folder)
        started.start()
        return started

    @property
    def _asking(self) -> list[Place]:
        return [process for process in self._others if process is not self._collector]

    def ask_no_more(self) -> None:
        """Requesters end once their calls have."""
        for process in self._asking:
            process.send(signal.SIGTERM)

    def verdict(self) -> Verdict:
        """Nobody asks any more, and everybody finishes; wait until nothing moves, stop all, read what is left, and
        judge."""
        self.ask_no_more()
        for process in self._asking:
            if process.wait(WITHIN_S + LAST_WORDS_S) is None:
                self.incidents.complain("process", f"{process.name} does not end")
        is_at_rest = patiently(self._rests_within, DRAIN_S)
        told = (*self.workers, self._collector)
        for process in told:
            process.send(signal.SIGTERM)
        until = time.monotonic() + GRACE_S + LAST_WORDS_S
        for process in told:
            if process.wait(max(0.0, until - time.monotonic())) is None:
                self.incidents.complain("process", f"{process.name} was told to end, and goes on")
        self._kill()
        self.witness.sum_up(list(QUEUES))
        left = self._read_queues()
        text = "" if is_at_rest else f"something still moved after {DRAIN_S:g} s"
        self._ledger.write(Drained(complete=is_at_rest and not left, text=text or f"{left} messages are left"))
        return check(records.read(self._ledgers))

    def _rests_within(self, seconds: float) -> bool:
        deadline, still_since = time.monotonic() + seconds, time.monotonic()
        names = [queue.name for queue in topology_of(self.settings).queues if queue.name not in DEAD]
        with self.vhost.connection() as connection:
            channel = connection.channel()
            while time.monotonic() < deadline:
                waiting = sum(channel.queue_declare(name, passive=True).method.message_count for name in names)
                if waiting or self.witness.held:
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
