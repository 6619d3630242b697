"""What differs between a topology and what a broker lists, argument by argument."""

from __future__ import annotations

from typing import Any

import pytest

from broker.topology.diff import compare, stale_bindings
from broker.topology.model import Binding, Topology, build

TOPOLOGY = build({"queue_a": 50, "queue_b": 50}, {"task_a": "queue_a", "task_b": "queue_b"})


class Listing:
    """What the management API would list if a topology was declared as it is."""

    def __init__(self, topology: Topology) -> None:
        self.exchanges: dict[str, dict[str, Any]] = {
            one.name: {"name": one.name, "type": str(one.type), "arguments": dict(one.arguments)}
            for one in topology.exchanges
        }
        self.queues: dict[str, dict[str, Any]] = {
            one.name: {"name": one.name, "type": "quorum", "arguments": dict(one.arguments)}
            for one in topology.queues
        }
        # RabbitMQ binds every queue to the default exchange.
        self.bindings = [self._binding(Binding("", one.name, one.name)) for one in topology.queues]
        self.bindings += [self._binding(one) for one in topology.bindings]
        self.policies: list[dict[str, Any]] = []

    @staticmethod
    def _binding(one: Binding) -> dict[str, Any]:
        return {
            "source": one.source,
            "destination": one.destination,
            "destination_type": "exchange" if one.to_exchange else "queue",
            "routing_key": one.routing_key,
        }

    def bind(self, source: str, destination: str, key: str, *, to_exchange: bool = False) -> None:
        self.bindings.append(self._binding(Binding(source, destination, key, to_exchange)))

    @property
    def lines(self) -> list[str]:
        listed = list(self.exchanges.values()), list(self.queues.values()), self.bindings, self.policies
        found = compare(TOPOLOGY, *listed)
        return [str(one) for one in found]


@pytest.fixture
def listing() -> Listing:
    return Listing(TOPOLOGY)


def test_what_is_declared_as_it_should_be_does_not_differ(listing: Listing) -> None:
    assert listing.lines == []


def test_what_others_have_declared_in_the_vhost_is_none_of_our_business(listing: Listing) -> None:
    listing.exchanges["theirs"] = {"name": "theirs", "type": "headers", "arguments": {}}
    listing.queues["theirs"] = {"name": "theirs", "type": "classic", "arguments": {}}
    listing.bind("theirs", "theirs", "key")
    listing.bind("theirs", "queue_a", "key")
    assert listing.lines == []


def test_every_missing_thing_is_named(listing: Listing) -> None:
    del listing.exchanges["tasks.dead"], listing.queues["queue_a"]
    listing.bindings = [one for one in listing.bindings if one["routing_key"] != "task_a"]
    assert listing.lines == [
        "exchange tasks.dead: missing on the broker",
        "queue queue_a: missing on the broker",
        "binding tasks → queue_a (task_a): missing on the broker",
    ]


def test_an_empty_broker_lacks_everything() -> None:
    lines = [str(one) for one in compare(TOPOLOGY, [], [], [])]
    assert len(lines) == len(TOPOLOGY.exchanges) + len(TOPOLOGY.queues) + len(TOPOLOGY.bindings)
    assert all(line.endswith(": missing on the broker") for line in lines)


def test_each_argument_that_differs_has_a_line_in_the_order_of_the_names(listing: Listing) -> None:
    arguments = listing.queues["queue_a"]["arguments"]
    arguments["x-delivery-limit"] = 7
    arguments["x-max-length"] = 10
    del arguments["x-overflow"]
    assert listing.lines == [
        "queue queue_a: x-delivery-limit is 7, should be 50",
        "queue queue_a: x-max-length is 10, should be not set",
        "queue queue_a: x-overflow is not set, should be reject-publish",
    ]


def test_a_type_that_differs_is_reported(listing: Listing) -> None:
    listing.exchanges["tasks"]["type"] = "topic"
    listing.queues["queue_b"] = {"name": "queue_b", "type": "classic", "arguments": {}}
    lines = listing.lines
    assert "exchange tasks: type is topic, should be direct" in lines
    assert "queue queue_b: x-queue-type is classic, should be quorum" in lines


@pytest.mark.parametrize(
    ("queue", "policy", "lines"),
    [
        # The lower number counts.
        ("queue_a", {"max-length": 5}, ["max-length is 5, should be not set"]),
        ("queue_a", {"delivery-limit": 49}, ["delivery-limit is 49, should be 50"]),
        ("queue_a", {"delivery-limit": 51}, []),
        ("queue_a", {"delivery-limit": -1}, []),
        ("tasks.delay.05", {"message-ttl": 3199}, ["message-ttl is 3199, should be 3200"]),
        ("tasks.delay.05", {"message-ttl": 3200}, []),
        (
            "queue_a.dead",
            {"message-ttl": 0, "expires": 1},
            ["expires is 1, should be not set", "message-ttl is 0, should be not set"],
        ),
        ("tasks.obituaries", {"max-length": 1_000_000}, []),
        # The policy's counts.
        ("queue_a", {"overflow": "drop-head"}, ["overflow is drop-head, should be reject-publish"]),
        ("tasks.obituaries", {"overflow": "drop-head"}, []),
        ("queue_a.dead", {"overflow": "reject-publish"}, ["overflow is reject-publish, should be not set"]),
        # The argument's counts, if there is one.
        ("queue_a", {"dead-letter-exchange": "x", "dead-letter-strategy": "at-most-once"}, []),
        ("queue_a", {"dead-letter-routing-key": "x"}, []),
        ("tasks.delay.05", {"dead-letter-routing-key": "x"}, ["dead-letter-routing-key is x, should be not set"]),
        ("queue_a.dead", {"dead-letter-exchange": "x"}, ["dead-letter-exchange is x, should be not set"]),
        # These change nothing that is promised.
        ("queue_a", {"consumer-timeout": 1, "queue-leader-locator": "balanced", "alternate-exchange": "x"}, []),
        ("tasks.lost", {"delayed-retry-type": "all"}, ["delayed-retry-type is all, should be not set"]),
    ],
)
def test_each_key_of_a_policy_that_counts_more_than_our_argument_is_a_difference(
    listing: Listing, queue: str, policy: dict[str, Any], lines: list[str]
) -> None:
    listing.queues[queue]["effective_policy_definition"] = policy
    assert listing.lines == [f"queue {queue}: policy {line}" for line in lines]


@pytest.mark.parametrize(("exchange", "is_found"), [("tasks", True), ("tasks.due", False), ("theirs", False)])
def test_an_alternate_exchange_by_policy_is_a_difference_where_we_have_none(
    listing: Listing, exchange: str, is_found: bool
) -> None:
    theirs = {"name": exchange, "type": "direct", "arguments": {}}
    listing.exchanges.setdefault(exchange, theirs)["policy"] = "catch"
    listing.policies = [{"name": "catch", "definition": {"alternate-exchange": "x"}}]
    line = f"exchange {exchange}: policy alternate-exchange is x, should be not set"
    assert listing.lines == ([line] if is_found else [])


def test_a_way_out_of_the_delay_line_that_is_not_ours_is_stale(listing: Listing) -> None:
    listing.bind("tasks.delay.05", "queue_a", "#.task_a")
    listing.bind("tasks.delay.05", "tasks.due", "#", to_exchange=True)
    assert listing.lines == [
        "binding tasks.delay.05 → queue_a (#.task_a): on the broker, not in the configuration",
        "binding tasks.delay.05 → tasks.due (#): on the broker, not in the configuration",
    ]


@pytest.mark.parametrize("nothing", [None, [], {}])
def test_no_policy_in_whatever_shape_it_is_listed_is_none(listing: Listing, nothing: object) -> None:
    listing.queues["queue_a"]["effective_policy_definition"] = nothing
    listing.queues["queue_a"]["arguments"] |= {}
    listing.exchanges["tasks"]["arguments"] = nothing
    assert listing.lines == []


def test_the_old_ways_of_a_task_that_moved_are_stale(listing: Listing) -> None:
    listing.bind("tasks", "queue_b", "task_a")
    listing.bind("tasks.due", "queue_b", "*." * 20 + "task_a")
    stale = stale_bindings(TOPOLOGY, listing.bindings)
    assert stale == [
        Binding("tasks", "queue_b", "task_a"),
        Binding("tasks.due", "queue_b", "*." * 20 + "task_a"),
    ]
    assert "binding tasks → queue_b (task_a): on the broker, not in the configuration" in listing.lines
    # What is unbound must never be something that the configuration wants.
    assert not set(stale) & set(TOPOLOGY.bindings)


def test_a_binding_to_another_exchange_is_never_stale(listing: Listing) -> None:
    listing.bind("tasks", "audit", "task_a", to_exchange=True)
    assert stale_bindings(TOPOLOGY, listing.bindings) == []
    assert listing.lines == []
