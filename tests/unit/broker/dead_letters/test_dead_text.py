from __future__ import annotations

import base64
import json
from typing import Any

import msgpack
import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.console.json_text import dumps
from broker.dead_letters.queue import Letter
from broker.dead_letters.text import (
    BODY,
    CELL,
    HEAD,
    LINE,
    cell,
    description,
    detail,
    hex_lines,
    row,
    summary,
    whole,
)
from protocol.limits import DEFAULT_LIMITS

ID = "0" * 32
#: What moves a cursor, rings, colours, titles a window, ends a line or turns the direction of writing.
NASTY = "\x1b[2J\x1b[31m\x07\r\n\t\x00\x7f\x9b5A\u202e\u2028\x1b]0;owned\x07"
texts = st.text(max_size=80) | st.just(NASTY)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | texts | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


def letter(body: bytes = b"\x80", *, exchange: str = "tasks.dead", **properties: Any) -> Letter:
    fields = {"message_id": ID, "type": "note", "headers": {"v": 1, "reason": "rejected", "text": "no"}}
    return Letter(
        queue="queue_a.dead",
        tag=1,
        exchange=exchange,
        routing_key="queue_a",
        properties=pika.BasicProperties(**fields | properties),
        body=body,
    )


def is_harmless(text: str, but: str = "") -> bool:
    return all(char.isprintable() or char in but for char in text)


@given(texts, st.integers(2, 100))
def test_a_cell_is_one_short_line_without_gaps(text: str, width: int) -> None:
    shown = cell(text, width)
    assert len(shown) <= width
    assert is_harmless(shown)
    assert "  " not in shown


@given(texts, texts, texts, texts, values)
def test_nothing_that_a_letter_says_can_move_the_cursor_or_forge_a_line(
    name: str, reason: str, text: str, worker: str, arguments: object
) -> None:
    headers = {"v": 1, "reason": reason, "text": text, "worker": worker, "history": [{"error": text}]}
    hostile = letter(
        msgpack.packb(arguments), type=name, message_id=text, reply_to=reason, app_id=worker, headers=headers
    )
    assert len(row(hostile)) == len(HEAD)
    assert all(is_harmless(shown) and len(shown) <= CELL for shown in row(hostile))
    lines = description(hostile, DEFAULT_LIMITS).split("\n")
    assert all(is_harmless(line) and len(line) <= BODY + 4 for line in lines)
    # Whatever follows the first line is indented: no letter can look like the start of the next.
    assert all(line.startswith("  ") for line in lines[1:])
    for said in (summary(hostile), detail(hostile, DEFAULT_LIMITS), whole(hostile, DEFAULT_LIMITS)):
        assert is_harmless(dumps(said))
        assert json.loads(dumps(said))["text"] == text
        assert is_harmless(dumps(said, indent=2), "\n")


@given(st.binary(max_size=600))
def test_a_body_that_is_no_msgpack_is_shown_in_hexadecimal_and_cut(body: bytes) -> None:
    lines = description(letter(b"\xc1" + body), DEFAULT_LIMITS).split("\n")
    assert any("undecodable" in line for line in lines)
    dump = [line for line in lines if line.startswith("    0") and line[4:8].isalnum()]
    assert len(dump) == min(16, (len(body) + 16) // 16)
    assert all(is_harmless(line) for line in dump)


def test_a_dump_shows_offset_bytes_and_ascii() -> None:
    assert list(hex_lines(b"\x1b[2J" + b"a" * 14)) == [
        "    0000  1b 5b 32 4a 61 61 61 61 61 61 61 61 61 61 61 61  .[2Jaaaaaaaaaaaa",
        "    0010  61 61                                            aa",
    ]


def test_a_long_body_is_cut_for_a_person_and_whole_for_a_program() -> None:
    long = letter(msgpack.packb({"text": "x" * 100_000}))
    shown = description(long, DEFAULT_LIMITS)
    assert len(shown) < BODY + LINE
    assert "more; `export` has all of it" in shown
    assert detail(long, DEFAULT_LIMITS)["arguments"] == {"text": "x" * 100_000}
    assert base64.b64decode(json.loads(dumps(whole(long, DEFAULT_LIMITS)))["body"]["base64"]) == long.body


def test_what_json_does_not_have_is_named() -> None:
    value = {"nan": float("nan"), "bytes": b"\x00", "deep": nested(500), "lone": "\ud800"}
    read = json.loads(dumps(value))
    assert read["nan"] == {"float": "nan"}
    assert read["bytes"] == {"base64": "AA=="}
    assert "nested too deep" in dumps(read["deep"])
    assert read["lone"] == "\ud800"


def nested(depth: int) -> object:
    value: object = None
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"message_id": None}, "message_id must be 32 lower-case hexadecimal digits"),
        ({"type": "done", "message_id": None}, "message_id"),
        ({"headers": {}}, "header v must be 1"),
        ({"headers": {"v": 1, "attempt": 2**62}}, "headers.attempt"),
    ],
)
def test_a_letter_that_cannot_be_replayed_says_why(properties: dict[str, Any], problem: str) -> None:
    said = detail(letter(**properties), DEFAULT_LIMITS)
    assert not said["replayable"]
    assert problem in said["problem"]
    assert problem in description(letter(**properties), DEFAULT_LIMITS)


def test_the_history_has_both_lives_of_a_task_that_was_replayed() -> None:
    history = [
        {"attempt": attempt, "error": "KeyError", "text": f"life {life}", "worker": "host:1", "started": 1000}
        for life in (1, 2)
        for attempt in (1, 2)
    ]
    shown = description(letter(headers={"v": 1, "attempt": 2, "replay": 1, "history": history}), DEFAULT_LIMITS)
    lines = [line.strip() for line in shown.split("\n")]
    first = lines.index("history")
    assert [line.split(",")[0] for line in lines[first + 1 : first + 6]] == [
        "attempt 1",
        "attempt 2",
        "replayed",
        "attempt 1",
        "attempt 2",
    ]
    assert "KeyError: life 2" in lines[first + 5]
