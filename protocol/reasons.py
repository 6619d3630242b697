"""Why a task can end without success: for each code what it means, what decides it, and which modules raise it.

The table of error codes in ``protocol/README.md`` is this one, and a test holds the modules against the code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from protocol.errors import ErrorCode

By = Literal["worker", "broker"]


@dataclass(frozen=True, slots=True)
class Reason:
    """``because`` ends the sentence *The task ended because …*."""

    because: str
    raised_in: tuple[str, ...]
    decided_by: tuple[By, ...] = ("worker",)


_CODEC = ("protocol/codec.py", "protocol/batch.py", "protocol/reply.py")

REASONS: Final[Mapping[ErrorCode, Reason]] = {
    ErrorCode.RETRIES_EXHAUSTED: Reason(
        "its last attempt raised an error, or asked for a retry",
        (
            "worker/execution/handler.py",
            "worker/settlement/policy.py",
        ),
    ),
    ErrorCode.REJECTED: Reason(
        "its handler rejected it; or a consumer that is no worker did",
        ("worker/execution/handler.py", "protocol/dead_letter.py"),
        ("worker", "broker"),
    ),
    ErrorCode.TIMED_OUT: Reason(
        "its last attempt took too long",
        ("worker/execution/process_executor.py", "worker/execution/thread_executor.py"),
    ),
    ErrorCode.WORKER_LOST: Reason(
        "the process of its last attempt died", ("worker/execution/process_executor.py",)
    ),
    ErrorCode.BAD_ARGUMENTS: Reason("the handler does not take these arguments", ("worker/execution/handler.py",)),
    ErrorCode.RESULT_TOO_LARGE: Reason(
        "the result is over a limit of section 3, or larger than the broker takes",
        ("worker/execution/handler.py", "worker/settlement/failures.py"),
    ),
    ErrorCode.RESULT_NOT_ENCODABLE: Reason(
        "the result is no value of section 3, and nothing goes in its place", ("worker/execution/handler.py",)
    ),
    ErrorCode.UNDECODABLE: Reason("the body breaks section 3", _CODEC),
    ErrorCode.BAD_PROPERTIES: Reason(
        "properties or headers break section 2", ("protocol/properties.py", "protocol/batch.py")
    ),
    ErrorCode.UNSUPPORTED_VERSION: Reason("`v` is not 1", ("protocol/task.py",)),
    ErrorCode.TOO_LARGE: Reason("the body is over a limit", (*_CODEC, "protocol/task.py")),
    ErrorCode.UNKNOWN_TASK: Reason(
        "no worker of this queue knows the name; or a delayed task found no binding",
        ("broker/config/routes.py", "protocol/dead_letter.py"),
        ("worker", "broker"),
    ),
    ErrorCode.WRONG_QUEUE: Reason("the task belongs to another queue", ("broker/config/routes.py",)),
    ErrorCode.BAD_REPLY_TO: Reason(
        "the reply address may not be answered; in dead letters only, never in a reply",
        ("protocol/task.py", "worker/intake/admission.py", "worker/settlement/replies.py"),
    ),
    ErrorCode.NO_MAILBOX: Reason(
        "the mailbox of the reply does not exist; only in dead letters, whose body is the reply",
        ("worker/settlement/replies.py",),
    ),
    ErrorCode.CANCELLED: Reason(
        "somebody cancelled it; there is no dead letter", ("worker/settlement/failures.py",)
    ),
    ErrorCode.DELIVERY_LIMIT: Reason("it was given back too often", ("protocol/dead_letter.py",), ("broker",)),
    ErrorCode.EXPIRED: Reason(
        "its time was over: in the queue, at a worker, or by the end of a retry's delay",
        ("worker/execution/handler.py", "worker/settlement/policy.py", "protocol/dead_letter.py"),
        ("worker", "broker"),
    ),
}
