"""What a handler may know of its task, in a worker and in a test of its own."""

from __future__ import annotations

import pytest

from worker import Current, current
from worker.testing import running


def test_outside_a_handler_there_is_no_task_and_the_error_says_how_to_test() -> None:
    with pytest.raises(LookupError, match=r"In a test: with worker\.testing\.running\(\)"):
        current()


def test_a_test_may_run_a_handler_as_any_attempt_and_nothing_is_left_behind() -> None:
    with running("orders.pack", attempt=3) as outer:
        assert current() == outer == Current("0" * 32, "orders.pack", "queue", 3, 4)
        with running(task_id="f" * 32, queue="mail", max_attempts=1):
            assert (current().id, current().queue, current().max_attempts) == ("f" * 32, "mail", 1)
        assert current() is outer
    with pytest.raises(LookupError):
        current()
