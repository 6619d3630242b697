"""``python -m broker config …``: what is configured, whether it is right, and what can be. Asks no broker."""

from __future__ import annotations

import click

from broker.console.options import FORMATS, config_option, output_option, reports_errors


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def config() -> None:
    """See and check the configuration: the file, and the environment over it. Asks no broker.

    Exit codes: 0 ok, 78 the configuration is wrong, 2 usage.
    """


@config.command()
@config_option
@click.option(
    "--origin", is_flag=True, help="Say where each value comes from: default, file and line, or variable."
)
@output_option(*FORMATS)
@reports_errors
def show(config: str | None, origin: bool, output: str) -> None:
    """Print every value as it takes effect, one line each. Passwords are ***."""
    import json

    from broker.commands.config_rows import rows
    from broker.config.loader import with_places
    from broker.console.escaping import plain_json
    from broker.console.tables import print_table

    found = rows(*with_places(config))
    if output in ("json", "jsonl"):
        maps = [
            {"key": row.key, "value": row.value, **({"origin": row.origin} if origin else {})} for row in found
        ]
        lines = [json.dumps(maps, indent=2)] if output == "json" else map(json.dumps, maps)
        for line in lines:
            click.echo(plain_json(line))
        return
    head = ["key", "value", "origin"] if origin else ["key", "value"]
    cells = [[row.key, row.text, row.origin][: len(head)] for row in found]
    print_table(head, cells, tabs=output == "plain")


@config.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
@config_option
@reports_errors
def validate(file: str | None, config: str | None) -> None:
    """Check FILE, else the configuration that the other commands would take, and say all that is wrong with it.

    The environment counts, as it does for them, and the files of broker.tls are read if a URL needs them.
    """
    if file is not None and config is not None:
        raise click.UsageError("give FILE or --config, not both.")
    from broker.amqp.link import LinkSettings
    from broker.config.loader import load
    from broker.console.escaping import plain

    settings = load(file or config)
    LinkSettings.of(settings)
    where = "the built-in example" if settings.path is None else str(settings.path)
    click.echo(f"ok: {plain(where)}: {len(settings.queues)} queues, {len(settings.tasks)} tasks")


@config.command()
@reports_errors
def schema() -> None:
    """Print a JSON Schema of the configuration file, for editors: keys, bounds, defaults, units, meanings."""
    import json

    from broker.config.schema import schema as of_settings

    click.echo(json.dumps(of_settings(), indent=2, ensure_ascii=False))
