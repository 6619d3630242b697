"""What can go wrong between us and the broker.

pika's own exceptions are mapped to these in ``broker.amqp.pika_errors`` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence

from protocol.errors import ExitCode, GlassrabbitError

#: What RabbitMQ closes a channel with, and leaves the connection open.
ACCESS_REFUSED, NOT_FOUND, PRECONDITION_FAILED = 403, 404, 406
#: And this the connection: a queue of another type does not do what it was asked.
NOT_IMPLEMENTED = 540


class ConfigError(GlassrabbitError):
    """The configuration is wrong. ``problems`` has one line each; raised before any I/O, but for what
    depends on the broker's version."""

    exit_code = ExitCode.CONFIG

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class BrokerError(GlassrabbitError):
    """Something between us and RabbitMQ failed."""


class Unreachable(BrokerError):
    """No node answered within the connect bound."""

    retryable = True
    exit_code = ExitCode.UNAVAILABLE


class Starting(Unreachable):
    """A node ended the connection before it was open: it does not take clients yet, or is no RabbitMQ."""


class Untrusted(Unreachable):
    """TLS failed before anything of ours was sent: a certificate, a name or a version was not accepted."""


class AccessRefused(BrokerError):
    """The broker knows us and says no: login, virtual host or permission."""

    exit_code = ExitCode.UNAVAILABLE


class ConnectionLost(BrokerError):
    """The connection or channel ended. What was outstanding on it has an unknown outcome."""

    retryable = True
    outcome_known = False
    exit_code = ExitCode.UNAVAILABLE

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class NoMajority(ConnectionLost):
    """The broker could not do what it was asked: a queue has no leader, or its cluster no majority."""

    exit_code = ExitCode.TIMED_OUT


class TimedOut(BrokerError):
    """The broker was connected, and what it was asked was not done by the deadline."""

    retryable = True
    outcome_known = False
    exit_code = ExitCode.TIMED_OUT


class TopologyDrift(BrokerError):
    """What is declared on the broker differs from the configuration; the text names each argument."""

    exit_code = ExitCode.CONFIG


class NoStream(BrokerError):
    """There is no control stream."""

    exit_code = ExitCode.UNROUTABLE


class PublishError(BrokerError):
    """A message was not accepted."""


class Unroutable(PublishError):
    """Returned by the broker: no queue is bound for the routing key. It was not stored anywhere."""

    exit_code = ExitCode.UNROUTABLE

    def __init__(self, text: str, reply_to: str | None = None) -> None:
        super().__init__(text)
        #: As it came back: the broker puts an address in the place of ``amq.rabbitmq.reply-to``.
        self.reply_to = reply_to


class Refused(PublishError):
    """Nacked by the broker: the queue is full or could not store it. It was not stored."""

    retryable = True


class MayNotPublish(AccessRefused, PublishError):
    """This user may not write the exchange (403). The message was not stored."""


class NoExchange(TopologyDrift, PublishError):
    """The exchange does not exist (404). The message was not stored."""


class Unsendable(PublishError):
    """The broker does not take this very message (406), or AMQP cannot carry it. It was not stored."""


class TooLarge(Unsendable):
    """Larger than the broker takes, or than fits a frame. Send a reference (a path, a key) instead of the data."""


class ConfirmLost(PublishError):
    """The channel ended, or the bound passed, before the confirm. The message may be stored or not."""

    retryable = True
    outcome_known = False
    exit_code = ExitCode.TIMED_OUT

    def __init__(self, text: str, code: int = 0, *, sent: bool = True) -> None:
        super().__init__(text)
        #: AMQP's reply code, if the broker closed the channel or connection with one.
        self.code = code
        #: False: the channel had ended before, and the message was never sent.
        self.sent = sent
