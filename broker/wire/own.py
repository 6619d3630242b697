"""The frames of one process of ours, on its standard error: the recording proxy inside of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

import click

from broker.config.settings import Settings
from broker.config.tls import tls_context
from broker.console.escaping import plain
from broker.wire.frames import Frame
from broker.wire.proxy import Proxy
from broker.wire.recorder import Recorder


@asynccontextmanager
async def recorded(settings: Settings) -> AsyncIterator[Settings]:
    """The configuration with addresses on loopback, and each frame that passes by them as a line."""
    broker = settings.broker
    tls = tls_context(broker.tls) if any(one.scheme == "amqps" for one in broker.endpoints) else None
    write = partial(click.echo, err=True)
    recorder, own = Recorder(write), []

    def frame(place: int, seen: Frame, number: int, by_client: bool) -> None:
        recorder.frame(seen, number * len(broker.endpoints) - place, by_client)

    async with AsyncExitStack() as stack:
        for place, endpoint in enumerate(broker.endpoints):
            proxy = Proxy(endpoint, tls, partial(frame, place), on_problem=lambda text: write(plain(text)))
            await stack.enter_async_context(proxy)
            own.append(replace(endpoint, scheme="amqp", host="127.0.0.1", port=proxy.port))
        by_proxy = broker.model_copy(update={"endpoints": tuple(own)})
        yield settings.model_copy(update={"broker": by_proxy})
