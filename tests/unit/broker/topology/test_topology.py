from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config.settings import Settings
from broker.topology.model import (
    Exchange,
    ExchangeType,
    Queue,
    Topology,
    build,
    mailbox,
    task_bindings,
    topology_of,
)
from protocol.delay import enter
from tests.unit.protocol.test_delay import matches

TASKS = {"task_a": "queue_a", "task_b": "queue_b", "daily": "queue_a", "reports.daily": "queue_b"}
TOPOLOGY = build({"queue_a": 50, "queue_b": 7}, TASKS, ["results"])
QUEUES = {queue.name: queue for queue in TOPOLOGY.queues}
EXCHANGES = {exchange.name: exchange for exchange in TOPOLOGY.exchanges}
WORK = ("queue_a", "queue_b")


def route(topology: Topology, exchange: str, key: str) -> set[str]:
    """The queues that a message reaches, by the rules of AMQP and of alternate exchanges."""
    found = set(_route(topology, exchange, key))
    alternate = EXCHANGES[exchange].arguments.get("alternate-exchange")
    return found or (set() if alternate is None else route(topology, str(alternate), key))


def _route(topology: Topology, exchange: str, key: str) -> Iterator[str]:
    kind = EXCHANGES[exchange].type
    for binding in topology.bindings:
        if binding.source != exchange or not _applies(kind, binding.routing_key, key):
            continue
        if binding.to_exchange:
            yield from route(topology, binding.destination, key)
        else:
            yield binding.destination


def _applies(kind: ExchangeType, pattern: str, key: str) -> bool:
    if kind is ExchangeType.TOPIC:
        return matches(pattern, key)
    return kind is ExchangeType.FANOUT or pattern == key


def journey(seconds: float, task: str) -> tuple[int, list[set[str]]]:
    """Milliseconds in the line and the queues that a delayed message reaches, hop by hop."""
    hop = enter(seconds, task)
    waited, reached = 0, [route(TOPOLOGY, hop.exchange, hop.routing_key)]
    while all(name.startswith("tasks.delay.") for name in reached[-1]):
        [name] = reached[-1]
        arguments = QUEUES[name].arguments
        waited += int(arguments["x-message-ttl"])
        reached.append(route(TOPOLOGY, str(arguments["x-dead-letter-exchange"]), hop.routing_key))
    return waited, reached


def test_a_task_reaches_its_own_queue_and_no_other() -> None:
    for task, queue in TASKS.items():
        assert route(TOPOLOGY, "tasks", task) == {queue}
    assert route(TOPOLOGY, "tasks", "task_z") == set()


@given(st.integers(1, 2**20 - 1), st.sampled_from(sorted(TASKS)))
def test_a_delayed_task_waits_its_time_and_then_reaches_its_own_queue(units: int, task: str) -> None:
    waited, reached = journey(units / 10, task)
    assert waited == units * 100
    assert reached[-1] == {TASKS[task]}
    assert all(len(hop) == 1 for hop in reached)


@given(st.integers(1, 2**20 - 1))
def test_a_delayed_task_that_nothing_is_bound_for_is_kept_and_reported(units: int) -> None:
    _, reached = journey(units / 10, "task_z")
    assert reached[-1] == {"tasks.lost", "tasks.obituaries"}


@pytest.mark.parametrize("queue", WORK)
def test_a_letter_of_a_worker_is_kept_and_one_of_the_broker_is_reported_as_well(queue: str) -> None:
    assert route(TOPOLOGY, "tasks.dead", queue) == {f"{queue}.dead"}
    arguments = QUEUES[queue].arguments
    killed = route(TOPOLOGY, str(arguments["x-dead-letter-exchange"]), str(arguments["x-dead-letter-routing-key"]))
    assert killed == {f"{queue}.dead", "tasks.obituaries"}


def test_a_mailbox_gets_the_replies_to_its_name() -> None:
    assert route(TOPOLOGY, "replies", "results") == {"mailbox.results"}
    assert route(TOPOLOGY, "replies", "none") == set()


@pytest.mark.parametrize("queue", TOPOLOGY.queues, ids=lambda queue: str(queue.name))
def test_every_queue_is_a_quorum_queue_with_a_delivery_limit_that_every_broker_understands(queue: Queue) -> None:
    assert queue.arguments["x-queue-type"] == "quorum"
    assert 1 <= int(queue.arguments["x-delivery-limit"]) <= 2**31 - 1
    assert all(isinstance(value, str | int) for value in queue.arguments.values())


@pytest.mark.parametrize("queue", TOPOLOGY.queues, ids=lambda queue: str(queue.name))
def test_a_queue_that_dead_letters_does_so_at_least_once_and_refuses_instead_of_dropping(queue: Queue) -> None:
    arguments = queue.arguments
    if "x-dead-letter-exchange" in arguments:
        assert arguments["x-dead-letter-exchange"] in EXCHANGES
        assert arguments["x-dead-letter-strategy"] == "at-least-once"
        assert arguments["x-overflow"] == "reject-publish"


def test_no_queue_that_the_delay_line_ends_in_has_a_length_limit() -> None:
    ends = {"tasks.lost", *WORK}
    for name in ends:
        assert not {"x-max-length", "x-max-length-bytes"} & set(QUEUES[name].arguments)
    # Drop-head never refuses, so the copies for the obituaries cannot hold the line up.
    assert QUEUES["tasks.obituaries"].arguments["x-overflow"] == "drop-head"


def test_only_copies_and_the_delay_line_expire() -> None:
    expiring = {name for name, queue in QUEUES.items() if "x-message-ttl" in queue.arguments}
    assert expiring == {"tasks.obituaries"} | {f"tasks.delay.{level:02d}" for level in range(20)}


def test_every_binding_joins_things_that_are_declared() -> None:
    for binding in TOPOLOGY.bindings:
        assert binding.source in EXCHANGES
        assert binding.destination in (EXCHANGES if binding.to_exchange else QUEUES)


def test_nothing_is_named_twice() -> None:
    for things in (TOPOLOGY.queues, TOPOLOGY.exchanges, TOPOLOGY.bindings):
        assert len(set(map(repr, things))) == len(things)
    assert len(QUEUES) == len(TOPOLOGY.queues)
    assert len(EXCHANGES) == len(TOPOLOGY.exchanges)


def test_where_the_broker_puts_dead_letters_is_declared_before_anything_can_die() -> None:
    order = [queue.name for queue in TOPOLOGY.queues]
    first_work = min(map(order.index, WORK))
    for name in ("queue_a.dead", "queue_b.dead", "tasks.lost", "tasks.obituaries"):
        assert order.index(name) < first_work


def test_each_delay_queue_doubles_the_time_of_the_one_below() -> None:
    ttls = [QUEUES[f"tasks.delay.{level:02d}"].arguments["x-message-ttl"] for level in range(20)]
    assert ttls == [100 * 2**level for level in range(20)]


def test_the_configured_delivery_limit_is_the_work_queue_s() -> None:
    assert QUEUES["queue_b"].arguments["x-delivery-limit"] == 7


@pytest.mark.parametrize("thing", [*TOPOLOGY.exchanges, *TOPOLOGY.queues], ids=lambda thing: str(thing.name))
def test_everything_says_what_it_is_for(thing: Exchange | Queue) -> None:
    assert thing.purpose


def test_a_task_is_bound_at_once_and_by_the_delay_line() -> None:
    now, due = task_bindings("reports.daily", "queue_b")
    assert (now.source, now.routing_key) == ("tasks", "reports.daily")
    assert (due.source, due.routing_key) == ("tasks.due", "*." * 20 + "reports.daily")


def test_a_mailbox_never_expires_and_never_drops() -> None:
    assert dict(mailbox("results").queue.arguments) == {"x-queue-type": "quorum", "x-delivery-limit": 2**31 - 1}


def test_the_topology_of_a_configuration_has_its_queues_tasks_and_mailboxes() -> None:
    settings = Settings.model_validate(
        {
            "queues": {"q": {"delivery_limit": 3}},
            "tasks": {"t": {"queue": "q", "handler": "m:f"}},
            "mailboxes": ["box"],
        }
    )
    assert topology_of(settings) == build({"q": 3}, {"t": "q"}, ["box"])
