"""What is wrong with an installation, and which failure that is. Pure: facts in, verdicts out.

A task system fails at one of four points, in this order: the broker is down, a worker does not connect, tasks are
not processed, results do not return. Each check belongs to one of them, and the first point with a failed check is
what this is: whatever fails behind it may only be its consequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from broker.config.settings import Settings
from broker.management import Clock
from broker.status.workers import Listed
from broker.topology.diff import Difference
from protocol.errors import ExitCode


class State(StrEnum):
    """How a check came out. ``UNKNOWN``: it could not be looked at, or there is something to know, no fault."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Point(StrEnum):
    """Where a task system fails, in the order in which one looks."""

    BROKER = "broker down"
    WORKER = "worker not connecting"
    TASKS = "tasks not processed"
    RESULTS = "results not returning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The end of one check. ``fix`` is there unless it is ok."""

    check: str
    point: Point
    state: State
    measured: str
    #: Why it matters.
    why: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """What came of a connection to one endpoint. ``problem`` is None if it is open."""

    where: str
    took_ms: int = 0
    problem: str | None = None
    #: It answered and said no: to the login, or to the virtual host.
    refused: bool = False
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What this user may do, by trial. None: it was not, or could not be, tried."""

    #: Exchanges, ``(default)`` among them.
    write: Mapping[str, bool | None] = field(default_factory=dict)
    #: Queues.
    read: Mapping[str, bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """What the management API listed."""

    user: str
    tags: frozenset[str]
    overview: Listed
    feature_flags: Sequence[Listed]
    counts: Sequence[Listed]
    exchanges: Sequence[Listed]
    queues: Sequence[Listed]
    bindings: Sequence[Listed]
    policies: Sequence[Listed]
    consumers: Sequence[Listed]
    connections: Sequence[Listed]
    #: Empty without the tag ``monitoring``.
    nodes: Sequence[Listed] = ()
    clock: Clock | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What came of one task that was sent to see whether its result returns."""

    task: str
    took_ms: int
    #: ``done``, ``failed``, ``unroutable``, ``refused``; without a reply: ``waiting`` (in its queue), ``taken``.
    end: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the checks judge. None stands for what could not be asked."""

    settings: Settings
    reached: Sequence[Reached]
    #: The broker said that it takes no publishes.
    blocked: bool = False
    rights: Rights | None = None
    #: Ready messages and consumers of each queue that is there and may be seen, by AMQP.
    inspected: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    #: Queues that are there, and of which the broker did not say in time what is in them.
    silent: Sequence[str] = ()
    #: Something was not answered in time.
    is_late: bool = False
    api: Api | None = None
    api_problem: str = ""
    #: What is not as the configuration says: from the API with bindings, else by AMQP as text.
    differences: Sequence[Difference | str] | None = None
    #: Queues in which no fewer messages wait for their next queue than some seconds before, and how many.
    stuck: Mapping[str, int] | None = None
    #: Whether the broker took a body as large as ours may be.
    takes_largest: bool | None = None
    #: What a crash of the broker kept from its next queue is sent again after so long.
    resends_after_s: float | None = None
    probe: Probe | None = None
    #: Queues that are paused, and by whom; of a control stream that could be read.
    paused: Mapping[str, str] | None = None
    #: Why it could not.
    control_problem: str = "it was not asked in time"

    @property
    def is_open(self) -> bool:
        return any(one.problem is None for one in self.reached)

    @property
    def version(self) -> str:
        """Of RabbitMQ, as the first node that let us in says; empty if none did."""
        return next((one.version for one in self.reached if one.version), "")


def unseen(check: str, why: str, fix: str, point: Point = Point.BROKER) -> Verdict:
    """Of what could not be looked at; ``fix`` says how it can be."""
    return Verdict(check=check, point=point, state=State.UNKNOWN, measured="not seen", why=why, fix=fix)


def diagnosis(verdicts: Sequence[Verdict]) -> Point | None:
    """The point at which this installation fails; None if no check failed."""
    failed = {verdict.point for verdict in verdicts if verdict.state is State.FAILED}
    return next((point for point in Point if point in failed), None)


def exit_code(verdicts: Sequence[Verdict], facts: Facts) -> ExitCode:
    """69 if no broker answered, 75 if it left something unanswered, 1 if a check failed."""
    if not any(one.problem is None or one.refused for one in facts.reached):
        return ExitCode.UNAVAILABLE
    if facts.is_late:
        return ExitCode.TIMED_OUT
    return ExitCode.OK if diagnosis(verdicts) is None else ExitCode.FAILED
