"""``python -m broker doctor``: options, and the checks in their order.

Imports of weight wait until the command runs, so that ``--help`` stays quick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from broker.console.options import config_option, output_option, reports_errors, timeout_option
from protocol.errors import ExitCode

if TYPE_CHECKING:
    from broker.doctor.verdict import Facts, Verdict


@click.command()
@config_option
@click.option("--probe", metavar="TASK", help="Send this task, without arguments, and wait for its result.")
@timeout_option()
@output_option("table", "json")
@reports_errors
def doctor(config: str | None, probe: str | None, timeout_s: float, output: str) -> ExitCode:
    """Check an installation step by step, and say what is wrong, why it matters and what to do.

    ✓ is ok, ✗ failed, – could not be looked at or is worth knowing. The end says which failure this is: the
    broker is down, a worker does not connect, tasks are not processed, or results do not return. Changes nothing;
    only --probe runs a task.

    Exit codes: 0 no check failed, 1 one did, 69 no broker answers, 75 it left something unanswered,
    78 configuration.
    """
    import asyncio

    from broker.config.loader import load
    from broker.console.tables import console
    from broker.doctor.facts import gather
    from broker.doctor.text import to_json, to_text
    from broker.doctor.verdict import exit_code

    settings = load(config)
    if probe is not None and probe not in settings.tasks:
        raise click.BadParameter(f"{probe!r} is none of {', '.join(settings.tasks)}.", param_hint="--probe")
    facts = asyncio.run(gather(settings, probe, timeout_s))
    verdicts = examine(facts)
    if output == "json":
        click.echo(to_json(verdicts))
    else:
        console().print(to_text(verdicts))
    return exit_code(verdicts, facts)


def examine(facts: Facts) -> list[Verdict]:
    """Every check, in the order in which one looks."""
    from broker.doctor import check_access as doctor_access
    from broker.doctor import check_broker as doctor_broker
    from broker.doctor import check_limits as doctor_limits
    from broker.doctor import check_tasks as doctor_tasks

    verdicts = [
        doctor_access.check_reachable(facts),
        doctor_access.check_login(facts),
        doctor_broker.check_version(facts),
        doctor_broker.check_management(facts),
        doctor_broker.check_leaders(facts),
        doctor_broker.check_alarms(facts),
        doctor_broker.check_headroom(facts),
        doctor_broker.check_crash(facts),
        doctor_access.check_permissions(facts),
        doctor_broker.check_clocks(facts),
        doctor_tasks.check_topology(facts),
        doctor_tasks.check_delay_line(facts),
        doctor_tasks.check_dead_lettering(facts),
        doctor_broker.check_lost_nodes(facts),
        doctor_tasks.check_workers(facts),
        doctor_limits.check_heartbeat(facts),
        doctor_tasks.check_consumers(facts),
        doctor_limits.check_delivery_limit(facts),
        doctor_limits.check_consumer_timeout(facts),
        doctor_limits.check_prefetch(facts),
        doctor_limits.check_message_size(facts),
        doctor_tasks.check_results(facts),
        doctor_tasks.check_letters(facts),
    ]
    if facts.settings.control.enabled:
        verdicts.insert(-2, doctor_tasks.check_steering(facts))
    if facts.probe is not None:
        verdicts.append(doctor_tasks.check_probe(facts.probe))
    return verdicts
