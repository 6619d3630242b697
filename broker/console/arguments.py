"""What a person types: arguments of a task as JSON or ``KEY=VALUE``, and times."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_AGO = re.compile(r"(?P<count>\d{1,9})(?P<unit>[smhd])")


def read_json(text: str | bytes) -> Any:
    """What JSON says. Raises ``ValueError``, also for NaN and the infinities, which are none."""
    try:
        return json.loads(_typed(text) if isinstance(text, str) else text, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def pairs_of(pairs: Iterable[str], option: str) -> dict[str, Any]:
    """The arguments that were given by ``option KEY=VALUE``; a VALUE that is JSON is read as such.

    Raises ``ValueError``.
    """
    arguments = {}
    for pair in pairs:
        key, equals, value = _typed(pair).partition("=")
        if not equals or not key:
            raise ValueError(f"{option} {pair!r}: write KEY=VALUE.")
        arguments[key] = _value(value)
    return arguments


def _typed(text: str) -> str:
    """A word of the command line where the locale is less than UTF-8, in which it was typed nevertheless."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return os.fsencode(text).decode("utf-8", "surrogateescape")
    return text


def _value(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError:
        return text


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def since_ms(text: str, now_ms: int) -> int:
    """``90s``, ``15m``, ``2h`` or ``3d`` ago, or a date or time like 2026-11-24T10:30 (UTC, unless it names a
    zone), as epoch milliseconds. Raises ``ValueError``."""
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now_ms - int(ago["count"]) * _UNITS_MS[ago["unit"]]
    time = datetime.fromisoformat(text)
    return round(time.replace(tzinfo=time.tzinfo or UTC).timestamp() * 1000)
