"""What stands in the queues and who works on it, as values. Pure: what the broker listed in, a ``Status`` out.

There are two sources. AMQP gives the ready messages and the number of consumers of each queue, exactly now, and
nothing else. The management API gives what is unacked, rates and workers, and its numbers are up to ten seconds
old. None stands for what is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from broker.amqp.counting import Count
from broker.config.settings import Settings
from broker.management import STALENESS_S
from broker.status.workers import Listed, WorkerStatus, table, whole, workers_of
from protocol.delay import LEVELS, UNIT_MS, ttl_ms
from protocol.names import LOST, OBITUARIES, dead_queue, delay_level, mailbox_queue

#: Queues that a note names.
_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueStatus:
    """One queue. ``ready`` is None if there is no such queue, or nothing is known of it yet."""

    name: str
    ready: int | None = None
    unacked: int | None = None
    consumers: int | None = None
    #: Messages a second, over the last samples: what came by any way, and what was acked.
    in_rate: float | None = None
    out_rate: float | None = None
    #: Seconds since the first dispatch of the task that is next; only if it was looked at.
    oldest_s: float | None = None

    @property
    def waiting(self) -> int | None:
        """Everything in it, unacked or not; None if ``ready`` is."""
        return None if self.ready is None else self.ready + (self.unacked or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One look at an installation."""

    #: How old unacked messages, rates and workers may be; None: the API, which has them, did not answer.
    staleness_s: int | None
    work: tuple[QueueStatus, ...]
    #: Those of the configuration: results that wait to be collected.
    mailboxes: tuple[QueueStatus, ...]
    delays: tuple[QueueStatus, ...]
    dead: tuple[QueueStatus, ...]
    obituaries: QueueStatus
    #: None: workers are unknown.
    workers: tuple[WorkerStatus, ...] | None
    notes: tuple[str, ...] = ()
    #: Queues that are there, and whose messages and consumers nobody knows.
    unknown: tuple[str, ...] = ()
    #: Work queues that are paused; None if there is no control stream, or it does not say.
    paused: tuple[str, ...] | None = None

    @property
    def delayed(self) -> int | None:
        """Tasks that wait for their time; None if it is not known of a level."""
        known = [level.waiting for level in self.delays if level.waiting is not None]
        return sum(known) if len(known) == len(self.delays) else None

    @property
    def next_due_s(self) -> float | None:
        """Seconds within which the next delayed task falls due; None if none waits.

        A queue says how many wait in it, not since when. What waits in a level leaves it within the level's
        TTL, and passes at worst through every lower one.
        """
        waiting = [level for level, queue in enumerate(self.delays) if queue.waiting]
        return (2 * ttl_ms(waiting[0]) - UNIT_MS) / 1000 if waiting else None


def queue_names(settings: Settings) -> list[str]:
    """Every queue that a status shows."""
    dead = [dead_queue(name) for name in settings.queues]
    boxes = map(mailbox_queue, settings.mailboxes)
    return [*settings.queues, *boxes, *dead, LOST, OBITUARIES, *map(delay_level, range(LEVELS))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What the management API listed."""

    counts: Sequence[Listed]
    consumers: Sequence[Listed]
    connections: Sequence[Listed]
    channels: Sequence[Listed]


def status_of(
    settings: Settings,
    counts: Mapping[str, Count | None],
    listing: Listing | None,
    now_s: float,
    notes: Sequence[str] = (),
) -> Status:
    """``counts``: of each queue that there is. See ``broker.amqp.counting``."""
    listed = {str(one.get("name")): one for one in listing.counts} if listing else {}
    queues = {
        name: QueueStatus(name=name) if found is None else _queue(name, *found, listed.get(name, {}))
        for name, found in counts.items()
    }
    unknown = tuple(name for name, found in counts.items() if found is None)

    def of(names: Iterable[str]) -> tuple[QueueStatus, ...]:
        return tuple(queues.get(name, QueueStatus(name=name)) for name in names)

    unseen = [name for name in queue_names(settings) if name not in queues]
    if unseen:
        notes = [*notes, f"{some(unseen)}: missing. Run `python -m broker declare`."]
    if unknown:
        notes = [*notes, f"{some(unknown)}: unknown. No leader answers, or this user may not read it."]
    return Status(
        staleness_s=STALENESS_S if listing else None,
        work=of(settings.queues),
        mailboxes=of(map(mailbox_queue, settings.mailboxes)),
        delays=of(map(delay_level, range(LEVELS))),
        dead=of([*map(dead_queue, settings.queues), LOST]),
        obituaries=of([OBITUARIES])[0],
        workers=workers_of(listing.consumers, listing.connections, listing.channels, now_s) if listing else None,
        notes=tuple(notes),
        unknown=unknown,
    )


def some(names: Sequence[str]) -> str:
    """The first few."""
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _queue(name: str, ready: int, consumers: int, listed: Listed) -> QueueStatus:
    acked, growth = _rate(table(listed, "message_stats"), "ack"), _rate(listed, "messages")
    return QueueStatus(
        name=name,
        ready=ready,
        consumers=consumers,
        unacked=whole(listed.get("messages_unacknowledged")),
        # The API counts no message that another queue dead-lettered into this one, as the delay line does. What
        # came is what was acked, and by how much the queue grew.
        in_rate=None if growth is None else max(0.0, (acked or 0.0) + growth),
        out_rate=acked if acked is not None else (None if growth is None else 0.0),
    )


def _rate(listed: Listed, what: str) -> float | None:
    rate = table(listed, f"{what}_details").get("rate")
    return float(rate) if isinstance(rate, int | float) else None
