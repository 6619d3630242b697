"""Who is measured, and how it is started. Starts nothing."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from dispatcher.client import Dispatcher
from tests.benchmarks.work import PREFETCH
from tests.support.peers import PYTHON

Family = Literal["ours", "bare", "peer", "c"]

_HANDLERS = "tests.benchmarks.handlers"
_OUR_REQUESTER = "tests.benchmarks.our_requester"


@dataclass(frozen=True, slots=True, eq=False)
class Contestant:
    """A pair of processes: one that asks, one that works. Each pair has a task and a queue of its own."""

    name: str
    family: Family
    #: In words, for the tables.
    configuration: str
    #: The command of its worker, and what it prints once it consumes.
    worker: Sequence[str]
    ready: str
    #: The command of its requester: see ``tests.benchmarks.requester``.
    requester: Sequence[str]
    #: Of its task in our configuration; peers declare queues of their own.
    executor: str = ""
    #: Whether it has single calls with a reply.
    calls: bool = True
    #: Whether its requester keeps the pace of calls that are due at given times.
    paces: bool = True
    #: Whether tasks can be sent that nobody waits for.
    sends: bool = True
    #: Whether it has no replies, and its one worker process counts what is done.
    counts_done: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def queue(self) -> str:
        return queue_of(self.name)


def queue_of(name: str) -> str:
    return f"bench_{_word(name)}"


def task_of(name: str) -> str:
    return f"bench.{_word(name)}"


def _word(name: str) -> str:
    return name.lower().replace(" ", "_").replace("-", "_")


def _ours(
    name: str, executor: str, concurrency: int, words: str, options: Sequence[str] = (), *, alone: bool = True
) -> Contestant:
    """``alone``: a task a message, so that there are single calls as well."""
    return Contestant(
        name,
        "ours",
        words,
        [sys.executable, "-m", "worker", queue_of(name), "--concurrency", str(concurrency)],
        " ready: ",
        [sys.executable, "-m", _OUR_REQUESTER, task_of(name), *options],
        executor,
        calls=alone,
        sends=alone,
    )


def _celery(pool: str) -> Contestant:
    name = f"celery {pool}"
    # Solo runs one at a time; there `-c` only scales its prefetch.
    worker = (*("-m", "celery", "-A", f"{_PEERS}.celery_app", "worker", "-P", pool, "-c", "2"), *_CELERY_OPTIONS)
    return _peer(
        name,
        f"{pool}, rpc://, msgpack, acks_late, quorum queue, prefetch {PREFETCH}, no confirms; "
        "events, gossip, mingle and remote control off",
        worker,
        ("-m", f"{_PEERS}.celery_requester"),
    )


def _peer(
    name: str,
    words: str,
    worker: Iterable[str],
    requester: Iterable[str],
    *,
    ready: str = "ready",
    replies: bool = True,
    sends: bool = True,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Contestant:
    return Contestant(
        name,
        "peer",
        words,
        [PYTHON, *worker],
        ready,
        [PYTHON, *requester],
        calls=replies,
        sends=sends,
        counts_done=not replies,
        environment={"BENCH_QUEUE": queue_of(name), **environment},
    )


_PEERS = "tests.benchmarks.peers"
_CELERY_OPTIONS = ("--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat")

#: What every ratio is a ratio to. Its queue is declared with ours, so it has the same arguments.
BARE = Contestant(
    "bare",
    "bare",
    "plain pika on asyncio: the same messages, confirms and order of acks as ours, and nothing else",
    [sys.executable, "-m", "tests.benchmarks.bare_worker", queue_of("bare"), str(PREFETCH)],
    "ready",
    [sys.executable, "-m", "tests.benchmarks.bare_requester", task_of("bare")],
    "thread",
)
#: The one of ours that others are compared with.
THREAD = _ours("thread", "thread", 2, "as it comes; two threads")
OURS = (
    THREAD,
    _ours("async", "async", PREFETCH, f"as it comes; up to {PREFETCH} coroutines"),
    _ours("process", "process", 2, "as it comes; two processes"),
)
BATCHES = (
    _ours("batch 50", "thread", 2, "two threads, map(batch=50)", ("--batch", "50"), alone=False),
    _ours("batch auto", "thread", 2, "two threads, map(batch='auto')", ("--batch", "auto"), alone=False),
)
#: Whether the dispatcher has them.
HAS_BATCHES = "batch" in inspect.signature(Dispatcher.map).parameters
PEER = (
    _celery("solo"),
    _celery("threads"),
    _celery("prefork"),
    _peer(
        "aio-pika",
        f"its RPC pattern with msgpack; persistent, confirmed, quorum queue, prefetch {PREFETCH}",
        ("-m", f"{_PEERS}.aio_pika_rpc", "worker", queue_of("aio-pika")),
        ("-m", f"{_PEERS}.aio_pika_rpc", "requester", queue_of("aio-pika")),
        sends=False,
    ),
    _peer(
        "faststream",
        f"request(): one at a time by its own lock; persistent, confirmed, quorum queue, prefetch {PREFETCH}",
        ("-m", f"{_PEERS}.faststream_rpc", "worker", queue_of("faststream")),
        ("-m", f"{_PEERS}.faststream_rpc", "requester", queue_of("faststream")),
    ),
    _peer(
        "taskiq",
        f"one way: over AMQP it has no replies; async task, quorum queue, confirmed, prefetch {PREFETCH}",
        ("-m", "taskiq", "worker", f"{_PEERS}.taskiq_app:broker", "--workers", "1"),
        ("-m", f"{_PEERS}.taskiq_requester"),
        ready="Listening started",
        replies=False,
    ),
    _peer(
        "dramatiq",
        f"one way: over AMQP it has no replies; two threads, quorum queue, confirmed, prefetch {PREFETCH}",
        ("-m", "dramatiq", f"{_PEERS}.dramatiq_app", "--processes", "1", "--threads", "2"),
        ("-m", f"{_PEERS}.dramatiq_requester"),
        ready="ready for action",
        replies=False,
        environment={"dramatiq_queue_prefetch": str(PREFETCH)},
    ),
)
#: What Celery starts if nobody tells it otherwise, also prefork. Measured above without what slows it down.
CELERY_AS_IT_COMES = _peer(
    "celery as it comes",
    "prefork, with events, gossip, mingle and remote control; its start and its memory only",
    ("-m", "celery", "-A", f"{_PEERS}.celery_app", "worker", "-c", "2", "--loglevel", "WARNING"),
    ("-m", f"{_PEERS}.celery_requester"),
    environment={"BENCH_AS_IT_COMES": "1"},
)


def c_client(programs: Mapping[str, str]) -> Contestant:
    """The broker's limit: the same hops in C. ``programs``: ``worker`` and ``requester``, built."""
    return Contestant(
        "C client",
        "c",
        "librabbitmq: requests persistent, mandatory and confirmed; direct replies unconfirmed; an ack for each",
        [programs["worker"], queue_of("C client"), str(PREFETCH)],
        "ready",
        [programs["requester"], task_of("C client")],
        "thread",
        paces=False,
    )


def configuration(contestants: Sequence[Contestant]) -> dict[str, Any]:
    """A ``config.yml`` with a queue and a task for each that uses ours; the URL comes from the environment."""
    # The further sections use the thread executor, whoever else is measured.
    own = [THREAD, *(one for one in contestants if one.executor and one is not THREAD)]
    handled = {
        **{one: "noop_async" if one.executor == "async" else "noop" for one in own},
        **{one: "stamp_async" if one.executor == "async" else "stamp" for one in stampers()},
        sleeper(): "sleep",
    }
    return {
        # Those that sleep get the prefetch that comes by itself.
        "queues": {one.queue: {"prefetch": PREFETCH} if one in own else {} for one in handled},
        "tasks": {
            task_of(one.name): {
                "queue": one.queue,
                "handler": f"{_HANDLERS}:{handler}",
                "executor": one.executor,
            }
            for one, handler in handled.items()
        },
        # Short enough for 200 prefetched tasks, one at a time, to fit into the broker's acknowledgement timeout.
        "defaults": {"timeout_s": 5},
        "workload": [],
    }


def stampers() -> list[Contestant]:
    """Workers whose handlers tell when they begin."""
    return [_ours(f"stamp {executor}", executor, 2, "as it comes") for executor in ("thread", "async", "process")]


def sleeper() -> Contestant:
    """A worker that runs one task at a time, of those that sleep."""
    return _ours("sleep", "process", 1, "as it comes; one process each")
