"""A vhost, a configuration for it, and the workers and dispatchers that a test starts with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from broker.amqp.connection import connect
from broker.config import loader as config
from broker.config.settings import Settings
from broker.errors import ConnectionLost, Unreachable
from broker.topology.declare import declare
from broker.topology.model import topology_of
from tests.support.caller import Caller
from tests.support.journal import Journal
from tests.support.vhost import Vhost
from tests.support.waiting import insist, run
from tests.support.workers import WorkerProcess, environment

_HANDLERS = "tests.support.handlers"

#: Handlers of ``tests.support.handlers`` that are tasks of ``queue_a``, each by its own name.
_NAMES = (
    "note",
    "fail",
    "ask_for_retry",
    "reject",
    "crash",
    "leave",
    "raise_unspeakable",
    "opaque",
    "huge",
    "echo",
    "hold",
    "bear_and_hold",
    "fork_and_crash",
    "keep_the_lock",
)


def base_configuration() -> dict[str, Any]:
    """Two queues, every test handler in ``queue_a``, ``task_b`` and ``note_b`` in ``queue_b``, quick retries."""
    handlers = {name: {"queue": "queue_a", "handler": f"{_HANDLERS}:{name}"} for name in _NAMES}
    return {
        "broker": {"connect_timeout_s": 5.0},
        "queues": {"queue_a": {}, "queue_b": {}},
        "tasks": {
            **handlers,
            "loop": {"queue": "queue_a", "handler": f"{_HANDLERS}:loop", "timeout_s": 0.5},
            "task_a": {"queue": "queue_a", "handler": "worker.tasks:task_a"},
            "task_b": {"queue": "queue_b", "handler": "worker.tasks:task_b"},
            "note_b": {"queue": "queue_b", "handler": f"{_HANDLERS}:note"},
        },
        "defaults": {"retry": {"max_retries": 3, "backoff_s": [0.5, 0.5, 0.5], "jitter": 0.1}},
        "worker": {"concurrency": 2, "grace_s": 10},
    }


class Installation:
    """One vhost with one configuration. ``close`` ends every process and connection that it started."""

    def __init__(self, vhost: Vhost, folder: Path, changes: Mapping[str, Any] | None = None) -> None:
        """``changes`` are merged into ``base_configuration``, key by key."""
        self.vhost = vhost
        self.folder = folder
        self.config = folder / "config.yml"
        self.config.write_text(yaml.safe_dump(merged(base_configuration(), changes or {})))
        self.environment = environment(self.config, vhost.url)
        self.settings = config.load(None, self.environment)
        self._cleanup = contextlib.ExitStack()
        self._journals = 0

    def worker(self, *queues: str, ready: bool = True, **further: str) -> WorkerProcess:
        """Start a worker (of ``queue_a``, if none is named) and wait until it is ready.

        ``further`` is added to its environment.
        """
        process = self._kept(WorkerProcess(queues or ("queue_a",), {**self.environment, **further}))
        return process.wait_ready() if ready else process

    def worker_of(self, code: Path, *queues: str, **further: str) -> WorkerProcess:
        """The same with the code of another folder than this checkout."""
        own = {**self.environment, **further}
        return self._kept(WorkerProcess(queues or ("queue_a",), own, cwd=code)).wait_ready()

    def _kept(self, process: WorkerProcess) -> WorkerProcess:
        self._cleanup.callback(process.stop)
        return process

    def caller(self) -> Caller:
        """A dispatcher, connected."""
        return insist(lambda: self._cleanup.enter_context(Caller(self.settings)), Unreachable, ConnectionLost)

    def journal(self) -> Journal:
        """An empty journal."""
        self._journals += 1
        return Journal(self.folder / f"journal-{self._journals}")

    def gate(self) -> Path:
        """A file that is not there yet; ``touch`` lets the handlers pass that hold for it."""
        self._journals += 1
        return self.folder / f"gate-{self._journals}"

    def declare(self) -> None:
        """Make the topology."""
        make_topology(self.settings)

    def close(self) -> None:
        self._cleanup.close()


def make_topology(settings: Settings) -> None:
    """Make the topology of a configuration, or what is missing of it."""

    async def make() -> None:
        connection = await connect(settings.broker.endpoints[0], name="test declare", heartbeat_s=30, timeout_s=30)
        try:
            await declare(connection, topology_of(settings))
        finally:
            await connection.close()

    insist(lambda: run(make(), within_s=60), Unreachable, ConnectionLost)


#: Makes an installation; keywords change its configuration.
Install = Callable[..., Installation]


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes`` over it: mappings are merged, everything else is replaced."""
    both = {
        key: merged(base[key], value)
        if isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        else value
        for key, value in changes.items()
    }
    return {**base, **both}
