"""Every command ends by its own deadline, whatever the broker does, and says what that looks like.

What is begun while a broker starts, or while a queue has no leader, goes on and succeeds as soon as it can.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.support.asking import ASKING, OTHERS, ask_all, commands
from tests.support.commands import Ended, command
from tests.support.frames import Event
from tests.support.installation import Install, Installation
from tests.support.link import SILENT, Link
from tests.support.proxy import Proxy
from tests.support.slowness import in_time, limits
from tests.support.steering import CONTROL
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually

TIMEOUT_S, GRACE_S = 3.0, 2.0
#: For the start of an interpreter, and of four others beside it.
START_S = 3.0
#: Of commands that succeed as soon as they can.
PATIENT_S = 60.0
#: All but the doctor, who says what is wrong now, and what is said to a worker that is not there.
LATER = [name for name in ASKING if name not in ("broker doctor", "broker drain", "broker log-level")]


@pytest.fixture
def installed(install: Install) -> Installation:
    """A mailbox with a reply, a dead letter, and connects that alone would take longer than any command may."""
    made = install(
        broker={"connect_timeout_s": 30.0}, mailboxes=["box"], workload=[{"task": "echo"}], control=CONTROL
    )
    made.declare()
    made.vhost.publish("tasks.dead", "queue_a", body(number=1), task(headers={"v": 1, "reason": "rejected"}))
    return made


def late(ended: dict[str, Ended], limit_s: float) -> dict[str, float]:
    return {name: one.wall_s for name, one in ended.items() if not in_time(one.wall_s, limit_s)}


def codes(ended: dict[str, Ended]) -> dict[str, int]:
    return {name: one.code for name, one in ended.items()}


def ask(environment: Mapping[str, str], code: int, names: Iterable[str] = tuple(ASKING)) -> dict[str, Ended]:
    """How they end, all with one exit code and in time. On a busy machine a command may need more time to get to
    where it is to wait."""
    for timeout_s in limits(TIMEOUT_S):
        ended = ask_all(environment, timeout_s, names)
        assert not late(ended, timeout_s + GRACE_S + START_S)
        if set(codes(ended).values()) == {code}:
            return ended
    pytest.fail(f"not all ended with {code}: {ended}")


def test_the_table_names_every_command() -> None:
    assert commands() == set(ASKING) | OTHERS


def test_a_port_that_takes_connections_and_says_nothing_is_reported_as_such_in_time(
    installed: Installation,
) -> None:
    broker = installed.vhost.broker
    with Proxy(broker.host, broker.port) as proxy:
        proxy.welcome("hang")
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
        ended = ask({**installed.environment, "BROKER_URL": url}, 69)
    assert not [name for name, one in ended.items() if "and did not answer: it hangs" not in one.err + one.out]


@pytest.mark.own_broker
def test_a_frozen_broker_is_reported_as_such_in_time(installed: Installation) -> None:
    installed.vhost.broker.pause()
    try:
        ended = ask(installed.environment, 69)
    finally:
        installed.vhost.broker.unpause()
    assert not [name for name, one in ended.items() if "and did not answer: it hangs" not in one.err + one.out]


def fall_silent_at_the_first_question(event: Event, link: Link) -> None:
    """Of an operator's command the channel that it opens; of a dispatcher what it asks for, and not its set-up."""
    asked = {"publish", "get"} if link.name == "dispatcher" else {"channel_open", "get"}
    if event.by == "client" and event.kind in asked:
        link.to_client.become(SILENT)


def test_a_broker_that_falls_silent_in_the_middle_ends_a_command_in_time_with_75(installed: Installation) -> None:
    broker = installed.vhost.broker
    with Proxy(broker.host, broker.port) as proxy:
        proxy.on_event = fall_silent_at_the_first_question
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{installed.vhost.name}"
        ended = ask({**installed.environment, "BROKER_URL": url}, 75)
    assert "?" in ended["broker status"].out
    assert "✗ leaders" in ended["broker doctor"].out
    assert "did not confirm it" in ended["dispatcher call"].err
    # It waits for no worker.
    assert "error: no confirm of task " in ended["dispatcher submit"].err
    assert "did not confirm it" in ended["dispatcher submit"].err
    assert "reply" not in ended["dispatcher submit"].err
    assert "worker" not in ended["dispatcher submit"].err
    assert "did not answer" in ended["dispatcher collect"].err
    assert not ended["broker dead list"].out


def test_what_is_begun_while_a_broker_starts_succeeds_as_soon_as_it_has_started(installed: Installation) -> None:
    installed.worker("queue_a")
    broker = installed.vhost.broker
    with Proxy(broker.host, broker.port) as proxy, ThreadPoolExecutor() as pool:
        proxy.welcome("drop")
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/{installed.vhost.name}"
        asking = pool.submit(ask_all, {**installed.environment, "BROKER_URL": url}, PATIENT_S, LATER, 90.0)
        eventually(lambda: proxy.accepted >= 10, "attempts to connect", 30)
        proxy.admit()
        ended = asking.result(90)
    assert codes(ended) == dict.fromkeys(LATER, 0), {name: one.err for name, one in ended.items() if one.code}
    assert "queue_a.dead" in ended["broker dead list"].out


def test_a_broker_that_is_starting_is_reported_as_such_and_one_that_is_not_there_is_waited_for_on_request(
    installed: Installation,
) -> None:
    broker = installed.vhost.broker
    with Proxy(broker.host, broker.port) as proxy, ThreadPoolExecutor() as pool:
        environment = {
            **installed.environment,
            "BROKER_URL": f"amqp://guest:guest@127.0.0.1:{proxy.port}/{installed.vhost.name}",
        }
        proxy.welcome("drop")
        starting = ask_all(environment, 1.0, ["broker declare", "dispatcher call", "broker doctor"])
        assert codes(starting) == dict.fromkeys(starting, 69)
        assert all("RabbitMQ is starting there" in one.err + one.out for one in starting.values())
        proxy.refuse()
        assert ask_all(environment, PATIENT_S, ["broker declare"])["broker declare"].code == 69
        waiting = pool.submit(command, environment, "broker", "declare", "--wait", "--timeout", f"{PATIENT_S:g}")
        with pytest.raises(TimeoutError):
            waiting.result(START_S)
        proxy.admit()
        assert waiting.result(30).code == 0


@contextmanager
def without_leader(vhost: Vhost, *queues: str) -> Iterator[Callable[[], None]]:
    """Stop the only member of each of these quorum queues; what it yields starts them again."""
    stopped = list(queues)

    def each(action: str) -> None:
        for queue in queues:
            name = f'{{list_to_atom("{vhost.name}_{queue}"), node()}}'
            vhost.broker.ctl("eval", f"ra:{action}_server(quorum_queues, {name}).")

    def heal() -> None:
        if stopped:
            stopped.clear()
            each("restart")

    each("stop")
    try:
        yield heal
    finally:
        heal()


@pytest.mark.own_broker
@pytest.mark.every_broker(long=True)
def test_a_queue_without_a_leader_is_never_shown_as_empty_and_what_waits_for_it_succeeds_once_it_has_one(
    installed: Installation,
) -> None:
    environment, vhost = installed.environment, installed.vhost
    installed.worker("queue_a")
    assert command(environment, "dispatcher", "submit", "echo", "--mailbox", "box").code == 0
    eventually(lambda: vhost.ready("mailbox.box") == 1, "the reply in its mailbox")
    asking = ["broker status", "broker doctor", "broker dead list", "broker peek", "dispatcher collect"]
    with without_leader(vhost, "queue_a.dead", "mailbox.box") as heal, ThreadPoolExecutor() as pool:
        assert vhost.ready("queue_a.dead") == 0
        ended = ask(environment, 75, asking)
        for timeout_s in limits(TIMEOUT_S):
            status = command(environment, "broker", "status", "-o", "json", "--timeout", f"{timeout_s:g}")
            shown = json.loads(status.out)
            if shown["dead"][1]["letters"] is not None:
                break
        assert not ended["broker dead list"].out
        assert "no letters" not in ended["broker dead list"].err
        assert "no leader" in ended["broker dead list"].err
        assert "541" not in "".join(one.err for one in ended.values())
        assert shown["dead"][0] == {"name": "queue_a.dead", "letters": None}
        assert shown["dead"][1] == {"name": "queue_b.dead", "letters": 0}
        assert "✗ leaders           none answers for mailbox.box, queue_a.dead" in ended["broker doctor"].out
        waiting = ["broker status", "broker dead list", "dispatcher collect"]
        patient = pool.submit(ask_all, environment, PATIENT_S, waiting, 90.0)
        with pytest.raises(TimeoutError):
            patient.result(START_S)
        heal()
        ended = patient.result(90)
    assert codes(ended) == dict.fromkeys(waiting, 0), {name: one.err for name, one in ended.items()}
    assert "rejected" in ended["broker dead list"].out
    assert len(ended["dispatcher collect"].objects) == 1
