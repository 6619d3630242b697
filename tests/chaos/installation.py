"""The installation that a campaign runs against: its configuration, what that promises, and who takes part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.config.settings import Settings
from broker.node.files import HAND_ON_AGAIN_MS
from tests.chaos.fleet import Side
from tests.chaos.records import Mode, Promise
from worker.intake.prefetch import MOST

HANDLERS = "tests.chaos.handlers"
MAILBOX = "chaos"
#: Where letters are kept.
DEAD = ("queue_a.dead", "queue_b.dead", "queue_c.dead", "tasks.lost")

#: pika notices silence after 2 × (this + 5) s at most, the broker after 2 × this.
HEARTBEAT_S = 4
#: What design and README promise: pauses of 5 s at most between two attempts to connect.
RECOVERY_S = 10.0
#: A task that is due starts within so long while all is well: it waits behind others.
LATE_S = 10.0
#: After a fault: the broker hands on after 10 to 20 s what its crash kept in the delay line (README).
LATE_AFTER_S = LATE_S + 2 * HAND_ON_AGAIN_MS / 1000
#: Measured: a broker that crashes may forget the acks of so long.
ACK_LOSS_S = 1.0
GRACE_S = 15.0
#: More than the longest fault, so that a worker that is frozen over a task does not give it up.
TIMEOUT_S = 30.0
#: Between two tasks that kill whoever runs them.
POISON_S = 150.0
#: Poison has a queue apart: there it is buried after this many crashes, and elsewhere nothing is after so few.
POISON_LIMIT = 5
#: Of all messages.
HOSTILE = 0.02

_QUEUE_B = ("rejects", "crashes_worker")
_QUEUE_A = ("ok", "slow", "large", "fails", "always", "crashes_child")
#: By threads, which run batches as a whole.
_QUEUE_C = ("ok", "large", "fails", "always", "rejects")


@dataclass(frozen=True, slots=True)
class Part:
    """One who takes part. ``command``: module and arguments, by how many there were before under this name."""

    name: str
    side: Side
    command: Callable[[int], Sequence[str]]


def configuration() -> dict[str, Any]:
    queues = {**dict.fromkeys(_QUEUE_A, "queue_a"), **dict.fromkeys(_QUEUE_B, "queue_b")}
    tasks = {f"chaos.{kind}": {"queue": queue, "handler": f"{HANDLERS}:{kind}"} for kind, queue in queues.items()}
    for kind in _QUEUE_C:
        handler = f"{HANDLERS}:{kind}"
        tasks[f"chaos.thread.{kind}"] = {"queue": "queue_c", "handler": handler, "executor": "thread"}
    return {
        "broker": {"heartbeat_s": HEARTBEAT_S, "connect_timeout_s": 3},
        "queues": {"queue_a": {}, "queue_b": {"delivery_limit": POISON_LIMIT}, "queue_c": {}},
        "tasks": tasks,
        "defaults": {
            "retry": {"max_retries": 3, "backoff_s": [0.5, 1.0, 2.0], "jitter": 0.1},
            "timeout_s": TIMEOUT_S,
        },
        "mailboxes": [MAILBOX],
        "worker": {"concurrency": 3, "grace_s": GRACE_S},
    }


def promise(settings: Settings) -> Promise:
    retry = settings.defaults.retry
    return Promise(
        system="glassrabbit",
        max_attempts=retry.max_retries + 1,
        backoff_s=retry.backoff_s,
        prefetch=max(queue.prefetch or MOST for queue in settings.queues.values()),
        recovery_s=RECOVERY_S,
        ack_loss_s=ACK_LOSS_S,
        has_mailboxes=True,
        late_s=LATE_S,
        late_after_s=LATE_AFTER_S,
    )


#: Queues of each worker.
WORKERS: Mapping[str, Sequence[str]] = {
    "w1": ("queue_a",),
    "w2": ("queue_a", "queue_b"),
    "w3": ("queue_b", "queue_a"),
    "w4": ("queue_c",),
}
#: Mode of each requester, and its share of all tasks.
REQUESTERS: Mapping[str, tuple[Mode, float]] = {
    "r1": ("direct", 0.35),
    "r2": ("direct", 0.35),
    "r3": ("mailbox", 0.2),
    "r4": ("nobody", 0.1),
}
#: They are on the requesters' side, too.
COLLECTOR = "c1"
HOSTILE_PUBLISHER = "h1"
OTHERS = (COLLECTOR, HOSTILE_PUBLISHER)


def parts(seed: int, rate: float, within_s: float, mutant: str | None = None) -> list[Part]:
    """Everybody, for ``rate`` tasks a second in all, each call bounded by ``within_s``. ``mutant``: a planted bug
    for whom it concerns."""
    workers = [_worker(name, queues, mutant) for name, queues in WORKERS.items()]
    requesters = [
        _requester(name, mode, seed, share * rate, within_s, mutant) for name, (mode, share) in REQUESTERS.items()
    ]
    collector = Part(COLLECTOR, "requesters", lambda _: _mutated(mutant, "collector", "--mailbox", MAILBOX))
    return [*workers, collector, *requesters, _hostile_publisher(seed, HOSTILE * rate)]


def _worker(name: str, queues: Sequence[str], mutant: str | None) -> Part:
    return Part(name, "workers", lambda _: _mutated(mutant, "worker", *queues))


def _requester(name: str, mode: Mode, seed: int, rate: float, within_s: float, mutant: str | None) -> Part:
    poison_s = len(REQUESTERS) * POISON_S
    fixed = ["--name", name, "--mode", mode, *(["--mailbox", MAILBOX] if mode == "mailbox" else [])]
    fixed += ["--within", f"{within_s:g}", "--poison-every", f"{poison_s:g}"]
    return Part(name, "requesters", lambda count: _mutated(mutant, "requester", *fixed, *_load(seed, count, rate)))


def _hostile_publisher(seed: int, rate: float) -> Part:
    return Part(
        HOSTILE_PUBLISHER, "requesters", lambda count: ["tests.chaos.hostile_publisher", *_load(seed, count, rate)]
    )


def _load(seed: int, count: int, rate: float) -> list[str]:
    """Of one name each has another seed: keys come from both. All go on until they are told to end."""
    return ["--seed", str(seed * 1000 + count), "--seconds", "1e6", "--rate", f"{rate:g}"]


def _mutated(mutant: str | None, role: str, *arguments: str) -> list[str]:
    module = "worker" if role == "worker" else f"tests.chaos.{role}"
    return [module, *arguments] if mutant is None else ["tests.chaos.mutant", mutant, role, *arguments]
