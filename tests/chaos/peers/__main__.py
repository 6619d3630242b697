"""The same load and checker for Glassrabbit, Celery and Dramatiq, while workers and the broker are killed.

python -m tests.chaos.peers --seconds 120 --seed 1 --broker 4.0

All systems run side by side, each in a vhost of its own on one broker, so that each meets the same crashes of the
broker; its workers are killed when those of the others are. Worker kills and broker crashes only: nothing that
needs a proxy. Prints a table with the configurations.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

from tests.chaos.checker import Verdict, check
from tests.chaos.peers.load import BACKOFF_S, MAX_ATTEMPTS
from tests.chaos.peers.systems import (
    CONCURRENCY,
    System,
    our_configuration,
    systems,
)
from tests.chaos.records import (
    Asked,
    Drained,
    FaultBegan,
    FaultHealed,
    Finished,
    Ledger,
    Promise,
    Queue,
    Started,
    Told,
    count,
    read,
)
from tests.support.brokers import IMAGES, LOCAL, Broker, Brokers, Wanted
from tests.support.peers import prepare
from tests.support.vhost import Vhost
from tests.support.workers import ROOT, environment

WORKERS = 2
RATE = 10.0
#: Between two faults.
APART_S = (6.0, 12.0)
#: Of ten faults so many kill the broker, the others a worker of each system.
BROKER_OF_TEN = 3
DRAIN_S = 180.0
#: Nothing has happened for so long: what has not been done will not be.
STILL_S = 15.0
_POLL_S = 0.2
_END_S = 20.0


class Site:
    """One system at work: its vhost, ledger, workers and requester."""

    def __init__(self, system: System, broker: Broker, folder: Path, options: argparse.Namespace) -> None:
        self.system = system
        self.vhost = Vhost(broker, folder.name)
        self.folder = folder / "ledger"
        self.folder.mkdir(parents=True)
        broker.management.request("PUT", "vhosts", self.vhost.name)
        config = folder / "config.yml"
        config.write_text(yaml.safe_dump(our_configuration()))
        self._environment = {
            **environment(config, self.vhost.url),
            **system.environment,
            "CHAOS_LEDGER": str(self.folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
        }
        self._log = (folder / "log").open("wb")
        self.ledger = Ledger(self.folder, "driver")
        self.ledger.write(
            Promise(
                system=system.name,
                max_attempts=MAX_ATTEMPTS,
                backoff_s=(0.0,),
                prefetch=0,
                recovery_s=DRAIN_S,
                ack_loss_s=1.0,
                has_mailboxes=False,
            )
        )
        filled = {"rate": str(options.rate), "seconds": str(options.seconds), "seed": str(options.seed)}
        self.workers = [self._start(system.worker) for _ in range(WORKERS)]
        self.requester = self._start(tuple(word.format(**filled) for word in system.requester))

    def _start(self, command: tuple[str, ...]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def kill(self, number: int) -> None:
        """End a worker with all its processes, as the end of its machine would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.workers[number].pid, signal.SIGKILL)

    def supervise(self) -> None:
        """Start what has ended, at once."""
        for number, worker in enumerate(self.workers):
            if worker.poll() is not None:
                self.kill(number)
                self.workers[number] = self._start(self.system.worker)

    def moves(self) -> int:
        """Grows whenever a handler does anything."""
        return sum(path.stat().st_size for path in self.folder.glob("*.jsonl"))

    def finish(self, still: bool) -> None:
        """Note what the queues hold at the end."""
        held = 0
        for queue in self.vhost.broker.management.get("queues", self.vhost.name):
            messages, name = int(queue.get("messages", 0)), str(queue["name"])
            is_dead = name.endswith((".dead", ".XQ")) or name == "tasks.lost"
            held += 0 if is_dead else messages
            self.ledger.write(Queue(name=name, ready=messages, unacked=0, dead=is_dead))
        self.ledger.write(Drained(complete=still, text=f"{held} messages were left"))

    def close(self) -> None:
        for process in (*self.workers, self.requester):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_END_S)
        self._log.close()


def faults(sites: list[Site], broker: Broker, options: argparse.Namespace) -> Counter[str]:
    """Kill what the seed says, until the time is over; how often each."""
    chance, done, end = random.Random(options.seed), Counter[str](), time.monotonic() + options.seconds
    number = 0
    while (wait_s := chance.uniform(*APART_S)) and time.monotonic() + wait_s < end:
        watch(sites, wait_s)
        number += 1
        kind = "broker killed" if chance.randrange(10) < BROKER_OF_TEN else "worker killed"
        victim = chance.randrange(WORKERS)
        touches = ("broker",) if kind == "broker killed" else ("workers",)
        for site in sites:
            site.ledger.write(FaultBegan(number=number, fault=kind, touches=touches))
        if kind == "broker killed":
            broker.kill()
            broker.restart()
        else:
            for site in sites:
                site.kill(victim)
            watch(sites, _POLL_S)
        for site in sites:
            site.ledger.write(FaultHealed(number=number))
        done[kind] += 1
        print(f"{number}: {kind}", file=sys.stderr)
    return done


def watch(sites: list[Site], seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for site in sites:
            site.supervise()
        time.sleep(_POLL_S)


def drain(sites: list[Site]) -> None:
    """Wait until requesters have ended and nothing moves any more."""
    end, moved = time.monotonic() + DRAIN_S, {site.system.name: (-1, 0.0) for site in sites}
    still: set[str] = set()
    while len(still) < len(sites) and time.monotonic() < end:
        watch(sites, 1.0)
        for site in sites:
            before, since = moved[site.system.name]
            now = site.moves()
            if now != before or site.requester.poll() is None:
                moved[site.system.name] = (now, time.monotonic())
            elif time.monotonic() - since > STILL_S:
                still.add(site.system.name)
    for site in sites:
        site.finish(site.system.name in still)


def row(site: Site) -> tuple[str, ...]:
    """Lost: accepted, and neither done nor in a dead queue."""
    records = read(site.folder)
    verdict: Verdict = check(records)
    runs = Counter((one.key, one.attempt) for one in records if isinstance(one, Started))
    told = Counter(one.answer for one in records if isinstance(one, Told))
    done = {one.key for one in records if isinstance(one, Finished) and one.ending == "done"}
    return (
        site.system.name,
        str(count(records, Asked)),
        str(told["accepted"]),
        str(told["unknown"]),
        str(len(done)),
        str(len(verdict.broken.get("lost", []))) if verdict.state != "unknown" else "?",
        str(sum(number - 1 for number in runs.values())),
        str(sum(one.ready for one in records if isinstance(one, Queue) and not one.dead)),
    )


HEAD = ("system", "asked", "accepted", "unknown", "done", "lost", "ran again", "left in queues")


@contextlib.contextmanager
def running(options: argparse.Namespace) -> Iterator[tuple[Broker, list[Site]]]:
    """All systems on a broker of their own."""
    brokers, sites = Brokers(), list[Site]()
    with contextlib.ExitStack() as stack:
        stack.callback(brokers.stop)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="peers-")))
        broker = brokers.get(Wanted(options.broker, alone=True))
        for number, system in enumerate(systems()):
            sites.append(Site(system, broker, folder / f"peer-{number}", options))
            stack.callback(sites[-1].close)
        yield broker, sites


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.peers")
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=RATE, help="requests a second, of each system")
    parser.add_argument("--broker", choices=[*IMAGES, LOCAL], default="4.0")
    options = parser.parse_args()
    prepare()
    with running(options) as (broker, sites):
        killed = faults(sites, broker, options)
        drain(sites)
        rows = [row(site) for site in sites]
        print(
            f"RabbitMQ {broker.version}, seed {options.seed}, {options.seconds:g} s, {options.rate:g} requests a "
            f"second, {WORKERS} workers of {CONCURRENCY} each, retries after {BACKOFF_S} s; "
            + ", ".join(f"{kind} {times} times" for kind, times in sorted(killed.items()))
        )
    print("| " + " | ".join(HEAD) + " |")
    print("| " + " | ".join(["---"] + ["---:"] * (len(HEAD) - 1)) + " |")
    for cells in rows:
        print("| " + " | ".join(cells) + " |")
    for site in sites:
        print(f"- {site.system.name}: {site.system.configuration}")


if __name__ == "__main__":
    main()
