"""Which of two formats the lines of the log have: what the command line says, else GLASSRABBIT_LOG_FORMAT."""

from __future__ import annotations

import os

VARIABLE = "GLASSRABBIT_LOG_FORMAT"
TEXT, JSON = "text", "json"


def choose(name: str) -> None:
    """For this process and, by its environment, for all that it starts."""
    os.environ[VARIABLE] = name


def is_json() -> bool:
    return os.environ.get(VARIABLE) == JSON
