"""A replay of dead letters that is ended half-way loses no task, and repeats no more than its window."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.administrator import fill_up
from tests.support.commands import Running, command
from tests.support.installation import Installation
from tests.support.letters import bury, dead_task
from tests.support.link import Way
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

LETTERS = 10_000
WINDOW = 100
#: Each window of letters waits so long for its confirms: 10,000 take seconds, and the middle can be met.
FAR = Way(latency_s=0.05)


def behind(proxy: Proxy, installation: Installation) -> dict[str, str]:
    """The environment of a command that reaches the broker by the proxy."""
    broker, vhost = installation.vhost.broker, installation.vhost.name
    url = f"amqp://{broker.user}:{broker.password}@127.0.0.1:{proxy.port}/{vhost}"
    return {**installation.environment, "BROKER_URL": url}


@pytest.mark.timeout(90)
@pytest.mark.parametrize("end", ["SIGKILL", pytest.param("reset", marks=pytest.mark.long)])
def test_ten_thousand_letters_killed_half_way_and_run_again_are_all_there_once_more(
    installation: Installation, end: str
) -> None:
    installation.declare()
    vhost = installation.vhost
    ids = bury(installation.settings, [dead_task() for _ in range(LETTERS)])
    with Proxy(vhost.broker.host, vhost.broker.port, keep_log=False) as proxy:
        proxy.spoil(to_client=FAR)
        words = ("broker", "dead", "replay", "queue_a", "--window", str(WINDOW), "--timeout", "80")
        with Running(behind(proxy, installation), *words) as running:
            eventually(lambda: vhost.ready("queue_a") >= LETTERS // 4, "a quarter of them", 40)
            if end == "SIGKILL":
                running.sigkill()
            else:
                proxy.reset()
            ended = running.wait()
    sent = vhost.ready("queue_a")
    assert sent < LETTERS, "it was not ended in the middle"
    if end == "reset":
        assert ended.code in (69, 75)
        assert ended.err.startswith("error: "), ended.err
    # What nobody acked comes back, once the broker knows that its holder is gone.
    eventually(lambda: vhost.ready("queue_a.dead") + vhost.ready("queue_a") >= LETTERS, "the others back", 20)
    left = vhost.ready("queue_a.dead")
    assert sent + left <= LETTERS + WINDOW
    again = command(installation.environment, "broker", "dead", "replay", "queue_a", "-o", "jsonl", within_s=60)
    assert (again.code, again.objects[0]["replayed"]) == (0, left), again.err
    assert vhost.ready("queue_a.dead") == 0
    counts = Counter(
        (task.properties.message_id, task.headers["replay"], task.headers.get("attempt", 1))
        for task in vhost.messages("queue_a", sent + left, within_s=40)
    )
    assert {replayed for replayed, *_ in counts} == set(ids)
    assert {(replay, attempt) for _, replay, attempt in counts} == {(1, 1)}
    assert sum(count - 1 for count in counts.values()) == sent + left - LETTERS
    assert max(counts.values()) <= 2


def test_what_a_killed_replay_leaves_is_in_its_order(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    names = ["note", "echo"]
    ids = bury(installation.settings, [dead_task(names[number % 2]) for number in range(2000)])
    with Proxy(vhost.broker.host, vhost.broker.port, keep_log=False) as proxy:
        proxy.spoil(to_client=FAR)
        words = ("broker", "dead", "replay", "queue_a", "--task", "note", "--window", "10")
        with Running(behind(proxy, installation), *words) as running:
            eventually(lambda: vhost.ready("queue_a") >= 100, "a hundred of them", 40)
            running.sigkill()
    eventually(lambda: vhost.ready("queue_a.dead") >= 1000, "the others back", 20)
    left = [letter.properties.message_id for letter in vhost.messages("queue_a.dead", vhost.ready("queue_a.dead"))]
    assert set(ids[1::2]) < set(left)
    assert left == [one for one in ids if one in set(left)]


def test_letters_that_a_full_queue_refuses_stay_and_are_counted(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    fill_up(vhost, "queue_a")
    before = vhost.ready("queue_a")
    bury(installation.settings, [dead_task() for _ in range(50)])
    ended = command(installation.environment, "broker", "dead", "replay", "queue_a", "-o", "jsonl")
    (report,) = ended.objects
    assert (ended.code, report["replayed"], report["left"]) == (1, 0, {"refused": 50})
    assert "50 × refused: the broker refused a message for 'note': the queue is full" in ended.err
    assert (vhost.ready("queue_a"), vhost.ready("queue_a.dead")) == (before, 50)
