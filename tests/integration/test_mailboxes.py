"""Replies that outlive whoever asked: a mailbox gives each until it was dealt with."""

from __future__ import annotations

import json
import time

import pytest

from dispatcher.client import Dispatcher
from dispatcher.errors import NoMailbox
from protocol.errors import ExitCode
from protocol.names import new_id
from tests.support.acked import acked
from tests.support.administrator import close_connections
from tests.support.by_hand import post, reply
from tests.support.commands import Running, command, piped
from tests.support.installation import Installation
from tests.support.proxy import Proxy
from tests.support.slowness import in_time
from tests.support.waiting import eventually, run

#: More than a pipe holds: a line of it cannot be written before the one ahead of it was read.
LARGE = 200_000


@pytest.mark.every_broker(long=True)
def test_a_mailbox_is_made_on_first_use_and_its_replies_outlive_the_dispatcher(
    installation: Installation,
) -> None:
    installation.worker()
    vhost = installation.vhost

    async def submit() -> list[str]:
        async with Dispatcher(installation.settings) as dispatcher:
            return [await dispatcher.submit("echo", {"value": number}, mailbox="box-1") for number in range(5)]

    async def collect() -> list[tuple[str, object]]:
        async with Dispatcher(installation.settings) as dispatcher:
            got = [(one.id, one.result) async for one in dispatcher.collect("box-1", count=5, timeout_s=15)]
            assert [one async for one in dispatcher.collect("box-1")] == []
            return got

    ids = run(submit())
    assert sorted(run(collect())) == sorted(zip(ids, range(5), strict=True))
    assert vhost.ready("mailbox.box-1") == vhost.ready("queue_a") == 0


def test_collect_without_a_count_takes_what_is_there(installation: Installation) -> None:
    vhost, ids = installation.vhost, [new_id() for _ in range(3)]
    _declare_box(installation)
    for task_id in ids:
        post(vhost, "box", task_id)
    collected = command(installation.environment, "dispatcher", "collect", "box")
    assert (collected.code, collected.err) == (0, "")
    assert [one["id"] for one in collected.objects] == ids
    assert vhost.ready("mailbox.box") == 0
    assert command(installation.environment, "dispatcher", "collect", "box").out == ""


@pytest.mark.every_broker(long=True)
def test_collect_waits_for_its_count_and_says_so_if_they_do_not_come(installation: Installation) -> None:
    vhost, first, second, third = installation.vhost, new_id(), new_id(), new_id()
    _declare_box(installation)
    post(vhost, "box", first)
    with Running(installation.environment, "dispatcher", "collect", "box", "-n", "2") as collecting:
        collecting.lines(1)
        post(vhost, "box", second)
        ended = collecting.wait(5)
    assert (ended.code, [one["id"] for one in ended.objects]) == (0, [first, second])
    post(vhost, "box", third)
    started_s = time.monotonic()
    ended = command(installation.environment, "dispatcher", "collect", "box", "-n", "2", "--timeout", "0.8")
    waited_s = time.monotonic() - started_s
    assert waited_s >= 0.8
    assert in_time(waited_s, 3)
    assert (ended.code, [one["id"] for one in ended.objects]) == (75, [third])
    assert "1 of 2 replies" in ended.err
    assert vhost.ready("mailbox.box") == 0


def test_more_than_the_count_stays(installation: Installation) -> None:
    vhost, ids = installation.vhost, [new_id() for _ in range(250)]
    _declare_box(installation)
    with vhost.channel() as channel:
        for task_id in ids:
            channel.basic_publish("replies", "box", reply(task_id))
    ended = command(installation.environment, "dispatcher", "collect", "box", "-n", "120")
    assert [one["id"] for one in ended.objects] == ids[:120]
    ended = command(installation.environment, "dispatcher", "collect", "box")
    # What was prefetched comes back to the queue in any order.
    assert sorted(one["id"] for one in ended.objects) == sorted(ids[120:])


def test_a_mailbox_that_does_not_exist_is_reported(installation: Installation) -> None:
    async def collect(count: int | None) -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            with pytest.raises(NoMailbox, match=r"broker declare --mailbox nobodys") as missing:
                [one async for one in dispatcher.collect("nobodys", count=count)]
            assert missing.value.exit_code is ExitCode.UNROUTABLE

    run(collect(None))
    run(collect(2))
    for options in ([], ["-n", "2"]):
        ended = command(installation.environment, "dispatcher", "collect", "nobodys", *options)
        assert (ended.code, ended.out) == (4, "")
        assert "there is no mailbox nobodys" in ended.err


def test_a_reply_that_came_twice_is_given_once_and_what_is_no_reply_not_at_all(
    installation: Installation,
) -> None:
    vhost, one, other = installation.vhost, new_id(), new_id()
    _declare_box(installation)
    for task_id in (one, one, other, one):
        post(vhost, "box", task_id)
        post(vhost, "box", task_id, b"\xc1")
    ended = command(installation.environment, "dispatcher", "collect", "box", "-n", "2")
    assert (ended.code, [entry["id"] for entry in ended.objects]) == (0, [one, other])
    ended = command(installation.environment, "dispatcher", "collect", "box")
    assert [entry["id"] for entry in ended.objects] == [one]
    assert "is no reply and was dropped" in ended.err
    assert vhost.ready("mailbox.box") == 0


def test_a_failure_is_a_reply_and_collect_then_ends_with_1(installation: Installation) -> None:
    installation.worker()
    submitted = command(installation.environment, "dispatcher", "submit", "reject", "--mailbox", "box")
    ended = command(installation.environment, "dispatcher", "collect", "box", "-n", "1")
    (only,) = ended.objects
    assert (ended.code, only["id"], only["error"]["code"]) == (1, submitted.out.strip(), "rejected")


@pytest.mark.every_broker(long=True)
def test_a_collect_that_is_killed_loses_nothing(installation: Installation) -> None:
    vhost, ids = installation.vhost, [new_id() for _ in range(20)]
    _declare_box(installation)
    for task_id in ids[:10]:
        post(vhost, "box", task_id)
    with Proxy(vhost.broker.host, vhost.broker.port) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}"
        environment = {**installation.environment, "BROKER_URL": url}
        with Running(environment, "dispatcher", "collect", "box", "-n", "20") as collecting:
            collecting.lines(10)
            collecting.sigkill()
            printed = [one["id"] for one in collecting.wait().objects]
        # Each was acked before the next one was printed. What a broker does with acks of a connection that is lost
        # is another thing: no ack has a confirm.
        eventually(lambda: len(acked(proxy.log)) >= len(printed) - 1, "the acks on the wire")
    for task_id in ids[10:]:
        post(vhost, "box", task_id)
    ended = command(installation.environment, "dispatcher", "collect", "box")
    left = [one["id"] for one in ended.objects]
    assert printed == ids[:10]
    assert left == ids[-len(left) :]
    assert len(left) >= 10


def test_a_collect_whose_reader_has_enough_keeps_what_was_not_read(installation: Installation) -> None:
    vhost, ids = installation.vhost, [new_id() for _ in range(5)]
    _declare_box(installation)
    for task_id in ids:
        post(vhost, "box", task_id, reply(task_id, "x" * LARGE))
    ended = piped(installation.environment, "dispatcher collect box | head -n 1")
    assert json.loads(ended.out)["id"] == ids[0]
    assert (ended.code, ended.err) == (1, "")
    ended = command(installation.environment, "dispatcher", "collect", "box")
    assert [one["id"] for one in ended.objects] == ids[1:]


def test_a_collection_goes_on_after_its_connection_was_lost_and_gives_nothing_twice(
    installation: Installation,
) -> None:
    vhost, ids = installation.vhost, [new_id() for _ in range(6)]
    _declare_box(installation)
    for task_id in ids[:3]:
        post(vhost, "box", task_id)
    with Running(installation.environment, "dispatcher", "collect", "box", "-n", "6") as collecting:
        collecting.lines(3)
        close_connections(vhost)
        for task_id in ids[3:]:
            post(vhost, "box", task_id)
        ended = collecting.wait(15)
    assert (ended.code, sorted(one["id"] for one in ended.objects)) == (0, sorted(ids))
    assert vhost.ready("mailbox.box") == 0


def test_a_collection_ends_if_its_mailbox_is_deleted_meanwhile(installation: Installation) -> None:
    _declare_box(installation)
    post(installation.vhost, "box", new_id())
    with Running(installation.environment, "dispatcher", "collect", "box", "-n", "2") as collecting:
        collecting.lines(1)
        with installation.vhost.channel() as channel:
            channel.queue_delete("mailbox.box")
        assert collecting.wait(10).code == 4


def test_a_reply_that_was_not_dealt_with_stays(installation: Installation) -> None:
    vhost, ids = installation.vhost, [new_id() for _ in range(3)]
    _declare_box(installation)
    for task_id in ids:
        post(vhost, "box", task_id)

    async def scenario() -> None:
        async with Dispatcher(installation.settings) as dispatcher:
            for _ in range(2):
                replies = dispatcher.collect("box", count=3)
                assert (await anext(replies)).id == ids[0]
                await replies.aclose()  # type: ignore[attr-defined]
            assert [one.id async for one in dispatcher.collect("box")] == ids

    run(scenario())


def _declare_box(installation: Installation) -> None:
    ended = command(installation.environment, "broker", "declare", "--mailbox", "box")
    assert ended.code == 0, ended.err
