"""A task that fails comes back through the delay line, and ends as a dead letter if it never works."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.installation import Install, Installation
from tests.support.vhost import body, task

NOMINAL_S = 0.5
JITTER = 0.1
LATE_S = 0.5


@pytest.mark.every_broker
def test_a_task_that_fails_twice_and_then_works_has_three_attempts_at_the_right_times(
    installation: Installation,
) -> None:
    installation.worker()
    journal = installation.journal()
    reply = installation.caller().ask("fail", {"times": 2, "journal": str(journal)})
    assert (reply.result, reply.run.attempts) == (3, 3)
    gaps = [later["at"] - earlier["at"] for earlier, later in pairwise(journal.entries)]
    assert len(gaps) == 2
    assert all(NOMINAL_S <= gap <= NOMINAL_S * (1 + JITTER) + LATE_S for gap in gaps), gaps


@pytest.mark.every_broker(long=True)
def test_a_task_that_always_fails_ends_after_four_attempts_as_one_letter_with_its_history(
    installation: Installation,
) -> None:
    installation.worker()
    caller = installation.caller()
    reply = caller.ask("fail", {"times": 9})
    assert reply.failure is not None
    assert (reply.failure.code, reply.run.attempts) == ("retries_exhausted", 4)
    (letter,) = installation.vhost.read_dead("queue_a")
    assert (letter.reason.code, letter.properties.message_id) == ("retries_exhausted", reply.id)
    assert letter.body == body(times=9)
    history = letter.headers["history"]
    assert [entry["attempt"] for entry in history] == [1, 2, 3, 4]
    assert all(entry["error"] == "RuntimeError" and entry["worker"] == reply.run.worker for entry in history)
    assert [entry["retry_in_ms"] >= NOMINAL_S * 1000 for entry in history] == [True, True, True, False]
    assert installation.vhost.ready("queue_a.dead") == 0


def test_a_handler_that_asks_for_a_delay_of_its_own_gets_it(installation: Installation) -> None:
    installation.worker()
    journal = installation.journal()
    reply = installation.caller().ask("ask_for_retry", {"after": 1.1, "journal": str(journal)})
    assert reply.run.attempts == 2
    first, second = (entry["at"] for entry in journal.entries)
    assert 1.1 <= second - first <= 1.1 + LATE_S


def test_a_rejected_task_is_not_tried_again(installation: Installation) -> None:
    installation.worker()
    journal = installation.journal()
    reply = installation.caller().ask("reject", {"text": "not mine", "journal": str(journal)})
    assert reply.failure is not None
    assert (reply.failure.code, reply.failure.text, reply.run.attempts) == ("rejected", "not mine", 1)
    (letter,) = installation.vhost.read_dead("queue_a")
    assert (letter.reason.code, letter.reason.text) == ("rejected", "not mine")
    assert len(journal.entries) == 1


def test_a_retry_leaves_behind_what_the_message_carried_beside_the_task(installation: Installation) -> None:
    installation.worker()
    foreign = {"v": 1, "CC": ["copy"], "x-foreign": "kept by nobody", "traceparent": "00-1-2-3"}
    installation.vhost.publish(
        "tasks", "fail", body(), task("fail", headers=foreign, priority=9, expiration="60000")
    )
    (letter,) = installation.vhost.read_dead("queue_a")
    assert letter.reason.code == "retries_exhausted"
    assert letter.headers.keys() & {*foreign} == {"v", "traceparent"}
    assert (letter.properties.priority, letter.properties.expiration) == (None, None)


def test_a_retry_that_would_come_after_the_task_has_expired_is_not_made(install: Install) -> None:
    installation = install(defaults={"retry": {"backoff_s": [60]}})
    installation.worker()
    journal = installation.journal()
    reply = installation.caller().ask("fail", {"journal": str(journal)}, expires_s=5)
    assert reply.failure is not None
    assert (reply.failure.code, reply.run.attempts, len(journal.entries)) == ("expired", 1, 1)
