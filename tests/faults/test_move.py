"""A move of tasks that is killed half-way and run again loses none, and sends no more than its window twice."""

from __future__ import annotations

from collections import Counter

import pytest

from protocol.names import new_id
from tests.faults.test_replay import FAR, WINDOW, behind
from tests.support.commands import Running, command
from tests.support.installation import Installation
from tests.support.proxy import Proxy
from tests.support.vhost import body, task
from tests.support.waiting import eventually


def move_and_kill_and_move_again(installation: Installation, count: int) -> None:
    installation.declare()
    vhost, ids = installation.vhost, [new_id() for _ in range(count)]
    with vhost.connection() as connection:
        channel = connection.channel()
        for number, task_id in enumerate(ids):
            channel.basic_publish("", "queue_a", body(number=number), task("note_b", task_id=task_id))
    eventually(lambda: vhost.ready("queue_a") == count, "all tasks in their old queue")
    with Proxy(vhost.broker.host, vhost.broker.port, keep_log=False) as proxy:
        proxy.spoil(to_client=FAR)
        words = ("broker", "move", "queue_a", "queue_b", "--timeout", "80")
        with Running(behind(proxy, installation), *words) as running:
            eventually(lambda: vhost.ready("queue_b") >= count // 4, "a quarter of them", 40)
            running.sigkill()
            running.wait()
    sent = vhost.ready("queue_b")
    assert sent < count, "it was not killed in the middle"
    eventually(lambda: vhost.ready("queue_a") + vhost.ready("queue_b") >= count, "the others back", 20)
    left = vhost.ready("queue_a")
    again = command(installation.environment, *words, "-o", "jsonl", within_s=80)
    assert (again.code, again.objects[0]["moved"]) == (0, left), again.err
    assert vhost.ready("queue_a") == 0
    moved = [letter.properties.message_id for letter in vhost.messages("queue_b", sent + left, within_s=40)]
    twice = [task_id for task_id, times in Counter(moved).items() if times > 1]
    print(f"RabbitMQ {vhost.broker.version}: {len(moved)} of {count} tasks, {len(twice)} of them twice")
    assert {*moved} == {*ids}
    assert len(moved) - count == len(twice) <= WINDOW
    assert list(dict.fromkeys(moved)) == ids


@pytest.mark.timeout(90)
def test_a_thousand_tasks_moved_and_killed_half_way_and_moved_again_are_all_there(
    installation: Installation,
) -> None:
    move_and_kill_and_move_again(installation, 1000)


@pytest.mark.long
@pytest.mark.every_broker
@pytest.mark.timeout(180)
def test_ten_thousand_tasks_moved_and_killed_half_way_and_moved_again_are_all_there(
    installation: Installation,
) -> None:
    move_and_kill_and_move_again(installation, 10_000)
