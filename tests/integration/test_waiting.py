"""``python -m broker peek``, ``purge`` and ``move``: what waits is seen, removed, and moved to another queue."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import msgpack
import pika
import pytest

from broker.amqp.careful import SMALL_BYTES
from broker.amqp.once import connected
from broker.config.holding import suspect_from
from broker.waiting.look import look
from protocol.batch import pack_batch
from protocol.names import new_id
from tests.support.commands import Ended, command
from tests.support.frames import Event
from tests.support.installation import Install, Installation
from tests.support.link import SILENT, Link
from tests.support.proxy import Proxy
from tests.support.slowness import in_time
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually, run

#: Before this version a look counts towards the delivery limit.
FREE_FROM = (4, 3)
SENT_MS = 1_795_000_000_000
NASTY = "\x1b[2J\r\n\t\u202e"


def broker(installation: Installation, *words: str, **options: Any) -> Ended:
    return command(installation.environment, "broker", *words, **options)


def said(installation: Installation, *words: str, code: int = 0) -> list[dict[str, Any]]:
    """What a command that ends so prints as lines of JSON."""
    ended = broker(installation, *words, "-o", "jsonl")
    assert ended.code == code, ended.err
    return ended.objects


def send(vhost: Vhost, names: Sequence[str], queue: str = "queue_a", **headers: Any) -> list[str]:
    """Put a task of each name into a queue, whosever it is; their ids."""
    ids = [new_id() for _ in names]
    with vhost.channel() as channel:
        for number, (task_id, name) in enumerate(zip(ids, names, strict=True)):
            own = {"v": 1, "sent_at": SENT_MS + number, **headers}
            properties = task(name, task_id=task_id, headers=own)
            channel.basic_publish("", queue, body(number=number), properties, mandatory=True)
    return ids


def is_free(vhost: Vhost) -> bool:
    return tuple(map(int, vhost.broker.version.split(".")[:2])) >= FREE_FROM


def looks(installation: Installation, count: int) -> list[list[tuple[str, int]]]:
    """Look at ``queue_a`` as ``peek`` does: each time the ids that were seen, and how often they were returned."""
    settings, vhost = installation.settings, installation.vhost
    limit, ready = settings.queues["queue_a"].delivery_limit, vhost.ready("queue_a")
    found = []
    for _ in range(count):
        once = partial(look, queue="queue_a", most=10, delivery_limit=limit, say=lambda _: None)
        seen = run(connected(settings, "test look", once, timeout_s=10))
        found.append([(letter.id, letter.returned) for letter in seen.letters])
        eventually(lambda: vhost.ready("queue_a") == ready, "all of them back", 1)
    return found


@pytest.mark.every_broker(long=True)
def test_ten_looks_keep_number_and_order_and_make_no_suspect(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    ids = send(vhost, ["note"] * 12)
    for number, seen in enumerate(looks(installation, 9)):
        assert seen == [(one, 0 if is_free(vhost) else number) for one in ids[:10]]
    ended = broker(installation, "peek", "queue_a", "-o", "jsonl")
    assert [one["id"] for one in ended.objects] == ids[:10]
    cost = "counts towards no delivery limit" if is_free(vhost) else "counts this look as a return of each message"
    assert cost in ended.err.splitlines()[0]
    assert ended.err.splitlines()[1] == "2 more: raise -n"
    eventually(lambda: vhost.ready("queue_a") == 12, "all of them back", 1)
    letters = vhost.messages("queue_a", 12)
    assert [letter.properties.message_id for letter in letters] == ids
    assert max(letter.headers.get("x-delivery-count", 0) for letter in letters) < suspect_from(50)


@pytest.mark.every_broker(long=True)
def test_where_little_is_left_a_look_ends_with_what_came_back_often_and_spares_the_rest(install: Install) -> None:
    installation = install(queues={"queue_a": {"delivery_limit": 22}})
    installation.declare()
    vhost = installation.vhost
    ids = send(vhost, ["note"] * 12)
    sizes = [len(seen) for seen in looks(installation, 9)]
    assert sizes == ([10] * 9 if is_free(vhost) else [10] * 5 + [1] * 4)
    ended = broker(installation, "peek", "queue_a")
    spared = "11 more are not looked at, since the last one was returned 5 times before"
    assert (spared in ended.err) is not is_free(vhost)
    letters = vhost.messages("queue_a", 12)
    assert {letter.properties.message_id for letter in letters} == {*ids}
    assert max(letter.headers.get("x-delivery-count", 0) for letter in letters) < suspect_from(22)


@pytest.mark.every_broker(long=True)
def test_a_queue_where_ten_looks_would_make_a_suspect_is_not_looked_at(install: Install) -> None:
    installation = install(queues={"queue_a": {"delivery_limit": 20}})
    installation.declare()
    vhost = installation.vhost
    send(vhost, ["note"])
    ended = broker(installation, "peek", "queue_a")
    assert ended.code == (0 if is_free(vhost) else 1)
    if not is_free(vhost):
        assert "queue_a is not looked at" in ended.err
        assert "Set its delivery_limit to 22 or more" in ended.err
        assert "x-delivery-count" not in vhost.messages("queue_a")[0].headers or vhost.broker.version < "4"


def test_a_batch_is_shown_as_its_tasks_and_what_is_none_escaped(installation: Installation) -> None:
    installation.declare()
    vhost, ids = installation.vhost, [new_id(), new_id()]
    packed = pack_batch([(one, body(text=NASTY)) for one in ids])
    vhost.publish("", "queue_a", packed, task("note", headers={"v": 1, "batch": 2}))
    vhost.publish("", "queue_a", b"\xc1", pika.BasicProperties(type=NASTY, message_id=NASTY, delivery_mode=2))
    first, second, other = said(installation, "peek", "queue_a")
    assert [(one["message"], one["id"], one["batch"]) for one in (first, second)] == [(1, one, 2) for one in ids]
    assert first["arguments"] == {"text": NASTY}
    assert (other["message"], other["id"], other["arguments"]) == (2, NASTY, None)
    assert other["problem"].startswith("unsupported_version")
    for output in ("table", "plain", "json", "jsonl"):
        ended = broker(installation, "peek", "queue_a", "-o", output)
        assert not {"\x1b", "\r", "\u202e"} & set(ended.out)
        assert ended.out.count(ids[1]) == 1


def test_a_large_look_gives_all_back_within_a_second(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    ids = send(vhost, ["note"] * 2000)
    with Proxy(vhost.broker.host, vhost.broker.port) as proxy:
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}"
        ended = command({**installation.environment, "BROKER_URL": url}, "broker", "peek", "queue_a", "-n", "1990")
        taken = proxy.events("get_ok")[0].at
        assert in_time(proxy.events("nack")[-1].at - taken, 1.0)
    assert ended.code == 0
    eventually(lambda: vhost.ready("queue_a") == 2000, "all of them back")
    assert [letter.properties.message_id for letter in vhost.messages("queue_a", 2000)] == ids


@pytest.mark.parametrize("words", ["peek {}", "purge {} --yes", "move {} queue_b"])
def test_what_is_no_queue_with_messages_that_wait_ends_with_4(installation: Installation, words: str) -> None:
    installation.declare()
    with installation.vhost.channel() as channel:
        channel.queue_declare("river", durable=True, arguments={"x-queue-type": "stream"})
        channel.basic_publish("", "river", b"")
    for queue, text in (("river", "river is a stream"), ("queue_z", "queue queue_z does not exist")):
        ended = broker(installation, *words.format(queue).split())
        assert (ended.code, ended.out) == (4, ""), ended.err
        assert text in ended.err


def test_a_purge_removes_what_waits_and_says_what_it_does_not(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    send(vhost, ["note"] * 5)
    refused = broker(installation, "purge", "queue_a")
    assert (refused.code, refused.out) == (2, "")
    assert "nobody can be asked: give --yes" in refused.err
    with vhost.channel() as channel:
        channel.basic_qos(prefetch_count=2)
        next(channel.consume("queue_a", inactivity_timeout=10))
        eventually(lambda: vhost.ready("queue_a") == 3, "two to be held")
        ended = broker(installation, "purge", "queue_a", "--yes", "-o", "jsonl")
        assert (ended.code, ended.objects) == (0, [{"queue": "queue_a", "purged": 3}])
        assert "queue_a has consumers (1): what they hold unacked was not removed" in ended.err
    eventually(lambda: vhost.ready("queue_a") == 2, "what was held back")


@pytest.mark.parametrize(
    ("output", "unknown"), [("jsonl", '{"queue": "queue_a", "purged": null}'), ("plain", "queue_a\t?")]
)
def test_a_purge_without_an_answer_says_that_nobody_knows_how_many(
    installation: Installation, output: str, unknown: str
) -> None:
    installation.declare()
    vhost = installation.vhost

    def fall_silent(event: Event, link: Link) -> None:
        if event.by == "client" and event.kind == "purge":
            link.to_client.become(SILENT)

    with Proxy(vhost.broker.host, vhost.broker.port) as proxy:
        proxy.on_event = fall_silent
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}"
        words = ("purge", "queue_a", "--yes", "-o", output, "--timeout", "3")
        ended = command({**installation.environment, "BROKER_URL": url}, "broker", *words)
    assert (ended.code, ended.out.strip()) == (75, unknown), ended.err


def test_a_move_takes_the_tasks_that_belong_there_as_they_are_and_leaves_all_others(
    installation: Installation,
) -> None:
    installation.declare()
    vhost = installation.vhost
    names = ["task_b", "note", "note_b", "task_b", "unknown"]
    ids = send(vhost, names, attempt=2, foreign="dropped")
    batch = [new_id(), new_id()]
    vhost.publish(
        "",
        "queue_a",
        pack_batch([(one, body()) for one in batch]),
        task("task_b", reply_to="mailbox.box", headers={"v": 1, "batch": 2, "sent_at": SENT_MS}),
    )
    words = ("move", "queue_a", "queue_b")
    assert said(installation, *words, "--id", batch[1], "--dry-run")[0]["moved"] == 1
    (late,) = said(installation, *words, "--before", "2026-11-18", "--dry-run")
    assert (late["meant"], late["moved"]) == (0, 0)
    (one,) = said(installation, *words, "--task", "task_b", "--limit", "1")
    assert (one["messages"], one["meant"], one["moved"], one["left"]) == (6, 1, 1, {})
    (rest,) = said(installation, *words, code=1)
    assert (rest["meant"], rest["moved"]) == (5, 3)
    assert rest["left"] == {"wrong_queue": 1, "unknown_task": 1}
    moved = vhost.messages("queue_b", 4)
    assert [letter.properties.message_id for letter in moved[:3]] == [ids[0], ids[2], ids[3]]
    assert [letter.headers.get("attempt") for letter in moved] == [2, 2, 2, None]
    assert "foreign" not in moved[0].headers
    assert moved[3].properties.reply_to == "mailbox.box"
    assert [entry[0] for entry in msgpack.unpackb(moved[3].body)] == batch
    assert [letter.properties.message_id for letter in vhost.messages("queue_a", 2)] == [ids[1], ids[4]]


def test_a_moved_task_runs_and_its_caller_gets_the_reply(installation: Installation) -> None:
    installation.declare()
    with installation.vhost.channel() as channel:
        channel.queue_unbind("queue_b", "tasks", "task_b")
        channel.queue_bind("queue_a", "tasks", "task_b")
    caller = installation.caller()
    asking = caller.asking("task_b", {"seconds": 0})
    eventually(lambda: installation.vhost.ready("queue_a") == 1, "the task in its old queue")
    assert said(installation, "move", "queue_a", "queue_b")[0]["moved"] == 1
    installation.worker("queue_b")
    assert asking.result(15).result is not None


def test_a_large_task_keeps_its_place_among_small_ones(installation: Installation) -> None:
    installation.declare()
    vhost, ids = installation.vhost, []
    with vhost.channel() as channel:
        for number in range(60):
            ids.append(new_id())
            large = b"x" * (4 * SMALL_BYTES if number in (10, 40) else 1)
            channel.basic_publish("", "queue_a", body(value=large), task("note_b", task_id=ids[-1]))
    assert said(installation, "move", "queue_a", "queue_b")[0]["moved"] == 60
    assert [letter.properties.message_id for letter in vhost.messages("queue_b", 60)] == ids


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("queue_b queue_a --task task_b", "its workers would answer wrong_queue: task_b belongs to queue_b"),
        ("queue_b queue_a --task nothing", "unknown_task"),
        ("queue_a queue_z", "no task belongs to queue_z: its workers would answer wrong_queue to all"),
        ("queue_a queue_y", "queue 'queue_y' is not in the configuration"),
    ],
)
def test_a_move_to_workers_that_would_refuse_it_ends_with_78_before_any_is_taken(
    install: Install, words: str, text: str
) -> None:
    installation = install(queues={"queue_z": {}})
    ended = broker(installation, "move", *words.split())
    assert (ended.code, ended.out) == (78, "")
    assert text in ended.err
