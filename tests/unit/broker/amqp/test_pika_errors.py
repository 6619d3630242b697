"""pika's exceptions become ours: each says where, what, and what to check."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any

import pytest
from pika import exceptions
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorAMQPHandshakeError,
    AMQPConnectorException,
    AMQPConnectorSocketConnectError,
    AMQPConnectorStackTimeout,
)

from broker.amqp.pika_errors import connect_error, lost_error, undone
from broker.errors import AccessRefused, BrokerError, ConnectionLost, NoMajority, Starting, Unreachable, Untrusted
from protocol.errors import ExitCode

WHERE = "amqp://someone:***@host:5672/vhost"
#: What a broker answers, after the handshake of TLS 1.3, to a client without a certificate.
REFUSED = ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required")


def wrapped(error: BaseException) -> Any:
    """As pika's connection workflow hands it over."""
    return AMQPConnectionWorkflowFailed([AMQPConnectorSocketConnectError(error)])


def in_handshake(error: BaseException) -> Any:
    return AMQPConnectionWorkflowFailed([AMQPConnectorAMQPHandshakeError(error)])


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (wrapped(ConnectionRefusedError(111, "Connection refused")), Unreachable, "Connection refused"),
        (wrapped(socket.gaierror(-2, "Name or service not known")), Unreachable, "Name or service not known"),
        (wrapped(OSError(101, "Network is unreachable")), Unreachable, "Network is unreachable"),
        (wrapped(TimeoutError()), Unreachable, "took the connection and did not answer"),
        (AMQPConnectionWorkflowFailed([AMQPConnectorStackTimeout("timeout")]), Unreachable, "did not answer"),
        (
            wrapped(ssl.SSLCertVerificationError(1, "certificate verify failed")),
            Untrusted,
            "TLS failed: .*certificate verify failed",
        ),
        (
            in_handshake(exceptions.StreamLostError(f"Stream connection lost: {REFUSED!r}")),
            Untrusted,
            "refused our certificate or misses one .TLSV13_ALERT_CERTIFICATE_REQUIRED.",
        ),
        (
            in_handshake(exceptions.IncompatibleProtocolError(f"StreamLostError: ({REFUSED!r})")),
            Untrusted,
            "refused our certificate or misses one .TLSV13_ALERT_CERTIFICATE_REQUIRED.",
        ),
        (wrapped(ssl.SSLEOFError(8, "EOF in violation of protocol")), Starting, "before it was open"),
        (in_handshake(exceptions.IncompatibleProtocolError("0-8")), Unreachable, "does not speak AMQP 0-9-1"),
        (
            in_handshake(exceptions.ProbableAuthenticationError("closed")),
            AccessRefused,
            "its volume began with: use `rabbitmqctl change_password`, or a new volume.",
        ),
        (
            in_handshake(exceptions.ConnectionClosedByBroker(403, "ACCESS_REFUSED - Login was refused")),
            AccessRefused,
            "refused the login",
        ),
        (
            in_handshake(
                exceptions.ProbableAccessDeniedError(exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED"))
            ),
            AccessRefused,
            "refused the virtual host",
        ),
        (
            in_handshake(exceptions.ConnectionClosedByBroker(530, "NOT_ALLOWED - vhost x not found")),
            AccessRefused,
            "refused the virtual host .*vhost x not found",
        ),
        (AMQPConnectorException(), Unreachable, "cannot be reached"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_a_failed_connection_says_where_and_what_to_check(
    error: BaseException, kind: type[BrokerError], said: str
) -> None:
    found = connect_error(error, WHERE)
    assert type(found) is kind
    assert found.exit_code is ExitCode.UNAVAILABLE
    assert found.retryable is issubclass(kind, Unreachable)
    text = str(found)
    assert text.startswith(WHERE)
    assert re.search(said, text)
    assert "Check " in text
    assert "\n" not in text
    assert "()" not in text


@pytest.mark.parametrize("first", [True, False])
def test_of_two_addresses_the_one_whose_certificate_is_wrong_is_reported(first: bool) -> None:
    certificate = AMQPConnectorSocketConnectError(ssl.SSLCertVerificationError(1, "certificate verify failed"))
    silent = AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))
    errors = [certificate, silent] if first else [silent, certificate]
    assert type(connect_error(AMQPConnectionWorkflowFailed(errors), WHERE)) is Untrusted


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (exceptions.ChannelClosedByBroker(404, "NOT_FOUND - no queue"), 404, "404 NOT_FOUND - no queue"),
        (exceptions.ChannelClosedByBroker(406, "PRECONDITION_FAILED"), 406, "406 PRECONDITION_FAILED"),
        (exceptions.ConnectionClosedByBroker(320, "CONNECTION_FORCED"), 320, "320 CONNECTION_FORCED"),
        (exceptions.StreamLostError("Transport indicated EOF"), 0, "Transport indicated EOF"),
        (exceptions.StreamLostError(ConnectionResetError(104, "reset by peer")), 0, "reset by peer"),
    ],
)
def test_the_end_of_what_was_open_keeps_the_brokers_code_and_words(
    error: BaseException, code: int, said: str
) -> None:
    found = lost_error(error, "the channel")
    assert isinstance(found, ConnectionLost)
    assert (found.code, found.outcome_known, found.retryable) == (code, False, True)
    assert str(found).startswith("the channel ended: ")
    assert said in str(found)


def test_an_error_without_a_text_is_reported_by_its_name() -> None:
    assert str(lost_error(exceptions.AMQPHeartbeatTimeout(), "the connection")).endswith("AMQPHeartbeatTimeout")


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        (541, "INTERNAL_ERROR - timed out on queue 'jobs' in vhost '/'", "queue jobs has no leader: too few"),
        (541, "INTERNAL_ERROR", "the broker failed to do what it was asked: too few nodes"),
        (
            404,
            "NOT_FOUND - home node 'rabbit@a' of durable queue 'jobs' in vhost '/' is down or inaccessible",
            "queue jobs is down, as the node is that has it",
        ),
    ],
)
def test_a_queue_without_its_node_is_not_taken_for_a_missing_one(code: int, text: str, said: str) -> None:
    error = undone(ConnectionLost(text, code))
    assert isinstance(error, NoMajority)
    assert said in str(error)
    assert error.code != 404


def test_a_missing_queue_is_missing() -> None:
    missing = ConnectionLost("NOT_FOUND - no queue 'jobs' in vhost '/'", 404)
    assert undone(missing) is missing
