"""Whoever is innocent has its turn before the culprit kills for the last time."""

from __future__ import annotations

from typing import Any, cast

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.amqp.channel import Channel
from broker.config.holding import suspect_from
from worker.intake.delivery import Delivery
from worker.intake.quarantine import next_of


def delivery(task_id: str | None, returned: object, *, redelivered: bool = True, headers: Any = ...) -> Delivery:
    headers = {"x-delivery-count": returned} if headers is ... else headers
    return Delivery(
        channel=cast(Channel, None),
        tag=1,
        queue="queue_a",
        exchange="tasks",
        routing_key="note",
        redelivered=redelivered,
        properties=pika.BasicProperties(message_id=task_id, headers=headers),
        body=b"",
    )


@pytest.mark.parametrize(
    ("headers", "redelivered", "returned"),
    [
        (None, True, 0),
        ({}, True, 0),
        ({"x-delivery-count": 3}, True, 3),
        ({"x-delivery-count": 3}, False, 0),
        ({"x-delivery-count": "3"}, True, 0),
        ([("x-delivery-count", 3)], True, 0),
    ],
)
def test_only_the_brokers_own_count_is_believed(headers: Any, redelivered: bool, returned: int) -> None:
    assert delivery("a", 0, redelivered=redelivered, headers=headers).returned == returned


@pytest.mark.parametrize(("limit", "from_on"), [(1, 1), (2, 1), (3, 1), (5, 2), (50, 25)])
def test_a_suspect_was_returned_half_as_often_as_it_may_be(limit: int, from_on: int) -> None:
    assert suspect_from(limit) == from_on


@given(
    innocents=st.sets(st.text("0123456789abcdef", min_size=1, max_size=4), min_size=1, max_size=60),
    culprit=st.text("0123456789abcdef", min_size=5, max_size=5),
    limit=st.integers(2, 60),
)
def test_the_culprit_is_buried_alone(innocents: set[str], culprit: str, limit: int) -> None:
    held = [delivery(task_id, suspect_from(limit)) for task_id in (*innocents, culprit)]
    while all(one.returned <= limit for one in held):
        chosen = next_of(held)
        if chosen.properties.message_id != culprit:
            held.remove(chosen)
            continue
        held = [delivery(str(one.properties.message_id), one.returned + 1) for one in held]
    assert [one.properties.message_id for one in held] == [culprit]


def test_a_message_without_an_id_has_its_turn_as_well() -> None:
    one, other = delivery(None, 2), delivery("a", 2)
    assert next_of([one, other]) in (one, other)
    assert next_of([one]) is one
