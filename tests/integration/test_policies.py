"""Which of a policy and an argument counts on the quorum queues of each broker; `diff` names every such key."""

from __future__ import annotations

from typing import Any

import pytest
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import NackError

from protocol.delay import LEVELS
from protocol.names import delay_level
from tests.integration.test_topology_commands import broker_command, with_management
from tests.support.installation import Install
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

#: The management API hears of a policy's effect every five seconds.
LISTED_S = 30.0
TTL_MS = 200
QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 50}
AT_LEAST_ONCE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}


def put_policy(vhost: Vhost, name: str, pattern: str, apply_to: str = "queues", **definition: Any) -> None:
    keys = {key.replace("_", "-"): value for key, value in definition.items()}
    body = {"pattern": pattern, "definition": keys, "apply-to": apply_to}
    vhost.broker.management.request("PUT", "policies", vhost.name, name, body=body)


def declare(channel: BlockingChannel, queue: str, **arguments: Any) -> None:
    named = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    channel.queue_declare(queue, durable=True, arguments={**QUORUM, **named})


def accepted(channel: BlockingChannel, queue: str, count: int) -> int:
    """How many of so many messages the broker takes."""
    taken = 0
    for _ in range(count):
        try:
            channel.basic_publish("", queue, b"", mandatory=True)
            taken += 1
        except NackError:
            pass
    return taken


@pytest.mark.every_broker
def test_of_numbers_the_lower_one_counts_overflow_is_the_policys_and_all_else_the_arguments(vhost: Vhost) -> None:
    put_policy(vhost, "shorter", "^shorter$", max_length=2)
    put_policy(vhost, "longer", "^longer$", max_length=9)
    put_policy(vhost, "dropping", "^dropping$", overflow="drop-head")
    put_policy(vhost, "later", "^later$", message_ttl=3_600_000)
    put_policy(vhost, "elsewhere", "^elsewhere$", dead_letter_exchange="theirs", dead_letter_routing_key="theirs")
    put_policy(vhost, "renamed", "^renamed$", dead_letter_routing_key="theirs")
    put_policy(vhost, "once", "^once$", dead_letter_strategy="at-most-once")
    with vhost.channel() as channel:
        for dead in ("ours", "theirs"):
            channel.exchange_declare(dead, "fanout", durable=True)
            declare(channel, dead)
            channel.queue_bind(dead, dead)
        declare(channel, "shorter", max_length=5, overflow="reject-publish")
        declare(channel, "longer", max_length=2, overflow="reject-publish")
        declare(channel, "dropping", max_length=2, overflow="reject-publish")
        for queue in ("later", "elsewhere", "renamed"):
            key = {"dead_letter_routing_key": "ours"} if queue == "elsewhere" else {}
            declare(channel, queue, message_ttl=TTL_MS, dead_letter_exchange="ours", **key)
        channel.queue_declare(
            "once",
            durable=True,
            arguments={**QUORUM, **AT_LEAST_ONCE, "x-message-ttl": TTL_MS, "x-dead-letter-exchange": "missing"},
        )
        # One more than its length is taken.
        assert [accepted(channel, queue, 6) for queue in ("shorter", "longer", "dropping")] == [3, 3, 6]
        for queue in ("later", "elsewhere", "renamed", "once"):
            assert accepted(channel, queue, 1) == 1
    letters = {one.properties.headers["x-first-death-queue"]: one for one in vhost.messages("ours", 3)}
    assert {queue: letter.routing_key for queue, letter in letters.items()} == {
        "later": "later",
        "elsewhere": "ours",
        "renamed": "theirs",
    }
    # With at-least-once it is kept; at-most-once would have dropped it.
    eventually(
        lambda: vhost.broker.management.queue(vhost.name, "once").get("messages") == 1, "a letter", LISTED_S
    )
    assert vhost.ready("once") == vhost.ready("theirs") == 0


@pytest.mark.every_broker(long=True)
def test_diff_names_every_key_of_a_policy_that_changes_a_queue_or_an_exchange(
    install: Install, vhost: Vhost
) -> None:
    installation = with_management(install, vhost)
    installation.declare()
    put_policy(vhost, "all", "^(queue_a|tasks)", "all", message_ttl=3200, overflow="drop-head", max_length=7,
               dead_letter_routing_key="x", alternate_exchange="theirs")  # fmt: skip
    operators = {"pattern": "^queue_a$", "definition": {"max-length": 5}, "apply-to": "queues"}
    vhost.broker.management.request("PUT", "operator-policies", vhost.name, "operators", body=operators)

    def lines() -> list[str]:
        found = broker_command(installation, "diff").out.splitlines()
        return found if any("max-length is 5" in line for line in found) else []

    found = eventually(lines, "the policies to be listed", LISTED_S)

    without_one = ["tasks", "tasks.lost", "tasks.dead", "tasks.killed", *map(delay_level, range(LEVELS))]
    assert {line for line in found if line.startswith("exchange ")} == {
        f"exchange {name}: policy alternate-exchange is theirs, should be not set" for name in without_one
    }
    assert [line.removeprefix("queue queue_a: ") for line in found if line.startswith("queue queue_a: ")] == [
        "policy max-length is 5, should be not set",
        "policy message-ttl is 3200, should be not set",
        "policy overflow is drop-head, should be reject-publish",
    ]
    assert "queue tasks.delay.06: policy message-ttl is 3200, should be 6400" in found
    assert "queue tasks.delay.05: policy dead-letter-routing-key is x, should be not set" in found
    assert not any(line.startswith("queue tasks.delay.05: policy message-ttl") for line in found)
