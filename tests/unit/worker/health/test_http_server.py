"""The server of health and metrics: what it answers, and that no request costs more than its own connection."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from http import HTTPStatus

import pytest

from tests.support.waiting import run
from worker.health import http_server
from worker.health.http_server import HEAD_BYTES, MOST_CONNECTIONS, Answer, HttpServer, Pages

TOKEN = "correct-horse-battery"
BIG = b"x" * 16_000_000


async def hello() -> Answer:
    return Answer(HTTPStatus.OK, b"hello\n")


async def big() -> Answer:
    return Answer(HTTPStatus.OK, BIG)


PAGES: Pages = {"/hello": hello, "/big": big}


@contextlib.asynccontextmanager
async def serving(token: str | None = None, without_token: Collection[str] = ()) -> AsyncIterator[int]:
    server = HttpServer(PAGES, token, without_token)
    url = await server.listen("127.0.0.1", 0)
    try:
        yield int(url.rpartition(":")[2])
    finally:
        await server.close()


async def said(port: int, request: bytes) -> bytes:
    """Everything that is answered to ``request``; nothing, if the connection is dropped."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    with contextlib.suppress(ConnectionError):
        writer.write(request)
        answer = await reader.read()
    writer.close()
    return answer


def ask(request: bytes, token: str | None = None, without_token: Collection[str] = ()) -> bytes:
    async def once() -> bytes:
        async with serving(token, without_token) as port:
            return await said(port, request)

    return run(once())


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_a_page_comes_with_its_length_and_the_connection_ends() -> None:
    head, _, body = ask(get("/hello?a=b")).partition(b"\r\n\r\n")

    assert body == b"hello\n"
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 200 OK",
        b"Content-Type: text/plain; charset=utf-8",
        b"Content-Length: 6",
        b"Cache-Control: no-store",
        b"Connection: close",
    ]


def test_head_is_answered_without_the_body() -> None:
    answer = ask(b"HEAD /hello HTTP/1.0\r\n\r\n")

    assert b"Content-Length: 6" in answer
    assert answer.endswith(b"\r\n\r\n")


def test_a_large_page_arrives_whole() -> None:
    assert ask(get("/big")).partition(b"\r\n\r\n")[2] == BIG


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/nowhere"), 404),
        (get("/"), 404),
        (b"POST /hello HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET hello HTTP/1.1\r\n\r\n", 400),
        (b"GET /hello HTTP/2.0\r\n\r\n", 400),
        (b"GET /hel lo HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"AMQP\x00\x00\x09\x01\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET /hello HTTP/1.1\r\n" + b"A: " + b"b" * HEAD_BYTES + b"\r\n\r\n", 431),
    ],
)
def test_what_is_wrong_with_a_request_is_said(request_: bytes, status: int) -> None:
    assert status_of(ask(request_)) == status


def test_an_unknown_page_names_the_known_ones() -> None:
    assert ask(get("/nowhere")).endswith(b"\r\n\r\nnot found: there are /hello, /big\n")


@pytest.mark.parametrize(
    ("headers", "token", "status"),
    [
        ((f"Authorization: Bearer {TOKEN}",), TOKEN, 200),
        ((f"AUTHORIZATION:Bearer {TOKEN}",), TOKEN, 200),
        ((), TOKEN, 401),
        ((f"Authorization: Bearer {TOKEN}x",), TOKEN, 401),
        ((f"Authorization: Basic {TOKEN}",), TOKEN, 401),
        (("Authorization: Bearer ",), TOKEN, 401),
        ((f"Authorization: Bearer {TOKEN}", "Authorization: Bearer x"), TOKEN, 401),
        ((f"X-Forwarded-For: 127.0.0.1\r\nAuthorization: {TOKEN}",), TOKEN, 401),
        (("Authorization: Bearer None",), None, 401),
    ],
)
@pytest.mark.parametrize("near", [True, False])
def test_every_page_asks_everybody_for_the_token_whatever_the_address(
    headers: tuple[str, ...], token: str | None, status: int, near: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy on this machine, or beside it, speaks for whoever came to it."""
    monkeypatch.setattr(http_server, "is_near", lambda _writer: near)
    if token is None and near:
        status = 200  # no token, and no other machine: nothing to ask for

    assert status_of(ask(get("/hello", *headers), token)) == status
    if status == 401:
        assert status_of(ask(get("/nowhere", *headers), token)) == status


def test_a_page_that_is_open_asks_nobody_for_the_token_and_opens_no_other_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "is_near", lambda _writer: False)
    for path, status in (("/hello", 200), ("/hello?x", 200), ("/big", 401), ("/hello/", 401), ("//hello", 401)):
        assert status_of(ask(get(path), TOKEN, {"/hello"})) == status, path


class _Peers(asyncio.StreamWriter):
    def __init__(self, peer: str, own: str) -> None:
        self._names = {"peername": (peer, 1), "sockname": (own, 2)}

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._names[name]

    def __del__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("peer", "own", "near"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("10.0.0.7", "10.0.0.7", True),
        ("10.0.0.8", "10.0.0.7", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
        ("192.168.1.1", "127.0.0.1", False),
    ],
)
def test_near_is_who_asks_from_this_machine(peer: str, own: str, near: bool) -> None:
    assert http_server.is_near(_Peers(peer, own)) is near


async def half_a_request(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /hello HTTP/1.1\r\nHost:")
    return reader, writer


async def a_slow_reader(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.connect(("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=client, limit=1024)
    writer.write(get("/big"))
    return reader, writer


@pytest.mark.parametrize("slow", [half_a_request, a_slow_reader])
def test_a_client_that_is_slow_is_dropped_at_the_time_limit(
    slow: Callable[[int], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http_server, "TIMEOUT_S", 0.2)

    async def drop() -> None:
        async with serving() as port:
            reader, writer = await slow(port)
            read, pace = 0, itertools.chain(itertools.repeat(0.01, 40), itertools.repeat(0))
            with contextlib.suppress(ConnectionError):
                while piece := await reader.read(1024):
                    read += len(piece)
                    # Slow until long after the limit; then whatever is still on its way.
                    await asyncio.sleep(next(pace))
            assert read < len(BIG)
            writer.close()
            assert (await said(port, get("/hello"))).endswith(b"hello\n")

    run(drop())


def test_of_many_at_once_a_bounded_number_is_served_and_afterwards_all_is_as_before() -> None:
    async def crowd() -> None:
        async with serving() as port:
            waiting = [await half_a_request(port) for _ in range(MOST_CONNECTIONS)]
            # Answered to nobody beyond, until one of them is done.
            assert await said(port, get("/hello")) == b""
            reader, writer = waiting.pop()
            writer.write(b" x\r\n\r\n")
            assert (await reader.read()).endswith(b"hello\n")
            writer.close()
            assert (await said(port, get("/hello"))).endswith(b"hello\n")
            for _, writer in waiting:
                writer.close()

    run(crowd())


def test_a_crowd_from_elsewhere_does_not_keep_this_machine_from_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    is_near = http_server.is_near

    async def crowd() -> None:
        async with serving() as port:
            monkeypatch.setattr(http_server, "is_near", lambda _writer: False)
            waiting = [await half_a_request(port) for _ in range(MOST_CONNECTIONS)]
            assert await said(port, get("/hello")) == b""
            monkeypatch.setattr(http_server, "is_near", is_near)
            assert (await said(port, get("/hello"))).endswith(b"hello\n")
            for _, writer in waiting:
                writer.close()

    run(crowd())


def test_a_client_that_goes_away_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    async def leave() -> None:
        async with serving() as port:
            for part in (b"", b"GET", get("/big")):
                with socket.create_connection(("127.0.0.1", port)) as client:
                    client.sendall(part)
            assert (await said(port, get("/hello"))).endswith(b"hello\n")

    run(leave())
    assert not caplog.records


@pytest.mark.parametrize(
    ("host", "reported"),
    [
        ("127.0.0.1", "http://127.0.0.1"),
        pytest.param("::1", "http://[::1]", marks=pytest.mark.needs("IPv6")),
    ],
)
def test_the_address_is_reported_as_a_url(host: str, reported: str) -> None:
    async def listen() -> str:
        server = HttpServer(PAGES, None)
        url = await server.listen(host, 0)
        await server.close()
        return url.rpartition(":")[0]

    assert run(listen()) == reported
