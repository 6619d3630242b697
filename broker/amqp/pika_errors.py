"""The one seam where pika's exceptions become ours.

pika leaves ``str()`` of a refused, DNS or TLS error empty and keeps the cause in ``args`` or ``exceptions``
(1.4.4), so the text is dug out here.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from typing import Any

import pika
from pika import exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout

from broker.config.tls import untrusted
from broker.errors import NOT_FOUND, AccessRefused, BrokerError, ConnectionLost, NoMajority, Starting, Unreachable

_ACCESS = (403, 530)
_INTERNAL_ERROR = 541
#: What RabbitMQ says of a queue whose node is down, under the code of one that is missing.
_DOWN = "is down or inaccessible"
#: How RabbitMQ 3.10 to 4.3 names a queue in what it says of a failure.
_QUEUE = re.compile(r"'(?:queue ')?([^' ]+)' in vhost")
#: What a broker says of our certificate comes after TLS 1.3's handshake, and pika keeps the text of it alone.
_ALERT = re.compile(r"\[SSL: \w*ALERT\w*\]")


def connect_error(error: BaseException, where: str) -> BrokerError:
    """What a failed attempt to open a connection means. ``where`` is a URL without its password."""
    root = _root(error)
    text = _text(root)
    cut = isinstance(root, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError | BrokenPipeError)
    if (isinstance(root, ssl.SSLError) and not cut) or _ALERT.search(text):
        return untrusted(root, where)
    if cut or "StreamLostError" in text:
        # pika guesses at a refusal when the network fails during the handshake; a broker that refuses says so.
        return Starting(
            f"{where} ended the connection before it was open: RabbitMQ is starting there, or waits for the "
            "majority of its cluster; or it does not speak AMQP 0-9-1. Check that it has started; then the port, "
            "and amqp:// against amqps://."
        )
    if (
        isinstance(root, exceptions.ProbableAuthenticationError | exceptions.AuthenticationError)
        or _code(root) == 403
    ):
        return AccessRefused(
            f"{where} refused the login. Check user and password in broker.url or BROKER_URL. A container of "
            "RabbitMQ keeps those that its volume began with: use `rabbitmqctl change_password`, or a new volume."
        )
    if isinstance(root, exceptions.ProbableAccessDeniedError) or _code(root) in _ACCESS:
        return AccessRefused(
            f"{where} refused the virtual host ({text}). Check the path of the URL, and the permissions."
        )
    if isinstance(root, exceptions.IncompatibleProtocolError):
        return Unreachable(f"{where} does not speak AMQP 0-9-1. Check the port, and amqp:// against amqps://.")
    if isinstance(root, TimeoutError | AMQPConnectorStackTimeout):
        return silent(where)
    return Unreachable(
        f"{where} cannot be reached ({text}). Check that RabbitMQ runs, and broker.url or BROKER_URL."
    )


def silent(where: str) -> Unreachable:
    """A node, or whatever has its port, that takes connections and says nothing."""
    return Unreachable(
        f"{where} took the connection and did not answer: it hangs or is overloaded, or is no RabbitMQ. "
        "Check that RabbitMQ runs there."
    )


def undone(error: ConnectionLost) -> ConnectionLost:
    """Why a channel ended that waited for an answer. RabbitMQ closes it with 541 where too few nodes run, and with
    404 where the node of a classic queue or a stream does not (``rabbit_amqqueue:not_found_or_absent_dirty``)."""
    queue = _QUEUE.search(str(error))
    name = f"queue {queue[1]}" if queue else "a queue"
    if error.code == NOT_FOUND and _DOWN in str(error):
        what = f"{name} is down, as the node is that has it"
    elif error.code == _INTERNAL_ERROR:
        failed = f"{name} has no leader" if queue else "the broker failed to do what it was asked"
        what = f"{failed}: too few nodes of the cluster run"
    else:
        return error
    return NoMajority(f"{what}. Start those that are down; `rabbitmqctl cluster_status` names them.")


def lost_error(error: BaseException, what: str) -> ConnectionLost:
    """Why an open connection or channel ended."""
    root = _root(error)
    return ConnectionLost(f"{what} ended: {_text(root)}", _code(root))


class mapped(contextlib.AbstractContextManager[None]):  # noqa: N801 - reads as a verb
    """Map what pika raises when a thing is used after its end."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, exceptions.AMQPError):
            raise lost_error(error, self._what) from error


def _code(error: BaseException) -> int:
    code = getattr(error, "reply_code", 0)
    return code if isinstance(code, int) else 0


def _root(error: BaseException) -> BaseException:
    """The innermost cause that pika wrapped. Of a host with several addresses it is the last one's, but for a
    failure of TLS, which says more than that the other address does not answer."""
    inner = getattr(error, "exceptions", None) or (getattr(error, "exception", None), *error.args)
    roots = [_root(cause) for cause in inner if isinstance(cause, BaseException)]
    return next((root for root in roots if isinstance(root, ssl.SSLError)), roots[-1] if roots else error)


def _text(error: BaseException) -> str:
    if isinstance(error, exceptions.ConnectionWrongStateError | exceptions.ChannelWrongStateError):
        return "it was closed before"
    code = _code(error)
    if code:
        return f"{code} {getattr(error, 'reply_text', '')}".strip()
    return str(error) or type(error).__name__


def fields_by_pika(flags: int, raw: bytes) -> dict[str, Any]:
    """The properties of a list as pika decodes it, by their names. Raises what pika does."""
    properties = pika.BasicProperties()
    properties.decode(flags.to_bytes(2) + raw)
    return dict(vars(properties))
