"""``python -m tests.chaos``: a campaign on a broker of its own, its verdict and one table."""

from __future__ import annotations

import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
from pika.exceptions import AMQPError

from broker.console.options import reports_errors
from broker.console.tables import print_table
from protocol.errors import ExitCode
from tests.chaos import records, report
from tests.chaos.checker import Verdict, check
from tests.chaos.mutants import BY_NAME
from tests.chaos.report import Result
from tests.chaos.rig import Campaign, play
from tests.chaos.schedule import KINDS
from tests.support.brokers import DEFAULT, IMAGES, LOCAL, Brokers, Wanted, why_not
from tests.support.management import ManagementError

_SHOWN = 20
_CODES = {"pass": ExitCode.OK, "broken": ExitCode.FAILED, "unknown": ExitCode.TIMED_OUT}


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--minutes", type=click.FloatRange(min=1), default=10.0, help="Minutes of load; then it drains.")
@click.option("--seed", type=click.IntRange(min=0), help="Repeats the load and the faults of a seed.")
@click.option(
    "--broker",
    type=click.Choice([*IMAGES, LOCAL]),
    help=f"RabbitMQ in a container, or that of this machine. [default: {DEFAULT}, else {LOCAL}]",
)
@click.option("--rate", type=click.FloatRange(min=1), default=40.0, help="Tasks a second.")
@click.option(
    "--fault", "faults", multiple=True, type=click.Choice(list(KINDS)), help="Only this kind (again: and this)."
)
@click.option("--mutant", type=click.Choice(list(BY_NAME)), help="With this bug planted.")
@click.option("--keep", type=click.Path(path_type=Path), help="Folder for ledgers and logs, which are kept.")
@click.option(
    "--json", "path", type=click.Path(dir_okay=False, path_type=Path), help="Append the result to a file."
)
@reports_errors
def main(
    minutes: float,
    seed: int | None,
    broker: str | None,
    rate: float,
    faults: tuple[str, ...],
    mutant: str | None,
    keep: Path | None,
    path: Path | None,
) -> int:
    """Mixed load, overlapping faults, and a judge who trusts nobody.

    Exits with 0 if every promise was kept, 1 if one was broken, 75 if that cannot be known. The ledgers are kept
    where a promise was broken.
    """
    # Told to end, it cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(ExitCode.INTERRUPTED))
    seed = secrets.randbelow(10**6) if seed is None else seed
    name = broker or (DEFAULT if why_not(DEFAULT) is None else LOCAL)
    if (problem := why_not(name)) is not None:
        raise click.UsageError(f"broker {name} cannot be had: {problem}")
    campaign = Campaign(seconds=minutes * 60, seed=seed, rate=rate, mutant=mutant, kinds=faults or tuple(KINDS))
    command = " ".join(
        ["python -m tests.chaos", f"--minutes {minutes:g} --seed {seed} --broker {name} --rate {rate:g}"]
        + [f"--fault '{fault}'" for fault in faults]
        + ([f"--mutant {mutant}"] if mutant else [])
    )
    _tell(command)
    folder = (keep or Path(tempfile.mkdtemp(prefix="chaos-"))).resolve()
    verdict, version = _judged(campaign, name, folder)
    result = Result(
        system="glassrabbit",
        broker=version,
        seed=seed,
        command=command,
        state=verdict.state,
        text=verdict.text,
        broken={name: len(texts) for name, texts in verdict.broken.items()},
        counts=verdict.counts,
    )
    if path is not None:
        with path.open("a") as file:
            file.write(report.to_line(result) + "\n")
    head, *rows = report.table([result])
    print_table(head, rows)
    _explain(verdict)
    if verdict.state == "pass" and keep is None:
        shutil.rmtree(folder)
    else:
        click.echo(f"ledgers and logs: {folder}", err=True)
    click.echo(f"seed {seed}: {verdict.state}\n{command}")
    return _CODES[verdict.state]


def _judged(campaign: Campaign, name: str, folder: Path) -> tuple[Verdict, str]:
    brokers = Brokers()
    try:
        broker = brokers.get(Wanted(name, alone=True))
        try:
            play(campaign, broker, folder, _tell)
        except (AssertionError, ManagementError, AMQPError) as error:
            # What there is is judged: without its end it never passes.
            _tell(f"the campaign was given up: {error!r}")
    finally:
        brokers.stop()
    return check(records.read(folder / "ledger")), broker.version


def _explain(verdict: Verdict) -> None:
    for invariant, texts in verdict.broken.items():
        _tell(f"{invariant}: {len(texts)}")
        for text in texts[:_SHOWN]:
            _tell(f"  {text}")
    if verdict.text:
        _tell(verdict.text)


def _tell(text: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')} {text}", err=True)


if __name__ == "__main__":
    main(prog_name="python -m tests.chaos")
