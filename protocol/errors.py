"""The root of every error that Glassrabbit raises, and the codes that travel in failures.

Two questions decide what a caller may do with an error, so every class answers them:
may the same thing be tried again, and is it known whether it took effect?
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of all commands. Where several apply, the first of this list wins (see ``worst``)."""

    CONFIG = 78
    UNAVAILABLE = 69
    UNROUTABLE = 4
    TIMED_OUT = 75
    FAILED = 1
    OK = 0
    USAGE = 2
    INTERRUPTED = 130


def worst(codes: Sequence[ExitCode]) -> ExitCode:
    """The code that a command ends with when its parts ended with ``codes``."""
    order = list(ExitCode)
    return min(codes, key=order.index, default=ExitCode.OK)


def with_type(code: str, type: str, text: str) -> str:  # noqa: A002 - as in a failure
    """The text of a failure with its exception's type, as Python shows it; the type alone if there is no text."""
    return f"{type}: {text}" if text and type != code else text or type


class GlassrabbitError(Exception):
    """Root of all errors. One line of text, which ends with what to do."""

    #: The same request may succeed if it is made again.
    retryable: ClassVar[bool] = False
    #: False: the thing may or may not have happened (a confirm or a reply got lost).
    outcome_known: ClassVar[bool] = True
    #: What a command ends with that this error ended.
    exit_code: ClassVar[ExitCode] = ExitCode.FAILED


class ErrorCode(StrEnum):
    """Why a task ended without success. The value is what stands in replies and dead letters."""

    RETRIES_EXHAUSTED = "retries_exhausted"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    WORKER_LOST = "worker_lost"
    BAD_ARGUMENTS = "bad_arguments"
    RESULT_TOO_LARGE = "result_too_large"
    RESULT_NOT_ENCODABLE = "result_not_encodable"
    UNDECODABLE = "undecodable"
    BAD_PROPERTIES = "bad_properties"
    UNSUPPORTED_VERSION = "unsupported_version"
    TOO_LARGE = "too_large"
    UNKNOWN_TASK = "unknown_task"
    WRONG_QUEUE = "wrong_queue"
    BAD_REPLY_TO = "bad_reply_to"
    NO_MAILBOX = "no_mailbox"
    CANCELLED = "cancelled"
    #: The two below are the broker's own verdicts, read from ``x-death``.
    DELIVERY_LIMIT = "delivery_limit"
    EXPIRED = "expired"


class Malformed(GlassrabbitError):
    """A received message breaks the protocol. Nothing of it was run; it will not get better by itself."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
