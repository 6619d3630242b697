"""What exists on the broker, as data. Decides names, types and arguments; declares nothing.

Every argument is explicit: the defaults of RabbitMQ 3.10, 4.0 and 4.3 differ, and three of them lose messages
(no delivery limit on 3.10, a limit of 20 without a dead-letter exchange on 4.x, at-most-once dead-lettering).
See https://www.rabbitmq.com/docs/quorum-queues and https://www.rabbitmq.com/docs/dlx.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from broker.config.control_settings import ControlSettings
from broker.config.settings import Settings
from protocol import names
from protocol.delay import LEVELS, due_key, level_key, ttl_ms
from protocol.names import dead_queue, delay_level, mailbox_queue

#: As good as none, and legal everywhere: -1 means "at the first return" on 3.10.
UNLIMITED = 2**31 - 1
OBITUARY_TTL_MS = 24 * 3600 * 1000
OBITUARIES_KEPT = 100_000
#: Of the control stream.
SEGMENTS = 16

Argument = str | int


class ExchangeType(StrEnum):
    DIRECT = "direct"
    TOPIC = "topic"
    FANOUT = "fanout"


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: ExchangeType
    arguments: Mapping[str, Argument] = field(default_factory=dict)
    #: What it is for, as ``broker show`` prints it.
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue."""

    name: str
    arguments: Mapping[str, Argument]
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """From an exchange to a queue, or to another exchange."""

    source: str
    destination: str
    routing_key: str
    to_exchange: bool = False


@dataclass(frozen=True, slots=True)
class Topology:
    """All of it, in the order in which it has to be declared."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


def build(
    delivery_limits: Mapping[str, int],
    task_queues: Mapping[str, str],
    mailboxes: Iterable[str] = (),
    control: Topology | None = None,
) -> Topology:
    """The topology for work queues (name → delivery limit), tasks (name → queue), mailboxes, a control stream."""
    control = control or Topology((), (), ())
    work = [_work_queue(queue, limit) for queue, limit in delivery_limits.items()]
    boxes = [mailbox(name) for name in mailboxes]
    # Where the broker itself puts dead letters must be there before anything can die.
    return Topology(
        exchanges=(*_EXCHANGES, *_switches(), *control.exchanges),
        queues=(
            *_keeping_queues(delivery_limits),
            *_delay_queues(),
            *work,
            *(box.queue for box in boxes),
            *control.queues,
        ),
        bindings=(
            *_death_bindings(delivery_limits),
            *_delay_bindings(),
            *(binding for task, queue in task_queues.items() for binding in task_bindings(task, queue)),
            *(box.binding for box in boxes),
            *control.bindings,
        ),
    )


def topology_of(settings: Settings) -> Topology:
    """The topology of a configuration."""
    return build(
        {name: queue.delivery_limit for name, queue in settings.queues.items()},
        {name: task.queue for name, task in settings.tasks.items()},
        settings.mailboxes,
        control_of(settings.control) if settings.control.enabled else None,
    )


def control_of(settings: ControlSettings) -> Topology:
    """The control stream, and the two ways into it. The broker drops whole segments, so they are small
    (https://www.rabbitmq.com/docs/streams#retention)."""
    arguments: dict[str, Argument] = {
        "x-queue-type": "stream",
        "x-max-age": f"{settings.retention_s}s",
        "x-max-length-bytes": settings.retention_bytes,
        "x-stream-max-segment-size-bytes": settings.retention_bytes // SEGMENTS,
    }
    return Topology(
        (
            Exchange(names.CONTROL, ExchangeType.DIRECT, purpose="how workers are steered"),
            Exchange(names.MARKERS, ExchangeType.DIRECT, purpose="what workers have read of it"),
        ),
        (Queue(names.CONTROL_STREAM, arguments, "read by every worker"),),
        tuple(
            Binding(source, names.CONTROL_STREAM, names.CONTROL_STREAM)
            for source in (names.CONTROL, names.MARKERS)
        ),
    )


def task_bindings(task: str, queue: str) -> tuple[Binding, Binding]:
    """The two ways into a task's queue: at once, and by the end of the delay line."""
    return Binding(names.TASKS, queue, task), Binding(names.DUE, queue, due_key(task))


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A durable reply queue and the binding that fills it."""

    queue: Queue
    binding: Binding


def mailbox(name: str) -> Mailbox:
    queue = mailbox_queue(name)
    return Mailbox(
        Queue(queue, _quorum(UNLIMITED), "durable replies"),
        Binding(names.REPLIES, queue, name),
    )


_EXCHANGES = (
    Exchange(names.TASKS, ExchangeType.DIRECT, purpose="task name → its queue"),
    Exchange(
        names.DUE,
        ExchangeType.TOPIC,
        {"alternate-exchange": names.LOST},
        "where the delay line ends",
    ),
    Exchange(names.LOST, ExchangeType.FANOUT, purpose="delayed tasks that no queue is bound for any more"),
    Exchange(names.DEAD, ExchangeType.DIRECT, purpose="dead letters written by a worker"),
    Exchange(names.KILLED, ExchangeType.DIRECT, purpose="dead letters made by the broker"),
    Exchange(names.REPLIES, ExchangeType.DIRECT, purpose="mailbox name → mailbox"),
)


def _quorum(limit: int, **further: Argument) -> dict[str, Argument]:
    arguments = {key.replace("_", "-"): value for key, value in further.items()}
    return {"x-queue-type": "quorum", "x-delivery-limit": limit, **arguments}


def _dead_lettering(exchange: str) -> dict[str, Argument]:
    """At-least-once needs reject-publish: with drop-head RabbitMQ silently falls back to at-most-once."""
    return {
        "x_dead_letter_exchange": exchange,
        "x_dead_letter_strategy": "at-least-once",
        "x_overflow": "reject-publish",
    }


def _work_queue(name: str, limit: int) -> Queue:
    routing: dict[str, Argument] = {"x_dead_letter_routing_key": name}
    return Queue(name, _quorum(limit, **_dead_lettering(names.KILLED), **routing), "work")


def _keeping_queues(queues: Iterable[str]) -> list[Queue]:
    kept = "kept until a person decides"
    return [
        *(Queue(dead_queue(queue), _quorum(UNLIMITED), kept) for queue in queues),
        Queue(names.LOST, _quorum(UNLIMITED), kept),
        Queue(
            names.OBITUARIES,
            # drop-head is safe here alone: these are copies.
            _quorum(
                UNLIMITED, x_message_ttl=OBITUARY_TTL_MS, x_max_length=OBITUARIES_KEPT, x_overflow="drop-head"
            ),
            "failures still to be reported to requesters",
        ),
    ]


def _death_bindings(queues: Iterable[str]) -> list[Binding]:
    return [
        Binding(names.LOST, names.LOST, ""),
        Binding(names.LOST, names.OBITUARIES, ""),
        *(
            Binding(source, destination, queue)
            for queue in queues
            for source, destination in (
                (names.DEAD, dead_queue(queue)),
                (names.KILLED, dead_queue(queue)),
                (names.KILLED, names.OBITUARIES),
            )
        ),
    ]


def _below(level: int) -> str:
    return names.DUE if level == 0 else delay_level(level - 1)


def _switches() -> list[Exchange]:
    return [
        Exchange(delay_level(level), ExchangeType.TOPIC, purpose="a switch of the delay line")
        for level in reversed(range(LEVELS))
    ]


def _delay_queues() -> list[Queue]:
    return [
        Queue(
            delay_level(level),
            _quorum(UNLIMITED, x_message_ttl=ttl_ms(level), **_dead_lettering(_below(level))),
            f"waits {ttl_ms(level) / 1000:g} s",
        )
        for level in reversed(range(LEVELS))
    ]


def _delay_bindings() -> list[Binding]:
    return [
        binding
        for level in reversed(range(LEVELS))
        for binding in (
            Binding(delay_level(level), delay_level(level), level_key(level, 1)),
            Binding(delay_level(level), _below(level), level_key(level, 0), to_exchange=True),
        )
    ]
