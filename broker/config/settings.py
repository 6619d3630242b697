"""What can be configured: the keys, their units, bounds and defaults, and which values contradict each other.

Only shapes and pure functions. ``broker.config.loader`` reads the file and the environment and words the problems.
Every unit is in the name of its key; a key with nothing behind it (null) has its default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, PlainValidator, model_validator

from broker.config.breaker_settings import BreakerSettings
from broker.config.control_settings import ControlSettings
from broker.config.endpoint import Endpoint, parse_endpoint, shown
from broker.config.http_settings import HttpSettings
from broker.config.scaling_settings import ScalingSettings
from broker.config.section import Number, Secret, Section, without_empty
from broker.config.tls import TlsSettings
from broker.errors import ConfigError
from protocol.delay import LONGEST_S
from protocol.limits import Limits
from protocol.names import is_mailbox_name, is_task_name

EXAMPLE: dict[str, Any] = {
    "queues": {"queue_a": {}, "queue_b": {}},
    "tasks": {
        "task_a": {"queue": "queue_a", "handler": "worker.tasks:task_a"},
        "task_b": {"queue": "queue_b", "handler": "worker.tasks:task_b"},
    },
    "workload": [{"task": "task_a", "count": 1}, {"task": "task_b", "count": 1}],
}


def _fits(rule: Callable[[str], object], wanted: str) -> AfterValidator:
    def check(name: str) -> str:
        if not rule(name):
            raise ValueError(f"the name {shown(name)} does not fit. Write {wanted}.")
        return name

    return AfterValidator(check)


def _endpoint(value: object) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise ValueError("a URL is text. Write it like amqp://user:password@host:5672/vhost.")
    return parse_endpoint(value)


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | Endpoint) else value


_WORD = "lower-case letters, digits and _, at most 64 characters, like queue_a"
_WORDS = "lower-case letters, digits and _, in parts joined by dots, at most 100 characters, like reports.daily"
_BOX = "lower-case letters, digits, _ and -, at most 64 characters, like results"
_QUEUE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_HTTP = re.compile(r"https?://[^/@?#\s]+(/[^@?#\s]*)?")
_HANDLER = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("the list is empty. Give at least one.")
    return values


Text = Annotated[str, Field(strict=True)]
TaskName = Annotated[Text, _fits(is_task_name, _WORDS)]
QueueName = Annotated[Text, _fits(_QUEUE.fullmatch, _WORD)]
BreakerName = Annotated[Text, _fits(_QUEUE.fullmatch, "lower-case letters, digits and _, like payments")]
MailboxName = Annotated[Text, _fits(is_mailbox_name, _BOX)]
Handler = Annotated[Text, _fits(_HANDLER.fullmatch, "module:function, like worker.tasks:task_a")]
Seconds = Annotated[Number, Field(le=1_000_000)]
Backoff = Annotated[Number, Field(ge=0.1, le=LONGEST_S)]
Whole = Annotated[int, Field(strict=True)]
# A URL leaves the model only without its password, also through model_dump.
_Endpoint = Annotated[Endpoint, PlainValidator(_endpoint), PlainSerializer(str)]


class BrokerSettings(Section):
    """Where the broker is (``url``: one, or a list of which any will do) and how long to wait for it."""

    endpoints: Annotated[tuple[_Endpoint, ...], BeforeValidator(_listed), AfterValidator(_not_empty)] = Field(
        default=(Endpoint("amqp", "localhost", 5672, "guest", "guest", "/"),), alias="url"
    )
    #: Where the management API is, with its path prefix and without a login; null: as ``Management.of`` says.
    management_url: Annotated[Text, _fits(_HTTP.fullmatch, "a URL like http://host:15672")] | None = None
    #: Its login; null: that of the first URL.
    management_user: Text | None = None
    management_password: Secret | None = None
    heartbeat_s: Whole = Field(default=30, ge=1, le=3600)
    connect_timeout_s: Seconds = Field(default=5.0, ge=0.1)
    confirm_timeout_s: Seconds = Field(default=30.0, ge=0.1)
    #: What the broker allows (its own default); from RabbitMQ 4.3 on what a worker asks it for at least.
    consumer_timeout_s: Seconds = Field(default=1800.0, ge=1)
    tls: TlsSettings = Field(default_factory=TlsSettings)

    @model_validator(mode="after")
    def _whole_login(self) -> BrokerSettings:
        if (self.management_user is None) != (self.management_password is None):
            raise ValueError("management_user and management_password belong together. Give both, or neither.")
        return self


class RetrySettings(Section):
    """After failure n a task waits ``backoff_s[n-1]``, or its last entry, times 1 + (0 … ``jitter``)."""

    max_retries: Whole = Field(default=3, ge=0, le=100)
    backoff_s: Annotated[tuple[Backoff, ...], AfterValidator(_not_empty)] = (5.0, 10.0, 20.0)
    jitter: Number = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _fits_the_delay_line(self) -> RetrySettings:
        longest = max(self.backoff_s) * (1 + self.jitter)
        if longest > LONGEST_S:
            raise ValueError(
                f"backoff_s with its jitter reaches {longest:.1f} s, and the delay line holds "
                f"{LONGEST_S} s. Lower backoff_s or jitter."
            )
        return self


class DefaultSettings(Section):
    """What a task does not say itself. ``retry`` is filled in key by key."""

    retry: RetrySettings = Field(default_factory=RetrySettings)
    timeout_s: Seconds = Field(default=300.0, ge=0.1)
    executor: Literal["process", "thread", "async"] = "process"


class TaskSettings(DefaultSettings):
    """One kind of task: the queue it goes to and the function that does it.

    ``breaker`` names what it depends on; while that is open, ``fallback`` may answer in its place.
    """

    queue: Text
    handler: Handler
    breaker: Text | None = None
    fallback: Handler | None = None


class QueueSettings(Section):
    """``delivery_limit``: returns before the broker buries a task. ``prefetch``: ``effective_prefetch``."""

    delivery_limit: Whole = Field(default=50, ge=1, le=2**31 - 1)
    prefetch: Whole | None = Field(default=None, ge=1, le=65535)


class WorkerSettings(Section):
    """How many tasks one worker runs at a time, how long it may take to stop, and when a child is replaced."""

    concurrency: Whole = Field(default=2, ge=1, le=1000)
    grace_s: Seconds = Field(default=25.0, ge=0)
    cancel_grace_s: Seconds = Field(default=5.0, ge=0)
    start: Literal["spawn", "fork"] = "spawn"
    import_timeout_s: Seconds = Field(default=60.0, ge=1)
    handlers_get_login: Annotated[bool, Field(strict=True)] = False
    max_tasks_per_child: Whole | None = Field(default=None, ge=1)
    max_memory_per_child_mb: Whole | None = Field(default=None, ge=1)
    log_tasks: Annotated[bool, Field(strict=True)] = False
    http: HttpSettings = Field(default_factory=HttpSettings)


class LimitsSettings(Section):
    """Bounds on what is sent, received and remembered."""

    body_bytes: Whole = Field(default=1_048_576, ge=1024, le=134_217_728)
    # Property headers must fit into one frame of 128 KiB, or the broker closes the connection.
    header_bytes: Whole = Field(default=32_768, ge=4096, le=65_536)
    depth: Whole = Field(default=32, ge=1, le=100)
    nodes: Whole = Field(default=100_000, ge=1, le=10_000_000)
    error_text_bytes: Whole = Field(default=1024, ge=16, le=16_384)
    history_entries: Whole = Field(default=10, ge=2, le=100)
    batch_tasks: Whole = Field(default=1000, ge=1, le=10_000)
    ledger_entries: Whole = Field(default=10_000, ge=1, le=10_000_000)
    ledger_age_s: Seconds = Field(default=600.0, ge=0)
    ledger_bytes: Whole = Field(default=64 * 1_048_576, ge=0)

    @cached_property
    def messages(self) -> Limits:
        """The bounds of one message, as the protocol takes them."""
        return Limits(**{field.name: getattr(self, field.name) for field in fields(Limits)})

    @model_validator(mode="after")
    def _history_fits(self) -> LimitsSettings:
        if 2 * self.history_entries * self.error_text_bytes > self.header_bytes:
            raise ValueError(
                "history_entries × error_text_bytes is more than half of header_bytes, so a failing task "
                "would outgrow its headers. Lower one of the first two, or raise header_bytes."
            )
        return self


class WorkItem(Section):
    """``count`` tasks of one kind with the same arguments, for a bare ``python -m dispatcher``."""

    task: Text
    count: Whole = Field(default=1, ge=1, le=1_000_000)
    arguments: dict[Text, Any] = Field(default_factory=dict)


class Settings(Section):
    """The whole configuration. Without queues and tasks it is the example (queue_a, queue_b, task_a, task_b).

    ``broker.config.consistency`` reports what does not fit together across sections.
    """

    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    queues: dict[QueueName, QueueSettings] = Field(default_factory=dict)
    tasks: dict[TaskName, TaskSettings] = Field(default_factory=dict)
    defaults: DefaultSettings = Field(default_factory=DefaultSettings)
    breakers: dict[BreakerName, BreakerSettings] = Field(default_factory=dict)
    worker: WorkerSettings = Field(default_factory=WorkerSettings)
    scaling: ScalingSettings = Field(default_factory=ScalingSettings)
    control: ControlSettings = Field(default_factory=ControlSettings)
    workload: tuple[WorkItem, ...] = ()
    mailboxes: tuple[MailboxName, ...] = ()
    replies: Literal["direct", "mailbox"] = "direct"
    limits: LimitsSettings = Field(default_factory=LimitsSettings)
    #: The file that it was read from, absolute. Not a key of the file: only ``load`` sets it.
    path: Annotated[Path, Field(strict=True)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: object) -> object:
        tree = without_empty(cls, value)
        return _inherited(with_example(tree)) if isinstance(tree, dict) else tree

    def require_queues(self, names: Iterable[str]) -> None:
        """Raises ``ConfigError`` for each that is none of its queues."""
        text = f"is not in the configuration; it has {', '.join(self.queues)}."
        if problems := [f"queue {name!r} {text}" for name in names if name not in self.queues]:
            raise ConfigError(problems)


def with_example(tree: dict[str, Any]) -> dict[str, Any]:
    """``tree`` with the example's queues, tasks and workload where none are given.

    A tree with queues or tasks of its own gets neither tasks nor workload from the example.
    """
    own = tree.get("queues") is not None or tree.get("tasks") is not None
    missing = ["queues"] if own else list(EXAMPLE)
    return {**tree, **{key: deepcopy(EXAMPLE[key]) for key in missing if tree.get(key) is None}}


def _inherited(tree: dict[str, Any]) -> dict[str, Any]:
    defaults, tasks = tree.get("defaults"), tree.get("tasks")
    if isinstance(defaults, DefaultSettings):
        defaults = defaults.model_dump()
    if not isinstance(defaults, dict) or not isinstance(tasks, dict):
        return tree
    return {**tree, "tasks": {name: _merged(defaults, task) for name, task in tasks.items()}}


def _merged(defaults: dict[str, Any], task: object) -> object:
    if isinstance(task, TaskSettings):
        task = task.model_dump(exclude_unset=True)
    given = without_empty(TaskSettings, task)
    if not isinstance(given, dict):
        return given
    merged = {**{key: defaults[key] for key in DefaultSettings.model_fields if key in defaults}, **given}
    retry, own = defaults.get("retry"), without_empty(RetrySettings, given.get("retry"))
    if isinstance(retry, dict) and isinstance(own, dict):
        merged["retry"] = {**retry, **own}
    return merged


#: What a worker gives back so that others get it, and what it replaces, costs few of as many returns.
LEAST_LIMIT = 20


def effective_prefetch(queue: QueueSettings, worker: WorkerSettings) -> int:
    """How many unacknowledged deliveries of ``queue`` one worker holds at most; at first, if that finds itself."""
    return queue.prefetch or worker.concurrency + 2


def finds_itself(settings: Settings, name: str) -> bool:
    """Whether the prefetch of a queue grows with what a worker sees. Not behind a breaker, where all that is held
    waits for its turn; nor where a task may hardly be given back."""
    queue = settings.queues[name]
    return (
        queue.prefetch is None
        and queue.delivery_limit >= LEAST_LIMIT
        and all(task.breaker is None for task in settings.tasks.values() if task.queue == name)
    )
