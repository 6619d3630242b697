"""What a test does with its own Glassrabbit: tasks, workers, and the certainty that nothing is left."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from broker.config.loader import load
from broker.config.settings import Settings
from broker.dead_letters.queue import Letter, dead_queues
from broker.topology.model import topology_of
from dispatcher import BlockingDispatcher
from glassrabbit_testing.left import declared, letters, table, until_empty, until_settled
from glassrabbit_testing.perform import perform
from glassrabbit_testing.submitted import submitted
from glassrabbit_testing.vhost import RabbitVhost
from glassrabbit_testing.worker_process import WorkerProcess
from glassrabbit_testing.worker_thread import WorkerThread
from protocol.codec import Encoder, decode_arguments
from protocol.delay import LEVELS, ttl_ms
from protocol.names import delay_level

#: How long a worker may take to settle what its caller has the answer of.
_SETTLED_S = 2.0


class Glass:
    """Your configuration in the test's own virtual host. What needs no broker starts none."""

    def __init__(self, vhost: RabbitVhost, folder: Path) -> None:
        """``folder``: where ``config.yml`` is, if ``GLASSRABBIT_CONFIG`` does not name it."""
        self.vhost = vhost
        self._folder = folder
        self._life = contextlib.ExitStack()
        self._workers: list[WorkerProcess] = []

    def close(self, *, leftovers_fail: bool = True) -> None:
        """End what it started. Raises ``AssertionError`` with what the test left behind."""
        with self._life:
            if leftovers_fail and "settings" in self.__dict__:
                self._fail_if_left()

    @property
    def environment(self) -> dict[str, str]:
        """For commands of your own: that of this process, this configuration, this virtual host."""
        return {**self._configured, "BROKER_URL": self.vhost.url}

    @cached_property
    def settings(self) -> Settings:
        """The configuration, whose topology is declared in the virtual host."""
        settings = load(None, self.environment)
        # What pika logs at each end of a connection is what our own links say in one line.
        logging.getLogger("pika").setLevel(logging.CRITICAL)
        link = self.vhost.link
        link.run(declared(link, topology_of(settings)))
        return settings

    @cached_property
    def dispatcher(self) -> BlockingDispatcher:
        """To ``call``, ``ask``, ``submit`` and ``map`` tasks, and to ``collect`` from mailboxes."""
        return self._life.enter_context(BlockingDispatcher(self.settings))

    def perform(self, task: str, attempt: int = 1, /, **arguments: Any) -> Any:
        """The result of a task's handler, run without a broker. Arguments and result pass through msgpack as they
        do on their way, ``current()`` is set, and what the handler raises is raised: ``Retry`` and ``Reject`` too.

        Raises ``Hangs`` once the handler takes longer than ``timeout_s`` of its task; it says where it is.
        """
        return perform(load(None, self._configured), task, attempt, arguments)

    def worker(self, *queues: str, here: bool = False) -> WorkerProcess | WorkerThread:
        """A worker of these queues, of all if none is named, until the end of the test. Returns when it is ready.

        It is a process of its own, or with ``here`` a thread of this one, in which handlers can be patched.
        """
        names = queues or tuple(self.settings.queues)
        worker: WorkerProcess | WorkerThread
        if here:
            worker = WorkerThread(self.settings, names)
            self._life.callback(worker.stop)
            return worker
        worker = WorkerProcess(names, self.environment, cwd=self._folder)
        self._life.callback(worker.stop)
        self._workers.append(worker)
        return worker.wait_ready()

    def drain(self, timeout: float = 10.0) -> None:
        """Return once no task is ready, unacked or in the delay line. Fails after ``timeout`` seconds, with a
        table of what is left."""
        __tracebackhide__ = True
        delays = [delay_level(level) for level in reversed(range(LEVELS))]
        queues = [*delays, *self.settings.queues]
        link = self.vhost.link
        left = link.run(until_empty(link, queues, timeout), timeout)
        if left:
            raise AssertionError(f"not drained after {timeout:g} s:\n{table(left)}")

    @contextlib.contextmanager
    def submits(self, task: str, /, **arguments: Any) -> Iterator[None]:
        """The block has to send this task with these arguments once, with or without a delay, by any client that
        connects to ``vhost.url``. What it sends besides is its own affair."""
        __tracebackhide__ = True
        limits, traffic = self.settings.limits.messages, self.vhost.link.traffic
        wanted = task, decode_arguments(Encoder(limits).arguments(arguments), limits)
        traffic.published, traffic.is_read = [], True
        try:
            yield
        finally:
            traffic.is_read = False
        sent = submitted(traffic.published, limits)
        if sent.count(wanted) != 1:
            lines = [f"  {name} {given}" for name, given in sent] or ["  nothing"]
            what = f"{task} {wanted[1]} was sent {sent.count(wanted)} times and not once. This was sent:"
            raise AssertionError("\n".join([what, *lines]))

    def delays(self, scale: float) -> None:
        """From now on what waits in the delay line of this virtual host waits ``scale`` times as long (0 to 1), in
        steps of a millisecond: a retry after 30 s at 0.01 comes after 0.3 s."""
        assert 0 <= scale <= 1, "a policy of RabbitMQ can only shorten what waits"
        for level in range(LEVELS):
            self.vhost.policy(delay_level(level), {"message-ttl": max(1, round(ttl_ms(level) * scale))})

    def kill_worker(self) -> None:
        """SIGKILL to the worker process that was started last, as a machine would end it that has no more memory.
        What it held unacked goes back to its queue."""
        process = self._workers.pop()
        process.sigkill()
        process.wait()

    def letters(self, *queues: str) -> list[Letter]:
        """Take the dead letters of these queues, of all if none is named: they are no leftovers then."""
        return self._letters(*queues, take=True)

    def _letters(self, *queues: str, take: bool) -> list[Letter]:
        link, dead = self.vhost.link, dead_queues(self.settings, queues)
        return link.run(letters(link, dead, take=take))

    def _fail_if_left(self) -> None:
        link = self.vhost.link
        unacked = link.run(until_settled(link, _SETTLED_S))
        lines = [f"unacked in {one.queue}: {one.type} {one.id}" for one in unacked]
        lines += [
            f"dead in {letter.queue}: {letter.task} {letter.id}: {letter.reason.code}, {letter.reason.text}"
            for letter in self._letters(take=False)
        ]
        if lines:
            raise AssertionError("\n".join(["the test left behind:", *lines]))

    @property
    def _configured(self) -> dict[str, str]:
        file = self._folder / "config.yml"
        named = {"GLASSRABBIT_CONFIG": str(file)} if file.exists() else {}
        return {**named, **os.environ}
