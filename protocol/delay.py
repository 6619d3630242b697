"""Delays as routing keys. Pure arithmetic; the queues it speaks of are made by ``broker.topology.model``.

A delay is a whole number of units, written in binary. Each bit has a switch (a topic exchange) and a queue
whose TTL is that bit's worth: a 1 waits there, a 0 passes on to the next lower switch. After the last switch
the message has waited the sum of its bits. Every queue has one TTL, so its head always expires first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from protocol.names import delay_level

LEVELS = 20
UNIT_MS = 100
LONGEST_S = ((1 << LEVELS) - 1) * UNIT_MS / 1000


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a message enters the delay line, and the key that leads it through."""

    exchange: str
    routing_key: str
    delay_ms: int


def enter(seconds: float, task: str) -> Hop:
    """The way into the line for a delay, rounded up to whole units, at least one.

    Raises ``ValueError`` for what cannot be waited: a delay beyond ``LONGEST_S`` is never clamped.
    """
    if not 0 <= seconds <= LONGEST_S:
        raise ValueError(f"a delay must be from 0 to {LONGEST_S:,.1f} s (29 h), not {seconds!r}")
    # Rounding first keeps 1.1 s at 11 units: 1.1 / 0.1 is a little more than 11 in binary fractions.
    units = max(1, math.ceil(round(seconds * 1000 / UNIT_MS, 6)))
    bits = ".".join(f"{units:0{LEVELS}b}")
    return Hop(delay_level(units.bit_length() - 1), f"{bits}.{task}", units * UNIT_MS)


def levels_of(routing_key: str) -> list[int]:
    """The levels that a message waits in, in their order; none if it is the key of no delay."""
    bits = routing_key.split(".")[:LEVELS]
    return [LEVELS - 1 - place for place, bit in enumerate(bits) if bit == "1" and len(bits) == LEVELS]


def ttl_ms(level: int) -> int:
    """How long a message waits in the queue of one bit."""
    return UNIT_MS << level


def level_key(level: int, bit: int) -> str:
    """What a switch looks at: its own bit, whatever stands before and after."""
    return "*." * (LEVELS - 1 - level) + f"{bit}.#"


def due_key(task: str) -> str:
    """The end of the line for one task. Exactly this number of words, since ``#.daily`` would also match
    ``reports.daily``."""
    return "*." * LEVELS + task
