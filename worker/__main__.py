"""``python -m worker QUEUE…``: a worker until SIGTERM or Ctrl-C."""

from __future__ import annotations

import click

from broker.shell import config_option, log_format_option, names_of, told


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("queues", nargs=-1, required=True, metavar="QUEUE...", shell_complete=names_of("queues"))
@config_option
@click.option("--concurrency", type=click.IntRange(min=1), help="Tasks at a time (default: worker.concurrency).")
@log_format_option
@click.option("-v", "--verbose", is_flag=True, help="Log more.")
@told
def main(queues: tuple[str, ...], config: str | None, concurrency: int | None, verbose: bool) -> None:
    """Run the tasks of QUEUE..., until SIGTERM or Ctrl-C.

    The first signal lets what runs finish and gives the rest back; a second one stops at once. Says `ready` on
    standard error once it consumes. Exits with 0 when stopped, 78 if the configuration is wrong.
    """
    import asyncio
    import os
    import signal
    import sys

    # Whoever is told to stop before there is anything to stop has stopped as told.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

    from broker import logs
    from broker.config import load
    from worker.command import run
    from worker.log_fields import of_worker

    logs.configure(verbose=verbose, fields=of_worker(os.getpid()))
    # As if by the environment, so that it is checked together with everything it has to fit.
    own = {} if concurrency is None else {"GLASSRABBIT__WORKER__CONCURRENCY": str(concurrency)}
    asyncio.run(run(load(config, {**os.environ, **own}), queues))


if __name__ == "__main__":
    main(prog_name="python -m worker")
