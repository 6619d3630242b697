from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.names import (
    dead_queue,
    delay_level,
    is_id,
    is_mailbox_name,
    is_task_name,
    mailbox_of,
    mailbox_queue,
    new_id,
)


def test_ids_are_32_lower_case_hexadecimal_digits_and_differ() -> None:
    ids = {new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(map(is_id, ids))


@pytest.mark.parametrize(
    "value", ["", "a" * 31, "a" * 33, "A" * 32, "g" * 32, "a" * 32 + "\n", b"a" * 32, None, 7]
)
def test_nothing_else_is_an_id(value: object) -> None:
    assert not is_id(value)


@pytest.mark.parametrize("name", ["a", "task_a", "reports.daily", "a.b.c.d", "a1", "a_", "a" * 100])
def test_a_task_name_is_words_joined_by_dots(name: str) -> None:
    assert is_task_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "1a",
        "a.1",
        "_a",
        "A",
        "a-b",
        "a b",
        "a\n",
        "ä",
        "a" * 101,
        "#",
        "*",
        None,
        b"a",
    ],
)
def test_nothing_else_is_a_task_name(name: object) -> None:
    assert not is_task_name(name)


@given(st.from_regex(r"[a-z0-9][a-z0-9_-]{0,63}", fullmatch=True))
def test_a_mailbox_is_found_again_in_its_address(name: str) -> None:
    assert is_mailbox_name(name)
    assert mailbox_of(mailbox_queue(name)) == name


@given(st.text())
def test_what_names_a_mailbox_is_its_prefix_and_a_mailbox_name(text: str) -> None:
    name = mailbox_of(text)
    assert name is None or text == mailbox_queue(name)


def test_names_on_the_broker_are_made_from_those_of_queues_and_levels() -> None:
    assert dead_queue("queue_a") == "queue_a.dead"
    assert [delay_level(level) for level in (0, 7, 19)] == ["tasks.delay.00", "tasks.delay.07", "tasks.delay.19"]
