"""Handlers: finding the function, and running it so that every way it can end becomes an outcome.

Used in children, threads and the async executor alike. Nothing that a message says is imported or looked up
by name here: the module and the function come from the configuration.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from broker.errors import ConfigError
from protocol.codec import EncodedTooLarge, NotEncodable, decode_arguments, encode
from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits, cut
from worker.context import Current, Reject, Retry, enter
from worker.outcome import Done, Failed, Outcome, Rejected, RetryAsked

log = logging.getLogger("glassrabbit.handler")

_NAME_BYTES = 255


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that does one kind of task."""

    function: Callable[..., Any]
    signature: inspect.Signature

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a task: what an executor needs to know, and can send to a child."""

    context: Current
    body: bytes
    timeout_s: float


def load(path: str) -> Handler:
    """Import ``module:function``. Raises ``ConfigError`` that names the path and the reason."""
    module_name, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
        if not callable(function):
            raise TypeError("it is not a function")
        return Handler(function, inspect.signature(function))
    except Exception as error:
        problem = (
            f"handler {path!r} cannot be loaded: {type(error).__name__}: {safe_text(error)}. "
            "Check the name, and that its folder is beside config.yml or the current one."
        )
        raise ConfigError([problem]) from error


async def load_all(paths: Mapping[str, str]) -> dict[str, Handler]:
    """The handlers of several tasks, loaded in a thread: a slow import must not hold up the loop."""
    return await asyncio.to_thread(lambda: {task: load(path) for task, path in paths.items()})


def run(handler: Handler, call: Call, limits: Limits) -> Outcome:
    """Run a handler to its end in this thread; an ``async def`` gets an event loop of its own."""
    arguments = _arguments(handler, call, limits)
    if isinstance(arguments, Rejected):
        return arguments
    enter(call.context)
    try:
        if handler.is_async:
            return _encoded(asyncio.run(handler.function(**arguments)), limits)
        return _encoded(handler.function(**arguments), limits)
    except Exception as error:  # noqa: BLE001 - the one place around a user's handler
        return _ended_by(error, call, limits)


async def run_async(handler: Handler, call: Call, limits: Limits) -> Outcome:
    """The same for an ``async def`` on the loop that runs already."""
    arguments = _arguments(handler, call, limits)
    if isinstance(arguments, Rejected):
        return arguments
    enter(call.context)
    try:
        return _encoded(await handler.function(**arguments), limits)
    except Exception as error:  # noqa: BLE001 - the one place around a user's handler, its async twin
        return _ended_by(error, call, limits)


def _arguments(handler: Handler, call: Call, limits: Limits) -> dict[str, Any] | Rejected:
    try:
        arguments = decode_arguments(call.body, limits)
        handler.signature.bind(**arguments)
    except Malformed as error:
        return Rejected(error.code, str(error.code), error.text)
    except TypeError as error:
        return Rejected(ErrorCode.BAD_ARGUMENTS, "TypeError", cut(str(error), limits.error_text_bytes))
    return arguments


def _encoded(result: object, limits: Limits) -> Outcome:
    try:
        return Done(encode(result, limits))
    except EncodedTooLarge as error:
        return Rejected(ErrorCode.RESULT_TOO_LARGE, type(result).__name__, str(error))
    except NotEncodable as error:
        return Rejected(ErrorCode.RESULT_NOT_ENCODABLE, type(result).__name__, str(error))


def _ended_by(error: Exception, call: Call, limits: Limits) -> Outcome:
    text = cut(safe_text(error), limits.error_text_bytes)
    name = cut(type(error).__name__, _NAME_BYTES)
    match error:
        case Retry():
            return RetryAsked(error.after, text)
        case Reject():
            return Rejected(ErrorCode.REJECTED, name, text)
        case _:
            context = call.context
            log.warning("task %s (%s) attempt %d raised", context.id, context.task, context.attempt, exc_info=True)
            return Failed(ErrorCode.RETRIES_EXHAUSTED, name, text)


def safe_text(error: BaseException) -> str:
    """The text of an exception, whose ``__str__`` may be the user's and may raise."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - still the user's code
        return "its text could not be read: __str__ raised"
