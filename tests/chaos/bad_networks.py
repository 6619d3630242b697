"""The faults of networks: what happens between some processes and the broker, and to neither of them."""

from __future__ import annotations

import random
from typing import Literal

from tests.chaos.schedule import Planned
from tests.chaos.target import Hold, Target
from tests.support.link import CLEAR, SILENT, Way

#: Between two resets of a storm.
RESETS_S = (0.2, 2.0)
SLOW = Way(latency_s=0.3, jitter_s=0.2, bytes_per_s=64 * 1024)
ONE_BYTE = Way(one_byte=True)


def resets(target: Target, planned: Planned, hold: Hold) -> None:
    chance = random.Random(planned.seed)
    while hold(chance.uniform(*RESETS_S)):
        for proxy in target.networks(planned):
            proxy.reset()


def silence_to_the_broker(target: Target, planned: Planned, hold: Hold) -> None:
    _spoil(target, planned, hold, to_broker=SILENT)


def silence_to_the_client(target: Target, planned: Planned, hold: Hold) -> None:
    _spoil(target, planned, hold, to_client=SILENT)


def silence(target: Target, planned: Planned, hold: Hold) -> None:
    _spoil(target, planned, hold, to_broker=SILENT, to_client=SILENT)


def slow_network(target: Target, planned: Planned, hold: Hold) -> None:
    _spoil(target, planned, hold, to_broker=SLOW, to_client=SLOW)


def one_byte_at_a_time(target: Target, planned: Planned, hold: Hold) -> None:
    _spoil(target, planned, hold, to_broker=ONE_BYTE, to_client=ONE_BYTE)


def _spoil(target: Target, planned: Planned, hold: Hold, to_broker: Way = CLEAR, to_client: Way = CLEAR) -> None:
    networks = target.networks(planned)
    try:
        for proxy in networks:
            proxy.spoil(to_broker=to_broker, to_client=to_client)
        hold(None)
    finally:
        for proxy in networks:
            proxy.heal()


def accepted_and_left_alone(target: Target, planned: Planned, hold: Hold) -> None:
    _turn_away(target, planned, hold, "hang")


def refused(target: Target, planned: Planned, hold: Hold) -> None:
    _turn_away(target, planned, hold, "refuse")


def _turn_away(target: Target, planned: Planned, hold: Hold, how: Literal["hang", "refuse"]) -> None:
    """End all connections; new ones fare no better. Those that were left alone end with it."""
    networks = target.networks(planned)
    try:
        for proxy in networks:
            proxy.welcome(how)
            proxy.reset()
        hold(None)
    finally:
        for proxy in networks:
            proxy.welcome("pass")
            if how == "hang":
                proxy.reset()
