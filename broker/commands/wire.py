"""``python -m broker wire``: its options."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from broker.console.options import Whole, config_option, reports_errors
from protocol.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from broker.wire.pcap import Capture


@click.command()
@config_option
@click.option("--listen", type=Whole(0, 65535), default=0, help="Port on 127.0.0.1 (default: a free one).")
@click.option(
    "--filter", "filters", multiple=True, metavar="PATTERN", help="Show only these: basic.*, header, body."
)
@click.option("--bytes", "with_bytes", is_flag=True, help="Show the bytes of each frame as well.")
@click.option("--pcap", metavar="FILE", help="Write a capture for Wireshark as well.")
@click.option("-o", "--output", type=click.Choice(["plain", "jsonl"]), default="plain", show_default=True)
@reports_errors
def wire(
    config: str | None, listen: int, filters: tuple[str, ...], with_bytes: bool, pcap: str | None, output: str
) -> ExitCode:
    """Print the AMQP frames that pass between clients and the broker, until Ctrl-C.

    Point a client at the address that it prints: BROKER_URL=amqp://user:password@127.0.0.1:PORT/vhost. A confirm
    names its publish, an ack its delivery; a summary of each connection follows at the end. Logins are
    overwritten before anything is shown or written. It listens on loopback alone, without TLS; towards the broker
    it uses that of the configuration.
    """
    import asyncio
    from pathlib import Path

    path = None if pcap is None else Path(pcap)
    try:
        asyncio.run(_record(config, listen, filters, with_bytes, path, as_json=output == "jsonl"))
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    return ExitCode.OK


async def _record(
    config: str | None,
    listen: int,
    filters: tuple[str, ...],
    with_bytes: bool,
    path: Path | None,
    *,
    as_json: bool,
) -> None:
    from contextlib import ExitStack

    from broker.amqp.link import LinkSettings
    from broker.config.loader import load
    from broker.console.escaping import plain
    from broker.wire.pcap import Capture
    from broker.wire.proxy import Proxy
    from broker.wire.recorder import Recorder

    settings = LinkSettings.of(load(config))
    endpoint = settings.endpoints[0]
    with ExitStack() as stack:
        capture: Capture | None = None if path is None else stack.enter_context(Capture(path))
        recorder = Recorder(click.echo, filters=filters, with_bytes=with_bytes, as_json=as_json, capture=capture)

        def problem(text: str) -> None:
            click.echo(f"error: {plain(text)}", err=True)

        try:
            async with Proxy(endpoint, settings.tls, recorder.frame, on_problem=problem, port=listen) as proxy:
                click.echo(f"listening on 127.0.0.1:{proxy.port} for {endpoint}", err=True)
                await _for_ever()
        finally:
            for number, conversation in recorder.conversations.items():
                for name, value in conversation.summary():
                    click.echo(f"connection {number}: {name}: {value}", err=True)


async def _for_ever() -> None:
    import asyncio

    await asyncio.get_running_loop().create_future()
