"""What a worker serves about itself over HTTP: whether it lives, whether it is ready, and its numbers.

``/livez`` asks for nothing but an answer of the loop that owns AMQP: a broker that is away is no reason to restart
the worker. ``/readyz`` is ``Worker.problem``. That none of it can be served is a line in the log, and no
reason for a worker not to work.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from broker.config.http_settings import HttpSettings, ports
from broker.metrics import page
from worker.health.http_server import Answer, HttpServer, Pages
from worker.telemetry.snapshot import families

if TYPE_CHECKING:
    from worker.worker import Worker

log = logging.getLogger("glassrabbit.worker")

#: What may be opened to probes that can show no token. Never ``/metrics``.
_PROBES = ("/livez", "/readyz")
_TAKEN = (errno.EADDRINUSE, errno.EACCES)


@contextlib.asynccontextmanager
async def serving(worker: Worker, settings: HttpSettings) -> AsyncIterator[None]:
    """Serve until the end of the block. Raises nothing of its own."""
    if not settings.enabled:
        yield
        return
    token = None if settings.token is None else settings.token.get_secret_value()
    server = HttpServer(pages(worker), token, _PROBES if settings.open_probes else ())
    try:
        log.info("health and metrics at %s", await _listen(server, settings))
    except OSError as error:
        log.warning("no health and metrics, going on without: %s. Check worker.http in the configuration.", error)
    try:
        yield
    finally:
        await server.close()


async def _listen(server: HttpServer, settings: HttpSettings) -> str:
    for port in ports(settings.port):
        try:
            return await server.listen(settings.bind, port)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
    return await server.listen(settings.bind, 0)


def pages(worker: Worker) -> Pages:
    """The pages of a worker."""

    async def live() -> Answer:
        return Answer(HTTPStatus.OK, b"ok\n")

    async def ready() -> Answer:
        if (problem := worker.problem) is None:
            return Answer(HTTPStatus.OK, "".join(f"{line}\n" for line in ("ok", *worker.remarks)).encode())
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {problem}\n".encode())

    async def metrics() -> Answer:
        # Counted here, written in a thread: the loop that owns AMQP does not wait for it.
        now = families(worker.snapshot())
        content_type, text = await asyncio.to_thread(page, now, process=True)
        return Answer(HTTPStatus.OK, text, content_type)

    return {"/livez": live, "/readyz": ready, "/metrics": metrics}
