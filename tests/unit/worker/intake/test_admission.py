from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.amqp.pika_connection import BrokenProperties
from broker.config.settings import TaskSettings
from protocol.errors import ErrorCode, Malformed
from protocol.limits import DEFAULT_LIMITS
from tests.contract.checks import received
from tests.unit.protocol.test_task import fields, known, properties
from worker.intake.admission import admit

ID = "0f8fad5bd9cb469fa16570867728950e"
TASKS = {
    "task_a": TaskSettings(queue="queue_a", handler="worker.tasks:noop"),
    "task_b": TaskSettings(queue="queue_b", handler="worker.tasks:noop"),
}
PID = b"\x83\x58\x76\x00\x10reply@2147483647" + bytes(12)
DIRECT = f"amq.rabbitmq.reply-to.{base64.b64encode(PID).decode()}.{base64.b64encode(bytes(16)).decode()}"


def message(**changed: Any) -> Any:
    return received({"message_id": ID, "type": "task_a", "headers": {"v": 1}, **changed})


def code_of(odd: Any, queue: str = "queue_a", **options: Any) -> ErrorCode:
    with pytest.raises(Malformed) as refusal:
        admit(odd, b"\x80", queue, TASKS, DEFAULT_LIMITS, **options)
    return refusal.value.code


def test_a_task_that_is_known_and_came_by_its_queue_is_admitted_with_its_body_unread() -> None:
    task = admit(message(), b"\xc1", "queue_a", TASKS, DEFAULT_LIMITS)
    assert (task.id, task.name, task.body) == (ID, "task_a", b"\xc1")


def test_properties_that_cannot_be_decoded_are_refused() -> None:
    broken = BrokenProperties(message_id=ID, type="task_a", headers={"v": 1})
    assert code_of(broken) is ErrorCode.BAD_PROPERTIES


def test_a_task_that_the_configuration_does_not_have_is_unknown() -> None:
    assert code_of(message(type="task_z")) is ErrorCode.UNKNOWN_TASK


def test_a_task_of_another_queue_is_not_run() -> None:
    assert code_of(message(type="task_b")) is ErrorCode.WRONG_QUEUE
    assert code_of(message(), "queue_b") is ErrorCode.WRONG_QUEUE


def test_a_direct_address_is_refused_where_replies_go_to_mailboxes_only() -> None:
    assert admit(message(reply_to=DIRECT), b"\x80", "queue_a", TASKS, DEFAULT_LIMITS).reply_to == DIRECT
    assert code_of(message(reply_to=DIRECT), replies="mailbox") is ErrorCode.BAD_REPLY_TO


@pytest.mark.parametrize("reply_to", [None, "mailbox.results"])
def test_mailboxes_and_no_reply_at_all_are_fine_everywhere(reply_to: str | None) -> None:
    odd = message(reply_to=reply_to)
    assert admit(odd, b"\x80", "queue_a", TASKS, DEFAULT_LIMITS, "mailbox").reply_to == reply_to


@given(st.dictionaries(known, fields), st.dictionaries(properties, fields), st.binary(max_size=20))
def test_any_message_is_admitted_or_refused_with_a_code(
    headers: dict[str, Any], odd: dict[str, Any], body: bytes
) -> None:
    try:
        task = admit(message(**{"headers": {"v": 1, **headers}, **odd}), body, "queue_a", TASKS, DEFAULT_LIMITS)
    except Malformed as refusal:
        assert refusal.code in ErrorCode  # noqa: PT017
        return
    assert task.name == "task_a"
    assert task.body == body
