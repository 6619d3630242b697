"""The faults of ``tests.chaos.schedule``, done to a real installation. Each returns once nothing of it is left."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Mapping

from pika.exceptions import AMQPError

from tests.chaos import bad_networks, conditions
from tests.chaos.installation import DEAD, MAILBOX
from tests.chaos.procfs import caught_at_work, children
from tests.chaos.records import now
from tests.chaos.schedule import Planned
from tests.chaos.target import Hold, Target
from tests.support.administrator import close_connections
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

#: A broker, or a process, on a loaded machine.
BACK_S = 120.0
#: Handlers are run all the time.
AT_WORK_S = 5.0
#: What nobody may write for a while: tasks, their delays, letters, replies to mailboxes, direct ones.
EXCHANGES = ("tasks", r"tasks\.delay\..*", r"tasks\.dead", "replies", r"amq\.default")
#: Many large tasks, and as many results, are larger.
SMALL_BYTES = 100_000


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
    """One that runs a handler, so that the attempt is known to have started. If there is none soon: nothing."""
    (place,) = target.places(planned)
    pid, until = place.pid, now() + AT_WORK_S
    victim = None
    while victim is None and place.pid == pid and place.ready.is_set() and now() < until:
        victim = next((child for child in children(pid) if caught_at_work(child, target.ledgers)), None)
    if victim is not None:
        count = len(children(pid))
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: place.pid != pid or len(children(pid)) >= count, f"a child of {place.name}", BACK_S)


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
    with target.broker.alarm():
        hold(None)


def disk_alarm(target: Target, planned: Planned, hold: Hold) -> None:
    with conditions.disk_alarm(target.broker):
        hold(None)


def right_taken(target: Target, planned: Planned, hold: Hold) -> None:
    with conditions.without_right(target.vhost, random.Random(planned.seed).choice(EXCHANGES)):
        hold(None)


def small_messages(target: Target, planned: Planned, hold: Hold) -> None:
    with conditions.small_messages(target.vhost, SMALL_BYTES):
        hold(None)


def queues_bounded(target: Target, planned: Planned, hold: Hold) -> None:
    """Those of tasks and their delays, those of letters, or the mailbox."""
    queues = (r"queue_.|tasks\.delay\..*", "|".join(DEAD), rf"mailbox\.{MAILBOX}")
    chosen = random.Random(planned.seed).choice(queues)
    with conditions.policy(target.vhost, f"^({chosen})$", conditions.BOUNDED):
        hold(None)


def tasks_buried(target: Target, planned: Planned, hold: Hold) -> None:
    """What waits for longer than a moment, or what is delivered a second time."""
    definition = random.Random(planned.seed).choice((conditions.SHORT_LIVED, conditions.DELIVERED_ONCE))
    with conditions.policy(target.vhost, "^queue_.$", definition):
        hold(None)


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
    "disk alarm": disk_alarm,
    "right taken": right_taken,
    "small messages": small_messages,
    "queues bounded by a policy": queues_bounded,
    "tasks buried by a policy": tasks_buried,
    "resets": bad_networks.resets,
    "silence to the broker": bad_networks.silence_to_the_broker,
    "silence to the client": bad_networks.silence_to_the_client,
    "silence": bad_networks.silence,
    "slow network": bad_networks.slow_network,
    "one byte at a time": bad_networks.one_byte_at_a_time,
    "accepted and left alone": bad_networks.accepted_and_left_alone,
    "refused": bad_networks.refused,
}
