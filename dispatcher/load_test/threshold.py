"""``--threshold``: what a load test must reach, like ``p95<250ms``, ``lost<=0`` or ``success>=99.9%``. Pure."""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dispatcher.load_test.text import LATENCIES, TASKS

_RULE = re.compile(r"\s*([a-z]\w*)\s*(<=|>=|<|>)\s*(\d+(?:\.\d+)?)\s*(ms|s|%|/s)?\s*", re.ASCII)
_HOLDS = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
#: Units of each name, and by what they are multiplied.
_UNITS: dict[str, dict[str, float]] = {
    **{name: {"ms": 1.0, "s": 1000.0} for name in (*LATENCIES, "median")},
    **{name: {"": 1.0} for name in TASKS},
    "throughput": {"": 1.0, "/s": 1.0},
    "success": {"": 1.0, "%": 0.01},
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """One rule."""

    text: str
    name: str
    sign: str
    value: float

    def seen(self, run: Mapping[str, Any]) -> float:
        """The value that a run has for it; latencies in milliseconds, success as a part of 1."""
        if self.name in TASKS:
            return float(run["tasks"][self.name])
        if self.name in ("throughput", "success"):
            return float(run[self.name])
        return float(run["latency_ms"]["p50" if self.name == "median" else self.name])

    def holds(self, run: Mapping[str, Any]) -> bool:
        """Latencies of which there are none hold no rule: a test that measured nothing must not pass."""
        is_blind = self.name in (*LATENCIES, "median") and not run["histogram_ms"]
        return not is_blind and bool(_HOLDS[self.sign](self.seen(run), self.value))


def threshold_of(text: str) -> Threshold:
    """Raises ``ValueError``."""
    found = _RULE.fullmatch(text)
    units = _UNITS.get(found[1]) if found else None
    if not found or units is None or (found[4] or "") not in units:
        raise ValueError(
            f"{text!r} is no threshold. Write NAME, one of < <= > >=, and a value: p95<250ms, success>=99.9%, "
            f"throughput>100/s, lost<=0. Names: {', '.join(_UNITS)}"
        )
    return Threshold(text.strip(), found[1], found[2], float(found[3]) * units[found[4] or ""])
