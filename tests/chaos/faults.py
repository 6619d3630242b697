"""The faults of ``tests.chaos.schedule``, done to a real installation. Each returns once nothing of it is left."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pika.exceptions import AMQPError

from tests.chaos.fleet import Fleet, Place, children
from tests.chaos.schedule import KINDS, Planned
from tests.support.administrator import close_connections
from tests.support.brokers import Broker
from tests.support.link import CLEAR, SILENT, Way
from tests.support.proxy import Proxy
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

#: A broker, or a process, on a loaded machine.
BACK_S = 120.0
#: Between two resets of a storm.
RESETS_S = (0.2, 2.0)
SLOW = Way(latency_s=0.3, jitter_s=0.2, bytes_per_s=64 * 1024)
ONE_BYTE = Way(one_byte=True)
NO_MEMORY = "0.000001"

#: Waits for so long, or (without a number) until the fault's time is over: False once it is.
Hold = Callable[[float | None], bool]


@dataclass(frozen=True, slots=True)
class Target:
    """What can be broken."""

    vhost: Vhost
    fleet: Fleet

    @property
    def broker(self) -> Broker:
        return self.vhost.broker

    def places(self, planned: Planned) -> list[Place]:
        return [self.fleet.places[name] for name in planned.targets]

    def touched(self, planned: Planned) -> tuple[str, ...]:
        """What the record of a fault says."""
        kind = KINDS[planned.kind]
        if planned.kind == "worker told to end":
            # In good order: whatever is done twice then has no excuse.
            return ()
        if kind.part == "broker":
            return ("broker",) if planned.kind in BREAK_THE_BROKER else ("network",)
        sides = {place.side for place in self.places(planned)}
        return ("network",) if len(sides) > 1 else tuple(sides)


def worker_killed(target: Target, planned: Planned, hold: Hold) -> None:
    _end(target, planned, signal.SIGKILL)


def worker_told_to_end(target: Target, planned: Planned, hold: Hold) -> None:
    _end(target, planned, signal.SIGTERM)


def requester_killed(target: Target, planned: Planned, hold: Hold) -> None:
    _end(target, planned, signal.SIGKILL)


def _end(target: Target, planned: Planned, number: signal.Signals) -> None:
    (place,) = target.places(planned)
    place.end(number, place.pid)
    eventually(place.ready.is_set, f"another {place.name} (see {place.log})", BACK_S)


def worker_frozen(target: Target, planned: Planned, hold: Hold) -> None:
    (place,) = target.places(planned)
    pid = place.pid
    place.send(signal.SIGSTOP)
    try:
        hold(None)
    finally:
        with place.lock:
            if place.pid == pid:
                place.send(signal.SIGCONT)


def child_lost(target: Target, planned: Planned, hold: Hold) -> None:
    (place,) = target.places(planned)
    pid, before = place.pid, children(place.pid)
    # One that is lost while its worker starts ends the worker: that is promised.
    if place.ready.is_set() and before:
        victim = random.Random(planned.seed).choice(before)
        os.kill(victim, signal.SIGKILL)
        eventually(
            lambda: place.pid != pid or len(set(children(pid)) - {victim}) >= len(before),
            f"another child of {place.name}",
            BACK_S,
        )


def broker_stopped(target: Target, planned: Planned, hold: Hold) -> None:
    """In good order, as for an upgrade."""
    target.broker.ctl("stop_app")
    try:
        hold(None)
    finally:
        target.broker.ctl("start_app")
        _await_broker(target)


def broker_killed(target: Target, planned: Planned, hold: Hold) -> None:
    target.broker.kill()
    try:
        hold(None)
    finally:
        target.broker.restart()
        _await_broker(target)


def broker_frozen(target: Target, planned: Planned, hold: Hold) -> None:
    target.broker.pause()
    try:
        hold(None)
    finally:
        target.broker.unpause()
        _await_broker(target)


def _await_broker(target: Target) -> None:
    eventually(target.broker.management.answers, "the management API", BACK_S)
    eventually(lambda: _answers(target.vhost), "the vhost", BACK_S)


def _answers(vhost: Vhost) -> bool:
    try:
        with vhost.connection():
            return True
    except AMQPError:
        return False


def closed_by_administrator(target: Target, planned: Planned, hold: Hold) -> None:
    close_connections(target.vhost)


def memory_alarm(target: Target, planned: Planned, hold: Hold) -> None:
    broker = target.broker
    usual = broker.ctl("eval", "vm_memory_monitor:get_vm_memory_high_watermark().").strip()
    try:
        broker.ctl("set_vm_memory_high_watermark", NO_MEMORY)
        hold(None)
    finally:
        broker.ctl("set_vm_memory_high_watermark", usual)


def resets(target: Target, planned: Planned, hold: Hold) -> None:
    chance = random.Random(planned.seed)
    while hold(chance.uniform(*RESETS_S)):
        for proxy in _networks(target, planned):
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
    networks = _networks(target, planned)
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
    networks = _networks(target, planned)
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


def _networks(target: Target, planned: Planned) -> Sequence[Proxy]:
    return [place.network for place in target.places(planned)]


Fault = Callable[[Target, Planned, Hold], None]

FAULTS: Mapping[str, Fault] = {
    "worker killed": worker_killed,
    "worker told to end": worker_told_to_end,
    "worker frozen": worker_frozen,
    "child lost": child_lost,
    "requester killed": requester_killed,
    "broker stopped": broker_stopped,
    "broker killed": broker_killed,
    "broker frozen": broker_frozen,
    "connections closed by an administrator": closed_by_administrator,
    "memory alarm": memory_alarm,
    "resets": resets,
    "silence to the broker": silence_to_the_broker,
    "silence to the client": silence_to_the_client,
    "silence": silence,
    "slow network": slow_network,
    "one byte at a time": one_byte_at_a_time,
    "accepted and left alone": accepted_and_left_alone,
    "refused": refused,
}
#: After these what the broker had not yet written is gone; after its other faults connections are.
BREAK_THE_BROKER = ("broker stopped", "broker killed")
