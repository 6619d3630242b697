"""Everything that a worker has to publish to refuses for half a minute; what does not need it goes on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from tests.faults.test_broker_refusals import full_delay_line, unbound_letters
from tests.support.administrator import fill_up, unlimit
from tests.support.idle import finish
from tests.support.installation import Install, Installation

REFUSED_S = 30.0
#: The longest pause between two attempts, and what they themselves take.
RECOVERY_S = 40.0
#: Of each of the three kinds that are refused.
TASKS = 3
MAILBOX = "mailbox.box"


@contextlib.contextmanager
def full_mailbox(installation: Installation) -> Iterator[None]:
    """Full, and it refuses more."""
    fill_up(installation.vhost, MAILBOX)
    yield
    unlimit(installation.vhost, MAILBOX)


@pytest.mark.long
@pytest.mark.timeout(150)
def test_what_is_refused_for_half_a_minute_is_kept_and_what_is_not_goes_on(install: Install) -> None:
    installation = install(mailboxes=["box"], queues={"queue_a": {"prefetch": 3 * TASKS + 2}})
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal = installation.journal()
    about = {"journal": str(journal)}
    beside = 0
    with full_delay_line(installation), unbound_letters(installation), full_mailbox(installation):
        filled = vhost.ready(MAILBOX)
        since_s = time.monotonic()
        failing = [caller.asking("fail", {**about, "times": 1}, timeout_s=120) for _ in range(TASKS)]
        rejected = [caller.asking("reject", about, timeout_s=120) for _ in range(TASKS)]
        posted = {caller.submit("note", about, mailbox="box") for _ in range(TASKS)}
        worker.wait_for("not accepted, the delivery stays unacked", count=3)
        while time.monotonic() - since_s < REFUSED_S:
            assert caller.ask("note", timeout_s=10).result == 1
            beside += 1
        assert not any(asking.done() for asking in (*failing, *rejected))
        assert (len(journal.entries), vhost.ready("queue_a.dead"), vhost.ready(MAILBOX)) == (3 * TASKS, 0, filled)
    healed_s = time.monotonic()
    assert [asking.result(RECOVERY_S).result for asking in failing] == [2] * TASKS
    codes = [asking.result(RECOVERY_S).failure for asking in rejected]
    letters = vhost.read_dead("queue_a", TASKS)
    replies = vhost.messages(MAILBOX, filled + TASKS, within_s=RECOVERY_S)
    recovery_s = time.monotonic() - healed_s
    stuck = finish(vhost, worker)
    print(f"beside it {beside} tasks were done; recovery {recovery_s:.1f} s; stuck {stuck}")
    assert {failure and failure.code for failure in codes} == {"rejected"}
    assert {letter.properties.message_id for letter in letters} == {asking.result().id for asking in rejected}
    assert posted == {reply.properties.correlation_id for reply in replies[filled:]}
    # A failing task starts twice, every other once.
    assert (stuck, len(journal.entries), vhost.ready("queue_a.dead")) == (0, 4 * TASKS, 0)
    assert beside > REFUSED_S
    assert len(worker.lines("not accepted")) == len(worker.lines("no longer waiting for exchange")) == 3
    assert not worker.lines("link down")
