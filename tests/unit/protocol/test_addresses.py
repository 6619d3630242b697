from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.reply_address import ReplyKind, is_direct_address, node_part, reply_kind, reply_node

KEY = bytes(range(16))


def address(node: bytes, ids: bytes, key: bytes) -> str:
    pid = b"\x83\x58\x76" + len(node).to_bytes(2) + node + ids
    return f"amq.rabbitmq.reply-to.{base64.b64encode(pid).decode()}.{base64.b64encode(key).decode()}"


GOOD = address(b"reply@2147483647", bytes(12), KEY)


def test_no_address_means_that_no_reply_is_wanted() -> None:
    assert reply_kind(None) is ReplyKind.NONE


@given(st.integers(0, 2**32 - 1), st.binary(min_size=12, max_size=12), st.binary(min_size=16, max_size=16))
def test_every_address_that_a_broker_makes_is_answered(node: int, ids: bytes, key: bytes) -> None:
    assert reply_kind(address(b"reply@%d" % node, ids, key)) is ReplyKind.DIRECT


def test_an_address_says_its_node() -> None:
    assert reply_node(GOOD) == "reply@2147483647"
    assert reply_node("mailbox.box") is None


@pytest.mark.parametrize(
    ("node", "part"),
    [
        ("rabbit@238d882d3b49", "reply@11133497"),
        ("rabbit@3db4d254b976", "reply@107517478"),
        ("rabbit@690703efb26d", "reply@39386884"),
    ],
)
def test_the_part_of_a_node_is_what_brokers_of_that_name_write(node: str, part: str) -> None:
    """Taken from RabbitMQ 3.10.8, 4.0.5 and 4.3.6."""
    assert node_part(node) == part


@given(st.integers(0, len(GOOD) - 1), st.characters())
def test_a_changed_character_is_refused_unless_it_changes_only_ids_or_digits(at: int, other: str) -> None:
    changed = GOOD[:at] + other + GOOD[at + 1 :]
    if not is_direct_address(changed):
        return
    pid, key = (base64.b64decode(part, validate=True) for part in changed.split(".")[3:])
    assert pid[:5] == b"\x83\x58\x76\x00\x10"
    assert pid[5:11] == b"reply@"
    assert pid[11:21].isdigit()
    assert len(pid) == 33
    assert len(key) == 16


@given(st.text())
def test_no_text_raises(text: str) -> None:
    assert reply_kind(text) in (None, ReplyKind.DIRECT, ReplyKind.MAILBOX)


@given(st.binary(max_size=60), st.binary(max_size=30))
def test_well_encoded_noise_is_refused(pid: bytes, key: bytes) -> None:
    parts = (base64.b64encode(part).decode() for part in (pid, key))
    assert reply_kind("amq.rabbitmq.reply-to." + ".".join(parts)) is None


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a" * 65, "a\n", "ä", "a b", "#", "*"])
def test_a_mailbox_by_another_than_a_mailbox_name_is_refused(name: str) -> None:
    assert reply_kind(f"mailbox.{name}") is None


@pytest.mark.parametrize(
    "queue", ["queue_a", "queue_a.dead", "tasks.obituaries", "tasks.lost", "mailbox", "results"]
)
def test_no_other_queue_can_be_named_as_a_reply_address(queue: str) -> None:
    assert reply_kind(queue) is None
