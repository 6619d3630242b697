"""What can go wrong between us and the broker, and the exit code that a shell sees for it.

pika's own exceptions are mapped to these in ``broker.translate`` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from protocol.errors import GlassrabbitError


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


class ConfigError(GlassrabbitError):
    """The configuration is wrong. ``problems`` has one line each; raised before any I/O."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class BrokerError(GlassrabbitError):
    """Something between us and RabbitMQ failed."""


class Unreachable(BrokerError):
    """No node answered within the connect bound."""

    retryable = True


class AccessRefused(BrokerError):
    """The broker knows us and says no: login, virtual host or permission."""


class ConnectionLost(BrokerError):
    """The connection or channel ended. What was outstanding on it has an unknown outcome."""

    retryable = True
    outcome_known = False

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class TopologyDrift(BrokerError):
    """What is declared on the broker differs from the configuration; the text names each argument."""


class PublishError(BrokerError):
    """A message was not accepted."""


class Unroutable(PublishError):
    """Returned by the broker: no queue is bound for the routing key. It was not stored anywhere."""


class Refused(PublishError):
    """Nacked by the broker: the queue is full or could not store it. It was not stored."""

    retryable = True


class ConfirmLost(PublishError):
    """The channel ended, or the bound passed, before the confirm. The message may be stored or not."""

    retryable = True
    outcome_known = False
