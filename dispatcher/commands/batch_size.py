"""The type of ``--batch``."""

from __future__ import annotations

from typing import Any

import click


class BatchSize(click.ParamType[Any]):
    """A number of tasks, or ``auto``."""

    name = "n|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if value == "auto" else click.IntRange(min=1).convert(value, param, ctx)
