"""A publisher without pika: AMQP 0-9-1 frames, written by hand on a plain socket.

pika encodes properties that make sense and nothing else. Here a message is bytes: its flags, its properties and
its body are whatever the test says (https://www.rabbitmq.com/amqp-0-9-1-protocol).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from types import TracebackType

from protocol.names import CONTENT_TYPE, new_id
from tests.support.vhost import Vhost

METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
_END = b"\xce"
_FRAME_HEAD = struct.Struct(">BHI")
_WITHIN_S = 30.0
#: What RabbitMQ offers, and what we take.
_FRAME_MAX = 131_072
#: Properties in the order in which they stand; the first has the highest flag.
NAMES = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)


class Closed(Exception):
    """The broker closed the channel or the connection: its code, and its text."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}")
        self.code = code


def short(text: str | bytes) -> bytes:
    """A short string."""
    raw = text if isinstance(text, bytes) else text.encode()
    return bytes((len(raw),)) + raw


def long(raw: bytes) -> bytes:
    """A long string, a table or an array: four bytes of length, and what it holds."""
    return struct.pack(">I", len(raw)) + raw


def field(key: str | bytes, kind: bytes, value: bytes) -> bytes:
    """One field of a table."""
    return short(key) + kind + value


def header(properties: Mapping[str, bytes], size: int) -> bytes:
    """The payload of a content header; ``properties`` are encoded already."""
    flags = sum(1 << (15 - NAMES.index(name)) for name in properties)
    return struct.pack(">HHQH", 60, 0, size, flags) + b"".join(
        properties[name] for name in NAMES if name in properties
    )


def task_fields(name: str = "note", /, **changes: bytes | None) -> dict[str, bytes]:
    """The properties of a well-formed task, encoded, but for ``changes``; None leaves one out."""
    fields: dict[str, bytes | None] = {
        "content_type": short(CONTENT_TYPE),
        "headers": long(field("v", b"I", struct.pack(">i", 1))),
        "delivery_mode": b"\x02",
        "message_id": short(new_id()),
        "type": short(name),
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not None}


class Socket:
    """``with Socket(vhost) as raw``: one connection, one channel, in confirm mode."""

    def __init__(self, vhost: Vhost, *, user: str | None = None, password: str | None = None) -> None:
        self._vhost = vhost
        self._login = (user or vhost.broker.user, password or vhost.broker.password)
        self._link: socket.socket
        self._buffer = b""
        self._sent = self._confirmed = 0

    def __enter__(self) -> Socket:
        broker = self._vhost.broker
        self._link = socket.create_connection((broker.host, broker.port), timeout=_WITHIN_S)
        # Otherwise a small frame may wait 40 ms for the acknowledgement of the one before.
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._link.sendall(b"AMQP\x00\x00\x09\x01")
        self._expect(10, 10)
        user, password = self._login
        plain = long(f"\x00{user}\x00{password}".encode())
        self.send(METHOD, 0, struct.pack(">HH", 10, 11) + long(b"") + short("PLAIN") + plain + short("en_US"))
        self._expect(10, 30)
        self.send(METHOD, 0, struct.pack(">HHHIH", 10, 31, 10, _FRAME_MAX, 0))
        self.send(METHOD, 0, struct.pack(">HH", 10, 40) + short(self._vhost.name) + short("") + b"\x00")
        self._expect(10, 41)
        self.send(METHOD, 1, struct.pack(">HH", 20, 10) + short(""))
        self._expect(20, 11)
        self.send(METHOD, 1, struct.pack(">HHB", 85, 10, 0))
        self._expect(85, 11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._link.close()

    def publish(self, exchange: str, key: str, body: bytes, properties: Mapping[str, bytes]) -> None:
        """Publish, and return once it is confirmed. Raises ``Closed``."""
        self.send_message(exchange, key, body, properties)
        self.wait()

    def send_message(self, exchange: str, key: str, body: bytes, properties: Mapping[str, bytes]) -> None:
        """Publish, and do not wait."""
        self._sent += 1
        self.send(METHOD, 1, struct.pack(">HHH", 60, 40, 0) + short(exchange) + short(key) + b"\x00")
        self.send(HEADER, 1, header(properties, len(body)))
        chunk = _FRAME_MAX - _FRAME_HEAD.size - len(_END)
        for at in range(0, len(body), chunk):
            self.send(BODY, 1, body[at : at + chunk])

    def wait(self) -> None:
        """Return once everything sent so far is confirmed. Raises ``Closed``."""
        while self._confirmed < self._sent:
            payload = self._expect(60, 80)
            tag, multiple = struct.unpack_from(">QB", payload, 4)
            self._confirmed = tag if multiple else self._confirmed + 1

    def send(self, kind: int, channel: int, payload: bytes) -> None:
        """One frame."""
        self._link.sendall(_FRAME_HEAD.pack(kind, channel, len(payload)) + payload + _END)

    def _expect(self, class_id: int, method_id: int) -> bytes:
        """The payload of the next method, which must be this one."""
        while True:
            kind, payload = self._frame()
            if kind == METHOD:
                break
        found = struct.unpack_from(">HH", payload)
        if found in ((10, 50), (20, 40)):
            code, length = struct.unpack_from(">HB", payload, 4)
            raise Closed(code, payload[7 : 7 + length].decode("utf-8", "replace"))
        assert found == (class_id, method_id), f"the broker said {found}"
        return payload

    def _frame(self) -> tuple[int, bytes]:
        kind, _channel, size = _FRAME_HEAD.unpack(self._take(_FRAME_HEAD.size))
        return kind, self._take(size + 1)[:-1]

    def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            received = self._link.recv(65_536)
            if not received:
                raise Closed(0, "the broker hung up")
            self._buffer += received
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken
