"""Collecting with calls that wait, each in a thread: what that costs."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

from dispatcher.client import Dispatcher
from dispatcher.load_test.plan import Plan
from dispatcher.load_test.tally import Tally
from dispatcher.pending import End
from protocol.errors import GlassrabbitError
from protocol.reply import Reply


async def in_threads(dispatcher: Dispatcher, plan: Plan, tally: Tally, started_s: float) -> None:
    """Each of ``plan.window`` threads sends a task, waits for its end, and takes the next."""
    loop, inputs, lock = asyncio.get_running_loop(), plan.inputs(), threading.Lock()
    stopped = threading.Event()
    asked: set[Future[Reply]] = set()

    def ask() -> Future[Reply] | None:
        with lock:
            taken = None if stopped.is_set() or plan.is_over(time.monotonic() - started_s) else next(inputs, None)
            if taken is None:
                return None
            _number, task, arguments = taken
            tally.sent += 1
            asking = dispatcher.ask(task, arguments, timeout_s=plan.timeout_s)
            future = asyncio.run_coroutine_threadsafe(asking, loop)
            asked.add(future)
            return future

    def work() -> None:
        while True:
            sent_s = time.monotonic()
            future = ask()
            if future is None:
                return
            try:
                end: End = future.result()
            except GlassrabbitError as error:
                end = error
            except CancelledError:
                return
            now_s = time.monotonic()
            with lock:
                asked.discard(future)
                tally.end(end, now_s - sent_s, now_s - started_s)

    with ThreadPoolExecutor(plan.window, thread_name_prefix="load") as pool:
        working = [loop.run_in_executor(pool, work) for _ in range(plan.window)]
        try:
            await asyncio.gather(*working)
        finally:
            # On Ctrl-C no thread may wait for this loop, which then waits for the threads.
            with lock:
                stopped.set()
                for future in asked:
                    future.cancel()
