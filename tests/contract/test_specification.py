"""Reads ``protocol/README.md`` and holds the code to it: every example is executed, every table compared."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from broker.config.control_settings import ControlSettings
from broker.topology.model import build, control_of
from protocol.control import KINDS, Do
from protocol.errors import ErrorCode
from protocol.limits import DEFAULT_LIMITS
from protocol.reasons import REASONS
from protocol.task import Attempt, Task, attempt_table, task_properties
from tests.contract.checks import CHECKS
from tests.contract.vectors import section, title

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "protocol" / "README.md").read_text("utf-8")
EXAMPLES = [
    (kind, json.loads(block))
    for kind, block in re.findall(r"^```json (\w+)\b.*\n((?:.*\n)*?)```$", TEXT, re.MULTILINE)
]
TOPOLOGY = build({"queue_a": 50}, {"task_a": "queue_a"}, ["results"])


def chapter(number: int) -> str:
    return re.split(r"^## \d+\. ", TEXT, flags=re.MULTILINE)[number]


def rows(number: int, head: str) -> list[list[str]]:
    """The cells of the table of a chapter whose first column has that head."""
    _, _, rest = chapter(number).partition(f"\n| {head} |")
    lines = rest.split("\n\n")[0].splitlines()[2:]
    assert lines, head
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def code(cell: str) -> str:
    """What stands in backquotes first; nothing, if the cell says so."""
    if cell == "(empty)":
        return ""
    match = re.search(r"`([^`]+)`", cell)
    assert match is not None, cell
    return match[1]


def test_every_fence_is_an_example() -> None:
    assert len(EXAMPLES) >= 10
    assert TEXT.count("```") == 2 * len(EXAMPLES)


@pytest.mark.parametrize(("kind", "example"), EXAMPLES, ids=lambda value: title(value))
def test_the_code_agrees_with_the_example(kind: str, example: Any) -> None:
    CHECKS[kind](example)


@pytest.mark.parametrize(("kind", "example"), EXAMPLES, ids=lambda value: title(value))
def test_the_example_is_one_of_the_vectors(kind: str, example: Any) -> None:
    assert example in section(kind)


def test_every_exchange_is_specified_with_its_type_and_arguments() -> None:
    specified = {
        code(name): (kind, json.loads(code(arguments))) for name, kind, arguments, _ in rows(1, "exchange")
    }
    switch = specified.pop("tasks.delay.NN")
    for exchange in TOPOLOGY.exchanges:
        expected = switch if exchange.name.startswith("tasks.delay.") else specified.pop(exchange.name)
        assert (exchange.type.value, dict(exchange.arguments)) == expected
    assert not specified


def test_every_queue_is_specified_with_all_its_arguments() -> None:
    specified = {code(name): json.loads(code(arguments)) for name, arguments in rows(1, "queue")}
    declared = {queue.name: dict(queue.arguments) for queue in TOPOLOGY.queues}
    assert specified == {name: declared[name] for name in specified}
    assert {name for name in declared if not name.startswith("tasks.delay.")} <= set(specified)


def test_the_control_stream_is_specified_with_its_exchanges_and_arguments() -> None:
    control = control_of(ControlSettings())
    specified = {(code(name), kind, code(key)) for name, kind, key, _ in rows(12, "exchange of steering")}
    types = {exchange.name: exchange.type.value for exchange in control.exchanges}
    assert specified == {(one.source, types[one.source], one.routing_key) for one in control.bindings}
    [queue] = control.queues
    assert json.dumps(dict(queue.arguments)) in chapter(12)


def test_every_key_and_kind_of_a_record_is_specified() -> None:
    keys = {name for row in rows(12, "key of a record") for name in re.findall(r"`(\w+)`", row[0])}
    used = {key for vector in section("control") for key in vector["record"]}
    assert keys == used | {"v", "kind"}
    [orders] = [row[2] for row in rows(12, "key of a record") if row[0] == "`do`"]
    assert {*re.findall(r"`(\w+)`", orders)} - {"until"} == set(Do)
    [kinds] = [row[2] for row in rows(12, "key of a record") if row[0] == "`kind`"]
    assert set(re.findall(r"`(\w+)`", kinds)) == {vector["kind"] for vector in section("control")} == set(KINDS)


def test_the_bindings_that_are_specified_are_those_that_are_declared() -> None:
    specified = set()
    for source, key, to in rows(1, "from exchange"):
        kind, name = to.split(" ")
        specified.add((code(source), code(key), code(name), kind == "exchange"))
    declared = {
        (binding.source, binding.routing_key, binding.destination, binding.to_exchange)
        for binding in TOPOLOGY.bindings
    }
    assert specified <= declared
    assert {binding for binding in declared if not binding[0].startswith("tasks.delay.")} <= specified


def test_the_error_codes_are_those_of_the_code() -> None:
    specified = [(code(one), because, by) for one, because, by in rows(8, "code")]
    assert specified == [(one, reason.because, ", ".join(reason.decided_by)) for one, reason in REASONS.items()]
    assert list(REASONS) == list(ErrorCode)


@pytest.mark.parametrize("error_code", ErrorCode)
def test_a_code_is_raised_where_the_table_says_and_nowhere_else(error_code: ErrorCode) -> None:
    name = f"ErrorCode.{error_code.name}"
    raised = {
        str(file.relative_to(ROOT))
        for package in ("protocol", "broker", "worker")
        for file in (ROOT / package).rglob("*.py")
        if re.search(rf"(?<!is )\b{name}\b", file.read_text("utf-8"))
    }
    # A breaker reads codes, and so does what reports how tasks ended; they raise none.
    readers = {"worker/execution/breaker.py", "worker/steering/obedience.py", "worker/steering/watching.py"}
    assert raised - {"protocol/reasons.py"} - readers == set(REASONS[error_code].raised_in)


def test_every_refusal_has_an_error_code() -> None:
    named = {one for row in rows(4, "check") for one in re.findall(r"`(\w+)`", row[-1])}
    assert named <= set(ErrorCode)


def test_the_limits_are_the_defaults_of_the_code() -> None:
    specified = {code(name): int(value.replace(",", "")) for name, value, _ in rows(3, "limit")}
    assert specified == asdict(DEFAULT_LIMITS)


def test_every_kind_of_value_that_is_replaced_is_shown_by_a_vector() -> None:
    kinds = {code(row[0]) for row in rows(3, "kind")}
    assert kinds == {kind[2:-1] for kind in re.findall(r'"\$\w+"', json.dumps(section("values")))}


def test_every_property_and_header_that_a_task_is_written_with_is_specified() -> None:
    last = Attempt(attempt=1, error="E", text="t", worker="w", started_ms=1, ran_ms=1)
    task = Task(
        id="0" * 32,
        name="task_a",
        body=b"\x80",
        reply_to="mailbox.results",
        timestamp=1,
        sent_at=1,
        expires_at=1,
        attempt=2,
        resent=1,
        replay=1,
        replayed_at=1,
        batch=1,
        joined_replies=True,
        history=(last,),
        trace={"traceparent": "x", "tracestate": "y"},
    )
    written = task_properties(task, expiration_ms=1)
    headers = {name for row in rows(2, "header") for name in re.findall(r"`(\w+)`", row[0])}
    assert headers == set(written.headers)
    properties = {code(row[0]) for row in rows(2, "property")}
    assert properties == set(asdict(written)) - {"headers"} | {"delivery_mode"}
    assert all(f"`{key}`" in chapter(2) for key in attempt_table(last))


def test_every_key_of_a_reply_is_specified() -> None:
    keys = {code(row[0]) for row in rows(6, "key")}
    used = {key for vector in section("replies") for key in (*vector["reply"]["run"], "id", "result", "error")}
    assert keys == used
