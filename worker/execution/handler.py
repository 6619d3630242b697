"""Handlers: finding the function, and running it so that every way it can end becomes an outcome.

Used in children, threads and the async executor alike. Nothing that a message says is imported or looked up
by name here: the module and the function come from the configuration.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from broker.console.start import PACKAGES
from broker.errors import ConfigError
from protocol.codec import EncodedTooLarge, Encoder, NotEncodable, decode_arguments
from protocol.errors import ErrorCode, Malformed
from protocol.limits import Limits, cut
from worker.context import Current, Reject, Retry, enter, seconds
from worker.execution.outcome import Done, Failed, Outcome, Rejected, RetryAsked
from worker.execution.place import Place
from worker.expiry import is_expired

log = logging.getLogger("glassrabbit.handler")

_NAME_BYTES = 255
#: Grows in a fork of this process: a handler that forks may come back twice, and the answer is its parent's.
#: To ask for the number of the process at each task would be a system call.
_forks: list[None] = []
os.register_at_fork(after_in_child=lambda: _forks.append(None))


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that does one kind of task."""

    function: Callable[..., Any]
    signature: inspect.Signature
    #: The names that it takes and those that it must be given, if that is all there is to its signature.
    takes: frozenset[str] | None = None
    needs: frozenset[str] = frozenset()
    is_async: bool = False

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raises ``TypeError`` if the function cannot be called with these."""
        # Binding takes microseconds; comparing names does not, and is the same for most functions.
        if self.takes is None or not self.needs <= arguments.keys() <= self.takes:
            self.signature.bind(**arguments)


def fallback_of(task: str) -> str:
    """Under which an executor knows the fallback of a task: no task has such a name."""
    return f"{task} fallback"


def load(path: str) -> Handler:
    """Import ``module:function``. Raises ``ConfigError`` that names the path and the reason."""
    module_name, _, name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), name)
        if not callable(function):
            raise TypeError("it is not a function")
        return _handler(function)
    except BaseException as error:  # a module may well call ``sys.exit``
        text = cut(safe_text(error), 1024)
        package = module_name.partition(".")[0]
        cure = (
            f"The name {package} belongs to Glassrabbit: a module of yours needs another."
            if package in PACKAGES
            else "Check the name, and that its folder is beside config.yml or the current one."
        )
        problem = f"handler {path!r} cannot be loaded: {type(error).__name__}: {text}. {cure}"
        raise ConfigError([problem]) from error


def _handler(function: Callable[..., Any]) -> Handler:
    signature, is_async = inspect.signature(function), inspect.iscoroutinefunction(function)
    parameters = signature.parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(one.kind not in named for one in parameters):
        return Handler(function, signature, is_async=is_async)
    takes = frozenset(one.name for one in parameters)
    needs = frozenset(one.name for one in parameters if one.default is inspect.Parameter.empty)
    return Handler(function, signature, takes, needs, is_async)


def run(
    handler: Handler, arguments: bytes | dict[str, Any], expires_at: int, context: Current, place: Place
) -> Outcome:
    """Run a handler to its end in this thread; an ``async def`` on the loop of its place."""
    accepted = _accepted(handler, arguments, expires_at, place.encoder.limits)
    if isinstance(accepted, Rejected):
        return accepted
    # Each in a copy of the context: what one task sets is not there for the next.
    if handler.is_async:
        return place.complete(_run_async(handler, accepted, context, place.encoder))
    return copy_context().run(_run, handler, accepted, context, place.encoder)


async def run_async(
    handler: Handler, arguments: bytes | dict[str, Any], expires_at: int, context: Current, encoder: Encoder
) -> Outcome:
    """Run an ``async def`` on the loop that runs already, in an ``asyncio.Task`` of its own."""
    accepted = _accepted(handler, arguments, expires_at, encoder.limits)
    if isinstance(accepted, Rejected):
        return accepted
    return await _run_async(handler, accepted, context, encoder)


def _accepted(
    handler: Handler, arguments: bytes | dict[str, Any], expires_at: int, limits: Limits
) -> dict[str, Any] | Rejected:
    """The arguments of a task that is still in time and that its handler can be called with."""
    if expires_at and is_expired(expires_at, time.time_ns() // 1_000_000):
        return Rejected(ErrorCode.EXPIRED, ErrorCode.EXPIRED, "it came after its time")
    try:
        if isinstance(arguments, bytes):
            arguments = decode_arguments(arguments, limits)
        handler.check(arguments)
    except Malformed as error:
        return Rejected(error.code, str(error.code), error.text)
    except TypeError as error:
        return Rejected(ErrorCode.BAD_ARGUMENTS, "TypeError", cut(str(error), limits.error_text_bytes))
    return arguments


def _run(handler: Handler, arguments: dict[str, Any], context: Current, encoder: Encoder) -> Outcome:
    enter(context)
    forks = len(_forks)
    try:
        try:
            result = handler.function(**arguments)
        finally:
            if len(_forks) != forks:
                os._exit(0)
        return _encoded(result, encoder)
    except BaseException as error:  # noqa: BLE001 - the one place around a user's handler, and what it returned
        return _ended_by(error, context, encoder.limits)


async def _run_async(handler: Handler, arguments: dict[str, Any], context: Current, encoder: Encoder) -> Outcome:
    enter(context)
    forks = len(_forks)
    try:
        try:
            result = await handler.function(**arguments)
        finally:
            if len(_forks) != forks:
                os._exit(0)
        return _encoded(result, encoder)
    except BaseException as error:  # noqa: BLE001 - its async twin
        return _ended_by(error, context, encoder.limits)


def _encoded(result: object, encoder: Encoder) -> Outcome:
    try:
        return Done(encoder.encode(result, "result"))
    except NotEncodable as error:
        code = ErrorCode.RESULT_TOO_LARGE if isinstance(error, EncodedTooLarge) else ErrorCode.RESULT_NOT_ENCODABLE
        return Rejected(code, _name(result), cut(str(error), encoder.limits.error_text_bytes))


def _ended_by(error: BaseException, context: Current, limits: Limits) -> Outcome:
    """What a handler raised, its type and text cut and escaped; or, if they cannot be had, that it raised."""
    try:
        name, text = _name(error), cut(safe_text(error), limits.error_text_bytes)
        match error:
            case Retry():
                return RetryAsked(None if error.after is None else seconds(error.after), text)
            case Reject():
                return Rejected(ErrorCode.REJECTED, name, text)
        # Even to format it may run into a limit of Python's.
        with suppress(Exception):
            log.warning("task %s (%s) attempt %d raised", context.id, context.task, context.attempt, exc_info=True)
        return Failed(ErrorCode.RETRIES_EXHAUSTED, name, text)
    except BaseException:  # noqa: BLE001 - still the user's code
        return Failed(ErrorCode.RETRIES_EXHAUSTED, "Exception", "what it raised cannot be read")


def _name(value: object) -> str:
    return cut(type(value).__name__, _NAME_BYTES)


def safe_text(error: BaseException) -> str:
    """The text of an exception, whose ``__str__`` may be the user's and may raise."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - still the user's code
        return "its text could not be read: __str__ raised"
