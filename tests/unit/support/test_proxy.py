"""The proxy that spoils networks, before a server that echoes: each mode does what it says, and only that."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from tests.support.brokers import free_port
from tests.support.frames import Event
from tests.support.link import SILENT, Link, Way
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

_WITHIN_S = 5.0
#: Long enough to see that something does not happen.
_SILENCE_S = 0.2
PROTOCOL = b"AMQP\x00\x00\x09\x01"
#: ``basic.ack`` of tag 1 on channel 1.
ACK = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50" + bytes(7) + b"\x01\x00\xce"


class Echo:
    """A server that sends everything back, and remembers what it got and how each connection ended."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.got = b""
        self.ends: list[str] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Echo:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join(_WITHIN_S)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._start(self._echo, self._server.accept()[0])

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.got += data
                    connection.sendall(data)
                self.ends.append("closed")
            except OSError:
                self.ends.append("reset")


@pytest.fixture
def echo() -> Iterator[Echo]:
    with Echo() as echo:
        yield echo


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", echo.port) as proxy:
        yield proxy


@contextlib.contextmanager
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=_WITHIN_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def receive(connection: socket.socket, size: int) -> bytes:
    """Exactly so many bytes."""
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        assert piece, f"the connection ended after {data!r}"
        data += piece
    return data


def hears_nothing(connection: socket.socket) -> bool:
    connection.settimeout(_SILENCE_S)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(_WITHIN_S)
    return False


def round_trip(connection: socket.socket, data: bytes = b"x") -> float:
    """Seconds until it came back."""
    started = time.monotonic()
    connection.sendall(data)
    assert receive(connection, len(data)) == data
    return time.monotonic() - started


def test_a_clear_network_passes_everything_and_counts_it(proxy: Proxy) -> None:
    data = bytes(range(256)) * 4000
    with client(proxy) as one, client(proxy) as other:
        threading.Thread(target=one.sendall, args=(data,)).start()
        assert receive(one, len(data)) == data
        round_trip(other)
        assert (proxy.accepted, len(proxy.live)) == (2, 2)
        total = len(data) + 1
        eventually(lambda: (proxy.bytes_to_broker, proxy.bytes_to_client) == (total, total))
    eventually(lambda: not proxy.live, "the end of both")
    assert [event.by for event in proxy.events("end")] == ["client", "client"]


def test_connections_that_come_together_are_kept_apart(proxy: Proxy) -> None:
    with contextlib.ExitStack() as stack:
        for one in [stack.enter_context(client(proxy)) for _ in range(20)]:
            round_trip(one)
        assert [link.number for link in proxy.links] == list(range(20))


def test_a_connection_that_is_reset_while_it_is_made_leaves_none_behind(proxy: Proxy, echo: Echo) -> None:
    proxy.on_event = lambda event, link: link.reset() if event.kind == "accept" else None
    # The reset may arrive before the client has finished connecting.
    with contextlib.suppress(ConnectionResetError), client(proxy):
        pass
    eventually(lambda: echo.ends, "the end of the connection to the server")


def test_a_proxy_without_a_log_still_reports_to_its_observer(echo: Echo) -> None:
    seen: list[Event] = []
    with Proxy("127.0.0.1", echo.port, keep_log=False) as proxy:
        proxy.on_event = lambda event, _link: seen.append(event)
        with client(proxy) as connection:
            round_trip(connection)
        eventually(lambda: {"accept", "end"} <= {event.kind for event in seen}, "what the observer was told")
        assert proxy.log == []


def test_a_close_is_passed_on(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as connection:
        round_trip(connection)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    eventually(lambda: echo.ends == ["closed"])


def test_latency_and_jitter(proxy: Proxy) -> None:
    with client(proxy) as connection:
        proxy.spoil(to_broker=Way(latency_s=0.1), to_client=Way(latency_s=0.1, jitter_s=0.05))
        assert 0.15 <= round_trip(connection) < _WITHIN_S
        proxy.heal()
        assert round_trip(connection) < 0.15


def test_a_dear_network(proxy: Proxy) -> None:
    with client(proxy) as connection:
        proxy.spoil(to_client=Way(bytes_per_s=10_000))
        assert 0.2 <= round_trip(connection, bytes(3000)) < _WITHIN_S


def test_one_byte_at_a_time(proxy: Proxy) -> None:
    with client(proxy) as connection:
        proxy.spoil(to_broker=Way(one_byte=True), to_client=Way(one_byte=True))
        round_trip(connection, bytes(range(256)) * 20)


def test_silence_towards_the_server_holds_what_is_said_until_it_is_over(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as connection:
        round_trip(connection)
        proxy.spoil(to_broker=SILENT)
        connection.sendall(b"hello")
        assert hears_nothing(connection)
        assert echo.got == b"x"
        proxy.heal()
        assert receive(connection, 5) == b"hello"


def test_silence_towards_the_client_holds_the_answers_alone(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as connection:
        round_trip(connection)
        proxy.spoil(to_client=SILENT)
        connection.sendall(b"hello")
        eventually(lambda: echo.got == b"xhello")
        assert hears_nothing(connection)
        proxy.heal()
        assert receive(connection, 5) == b"hello"


def test_silence_holds_the_end_as_well(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as connection:
        round_trip(connection)
        proxy.spoil(to_broker=SILENT, to_client=SILENT)
    eventually(lambda: not proxy.live)
    assert echo.ends == []
    proxy.heal()
    eventually(lambda: len(echo.ends) == 1)


def test_silence_meets_new_connections_too(proxy: Proxy) -> None:
    proxy.spoil(to_client=SILENT)
    with client(proxy) as connection:
        connection.sendall(b"x")
        assert hears_nothing(connection)
        proxy.heal()
        assert receive(connection, 1) == b"x"


def test_a_silence_that_ends_in_a_reset(proxy: Proxy) -> None:
    with client(proxy) as connection:
        round_trip(connection)
        proxy.spoil(to_client=Way(silent=True, reset_after_s=0.05))
        connection.sendall(b"x")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_a_reset_reaches_both_sides_and_what_was_held_is_gone(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as connection:
        round_trip(connection)
        proxy.spoil(to_broker=SILENT)
        connection.sendall(b"held")
        assert hears_nothing(connection)
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        eventually(lambda: echo.ends == ["reset"])
        proxy.heal()
    with client(proxy) as connection:
        round_trip(connection)
    assert echo.got == b"xx"


def test_a_reset_of_the_client_is_passed_on_as_one(proxy: Proxy, echo: Echo) -> None:
    with client(proxy) as connection:
        round_trip(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    eventually(lambda: echo.ends == ["reset"])


def test_a_limit_of_bytes(proxy: Proxy, echo: Echo) -> None:
    proxy.spoil(to_broker=Way(limit_bytes=5))
    with client(proxy) as connection:
        round_trip(connection, b"123")
        connection.sendall(b"4567")
        eventually(lambda: echo.ends == ["reset"])
    assert proxy.bytes_to_broker == 5
    assert [event.by for event in proxy.events("end")] == ["proxy"]


def test_a_slow_close(proxy: Proxy, echo: Echo) -> None:
    proxy.spoil(to_broker=Way(slow_close_s=0.2))
    with client(proxy) as connection:
        round_trip(connection)
        started = time.monotonic()
    eventually(lambda: echo.ends == ["closed"])
    assert time.monotonic() - started >= 0.2


def test_accept_and_hang(proxy: Proxy, echo: Echo) -> None:
    proxy.welcome("hang")
    with client(proxy) as connection:
        connection.sendall(b"x")
        assert hears_nothing(connection)
    proxy.welcome("pass")
    with client(proxy) as connection:
        round_trip(connection)
    assert (echo.got, proxy.accepted) == (b"x", 2)


def test_refuse_and_take_again_on_the_same_port(proxy: Proxy) -> None:
    port = proxy.port
    with client(proxy) as connection:
        round_trip(connection)
        proxy.welcome("refuse")
        round_trip(connection)
        with pytest.raises(ConnectionRefusedError), client(proxy):
            pass
        proxy.welcome("pass")
    with client(proxy) as connection:
        round_trip(connection)
    assert proxy.port == port


def test_a_server_that_is_not_there_resets() -> None:
    with (
        Proxy("127.0.0.1", free_port()) as proxy,
        pytest.raises(ConnectionResetError),
        client(proxy) as connection,
    ):
        connection.recv(1)


def test_frames_are_noted_and_can_spring_a_trap_before_they_pass(proxy: Proxy, echo: Echo) -> None:
    def trap(event: Event, link: Link) -> None:
        if event.kind == "ack":
            link.to_broker.become(SILENT)

    proxy.on_event = trap
    with client(proxy) as connection:
        round_trip(connection, PROTOCOL)
        connection.sendall(ACK)
        assert hears_nothing(connection)
    assert echo.got == PROTOCOL
    (ack,) = proxy.events("ack", tag=1)
    assert (ack.by, ack.connection, ack.channel) == ("client", 0, 1)


def test_only_named_connections_are_spoiled(proxy: Proxy) -> None:
    with client(proxy) as one, client(proxy) as other:
        round_trip(one)
        round_trip(other)
        proxy.links[0].name, proxy.links[1].name = "worker-1 consume", "worker-1 publish"
        proxy.spoil(to_client=SILENT, names="publish")
        round_trip(one)
        other.sendall(b"x")
        assert hears_nothing(other)
        assert proxy.reset("consume") == 1
        with pytest.raises(ConnectionResetError):
            one.recv(1)
        proxy.heal()
        assert receive(other, 1) == b"x"
