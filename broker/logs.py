"""Logging of the commands: one event, one line, on standard error."""

from __future__ import annotations

import logging
import sys

from broker.escaping import plain

#: Of one message, a traceback included; the rest is cut.
LONGEST = 16_000


class Escaping(logging.Formatter):
    """What comes from outside can neither move the cursor nor forge a line: continuation lines are indented."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
        return "\n  ".join(plain(line) for line in cut.split("\n"))


def to_stderr(shape: str, times: str | None = None, level: int = logging.INFO) -> None:
    """Log there and nowhere else, escaped. ``shape`` and ``times`` are the formats of ``logging.Formatter``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Escaping(shape, times))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def configure(*, verbose: bool = False) -> None:
    """Set up logging for a command. pika's own lines are left out: the link says what matters, once."""
    level = logging.DEBUG if verbose else logging.INFO
    to_stderr("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S", level)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
