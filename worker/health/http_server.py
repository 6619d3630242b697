"""A very small HTTP server: some pages, GET and HEAD, one request a connection.

Everything has a bound: the size of a request, the time it may take together with its answer, how many are served
at once. If there is a token, everybody has to show it: a proxy on this machine speaks for others. No request,
however wrong, ends more than its connection.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import re
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

#: Of a request line and its headers together.
HEAD_BYTES = 8192
#: For request and answer together.
TIMEOUT_S = 5.0
#: Connections that are served at a time, of this machine and of others; further ones are closed at once.
MOST_CONNECTIONS = 32
TEXT = "text/plain; charset=utf-8"
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]")


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body, and the type of it."""

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


#: A path, and what answers for it.
Pages = Mapping[str, Callable[[], Awaitable[Answer]]]


class HttpServer:
    """Life: ``listen`` → ``close``."""

    def __init__(self, pages: Pages, token: str | None, without_token: Collection[str] = ()) -> None:
        """``token``: what each peer has to show, but for pages ``without_token``; None: nobody is served who is
        not on this machine."""
        self._pages = pages
        self._token = token
        self._without_token = without_token
        self._server: asyncio.Server | None = None
        # Apart, so that no crowd from elsewhere keeps this machine from asking whether the worker is well.
        self._near: set[asyncio.StreamWriter] = set()
        self._far: set[asyncio.StreamWriter] = set()

    async def listen(self, host: str, port: int) -> str:
        """Start to serve; the URL of it. ``port`` 0: any that is free. Raises ``OSError``."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=HEAD_BYTES)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def close(self) -> None:
        """Serve no more; requests in progress are cut off."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._near | self._far:
            writer.transport.abort()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = writer.transport
        served = self._near if is_near(writer) else self._far
        if len(served) >= MOST_CONNECTIONS:
            transport.abort()
            return
        served.add(writer)
        # So that ``drain`` returns only once all is with the kernel, and a slow reader meets the time limit.
        transport.set_write_buffer_limits(0)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                writer.write(await self._response(reader, writer))
                await writer.drain()
            writer.close()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return
        finally:
            served.discard(writer)
            if not transport.is_closing():
                transport.abort()

    async def _response(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _packed(_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), with_body=True)
        line, *headers = head.split(b"\r\n")
        match = _REQUEST_LINE.fullmatch(line)
        if match is None:
            return _packed(_error(HTTPStatus.BAD_REQUEST), with_body=True)
        method, target = match[1], match[2].decode("ascii")
        return _packed(await self._answer(method, target, headers, writer), with_body=method != b"HEAD")

    async def _answer(
        self, method: bytes, target: str, headers: list[bytes], writer: asyncio.StreamWriter
    ) -> Answer:
        path = target.partition("?")[0]
        may_ask = is_near(writer) if self._token is None else self._is_token(headers)
        if not may_ask and path not in self._without_token:
            return _error(HTTPStatus.UNAUTHORIZED)
        if method not in (b"GET", b"HEAD"):
            return _error(HTTPStatus.METHOD_NOT_ALLOWED)
        page = self._pages.get(path)
        if page is None:
            return _error(HTTPStatus.NOT_FOUND, f": there are {', '.join(self._pages)}")
        return await page()

    def _is_token(self, headers: list[bytes]) -> bool:
        shown = [value.strip() for name, _, value in (line.partition(b":") for line in headers)
                 if name.lower() == b"authorization"]  # fmt: skip
        if self._token is None or len(shown) != 1:
            return False
        return hmac.compare_digest(shown[0], b"Bearer " + self._token.encode())


def is_near(writer: asyncio.StreamWriter) -> bool:
    """Whether the peer is on this machine: a loopback address, or the very one that it asked at."""
    peer, own = writer.get_extra_info("peername"), writer.get_extra_info("sockname")
    return bool(peer) and (peer[0] == own[0] or ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback)


def _error(status: HTTPStatus, more: str = "") -> Answer:
    return Answer(status, f"{status.phrase.lower()}{more}\n".encode())


def _packed(answer: Answer, *, with_body: bool) -> bytes:
    further: dict[HTTPStatus, dict[str, Any]] = {
        HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
        HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": "GET, HEAD"},
    }
    headers = {
        "Content-Type": answer.content_type,
        "Content-Length": len(answer.body),
        "Cache-Control": "no-store",
        "Connection": "close",
        **further.get(answer.status, {}),
    }
    lines = [f"HTTP/1.1 {answer.status.value} {answer.status.phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + (answer.body if with_body else b"")
