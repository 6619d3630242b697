"""Autoscaling's workers as containers: what is wanted of them, and docker at work on it.

Docker does one thing at a time for each queue. What is wanted meanwhile is done next, the last word alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from worker.scaling.compose import DockerError, Project
from worker.scaling.target import Held

log = logging.getLogger("glassrabbit.pool")

#: A container's host name is the beginning of its id.
_HOST_LENGTH = 12


class Containers:
    """Workers that are compose's, and stay when this stops. All of it on one event loop."""

    at_stop = "the containers stay as they are"

    def __init__(self, project: Project, running: Mapping[str, list[str]]) -> None:
        """``running``: what ``project.containers()`` says."""
        self._project = project
        self._running = dict(running)
        self._wanted: dict[str, int] = {}
        self._held: Held = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def count(self, queue: str) -> int:
        """Containers that the queue is to have, while docker is at work on it; else those that it has."""
        return self._wanted.get(queue, len(self._running[queue]))

    def want(self, queue: str, count: int, held: Held | None = None) -> None:
        """Have docker start containers, or let those finish that hold least, the newest of them first."""
        self._held = held or {}
        if count == self.count(queue):
            return
        self._wanted[queue] = count
        if queue not in self._tasks:
            self._tasks[queue] = asyncio.create_task(self._work(queue), name=f"docker for {queue}")

    async def refresh(self) -> None:
        """See what runs now; others may scale or stop them."""
        try:
            self._running = await self._project.containers()
        except DockerError as error:
            log.warning("how many run is not known: %s", error)

    async def roll(self) -> None:
        """Only say who does it."""
        words = self._project.words({queue: self.count(queue) for queue in self._running})
        command = " ".join(words).replace("--no-recreate", "--force-recreate")
        log.warning("SIGHUP: to have new containers in place of these, run: docker %s", command)

    def abort(self) -> None:
        """Wait for docker no longer; it may have done a part."""
        for task in self._tasks.values():
            task.cancel()

    async def stop(self) -> None:
        """Wait until docker has done what it was asked."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def _work(self, queue: str) -> None:
        try:
            is_done = False
            while not is_done:
                count = self._wanted[queue]
                await self._make(queue, count, (await self._project.containers())[queue])
                self._running = await self._project.containers()
                is_done = count == self._wanted[queue]
        except DockerError as error:
            log.error("%s: %s The next look tries again.", queue, error)
        finally:
            del self._tasks[queue], self._wanted[queue]

    async def _make(self, queue: str, count: int, running: list[str]) -> None:
        if count > len(running):
            await self._project.scale({queue: count})
            log.info("%s: %d containers", queue, count)
        elif leaving := sorted(running, key=self._holds)[: len(running) - count]:
            names = ", ".join(one[:_HOST_LENGTH] for one in leaving)
            log.info("%s: %s: to finish what runs", queue, names)
            await self._project.remove(queue, leaving)
            log.info("%s: %s: gone", queue, names)

    def _holds(self, container: str) -> int:
        host = container[:_HOST_LENGTH]
        return sum(unacked for (on, _), unacked in self._held.items() if on == host)
