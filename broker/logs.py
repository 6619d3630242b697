"""Logging of the commands: one event, one line, on standard error."""

from __future__ import annotations

import logging
import sys


def configure(*, verbose: bool = False) -> None:
    """Set up logging for a command. pika's own lines are left out: the link says what matters, once."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
