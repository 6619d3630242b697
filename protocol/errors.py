"""The root of every error that Glassrabbit raises, and the codes that travel in failures.

Two questions decide what a caller may do with an error, so every class answers them:
may the same thing be tried again, and is it known whether it took effect?
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class GlassrabbitError(Exception):
    """Root of all errors. One line of text, which ends with what to do."""

    #: The same request may succeed if it is made again.
    retryable: ClassVar[bool] = False
    #: False: the thing may or may not have happened (a confirm or a reply got lost).
    outcome_known: ClassVar[bool] = True


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
    #: The two below are the broker's own verdicts, read from ``x-death``.
    DELIVERY_LIMIT = "delivery_limit"
    EXPIRED = "expired"


class Malformed(GlassrabbitError):
    """A received message breaks the protocol. Nothing of it was run; it will not get better by itself."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
