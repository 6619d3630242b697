"""Arguments from a command line and from lines; replies as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.console.json_text import dumps
from broker.errors import Refused
from dispatcher.errors import NoReply, UnknownTask
from dispatcher.json_lines import (
    BadLine,
    arguments_of,
    ended_line,
    error_map,
    lines_of,
    read_object,
    result_text,
)
from dispatcher.pending import Accepted
from dispatcher.window import Ended
from protocol.reply import Failure, Reply, Run
from tests.support.waiting import run

ID = "0123456789abcdef" * 2
RUN = Run(attempts=2, worker="host:1", queued_ms=3, ran_ms=4)


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("n=1", 1),
        ("n=1.5", 1.5),
        ("n=true", True),
        ("n=null", None),
        ('n="1"', "1"),
        ("n=[1, 2]", [1, 2]),
        ('n={"a": 1}', {"a": 1}),
        ("n=one", "one"),
        ("n=True", "True"),
        ("n=", ""),
        ("n=a=b", "a=b"),
        ("n= 1", 1),
    ],
)
def test_a_value_that_is_json_is_read_as_such_and_anything_else_is_text(pair: str, value: object) -> None:
    assert arguments_of([pair], None) == {"n": value}


def test_single_arguments_win_over_the_object_and_later_ones_over_earlier_ones() -> None:
    assert arguments_of(["a=2", "a=3"], '{"a": 1, "b": 1}') == {"a": 3, "b": 1}
    assert arguments_of([], None) == {}


@pytest.mark.parametrize("pair", ["n", "=1", "", "="])
def test_an_argument_without_a_key_or_an_equals_sign_is_refused(pair: str) -> None:
    with pytest.raises(ValueError, match="write KEY=VALUE"):
        arguments_of([pair], None)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe{}", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", "a JSON list"),
        (b"1", "a JSON int"),
        (b"null", "a JSON NoneType"),
        (b'"text"', "a JSON str"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_line_that_is_no_object_is_refused_with_the_reason(line: bytes, said: str) -> None:
    with pytest.raises(BadLine, match=said):
        read_object(line)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(_VALUES)
def test_whatever_msgpack_carries_is_one_line_of_json(value: Any) -> None:
    line = dumps(value)
    assert "\n" not in line
    json.loads(line)


def test_bytes_are_written_as_base64_and_text_as_it_is() -> None:
    assert dumps({"data": b"\x00\xff", "text": "兎"}) == '{"data": {"base64": "AP8="}, "text": "兎"}'


def test_what_json_does_not_have_is_an_error_and_never_a_guess() -> None:
    with pytest.raises(TypeError, match="set"):
        dumps({1})


def test_a_result_is_json_and_with_plain_a_text_is_itself() -> None:
    assert result_text("a b", plain=False) == '"a b"'
    assert result_text("a b", plain=True) == "a b"
    assert result_text(["a"], plain=True) == '["a"]'


def test_a_line_of_map_has_its_number_and_its_reply() -> None:
    done = Reply(id=ID, run=RUN, result={"n": 1})
    run_map = {"attempts": 2, "worker": "host:1", "queued_ms": 3, "ran_ms": 4}
    assert ended_line(Ended(7, ID, done)) == {"line": 7, "id": ID, "result": {"n": 1}, **run_map}
    failed = Reply(id=ID, run=RUN, failure=Failure(code="rejected", type="Reject", text="no"))
    error = {"code": "rejected", "type": "Reject", "text": "no"}
    assert ended_line(Ended(8, ID, failed)) == {"line": 8, "id": ID, "error": error, **run_map}
    assert ended_line(Ended(9, ID, Accepted())) == {"line": 9, "id": ID}


def test_an_error_of_ours_has_the_shape_of_a_failure() -> None:
    line = ended_line(Ended(3, "", BadLine("no JSON: why")))
    assert line == {
        "line": 3,
        "id": None,
        "error": {"code": "bad_line", "type": "BadLine", "text": "no JSON: why"},
    }
    assert error_map(NoReply(ID, 5, accepted=True))["code"] == "no_reply"
    assert error_map(UnknownTask("x", []))["code"] == "unknown_task"
    assert error_map(Refused("full"))["code"] == "refused"


TEXT = b'{"a": 1}\n\n   \n{"b": 2}\r\nlast'
NUMBERED = [(1, b'{"a": 1}\n'), (4, b'{"b": 2}\r\n'), (5, b"last")]


async def _all(source: str) -> list[tuple[int, bytes]]:
    return [item async for item in lines_of(source)]


def test_lines_of_a_file_keep_their_numbers_and_empty_ones_are_left_out(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_bytes(TEXT)
    assert run(_all(str(file))) == NUMBERED
    file.write_bytes(b"")
    assert run(_all(str(file))) == []


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    return path


def test_lines_of_a_pipe_are_given_as_they_come(pipe: Path) -> None:
    async def scenario() -> None:
        # Opened for both, since the other end would wait for a reader, and a reader for it.
        writer = os.open(pipe, os.O_RDWR)
        lines = lines_of(str(pipe))
        os.write(writer, b"one\nhalf")
        assert await anext(lines) == (1, b"one\n")
        waiting = asyncio.ensure_future(anext(lines))
        await asyncio.sleep(0)
        assert not waiting.done()
        os.write(writer, b" and half\n\nthree")
        assert await waiting == (2, b"half and half\n")
        os.close(writer)
        assert await anext(lines) == (4, b"three")
        assert [line async for line in lines] == []

    run(scenario(), 10)


def test_a_device_that_epoll_refuses_is_read_to_its_end() -> None:
    assert run(_all(os.devnull), 5) == []
