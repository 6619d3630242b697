"""The delay line on a real broker: nothing early, hardly anything late, each task to its own queue."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from broker.node.files import HAND_ON_AGAIN_MS
from dispatcher.client import Dispatcher
from tests.support.administrator import fill_up
from tests.support.installation import Install, Installation
from tests.support.slowness import in_time
from tests.support.waiting import eventually, run

COUNT = 200
LATE_S = 1.0
#: The management API's numbers are up to ten seconds old.
LISTED_S = 30.0


@pytest.mark.alone
@pytest.mark.every_broker(long=True)
def test_200_random_delays_are_never_early_and_hardly_ever_a_second_late(installation: Installation) -> None:
    chance = random.Random(7)
    delays = [round(chance.uniform(0.1, 3.0), 3) for _ in range(COUNT)]

    async def submit() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            submits = (dispatcher.submit("echo", {"delay": delay}, delay_s=delay) for delay in delays)
            assert len(set(await asyncio.gather(*submits))) == COUNT

    run(submit())
    late_s: list[float] = []
    with installation.vhost.channel() as channel:
        for method, properties, _ in channel.consume("queue_a", auto_ack=True, inactivity_timeout=10):
            assert method is not None, f"{len(late_s)} of {COUNT} came"
            bits = method.routing_key.split(".")[:20]
            planned_s = int("".join(bits), 2) / 10
            late_s.append(time.time() - properties.headers["sent_at"] / 1000 - planned_s)
            if len(late_s) == COUNT:
                break
        channel.cancel()
    late_s.sort()
    # ``sent_at`` is in whole milliseconds, and the broker counts the line's time from the message's arrival.
    assert late_s[0] >= -0.002
    assert late_s[int(COUNT * 0.99)] < LATE_S
    assert installation.vhost.ready("queue_a") == 0


@pytest.mark.every_broker(long=True)
def test_a_task_whose_name_ends_like_another_ones_reaches_its_own_queue_alone(install: Install) -> None:
    handler = "tests.support.handlers:note"
    names = {"daily": "queue_a", "reports.daily": "queue_b", "reports.daily.late": "queue_a", "reports": "queue_b"}
    installation = install(tasks={name: {"queue": queue, "handler": handler} for name, queue in names.items()})
    vhost = installation.vhost

    async def submit() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            for name in names:
                await dispatcher.submit(name)
                await dispatcher.submit(name, delay_s=0.3)

    run(submit())
    for queue in ("queue_a", "queue_b"):
        letters = vhost.messages(queue, 4)
        wanted = sorted(2 * [name for name, goes_to in names.items() if goes_to == queue])
        assert sorted(letter.properties.type for letter in letters) == wanted
        assert vhost.ready(queue) == 0


@pytest.mark.own_broker  # set up as ours are; a shared one may be of another checkout
@pytest.mark.every_broker(long=True)
def test_what_its_queue_refuses_is_handed_on_again_within_seconds_and_not_minutes(
    installation: Installation,
) -> None:
    """As is what a crash of the broker kept from its next queue: both wait for the same."""
    installation.declare()
    caller, vhost = installation.caller(), installation.vhost
    fill_up(vhost, "queue_a")
    caller.submit("echo", delay_s=0.1)

    def refused() -> bool:
        return any(one.get("messages_dlx") for one in vhost.broker.management.get("queues", vhost.name))

    eventually(refused, "the task to be refused", LISTED_S)
    with vhost.channel() as channel:
        channel.queue_purge("queue_a")
    (letter,) = vhost.messages("queue_a", within_s=2 * HAND_ON_AGAIN_MS / 1000 + 10)
    assert letter.properties.type == "echo"


def test_a_delayed_task_is_accepted_once_the_line_has_it(installation: Installation) -> None:
    caller, vhost = installation.caller(), installation.vhost
    started_s = time.monotonic()
    task_id = caller.submit("echo", delay_s=3600)
    assert in_time(time.monotonic() - started_s, 2)
    # 36,000 units: the highest bit is 2^15.
    (letter,) = vhost.messages("tasks.delay.15")
    assert (letter.properties.message_id, letter.properties.type) == (task_id, "echo")
    assert (letter.properties.expiration, letter.properties.delivery_mode) == (None, 2)
    assert letter.routing_key == ".".join(f"{36_000:020b}") + ".echo"
