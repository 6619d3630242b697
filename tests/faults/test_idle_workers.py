"""A worker that is given nothing finds out whether there is nothing, or nobody serves it any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from broker.amqp import answers
from broker.amqp.channel import Channel
from broker.amqp.link import LinkSettings
from broker.config.loader import load
from broker.topology.model import topology_of
from protocol.names import OBITUARIES
from tests.faults.conftest import Proxies
from tests.support.installation import Installation
from tests.support.proxy import Proxy
from tests.support.waiting import eventually, run
from worker.intake import consumer
from worker.intake.consumer import Consumer
from worker.intake.delivery import Delivery

PREFETCH = 4
WITHIN_S = 15.0
#: How long a delivery may be held.
TIMEOUT_S = 1800


@dataclass
class Idler:
    """The consuming half of a worker, in this process; ``given`` are its deliveries."""

    consumer: Consumer
    proxy: Proxy
    given: list[Delivery]

    def asked(self) -> int:
        """How often each of its queues was asked for a message."""
        return min(len(self.proxy.events("get", queue=queue)) for queue in ("queue_a", OBITUARIES))


async def until(condition: Callable[[], bool], what: str = "it") -> None:
    await asyncio.to_thread(eventually, condition, what, WITHIN_S)


@contextlib.asynccontextmanager
async def idling(installation: Installation, proxy: Proxy) -> AsyncIterator[Idler]:
    vhost = installation.vhost
    url = vhost.url.replace(f":{vhost.broker.port}/", f":{proxy.port}/")
    settings = load(None, {**installation.environment, "BROKER_URL": url})
    queues, given, link = {"queue_a": PREFETCH}, list[Delivery](), LinkSettings.of(settings)
    topology = topology_of(settings)
    idle = Consumer(
        link, "worker-idle", queues, 1, topology, given.append, given.append, lambda _version: TIMEOUT_S
    )
    running = asyncio.create_task(idle.run())
    try:
        await asyncio.wait_for(idle.consuming.wait(), WITHIN_S)
        yield Idler(idle, proxy, given)
    finally:
        await idle.cancel()
        await idle.stop(1.0)
        await running


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker looks every tenth of a second or two, and waits for an answer no longer than half of one."""
    monkeypatch.setattr(consumer, "LOOK_S", 0.1)
    monkeypatch.setattr(answers, "ANSWER_S", 0.5)
    monkeypatch.setattr(consumer, "LATE_S", 0.1)


@pytest.mark.usefixtures("hurried")
def test_an_idle_worker_asks_its_queues_now_and_then_and_goes_on_consuming(
    installation: Installation, proxies: Proxies
) -> None:
    vhost = installation.vhost

    async def test() -> None:
        async with idling(installation, proxies()) as idler:
            await until(lambda: idler.asked() >= 2)
            vhost.publish("tasks", "note", b"first")
            await until(lambda: len(idler.given) == 1)
            # What it holds could be lost by asking, so it does not ask.
            asked = idler.asked()
            await asyncio.sleep(5 * consumer.LOOK_S)
            assert idler.asked() <= asked + 1
            idler.given[0].ack()
            held = idler.asked()
            await until(lambda: idler.asked() >= held + 2)
            vhost.publish("tasks", "note", b"second")
            await until(lambda: len(idler.given) == 2)
            assert [delivery.redelivered for delivery in idler.given] == [False, False]
            assert (vhost.consumers("queue_a"), vhost.consumers(OBITUARIES)) == (1, 1)
            assert idler.consumer.link.generation == 1
            idler.given[1].ack()
        assert (vhost.ready("queue_a"), idler.proxy.accepted) == (0, 1)

    run(test())


@pytest.mark.usefixtures("hurried")
def test_a_worker_whose_queues_do_not_answer_is_not_consuming_and_connects_again(
    installation: Installation, proxies: Proxies
) -> None:
    async def test() -> None:
        async with idling(installation, proxies()) as idler:
            assert idler.consumer.is_consuming
            idler.proxy.lose_answers()
            await until(lambda: not idler.consumer.is_consuming)
            assert "did not answer in time" in str(idler.consumer.link.last_error)
            idler.proxy.heal()
            await until(lambda: idler.consumer.is_consuming)
            installation.vhost.publish("tasks", "note", b"")
            await until(lambda: len(idler.given) == 1)
            idler.given[0].ack()

    run(test())


@pytest.mark.usefixtures("hurried")
def test_a_worker_whose_consumer_the_broker_has_forgotten_consumes_again(
    installation: Installation, proxies: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody hears here that the consumer is cancelled, as if the broker had not said so."""
    monkeypatch.setattr(Channel, "on_cancel", lambda *_: None)
    vhost = installation.vhost

    async def test() -> None:
        async with idling(installation, proxies()) as idler:
            with vhost.channel() as channel:
                channel.queue_delete("queue_a")
            await asyncio.to_thread(installation.declare)
            vhost.publish("tasks", "note", b"waits")
            await until(lambda: len(idler.given) == 1)
            # A delivery may come before all consumers of its generation are made.
            await until(lambda: idler.consumer.link.generation == 2)
            assert vhost.consumers("queue_a") == 1
            idler.given[0].ack()

    run(test())
