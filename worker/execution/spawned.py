"""A child that is a fresh interpreter, and the environment in which handlers run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence

from broker.config.environment import URLS, WITHHELD
from broker.console.start import command

_SECRETS = ("GLASSRABBIT__BROKER__", "GLASSRABBIT__WORKER__HTTP__")


class Spawned:
    """A process of ours, with a group of its own. See ``child_process.Process``."""

    is_orphan = False

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, name: str, stdin: int, passed: Sequence[int], *, with_login: bool) -> Spawned:
        """``name``: one of ``broker.console.start.PROCESSES``. ``with_login``: with all of our environment."""
        process = await asyncio.create_subprocess_exec(
            *command(name, *map(str, passed)),
            stdin=stdin,
            # Standard output is for data; a handler's prints are not data of ours.
            stdout=2,
            pass_fds=passed,
            env=None if with_login else _without_login(os.environ),
            process_group=0,
        )
        return cls(process)

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    def kill(self, number: int = signal.SIGKILL) -> None:
        # What it forked holds the group, and the group its number, until the last of them has ended.
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return


def _without_login(environment: Mapping[str, str]) -> dict[str, str]:
    """For handlers, who have no business with the broker's password, or the token of the metrics."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in URLS and not name.upper().startswith(_SECRETS)
    }
    # Else a handler that sends tasks would send them to whatever is on this machine.
    return {**kept, WITHHELD: "1"} if any(map(environment.get, URLS)) else kept
