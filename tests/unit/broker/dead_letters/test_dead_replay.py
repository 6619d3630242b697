from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker.amqp.pika_connection import BrokenProperties
from broker.dead_letters.replay import NO_EXPIRY, NO_REPLY, Edit, edit_of, replayed
from broker.dead_letters.transfer import Report, properties_of
from protocol.codec import NotEncodable
from protocol.errors import ExitCode, Malformed
from protocol.limits import DEFAULT_LIMITS, Limits
from protocol.task import Task
from tests.support.hostile import ADDRESS
from tests.unit.broker.dead_letters.test_dead_text import ID, letter

NOW_MS = 1_795_000_000_000
HISTORY = [{"attempt": attempt, "error": "KeyError", "text": "'n'", "worker": "host:1"} for attempt in (1, 2)]
HEADERS = {"v": 1, "attempt": 2, "history": HISTORY, "sent_at": 5, "resent": 3, "traceparent": "00-ab"}


def again(
    *, edit: Edit | None = None, body: bytes = b"\x80", limits: Limits = DEFAULT_LIMITS, **further: Any
) -> Task:
    return replayed(letter(body, **further), limits, NOW_MS, edit or Edit())[0]


def test_a_replayed_task_starts_at_attempt_1_and_keeps_id_arguments_mailbox_and_history() -> None:
    task = again(body=b"\x81\xa1n\x01", headers=HEADERS, reply_to="mailbox.results", timestamp=7)
    assert (task.id, task.name, task.body, task.reply_to) == (ID, "note", b"\x81\xa1n\x01", "mailbox.results")
    assert (task.attempt, task.replay, task.resent) == (1, 1, 0)
    assert (task.sent_at, task.timestamp, task.trace) == (5, 7, {"traceparent": "00-ab"})
    assert [entry.attempt for entry in task.history] == [1, 2]
    properties = properties_of(task, NOW_MS)
    assert (properties.message_id, properties.correlation_id, properties.type) == (ID, ID, "note")
    assert properties.headers["replay"] == 1
    assert not {"attempt", "resent", "reason", "text", "queue", "worker", "died"} & set(properties.headers)


def test_each_replay_has_a_number_of_its_own() -> None:
    assert again(headers={**HEADERS, "replay": 4}).replay == 5


@pytest.mark.parametrize(
    "reply_to",
    [pytest.param(ADDRESS, id="direct"), "amq.rabbitmq.reply-to", "queue_b", "mailbox.NO\x1b"],
)
def test_a_reply_address_that_is_no_mailbox_is_dropped_and_said(reply_to: str) -> None:
    task, without = replayed(letter(reply_to=reply_to), DEFAULT_LIMITS, NOW_MS, Edit())
    assert (task.reply_to, without) == (None, [NO_REPLY])
    assert properties_of(task, NOW_MS).correlation_id is None


def test_an_expiry_that_has_passed_is_dropped_and_said_and_another_is_kept() -> None:
    task, without = replayed(letter(headers={"v": 1, "expires_at": NOW_MS}), DEFAULT_LIMITS, NOW_MS, Edit())
    assert (task.expires_at, without) == (0, [NO_EXPIRY])
    assert properties_of(task, NOW_MS).expiration is None
    task, without = replayed(letter(headers={"v": 1, "expires_at": NOW_MS + 50}), DEFAULT_LIMITS, NOW_MS, Edit())
    assert (task.expires_at, without) == (NOW_MS + 50, [])
    assert properties_of(task, NOW_MS).expiration == "50"


def test_an_expiry_that_the_broker_would_not_take_is_left_to_the_workers() -> None:
    task = again(headers={"v": 1, "expires_at": 10**13})
    assert properties_of(task, NOW_MS).expiration is None
    assert properties_of(task, NOW_MS).headers["expires_at"] == 10**13


def test_a_death_that_is_not_in_the_history_is_added_to_it() -> None:
    deaths = [{"queue": "queue_a", "reason": "delivery_limit"}]
    task = again(exchange="tasks.killed", headers={**HEADERS, "attempt": 3, "x-death": deaths})
    assert [(entry.attempt, entry.error) for entry in task.history] == [
        (1, "KeyError"),
        (2, "KeyError"),
        (3, "delivery_limit"),
    ]
    (death,) = again(headers={"v": 1, "reason": "wrong_queue", "text": "it came by queue_b", "died": 9}).history
    assert (death.error, death.text, death.started_ms) == ("wrong_queue", "it came by queue_b", 9)


def test_a_history_stays_bounded_over_replays() -> None:
    long = [{"attempt": number, "error": "E"} for number in range(1, 11)]
    deaths = [{"queue": "queue_a", "reason": "expired"}]
    history = again(exchange="tasks.killed", headers={"v": 1, "history": long, "x-death": deaths}).history
    assert len(history) == DEFAULT_LIMITS.history_entries
    assert (history[0].attempt, history[-1].error) == (1, "expired")


@pytest.mark.parametrize(
    "edit",
    [Edit(changed={"n": 2}), Edit(instead={"n": 2}), Edit(instead={"n": 1}, changed={"n": 2})],
)
def test_arguments_can_be_changed_or_replaced(edit: Edit) -> None:
    kept = {} if edit.instead is not None else {"other": [1]}
    task = again(body=msgpack.packb({"n": 1, "other": [1]}), edit=edit)
    assert msgpack.unpackb(task.body) == {**kept, "n": 2}


def test_arguments_that_cannot_be_decoded_can_be_replaced_and_not_changed() -> None:
    assert again(body=b"\xc1", edit=Edit(instead={})).body == b"\x80"
    assert again(body=b"\xc1").body == b"\xc1"
    with pytest.raises(Malformed, match="undecodable"):
        again(body=b"\xc1", edit=Edit(changed={"n": 1}))


def test_an_edit_is_held_to_the_limits_and_to_single_tasks() -> None:
    with pytest.raises(NotEncodable):
        again(
            body=msgpack.packb({"n": "x" * 90}), edit=Edit(changed={"m": "y" * 90}), limits=Limits(body_bytes=100)
        )
    with pytest.raises(Malformed, match="batch"):
        again(headers={"v": 1, "batch": 2}, edit=Edit(instead={}))


def test_what_pika_could_not_decode_is_not_replayed() -> None:
    one = letter()
    broken = BrokenProperties()
    broken.message_id, broken.type = ID, "note"
    with pytest.raises(Malformed, match="cannot be decoded"):
        replayed(type(one)(**{**fields_of(one), "properties": broken}), DEFAULT_LIMITS, NOW_MS, Edit())


def fields_of(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__slots__}


def test_edits_are_read_like_arguments_of_a_call() -> None:
    assert edit_of((), None, DEFAULT_LIMITS) == Edit()
    edit = edit_of(("n=1", "text=a=b", 'list=["x"]', "empty="), '{"m": null}', DEFAULT_LIMITS)
    assert edit.instead == {"m": None}
    assert edit.changed == {"n": 1, "text": "a=b", "list": ["x"], "empty": ""}


@pytest.mark.parametrize(
    ("pairs", "text"),
    [
        (("n",), None),
        (("=1",), None),
        ((), "[1]"),
        ((), "no"),
        ((), "NaN"),
        ((), "[" * 100_000),
        ((), '"\\ud800"'),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(pairs: tuple[str, ...], text: str | None) -> None:
    with pytest.raises(ValueError, match=r"KEY=VALUE|must be an object"):
        edit_of(pairs, text, DEFAULT_LIMITS)


def test_unroutable_letters_weigh_more_than_those_that_make_no_sense() -> None:
    report = Report(queue="queue_a.dead")
    codes = [report.exit_code]
    report.leave(ID, "bad_properties", "no type")
    codes.append(report.exit_code)
    report.unroutable["gone"] += 1
    codes.append(report.exit_code)
    assert codes == [ExitCode.OK, ExitCode.FAILED, ExitCode.UNROUTABLE]
