"""What the processes of the load share: where they write, when they stop, and how they come to a dispatcher."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

from broker.config.settings import Settings
from broker.console import logs
from broker.errors import AccessRefused, ConnectionLost, Unreachable
from dispatcher.client import Dispatcher
from tests.chaos.records import Ledger

#: Between attempts to get a first connection.
PAUSE_S = 0.5
#: What an outage may answer to an attempt.
OUTAGES = (Unreachable, AccessRefused, ConnectionLost)


def ledger(writer: str) -> Ledger:
    return Ledger(Path(os.environ["CHAOS_LEDGER"]), writer)


def run(main: Coroutine[Any, Any, int]) -> None:
    """Run a process to its end and exit with its code."""
    logs.configure()
    sys.exit(asyncio.run(main))


def until_sigterm() -> asyncio.Event:
    """Set as soon as we are told to stop."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


async def is_set(event: asyncio.Event, within_s: float) -> bool:
    """Wait for an event, for so long at most."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), within_s)
    return event.is_set()


@contextlib.asynccontextmanager
async def dispatcher(settings: Settings, stop: asyncio.Event) -> AsyncIterator[Dispatcher | None]:
    """A dispatcher as soon as there is a broker; None if ``stop`` is set before that."""
    async with contextlib.AsyncExitStack() as stack:
        connected: Dispatcher | None = None
        while connected is None and not stop.is_set():
            with contextlib.suppress(*OUTAGES):
                connected = await stack.enter_async_context(Dispatcher(settings))
            if connected is None:
                await is_set(stop, PAUSE_S)
        yield connected
