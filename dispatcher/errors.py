"""How a call can end other than with a result."""

from __future__ import annotations

from collections.abc import Iterable

from protocol.errors import ExitCode, GlassrabbitError, with_type
from protocol.reply import Reply

ASK_WORKERS = "Check that a worker consumes its queue, or wait longer with --timeout."


class CallError(GlassrabbitError):
    """A call got no result."""


class NotOpen(CallError):
    """The dispatcher is not open where it is used. Nothing was sent."""

    exit_code = ExitCode.USAGE

    def __init__(self, why: str = "was not opened, or is closed") -> None:
        super().__init__(
            f"the dispatcher {why}; nothing was sent. Use it in its `with` or `async with` block, or call open()."
        )


class TaskFailed(CallError):
    """The task ended without success; ``reply`` says why, where and after how many attempts."""

    def __init__(self, reply: Reply) -> None:
        failure = reply.failure
        assert failure is not None
        super().__init__(
            f"task {reply.id} failed ({failure.code}) after {reply.run.attempts} attempt(s) "
            f"on {reply.run.worker}: {with_type(failure.code, failure.type, failure.text)}"
        )
        self.reply = reply


class NoReply(CallError):
    """No reply by the deadline (no confirm, if none is wanted). The task may still wait, run, or be done."""

    retryable = True
    outcome_known = False
    exit_code = ExitCode.TIMED_OUT

    def __init__(
        self,
        task_id: str,
        waited_s: float,
        *,
        accepted: bool,
        wants_reply: bool = True,
        advice: str = ASK_WORKERS,
    ) -> None:
        what = "reply for" if wants_reply else "confirm of"
        where = "the broker has it" if accepted else "it is not known whether the broker has it"
        super().__init__(f"no {what} task {task_id} within {round(waited_s, 1):g} s; {where}. {advice}")
        self.task_id = task_id


class ReplyUnreadable(CallError):
    """A reply came that breaks the protocol. The task is done or dead; what it said is lost."""


class NoMailbox(CallError):
    """The mailbox is missing, and this user may not make it."""

    exit_code = ExitCode.UNROUTABLE

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no mailbox {name}. Run `python -m broker declare --mailbox {name}`.")


class BadRequest(CallError):
    """A delay or an expiry that the broker cannot keep. Nothing was sent."""

    exit_code = ExitCode.USAGE


class UnknownTask(CallError):
    """No queue does this task. Nothing was sent, or it was returned and is stored nowhere."""

    exit_code = ExitCode.UNROUTABLE

    def __init__(self, name: str, known: Iterable[str]) -> None:
        super().__init__(
            f"no queue is bound for task {name}. The configuration has: {', '.join(sorted(known)) or 'no tasks'}. "
            "Use one of these, or add it and run `python -m broker declare`."
        )


class Overdue(CallError):
    """What was asked of a mailbox did not come in time; what came was given and acked."""

    retryable = True
    exit_code = ExitCode.TIMED_OUT
