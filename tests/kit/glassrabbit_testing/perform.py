"""A handler without a broker: what comes in and what goes out as a worker would have it."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import traceback
from concurrent.futures import Future
from typing import Any

from broker.config.settings import Settings
from protocol.codec import Encoder, decode, decode_arguments
from worker.execution.handler import load
from worker.execution.handler_folders import add_to_path, handler_folders
from worker.testing import running


class Hangs(AssertionError):
    """A handler is not done within its ``timeout_s``. It goes on in its thread, which nothing can stop."""


def perform(settings: Settings, task: str, attempt: int, arguments: dict[str, Any]) -> Any:
    """The result of a task as its caller gets it. Raises what the handler raises, and what cannot be encoded."""
    if task not in settings.tasks:
        raise LookupError(f"{task!r} is no task of the configuration; it has {', '.join(settings.tasks)}")
    terms, limits = settings.tasks[task], settings.limits.messages
    add_to_path(handler_folders(settings))
    handler, encoder = load(terms.handler), Encoder(limits)
    given = decode_arguments(encoder.arguments(arguments), limits)
    handler.check(given)

    def run() -> Any:
        with running(task, queue=terms.queue, attempt=attempt, max_attempts=terms.retry.max_retries + 1):
            returned = handler.function(**given)
            return decode(
                encoder.encode(asyncio.run(returned) if handler.is_async else returned, "result"), limits
            )

    return _within(terms.timeout_s, f"{task} ({terms.handler})", run)


def _within(timeout_s: float, name: str, run: Any) -> Any:
    """What ``run`` comes to, in a thread: this one stays free to say where it hangs."""
    end: Future[Any] = Future()

    def finish() -> None:
        try:
            end.set_result(run())
        except BaseException as error:  # noqa: BLE001 - it is raised in the test
            end.set_exception(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(finish,), name=name, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not end.done():
        stack = traceback.extract_stack(sys._current_frames().get(thread.ident or 0))
        # Below the last line of this module is the handler's own code.
        begin = max((place for place, line in enumerate(stack) if line.filename == __file__), default=-1) + 1
        place = "".join(traceback.format_list(stack[begin:]))
        raise Hangs(f"{name} is not done after its timeout_s of {timeout_s:g} s. It is here:\n{place}")
    return end.result()
