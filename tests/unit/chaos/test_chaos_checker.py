"""The checker of campaigns, on ledgers made by hand: each invariant is broken alone, and kept by a near twin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checker import INVARIANTS, Verdict, check
from tests.chaos.counts import quantile
from tests.chaos.records import (
    Asked,
    Collected,
    Drained,
    Ended,
    FaultBegan,
    FaultHealed,
    Finished,
    Kind,
    LeftOver,
    Letter,
    Mode,
    Promise,
    Queue,
    Record,
    Started,
    Told,
    Violation,
)

PROMISE = Promise(
    at=0.0,
    system="ours",
    max_attempts=3,
    backoff_s=(1.0, 2.0),
    prefetch=4,
    recovery_s=10.0,
    ack_loss_s=0.5,
    has_mailboxes=True,
    late_s=20.0,
    late_after_s=40.0,
)
THE_END = 1000.0
W1, W2 = 71, 72

Records = list[Record]


def judged(*records: Record, promise: Promise = PROMISE) -> Verdict:
    """The verdict on a drained campaign with these records in between."""
    queue = Queue(at=THE_END, name="queue_a", ready=0, unacked=0)
    return check([promise, *records, queue, Drained(at=THE_END, complete=True)])


def asked(at: float = 100.0, key: str = "k", kind: Kind = "ok", mode: Mode = "direct", **more: Any) -> Asked:
    values: dict[str, Any] = {"requester": "r1", "within_s": 60.0, "digest": f"arguments of {key}"} | more
    return Asked(at=at, key=key, kind=kind, mode=mode, **values)


def told(at: float = 100.1, answer: Any = "accepted", key: str = "k", **more: Any) -> Told:
    return Told(at=at, key=key, answer=answer, **{"id": f"id of {key}"} | more)


def ended(at: float = 101.5, answer: Any = "done", key: str = "k", attempts: int = 1, **more: Any) -> Ended:
    digest = f"result {attempts} of {key}" if answer == "done" else ""
    values = {"id": f"id of {key}", "digest": digest} | more
    return Ended(at=at, key=key, answer=answer, attempts=attempts, **values)


def collected(at: float = 101.5, key: str = "k", **more: Any) -> Collected:
    values: dict[str, Any] = {"answer": "done", "digest": f"result 1 of {key}", "attempts": 1} | more
    return Collected(at=at, mailbox="m", key=key, id=f"id of {key}", **values)


def started(at: float = 101.0, attempt: int = 1, worker: int = W1, key: str = "k", **more: Any) -> Started:
    values: dict[str, Any] = {"id": f"id of {key}", "digest": f"arguments of {key}", "pid": worker + 1000} | more
    return Started(at=at, key=key, attempt=attempt, worker=worker, **values)


def run(
    at: float = 101.0, ending: Any = "done", attempt: int = 1, worker: int = W1, key: str = "k", **more: Any
) -> Records:
    """A run of 0.2 s."""
    begin = started(at, attempt, worker, key, **more)
    digest = f"result {attempt} of {key}" if ending == "done" else ""
    end = Finished(at=at + 0.2, key=key, id=begin.id, attempt=attempt, pid=begin.pid, ending=ending, digest=digest)
    return [begin, end]


def letter(reason: str, attempts: tuple[int, ...] = (), key: str = "k", **more: Any) -> Letter:
    values = {"id": f"id of {key or 'k'}", "body": f"body of {key or 'k'}"} | more
    return Letter(at=THE_END, queue="queue_a", key=key, reason=reason, attempts=attempts, **values)


def fault(
    at: float, until: float | None, *touches: str, name: str = "", pids: tuple[int, ...] = (), text: str = ""
) -> Records:
    number = int(at * 1000)
    name = name or f"{touches[0]} broken"
    records: Records = [
        FaultBegan(at=at, number=number, fault=name, touches=touches, pids=pids, text=text),
    ]
    return records if until is None else [*records, FaultHealed(at=until, number=number)]


def died(at: float, worker: int = W1) -> Records:
    return fault(at, at, "workers", name="worker died", pids=(worker,))


def hostile(*answers: Any, letters: int = 1) -> Records:
    body = [letter("undecodable", key="", id="", body="body of h")] * letters
    return [
        asked(key="h", kind="hostile", mode="nobody", digest="body of h"),
        told(key="h", **_at(*answers)),
        *body,
    ]


def _at(answer: str = "accepted") -> dict[str, Any]:
    return {"answer": answer, "id": ""}


#: A task of each sort as it should go.
GOOD: Records = [asked(), told(), *run(), ended()]
MAILBOX: Records = [asked(mode="mailbox"), told(), *run(), collected()]
RETRIED: Records = [
    asked(kind="fails", failures=1),
    *run(101.0, "failed"),
    *run(102.3, attempt=2),
    told(102.7),
    ended(102.7, attempts=2),
]
BURIED: Records = [
    asked(kind="always"),
    *run(101.0, "failed"),
    *run(102.3, "failed", 2),
    *run(104.6, "failed", 3),
    told(105.0),
    ended(105.0, "failed", attempts=3, code="retries_exhausted"),
    letter("retries_exhausted", (1, 2, 3)),
]
REJECTED: Records = [
    asked(kind="rejects"),
    *run(101.0, "rejected"),
    told(),
    ended(answer="failed", code="rejected"),
    letter("rejected", (1,)),
]
#: A task that waits for 12 seconds after 200.0.
STUCK: Records = [asked(199.0, "b"), told(212.0, key="b"), *run(212.0, key="b"), ended(212.5, key="b")]
#: A second run of ``GOOD`` by another worker.
AGAIN = run(103.0, worker=W2)
#: Two runs of what was to wait.
DELAYED: Records = [
    asked(delay_s=5.0, mode="nobody"),
    told(),
    *run(105.2),
    *run(106.0, worker=W2),
]
#: Two runs of a second attempt, and another worker had the first one.
RETRIED_ELSEWHERE: Records = [
    asked(kind="fails", failures=1, mode="nobody"),
    told(),
    *run(101.0, "failed", worker=73),
    *run(105.0, attempt=2),
    *run(106.0, attempt=2, worker=W2),
]
#: Two tasks that are one message; the second one takes longer.
BATCH: Records = [
    asked(batch="k"),
    asked(key="b", batch="k"),
    *run(),
    *run(104.0, key="b"),
    told(),
    ended(),
    told(key="b"),
    ended(104.4, key="b"),
]
#: Two runs of what waited for long.
COPIED: Records = [asked(delay_s=40.0, mode="nobody"), told(), *run(140.2), *run(141.0, worker=W2)]
#: The end of what was done for nothing.
TOO_LARGE: Records = [
    told(),
    ended(answer="failed", code="result_too_large"),
    letter("result_too_large", (1,)),
]
THRICE: Records = [*GOOD[:-1], *run(103.0, worker=W2), *run(104.0, worker=73), ended(104.5)]
KILLED = fault(120.0, 121.0, "requesters", name="requester killed", pids=(9,), text="r1")
CUT_OFF: Records = [asked(mode="nobody"), told(), started(), *died(101.1)]
#: Two second attempts that were cut off.
BURIED_TWICE: Records = [
    asked(mode="nobody"),
    told(),
    *run(101.0, "failed"),
    *(started(103.0, 2, W2), *died(103.1, W2), started(103.0, 2, 73), *died(103.1, 73)),
    *[letter("delivery_limit", (1,))] * 2,
]


def at_work(due: Callable[[float], float], queue: str = "") -> Records:
    """One run after the other of a worker, from 200.0 to 223.0."""
    times = {f"other {number}": 200.0 + 3 * number for number in range(8)}
    return [
        record
        for key, at in times.items()
        for record in (asked(due(at), key, queue=queue), *run(at, key=key), ended(at + 0.5, key=key))
    ]


def without(records: Records, kind: type[Record]) -> Records:
    return [record for record in records if not isinstance(record, kind)]


#: Faults from 202 to 209, and work that goes on.
ON: Records = [
    *fault(202.0, 206.0, "broker"),
    *fault(204.0, 209.0, "workers"),
    *(asked(206.0, "c"), *run(209.5, key="c"), ended(210.0, key="c")),
]


#: What is shown: the invariant, a ledger that breaks it and nothing else, and one like it that breaks nothing.
PAIRS: dict[str, tuple[str, Records, Records]] = {
    "accepted and gone": (
        "lost",
        [asked(mode="nobody"), told()],
        [asked(mode="nobody"), told(answer="unknown")],
    ),
    "accepted, started and gone": (
        "lost",
        [asked(mode="nobody"), told(), started()],
        [asked(mode="nobody"), told(), *run()],
    ),
    "a hostile message without a letter": ("lost", hostile(letters=0), hostile("unknown", letters=0)),
    "a run that nobody asked for": (
        "ghost",
        [*GOOD, *run(key="x")],
        [*GOOD, asked(key="x"), *run(key="x"), ended(key="x")],
    ),
    "a run with other arguments": ("ghost", [asked(), *run(digest="others"), ended()], GOOD),
    "a hostile message that runs": (
        "ghost",
        [*hostile(), *run(key="h", digest="body of h")],
        [*hostile(), *GOOD],
    ),
    "a letter of nobody": ("ghost", [*GOOD, letter("undecodable", key="", id="")], [*GOOD, *hostile()]),
    "a letter that only its id tells": (
        "ghost",
        [*REJECTED[:-1], letter("rejected", (1,), key="", id="x"), REJECTED[-1]],
        [*REJECTED[:-1], letter("rejected", (1,), key="")],
    ),
    "returned and run": (
        "returned_ran",
        [asked(mode="nobody"), told(answer="returned"), *run()],
        [asked(mode="nobody"), told(answer="unknown"), told(100.2, answer="returned"), *run()],
    ),
    "refused and buried": (
        "returned_ran",
        [asked(mode="nobody"), told(answer="refused"), letter("delivery_limit")],
        [asked(mode="nobody"), told(answer="unknown"), letter("delivery_limit")],
    ),
    "run twice for no reason": ("duplicate", [*GOOD, *AGAIN], [*GOOD, *AGAIN, *died(101.3)]),
    "run twice when its worker died long after it": (
        "duplicate",
        [*GOOD, *run(107.0, worker=W2), *died(106.0)],
        [*GOOD, *run(107.0, worker=W2), *died(105.0)],
    ),
    "run twice when another worker died": (
        "duplicate",
        [*GOOD, *AGAIN, *died(101.3, W2)],
        [*GOOD, *AGAIN, *died(101.3, W1)],
    ),
    "run again before its worker died": (
        "duplicate",
        [*GOOD, *run(101.5, worker=W2), *died(104.0)],
        [*GOOD, *run(101.5, worker=W2), *died(102.0)],
    ),
    "run three times over one death": (
        "duplicate",
        [*GOOD, *AGAIN, *run(104.0, worker=73), *died(101.3)],
        [*GOOD, *AGAIN, *run(104.0, worker=73), *died(101.3), *died(103.1, W2)],
    ),
    "run again when what came with it still ran": (
        "duplicate",
        [
            *(replace(one, batch="") if isinstance(one, Asked) else one for one in BATCH),
            *run(107.0, worker=W2),
            *died(105.5),
        ],
        [*BATCH, *run(107.0, worker=W2), *died(105.5)],
    ),
    "run again when its batch was settled": (
        "duplicate",
        [*BATCH, *run(111.0, worker=W2), *died(110.0)],
        [*BATCH, *run(111.0, worker=W2), *died(108.0)],
    ),
    "run three times, of a batch that one worker lost": (
        "duplicate",
        [*BATCH, *run(107.0, worker=W2), *run(107.5, worker=73), *died(101.3)],
        [*BATCH, *run(107.0, worker=W2), *run(107.5, worker=73), *died(101.3), *died(105.0, 74)],
    ),
    "run again after an ack that was old enough": (
        "duplicate",
        [*GOOD, *run(110.0, worker=W2), *fault(104.0, 105.0, "broker")],
        [*GOOD, *run(110.0, worker=W2), *fault(103.6, 105.0, "broker")],
    ),
    "run twice, and the second time by a worker that had lost it": (
        "duplicate",
        [*GOOD, *AGAIN, *fault(100.2, 100.3, "workers", pids=(73,))],
        [*GOOD, *AGAIN, *fault(100.2, 100.3, "workers", pids=(W2,))],
    ),
    "run twice, and the second time by a worker that lost something when the first had begun": (
        "duplicate",
        [*GOOD, *AGAIN, *fault(101.3, 101.4, "workers", pids=(W2,))],
        [*GOOD, *AGAIN, *fault(101.3, 101.4, "workers", pids=(W1, W2))],
    ),
    "run twice, and a fault was over before it was due": (
        "duplicate",
        [*DELAYED, *fault(80.0, 94.9, "workers", pids=(W1,))],
        [*DELAYED, *fault(80.0, 95.1, "workers", pids=(W1,))],
    ),
    "retried twice, and a fault was over before that was due": (
        "duplicate",
        [*RETRIED_ELSEWHERE, *fault(80.0, 92.1, "workers", pids=(W1,))],
        [*RETRIED_ELSEWHERE, *fault(80.0, 92.3, "workers", pids=(W1,))],
    ),
    "retried twice, long after the first attempt was settled": (
        "duplicate",
        [*RETRIED_ELSEWHERE, *fault(103.3, 103.4, "workers", pids=(73,))],
        [*RETRIED_ELSEWHERE, *fault(103.1, 103.4, "workers", pids=(73,))],
    ),
    "run twice, and a process that was never healed is over as well": (
        "duplicate",
        [*GOOD, *AGAIN, *fault(89.9, None, "workers", pids=(W1,))],
        [*GOOD, *AGAIN, *fault(90.1, None, "workers", pids=(W1,))],
    ),
    "run twice, and the broker was never healed": (
        "duplicate",
        [*GOOD, *AGAIN, *fault(80.0, 81.0, "broker")],
        [*GOOD, *AGAIN, *fault(80.0, None, "broker")],
    ),
    "buried twice by the broker": (
        "duplicate",
        [*CUT_OFF, *[letter("delivery_limit")] * 2],
        [*CUT_OFF, *[letter("delivery_limit")] * 2, *fault(101.3, 101.4, "broker")],
    ),
    "two retries buried by the broker, and published once": (
        "duplicate",
        [*BURIED_TWICE, *fault(101.3, 101.4, "workers", pids=(74,))],
        [*BURIED_TWICE, *fault(101.3, 101.4, "workers", pids=(W1,))],
    ),
    "run again when the network of another one broke": (
        "duplicate",
        [asked(mode="nobody"), told(), *run(), *AGAIN, *fault(101.1, 102.0, "network", pids=(W2 + 1,), text="w3")],
        [asked(mode="nobody"), told(), *run(), *AGAIN, *fault(101.1, 102.0, "network", pids=(W1,), text="w1")],
    ),
    "asked again by a call that was over": (
        "duplicate",
        [*GOOD, *AGAIN, *fault(101.6, 102.0, "requesters")],
        [*GOOD[:-1], *AGAIN, ended(103.5), *fault(101.6, 102.0, "requesters")],
    ),
    "asked again by another requester": (
        "duplicate",
        [*GOOD, *AGAIN, *fault(101.0, 101.2, "requesters", pids=(9,), text="r2")],
        [*GOOD, *AGAIN, *fault(101.0, 101.2, "requesters", pids=(9,), text="r1")],
    ),
    "asked again more often than its requester can come back": (
        "duplicate",
        [*THRICE, *fault(101.0, 101.0, "requesters")],
        [*THRICE, *fault(101.0, 101.3, "requesters")],
    ),
    "asked again by nobody": (
        "duplicate",
        [*GOOD[:-1], *AGAIN, *KILLED],
        [*GOOD[:-1], *AGAIN, *KILLED, *fault(101.0, 101.3, "requesters")],
    ),
    "run twice, and all workers were cut off": (
        "duplicate",
        [*GOOD, *AGAIN, *fault(105.0, 105.1, "workers")],
        [*GOOD, *AGAIN, *fault(101.3, 101.4, "workers")],
    ),
    "asked again by one that was killed": (
        "duplicate",
        [*GOOD, *AGAIN, *fault(101.0, 101.0, "requesters", pids=(9,), text="r1", name="requester killed")],
        [*GOOD, *AGAIN, *fault(101.0, 101.0, "requesters", pids=(9,), text="r1", name="requester cut off")],
    ),
    "asked again although the mailbox will have it": (
        "duplicate",
        [*MAILBOX, *AGAIN, *fault(100.5, 100.9, "requesters")],
        [asked(mode="mailbox"), *run(), *AGAIN, collected(), told(103.0), *fault(100.5, 100.9, "requesters")],
    ),
    "a retry that is there twice": (
        "duplicate",
        [*RETRIED, *run(103.0, attempt=2, worker=W2)],
        [*RETRIED, *run(103.0, attempt=2, worker=W2), *fault(101.3, 101.4, "workers", pids=(W1,))],
    ),
    "a retry that no crash copied": (
        "duplicate",
        [*RETRIED, *run(103.0, attempt=2, worker=W2), *fault(90.0, 90.5, "broker")],
        [*RETRIED, *run(103.0, attempt=2, worker=W2), *fault(102.0, 102.1, "broker")],
    ),
    "two messages of one key": (
        "duplicate",
        [asked(mode="nobody"), told(), *run(), *run(103.0, id="another")],
        [
            asked(mode="nobody"),
            told(answer="unknown"),
            told(102.0, id="another"),
            *run(),
            *run(103.0, id="another"),
        ],
    ),
    "two letters of one rejection": (
        "duplicate",
        [*REJECTED, REJECTED[-1]],
        [*REJECTED, REJECTED[-1], *fault(101.3, 101.5, "workers", pids=(W1,))],
    ),
    "two letters of one hostile message": (
        "duplicate",
        hostile(letters=2),
        [*hostile(letters=2), *fault(101.0, 102.0, "workers", pids=(W1,))],
    ),
    "a second attempt of what was done": (
        "attempts",
        [*GOOD, *run(103.0, attempt=2, worker=W2)],
        [asked(kind="crashes_child", failures=1), started(), *run(103.0, attempt=2), ended(103.5, attempts=2)],
    ),
    "a second attempt without a first": (
        "attempts",
        [asked(), *run(101.0, attempt=2), ended(attempts=2)],
        [asked(), *run(101.0, "failed"), *run(102.3, attempt=2), ended(103.0, attempts=2)],
    ),
    "one attempt too many": (
        "attempts",
        [*BURIED[:-2], *run(107.0, attempt=4), ended(107.5, attempts=4)],
        BURIED,
    ),
    "done before it had failed often enough": (
        "attempts",
        [asked(kind="fails", failures=1), *run(), ended()],
        RETRIED,
    ),
    "done later than it was to fail": (
        "attempts",
        [
            asked(kind="fails", failures=1, mode="nobody"),
            told(),
            *(*run(101.0, "failed"), *run(102.3, "failed", 2), *run(105.0, attempt=3)),
        ],
        [
            asked(kind="fails", failures=1, mode="nobody"),
            told(),
            *(*run(101.0, "failed"), started(102.3, 2), *run(105.0, attempt=3)),
        ],
    ),
    "a failure with another number of attempts": (
        "attempts",
        [*without(REJECTED, Ended), ended(answer="failed", attempts=2, code="rejected")],
        [*without(REJECTED, Ended), ended(answer="failed", attempts=0, code="rejected")],
    ),
    "a reply with another number of attempts": (
        "attempts",
        [*RETRIED[:-1], ended(102.7, attempts=1, digest="result 2 of k")],
        RETRIED,
    ),
    "given up too soon": (
        "attempts",
        [
            asked(kind="always"),
            *run(101.0, "failed"),
            *run(102.3, "failed", 2),
            letter("retries_exhausted", (1, 2)),
            ended(105.0, "failed", attempts=2, code="retries_exhausted"),
        ],
        BURIED,
    ),
    "a history with a hole": (
        "attempts",
        [*BURIED[:-1], letter("retries_exhausted", (1, 3))],
        [asked(kind="always", mode="nobody"), told(), *BURIED[1:6], letter("delivery_limit", (1, 2)), BURIED[6]],
    ),
    "a history of what never ran": (
        "attempts",
        [asked(mode="nobody"), told(), started(), letter("delivery_limit", (1, 2)), *died(101.1)],
        [asked(mode="nobody"), told(), started(), letter("delivery_limit", ()), *died(101.1)],
    ),
    "a retry too early": (
        "early",
        [asked(kind="fails", failures=1), *run(101.0, "failed"), *run(102.1, attempt=2), ended(102.7, attempts=2)],
        RETRIED,
    ),
    "a task that is earlier than clocks differ": (
        "early",
        [asked(delay_s=1.04), *run(), ended()],
        [asked(delay_s=1.02), *run(), ended()],
    ),
    "a delayed task too early": (
        "early",
        [asked(delay_s=1.1), *run(), ended()],
        [asked(delay_s=0.9), *run(), ended()],
    ),
    "a task that is late": (
        "late",
        [asked(200.0, delay_s=2.0), *run(222.1), ended(222.5)],
        [asked(200.0, delay_s=2.0), *run(221.9), ended(222.5)],
    ),
    "a task that is late, asked twice": (
        "late",
        [asked(200.0), asked(201.0), *run(221.1), ended(221.5)],
        [asked(200.0), asked(201.0), *run(220.9), ended(221.5)],
    ),
    "a retry that is late": (
        "late",
        [
            asked(200.0, kind="fails", failures=1),
            *run(201.0, "failed"),
            *run(223.3, attempt=2),
            ended(223.7, attempts=2),
        ],
        [
            asked(200.0, kind="fails", failures=1),
            *run(201.0, "failed"),
            *run(223.1, attempt=2),
            ended(223.7, attempts=2),
        ],
    ),
    "a task that is late after two faults that overlap": (
        "late",
        [asked(200.0), *ON, *run(247.1), ended(247.5)],
        [asked(200.0), *ON, *run(246.9), ended(247.5)],
    ),
    "a task that is late, and others that were due later overtook it": (
        "late",
        [*at_work(due=lambda at: at - 0.5), asked(200.0), *run(223.0), ended(223.5)],
        [*at_work(due=lambda at: 199.0), asked(200.0), *run(223.0), ended(223.5)],
    ),
    "a task that is late, and its worker did what was due later in another queue": (
        "late",
        [*at_work(due=lambda at: at - 0.5, queue="queue_b"), asked(200.0), *run(223.0), ended(223.5)],
        [*at_work(due=lambda at: 199.0, queue="queue_b"), asked(200.0), *run(223.0), ended(223.5)],
    ),
    "a task that is late, and another worker was at work": (
        "late",
        [*at_work(due=lambda at: 199.0), asked(200.0), *run(223.0, worker=W2), ended(223.5)],
        [*at_work(due=lambda at: 199.0), asked(200.0), *run(223.0), ended(223.5)],
    ),
    "done again by a worker that had lost its connection": (
        "again",
        [*GOOD, *run(103.0), *fault(101.3, 101.4, "workers", pids=(W1,))],
        [*GOOD, *AGAIN, *fault(101.3, 101.4, "workers", pids=(W1,))],
    ),
    "done again, and a child was killed after that": (
        "again",
        [*GOOD, *run(103.0), *fault(101.3, 101.4, "workers", name="child lost", pids=(W1,))],
        [*GOOD, *run(103.0), *fault(101.1, 101.4, "workers", name="child lost", pids=(W1,))],
    ),
    "done again, and a child of another worker was killed": (
        "again",
        [*GOOD, *run(103.0), *died(101.3), *fault(101.1, 101.2, "workers", name="child lost", pids=(W2,))],
        [*GOOD, *run(103.0), *died(101.3), *fault(101.1, 101.2, "workers", name="child lost", pids=(W1,))],
    ),
    "done again, and nothing was too large": (
        "again",
        [*GOOD[:-1], *fault(100.9, 101.5, "network"), *run(103.0), ended(103.5)],
        [*GOOD[:-1], *fault(100.9, 101.5, "network", name="small messages"), *run(103.0), ended(103.5)],
    ),
    "two runs after the broker stood still": (
        "duplicate",
        [*COPIED, *fault(101.0, 110.9, "network", name="broker frozen")],
        [*COPIED, *fault(101.0, 111.1, "network", name="broker frozen")],
    ),
    "a result that is too large, and a run that was not done": (
        "attempts",
        [asked(), *run(ending="retry"), *TOO_LARGE],
        [asked(), *run(), *TOO_LARGE],
    ),
    "a result that is too large, and no letter": (
        "truth",
        [asked(), *run(), *TOO_LARGE[:-1]],
        [asked(), *run(), *TOO_LARGE],
    ),
    "two letters of one result": (
        "duplicate",
        [asked(), *run(), *TOO_LARGE, TOO_LARGE[-1]],
        [asked(), *run(), *TOO_LARGE, TOO_LARGE[-1], *fault(101.4, 101.5, "network")],
    ),
    "a call that ends twice": ("replies", [*GOOD, ended(102.0)], [*GOOD, asked(101.9, within_s=60), ended(102.0)]),
    "a reply that is given twice": (
        "replies",
        [*MAILBOX, collected(102.0)],
        [
            *MAILBOX,
            collected(102.0),
            *fault(101.7, 101.8, "requesters", name="requester killed", text="collector"),
        ],
    ),
    "a reply that is given twice when a requester died": (
        "replies",
        [*MAILBOX, collected(102.0), *fault(101.7, 101.8, "requesters", name="requester killed", text="r1")],
        MAILBOX,
    ),
    "a mailbox that is owed a reply": (
        "replies",
        without(MAILBOX, Collected),
        [asked(mode="mailbox"), told(answer="unknown"), *run()],
    ),
    "a result that is none": ("truth", [*GOOD[:-1], ended(digest="another")], GOOD),
    "a result before it was there": ("truth", [*GOOD[:-1], ended(101.1)], [*GOOD[:-1], ended(101.2)]),
    "a failure without a letter": (
        "truth",
        [asked(), *run(), ended(answer="failed", code="rejected")],
        REJECTED,
    ),
    "a failure with another reason": (
        "truth",
        [*without(REJECTED, Ended), ended(answer="failed", code="retries_exhausted")],
        REJECTED,
    ),
    "done and buried by the broker": (
        "truth",
        [*GOOD, letter("delivery_limit")],
        [*GOOD, letter("delivery_limit"), *fault(101.1, 101.2, "workers", pids=(W1,))],
    ),
    "a call that never ends": ("deadline", [asked(), *run()], [asked(THE_END - 30), *run(THE_END - 29)]),
    "a call that ends late": ("deadline", [*GOOD[:-1], ended(163.1)], [*GOOD[:-1], ended(162.9)]),
    "a call of a requester that was killed before": (
        "deadline",
        [asked(), *run(), *fault(99.0, 99.0, "requesters", name="requester killed", text="r1", pids=(9,))],
        [asked(), *run(), *fault(100.5, 100.5, "requesters", name="requester killed", text="r1", pids=(9,))],
    ),
    "a requester that is never told": (
        "deadline",
        [asked(mode="nobody"), *run()],
        [asked(mode="nobody"), told(), *run()],
    ),
    "an ack before its confirm": ("ack", [*GOOD, Violation(at=102.0, rule="ack", text="tag 1")], GOOD),
    "a failure before its letter": (
        "letter_first",
        [*GOOD, Violation(at=102.0, rule="letter_first", text="k")],
        GOOD,
    ),
    "a task that is published again": ("answered", [*GOOD, Violation(at=102.0, rule="answered", text="k")], GOOD),
    "more than the prefetch": ("prefetch", [*GOOD, Violation(at=102.0, rule="prefetch", text="5 unacked")], GOOD),
    "work that waits after a fault has healed": (
        "recovery",
        [*fault(195.0, 200.0, "broker"), *STUCK],
        [*fault(195.0, 203.0, "broker"), *STUCK],
    ),
    "no work after a fault has healed": (
        "recovery",
        [*fault(195.0, 200.0, "broker"), *STUCK],
        [*fault(195.0, 198.0, "broker"), *STUCK],
    ),
    "work that was due after a fault had healed": (
        "recovery",
        [*fault(195.0, 200.0, "broker"), *STUCK],
        [*fault(195.0, 200.0, "broker"), asked(199.0, "b", delay_s=2.0), *STUCK[1:]],
    ),
    "a next fault that cuts recovery short": (
        "recovery",
        [*fault(195.0, 200.0, "broker"), *STUCK],
        [*fault(195.0, 200.0, "broker"), *fault(205.0, 210.0, "workers"), *STUCK],
    ),
    "work that waits after the last of two faults has healed": (
        "recovery",
        [*fault(150.0, 200.0, "broker"), *fault(160.0, 199.0, "broker"), *STUCK],
        [*fault(150.0, 214.0, "broker"), *fault(160.0, 200.0, "broker"), *STUCK],
    ),
    "a queue that is not empty": (
        "drained",
        [*GOOD, Queue(at=THE_END, name="tasks.delay.00", ready=1, unacked=1)],
        [*GOOD, Queue(at=THE_END, name="queue_a.dead", ready=3, unacked=0, dead=True)],
    ),
    "a process that is left": ("left_over", [*GOOD, LeftOver(at=THE_END, what="process", text="77")], GOOD),
    "unknown in quiet": (
        "quiet",
        [asked(), ended(answer="unknown", attempts=0)],
        [asked(), ended(answer="unknown", attempts=0), *fault(100.5, 101.0, "requesters")],
    ),
    "unknown in quiet after a short fault within a long one": (
        "quiet",
        [asked(), ended(answer="unknown", attempts=0), *fault(70.0, 89.9, "broker"), *fault(75.0, 76.0, "broker")],
        [asked(), ended(answer="unknown", attempts=0), *fault(70.0, 95.0, "broker"), *fault(75.0, 76.0, "broker")],
    ),
    "unknown in quiet before a fault": (
        "quiet",
        [asked(), ended(answer="unknown", attempts=0), *fault(101.6, 102.0, "broker")],
        [asked(), ended(answer="unknown", attempts=0), *fault(101.4, 102.0, "broker")],
    ),
    "unknown so long after a fault": (
        "quiet",
        [asked(), ended(answer="unknown", attempts=0), *fault(80.0, 89.9, "broker")],
        [asked(), ended(answer="unknown", attempts=0), *fault(80.0, 90.1, "broker")],
    ),
}
#: Hits nobody here; but what happens beside it is not in quiet.
NOISE = fault(99.9, 99.95, "requesters", pids=(99,), text="r9")


def in_noise(invariant: str, records: Records) -> Records:
    return records if invariant == "quiet" else [*NOISE, *records]


@pytest.mark.parametrize(("invariant", "broken", "twin"), PAIRS.values(), ids=PAIRS)
def test_a_broken_promise_is_found_by_the_invariant_of_its_name_alone(
    invariant: str, broken: Records, twin: Records
) -> None:
    verdict = judged(*in_noise(invariant, broken))
    assert verdict.state == "broken"
    assert set(verdict.broken) == {invariant}


@pytest.mark.parametrize(("invariant", "broken", "twin"), PAIRS.values(), ids=PAIRS)
def test_what_is_nearly_the_same_is_let_pass(invariant: str, broken: Records, twin: Records) -> None:
    verdict = judged(*in_noise(invariant, twin))
    assert verdict.broken == {}
    assert verdict.state == "pass"


def test_every_invariant_has_a_ledger_that_breaks_it() -> None:
    assert {invariant for invariant, _, _ in PAIRS.values()} == set(INVARIANTS)


WHOLE: dict[str, Records] = {
    "done": GOOD,
    "done into a mailbox": MAILBOX,
    "done after a retry": RETRIED,
    "buried": BURIED,
    "rejected": REJECTED,
    "hostile": hostile(),
    "returned": [asked(mode="nobody"), told(answer="returned", id="")],
    "kills its worker until the broker buries it": [
        asked(kind="crashes_worker"),
        *(
            record
            for at in (101.0, 103.0, 105.0)
            for record in (started(at, worker=int(at)), *died(at + 1, int(at)))
        ),
        told(107.0),
        ended(107.0, "failed", code="delivery_limit"),
        letter("delivery_limit"),
    ],
    "two lineages of which each goes all the way": [
        asked(kind="always"),
        *fault(101.0, 101.5, "requesters", pids=(9,), text="r1 r3"),
        *run(101.0, "failed"),
        *run(102.0, "failed", worker=W2),
        *run(102.3, "failed", 2),
        *run(103.3, "failed", 2, W2),
        *run(104.6, "failed", 3),
        *run(105.6, "failed", 3, W2),
        told(105.9),
        ended(105.9, "failed", attempts=3, code="retries_exhausted"),
        *[letter("retries_exhausted", (1, 2, 3))] * 2,
    ],
    "a worker that is cut off runs on, and so does the one that got its task": [
        *fault(101.05, 108.0, "network", pids=(W1,), text="w1"),
        *(asked(), *run(101.0), *run(101.1, worker=W2), told(101.4), ended(101.4)),
    ],
    "a delayed task that a crash of the broker copied": [
        asked(delay_s=5.0, mode="nobody"),
        told(),
        *fault(101.0, 103.0, "broker"),
        *run(105.5),
        *run(105.6, worker=W2),
    ],
    "a reply that could not be delivered": [
        *without(MAILBOX, Collected),
        letter("no_mailbox", key="", body="a reply"),
    ],
    "a reply that nobody heard, since the requester was killed": [
        asked(),
        *fault(101.1, 102.0, "requesters", name="requester killed", pids=(9,), text="r1"),
        *run(),
    ],
    "asked again by a requester that is cut off time and again": [
        asked(),
        *fault(101.0, 102.0, "network"),
        *(record for worker in range(81, 86) for record in run(20.2 + worker, worker=worker)),
        told(107.0),
        ended(107.0),
    ],
}


@pytest.mark.parametrize("records", WHOLE.values(), ids=WHOLE)
def test_a_campaign_that_keeps_every_promise_passes(records: Records) -> None:
    verdict = judged(*records)
    assert verdict.broken == {}
    assert (verdict.state, verdict.text) == ("pass", "")


def test_what_was_not_drained_is_unknown_at_best() -> None:
    undrained = Drained(at=THE_END, complete=False, text="3 messages stay")
    lost = [asked(mode="nobody"), told()]
    for records in (GOOD, lost):
        assert check([PROMISE, *records, undrained]).state == "unknown"
        assert check([PROMISE, *records]).state == "unknown"
    assert "3 messages stay" in check([PROMISE, *GOOD, undrained]).text


def test_what_is_broken_is_broken_although_it_was_not_drained() -> None:
    verdict = check([PROMISE, *GOOD, *AGAIN, *NOISE, Drained(at=THE_END, complete=False)])
    assert verdict.state == "broken"
    assert set(verdict.broken) == {"duplicate"}


def test_nothing_is_no_pass() -> None:
    assert check([]).state == "unknown"
    assert check(GOOD).state == "unknown"
    assert judged().state == "unknown"


def test_an_explanation_names_its_key_and_its_times() -> None:
    ((text,),) = judged(*NOISE, *GOOD, *AGAIN).broken.values()
    for named in ("k:", "101.000", "103.000", str(W1), str(W2)):
        assert named in text


def test_the_order_of_the_records_does_not_matter() -> None:
    assert judged(*reversed([*NOISE, *GOOD, *AGAIN])) == judged(*NOISE, *GOOD, *AGAIN)


def test_what_happened_is_counted() -> None:
    counts = judged(
        *died(101.3),
        *GOOD,
        *AGAIN,
        *hostile(),
        *fault(195.0, 200.0, "broker"),
        asked(199.0, "b", mode="nobody"),
        told(200.0, key="b", answer="unknown"),
        *run(206.0, key="b"),
        asked(50.0, "x", mode="nobody"),
        told(50.1, key="x", answer="returned", id=""),
    ).counts
    assert counts.asked == {"ok": 3, "hostile": 1}
    assert (counts.accepted, counts.unknown, counts.returned, counts.refused) == (2, 1, 1, 0)
    assert (counts.done, counts.failed, counts.unknown_ends) == (1, 0, 0)
    assert counts.dead == {"undecodable": 1}
    assert (counts.runs, counts.forks) == (3, 1)
    assert (counts.explained, counts.unexplained) == ({"worker died": 1}, 0)
    assert counts.faults == {"worker died": 1, "broker broken": 1}
    assert list(counts.recovery_s) == pytest.approx([6.2])
    assert counts.worst_gap_s == pytest.approx(103.0)
    assert counts.minutes == pytest.approx(THE_END / 60)


def test_a_recovery_that_took_too_long_is_counted_as_well() -> None:
    fault_ = fault(195.0, 200.0, "broker")
    verdict = judged(*fault_, *STUCK)
    assert list(verdict.counts.recovery_s) == pytest.approx([12.2])
    assert "12.2 s later" in verdict.broken["recovery"][0]
    never = judged(*fault_, asked(199.0, mode="nobody"), told(199.1))
    assert "never" in never.broken["recovery"][0]
    assert list(never.counts.recovery_s) == pytest.approx([THE_END - 200.0])


def test_where_a_mailbox_may_lose_a_reply_none_is_owed() -> None:
    unanswered = without(MAILBOX, Collected)
    assert judged(*unanswered, promise=replace(PROMISE, has_mailboxes=False)).state == "pass"
    assert "replies" in judged(*unanswered).broken
    assert check([PROMISE, *unanswered, Drained(at=THE_END, complete=False)]).broken == {}


def test_a_fault_that_goes_on_at_a_new_process_is_counted_once() -> None:
    first, healed = fault(101.0, 110.0, "network", name="silence", pids=(W1,), text="w1")
    again, healed_too = fault(103.0, 110.0, "network", name="silence", pids=(W2,), text="w1")
    later = fault(120.0, 121.0, "network", name="silence", pids=(W2,), text="w1")
    assert judged(first, again, healed, healed_too, *later, *GOOD).counts.faults == {"silence": 2}


def test_a_quantile_is_one_of_the_values() -> None:
    assert [quantile([3.0, 1.0, 2.0], part) for part in (0.0, 0.5, 0.95, 1.0)] == [1.0, 2.0, 3.0, 3.0]
    assert quantile([], 0.5) == 0.0


def moved(records: Records, number: int) -> Records:
    """The same story under another key, at another time."""
    changes: Records = []
    for record in records:
        names = {name: getattr(record, name, "") for name in ("key", "id", "body", "digest")}
        at = record.at if isinstance(record, Letter) else record.at + number / 7
        changes.append(
            replace(record, at=at, **{name: f"{value}{number}" for name, value in names.items() if value})
        )
    return changes


STORIES = (GOOD, MAILBOX, RETRIED, BURIED, REJECTED, hostile())
ledgers = st.lists(st.sampled_from(STORIES), min_size=1, max_size=8).map(
    lambda stories: [record for number, story in enumerate(stories) for record in moved(story, number)]
)


@given(ledgers, st.data())
def test_whatever_ending_is_dropped_it_is_noticed(ledger: Records, data: st.DataObject) -> None:
    assert judged(*NOISE, *ledger).state == "pass"
    endings = [
        record
        for record in ledger
        if isinstance(record, Letter) or (isinstance(record, Finished) and record.ending == "done")
    ]
    dropped = data.draw(st.sampled_from(endings))
    verdict = judged(*NOISE, *(record for record in ledger if record is not dropped))
    assert "lost" in verdict.broken


@given(ledgers, st.data())
def test_whatever_run_letter_or_reply_is_there_twice_it_is_noticed(ledger: Records, data: st.DataObject) -> None:
    kinds = (Started, Letter, Ended, Collected)
    doubled = data.draw(st.sampled_from([record for record in ledger if isinstance(record, kinds)]))
    verdict = judged(*NOISE, *ledger, doubled)
    assert set(verdict.broken) & {"duplicate", "replies"}


@given(ledgers, st.data())
def test_no_part_of_a_ledger_passes_without_its_end(ledger: Records, data: st.DataObject) -> None:
    part = data.draw(st.lists(st.sampled_from([*NOISE, *ledger]), unique_by=id))
    assert check([PROMISE, *part]).state != "pass"
