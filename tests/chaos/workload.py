"""What requesters ask for. Pure: a seed and a requester's name always give the same endless stream of requests.

An argument or a result is known to a ledger by the digest of its JSON, which requesters and handlers compute
each for themselves.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.chaos.records import Kind, digest

#: Of 100 requests; ``crashes_worker`` comes by time: see ``weights``.
SHARES: Mapping[Kind, float] = {
    "ok": 70,
    "slow": 9,
    "large": 6,
    "fails": 8,
    "always": 3,
    "rejects": 3,
    "crashes_child": 1,
}
#: Of all requests: those that wait in the delay line first.
DELAYED = 0.15
DELAY_S = (0.3, 3.0)
#: Of those that do not: for a task that no queue is bound for.
UNKNOWN = 0.02
#: A well-formed name that no configuration may have.
UNKNOWN_NAME = "chaos.nobody_does_this"
#: Of those for a known task that are not delayed: set aside for batches, by kind. It is about a fifth of all.
BATCHED: Mapping[Kind, float] = {"ok": 0.2, "large": 0.3, "crashes_worker": 0.0}
BATCHED_OTHERS = 0.5
#: What comes often fills larger batches.
BATCH_TASKS: Mapping[Kind, int] = {"ok": 4}
BATCH_TASKS_OTHERS = 2
SLOW_S = (0.2, 1.0)
LARGE_BYTES = (10_000, 300_000)
MOST_FAILURES = 3
MOST_CRASHES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One task to be asked for. ``arguments`` has its ``key``."""

    key: str
    kind: Kind
    task: str
    arguments: dict[str, Any]
    delay_s: float
    #: How often the handler fails, or crashes its child, before it is done.
    failures: int = 0


def weights(rate: float, poison_every_s: float) -> dict[Kind, float]:
    """``SHARES``, and a ``crashes_worker`` about every so many seconds of ``rate`` requests a second."""
    return {**SHARES, "crashes_worker": sum(SHARES.values()) / (rate * poison_every_s)}


def requests(
    seed: int,
    requester: str,
    tasks: Mapping[Kind, Sequence[str]],
    shares: Mapping[Kind, float],
    max_attempts: int,
) -> Iterator[Request]:
    """``tasks``: the names that each kind goes by; a kind without one is left out.

    What fails, fails so often that the last attempt that the policy allows may still be done.
    """
    chance = random.Random(f"{seed} {requester}")
    kinds = [kind for kind in shares if tasks.get(kind)]
    number = 0
    while True:
        number += 1
        key = f"{requester}-{seed}-{number}"
        (kind,) = chance.choices(kinds, [shares[kind] for kind in kinds])
        failures = _failures(chance, kind, max_attempts)
        arguments = {"key": key, **_arguments(chance, kind, failures)}
        name = chance.choice(tasks[kind])
        delay_s = round(chance.uniform(*DELAY_S), 2) if chance.random() < DELAYED else 0.0
        if kind == "ok" and not delay_s and chance.random() < UNKNOWN:
            name = UNKNOWN_NAME
        yield Request(key=key, kind=kind, task=name, arguments=arguments, delay_s=delay_s, failures=failures)


def together(
    seed: int, requester: str, stream: Iterator[Request], share: float | None = None
) -> Iterator[list[Request]]:
    """What to ask for in the turn of each request: it, or nothing, since it is set aside, or a whole batch of one
    task, which is full now. What never fills one is never asked for. ``share``: instead of ``BATCHED``."""
    chance = random.Random(f"{seed} {requester} together")
    aside: dict[str, list[Request]] = defaultdict(list)
    for request in stream:
        is_fit = not request.delay_s and request.task != UNKNOWN_NAME
        part = BATCHED.get(request.kind, BATCHED_OTHERS) if share is None else share
        if not is_fit or chance.random() >= part:
            yield [request]
            continue
        aside[request.task].append(request)
        is_full = len(aside[request.task]) == BATCH_TASKS.get(request.kind, BATCH_TASKS_OTHERS)
        yield aside.pop(request.task) if is_full else []


def _failures(chance: random.Random, kind: Kind, max_attempts: int) -> int:
    most = {"fails": MOST_FAILURES, "crashes_child": MOST_CRASHES}.get(kind, 0)
    return min(chance.randint(1, most), max_attempts - 1) if most else 0


def _arguments(chance: random.Random, kind: Kind, failures: int) -> dict[str, Any]:
    match kind:
        case "ok":
            return {"payload": chance.randbytes(chance.randint(0, 100)).hex()}
        case "slow":
            return {"seconds": round(chance.uniform(*SLOW_S), 3)}
        case "large":
            return {"payload": chance.randbytes(chance.randint(*LARGE_BYTES) // 2).hex()}
        case "fails":
            return {"times": failures, "asks": chance.random() < 0.5}
        case "crashes_child":
            return {"times": failures}
        case _:
            return {}


def digest_of(value: object) -> str:
    """What stands for arguments or a result in a ledger."""
    return digest(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())
