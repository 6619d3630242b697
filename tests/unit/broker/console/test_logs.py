"""The lines of the log: one for each event, whatever is in it, and not more than a disk can take."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.console.log_json import LONGEST_LINE, JsonLines
from broker.console.log_throttle import MOST, WINDOW_S, Flood, Kind
from broker.console.logs import NAMES, TASKS, Bounded, Escaping
from tests.support.waiting import eventually

HOSTILE = '\x1b[2J\r\n{"level": "info"}\x07\x7f\x9b5A\u202e\u2028\ud800 ü 🐇'
FORMATTERS: Mapping[str, Callable[[], logging.Formatter]] = {
    "text": lambda: Escaping("%(levelname)s %(message)s"),
    "json": lambda: JsonLines(dict),
}


class Log:
    """A logger of one name, and what it wrote."""

    def __init__(self, formatter: logging.Formatter, flood: Flood | None = None, name: str = "glassrabbit.test"):
        self.stream = io.StringIO()
        self.handler = Bounded(self.stream, flood)
        self.handler.setFormatter(formatter)
        self.logger = logging.Logger(name)
        self.logger.addHandler(self.handler)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def json_log(**fields: object) -> Log:
    return Log(JsonLines(lambda: fields))


def test_a_line_of_json_says_when_who_and_what() -> None:
    log = json_log(worker="host:1")
    log.logger.warning("task %s is dead", "f00", extra={"task_id": "f00", "queue": "queue_a", "attempt": 3})
    (event,) = log.events
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", event.pop("time"))
    assert event == {
        "level": "warning",
        "logger": "glassrabbit.test",
        "message": "task f00 is dead",
        "task_id": "f00",
        "queue": "queue_a",
        "worker": "host:1",
        "attempt": 3,
    }


def test_what_a_line_says_itself_comes_before_what_is_known_of_all() -> None:
    log = json_log(task_id="running")
    log.logger.info("of another", extra={"task_id": "other"})
    log.logger.info("of this one")
    assert [event["task_id"] for event in log.events] == ["other", "running"]


def test_fields_that_nobody_knows_are_left_out() -> None:
    log = json_log()
    log.logger.info("login", extra={"password": "canary", "body": b"canary", "arguments": {"a": "canary"}})
    assert "canary" not in log.stream.getvalue()


def test_a_traceback_is_inside_its_line() -> None:
    log = json_log()
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        log.logger.exception("it raised")
    (event,) = log.events
    assert event["message"] == "it raised"
    assert event["traceback"].startswith("Traceback (most recent call last):\n")
    assert "ValueError: \x1b[2J" in event["traceback"]


@given(st.text(alphabet=st.characters(exclude_categories=())), st.text())
def test_any_text_is_one_line_of_printable_ascii_that_a_strict_reader_takes(message: str, name: str) -> None:
    log = json_log(task_id=name)
    log.logger.info("%s", message)
    (line,) = log.stream.getvalue().split("\n")[:-1]
    assert {char for char in line if not " " <= char <= "~"} == set()
    event = json.loads(line)
    event["message"].encode()
    assert event.get("task_id", "") == name
    if not any("\ud800" <= char <= "\udfff" for char in message):
        assert event["message"] == message


@pytest.mark.parametrize("text", ["x" * 10**6, "\U0001f407" * 10**5, "\x9b" * 10**5, "\ud800" * 10**5])
def test_a_line_is_bounded_and_keeps_beginning_and_end(text: str) -> None:
    log = json_log(task_id=text)
    log.logger.info("%s", f"first {text} last", exc_info=ValueError(f"{text} end"))
    (event,) = log.events
    assert len(log.stream.getvalue()) <= LONGEST_LINE + 1
    assert event["message"].startswith("first ")
    assert event["message"].endswith(" last")
    assert event["traceback"].endswith(" end")


@pytest.mark.parametrize("name", FORMATTERS)
def test_values_that_do_not_fit_their_format_cost_one_line(name: str) -> None:
    log = Log(FORMATTERS[name](), name="library")
    log.logger.info("%d things", HOSTILE)
    log.logger.info("%s goes on", "it")
    first, second = log.lines
    assert "a line cannot be written (TypeError): %d things" in first
    assert "it goes on" in second


@pytest.mark.parametrize("name", FORMATTERS)
def test_of_a_flood_the_first_lines_are_written_and_then_how_many_were_not(name: str) -> None:
    # However long a busy machine takes for them.
    log = Log(FORMATTERS[name](), Flood(window_s=3600))
    for number in range(100_000):
        log.logger.warning("a message of %s is refused: %s", "queue_a", number)
    log.logger.warning("another event")
    log.handler.close()
    *first, other, count = log.lines
    assert len(first) == MOST
    assert "another event" in other
    assert f"{100_000 - MOST} more within 3600 s are left out like: a message of queue_a is refused: " in count
    if name == "json":
        assert log.events[-1]["left_out"] == 100_000 - MOST
        assert log.events[-1]["level"] == "warning"


def test_what_was_left_out_is_reported_though_nothing_else_happens() -> None:
    log = Log(JsonLines(dict), Flood(most=2, window_s=0.2))
    for _ in range(5):
        log.logger.warning("again")
    eventually(lambda: [event.get("left_out") for event in log.events] == [None, None, 3], "the count")
    log.logger.warning("again")
    assert log.events[-1]["message"] == "again"


def test_lines_of_handlers_and_libraries_are_not_counted() -> None:
    log = Log(JsonLines(dict), name="handlers.of.a.user")
    for number in range(MOST * 5):
        log.logger.info("row %d", number)
    assert [event["message"] for event in log.events] == [f"row {number}" for number in range(MOST * 5)]


def test_each_kind_has_a_window_of_its_own_that_ends() -> None:
    flood, a, b = Flood(), Kind("l", 1, "a"), Kind("l", 1, "b")
    assert [flood.admits(a, 0.0) for _ in range(MOST + 2)] == [True] * MOST + [False] * 2
    assert flood.admits(b, WINDOW_S - 1)
    assert flood.ended(WINDOW_S - 0.1) == []
    assert flood.ended(WINDOW_S) == [(a, 2)]
    assert flood.ended(WINDOW_S) == []
    assert flood.admits(a, WINDOW_S)
    assert flood.ended(3 * WINDOW_S) == []


def test_a_log_whose_reader_is_gone_ends_nothing() -> None:
    log = json_log()
    log.stream.close()
    log.logger.warning("nobody reads this")
    assert sys.exception() is None


def test_every_logger_of_ours_is_one_that_others_do_not_silence() -> None:
    root = Path(__file__).parents[4]
    files = [
        path
        for package in ("protocol", "broker", "worker", "dispatcher")
        for path in (root / package).rglob("*.py")
    ]
    named = {name for path in files for name in re.findall(r'getLogger\("(glassrabbit.*?)"\)', path.read_text())}
    assert {*named, TASKS} == set(NAMES)
