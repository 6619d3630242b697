"""A dispatcher that is killed in the middle of a batch, and one that loses its connection again and again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.commands import Running, command
from tests.support.distant import Distant
from tests.support.idle import finish
from tests.support.installation import Install
from tests.support.submitter import WINDOW

BATCH = 2000
#: Ids that were printed when the dispatcher is killed.
ACCEPTED = 300
CUTS = 3
RECOVERY_S = 10.0


def test_what_a_killed_dispatcher_knew_as_accepted_has_its_one_reply_in_the_mailbox(
    install: Install,
) -> None:
    installation = install(mailboxes=["box"])
    worker, vhost = installation.worker(), installation.vhost
    environment = installation.environment
    with Running(environment, "tests.support.submitter", "note", "box", str(BATCH)) as submitting:
        submitting.lines(ACCEPTED)
        submitting.sigkill()
        accepted = submitting.wait().out.split()
    assert finish(vhost, worker, within_s=60) == 0
    posted = vhost.ready("mailbox.box")
    collected = Counter(one["id"] for one in command(environment, "dispatcher", "collect", "box").objects)

    lost = set(accepted) - set(collected)
    unknown = set(collected) - set(accepted)
    print(
        f"accepted {len(accepted)}, replies {posted}, lost {len(lost)}, of unknown outcome and done {len(unknown)}"
    )
    assert ACCEPTED <= len(accepted) < BATCH
    assert (lost, set(collected.values()), posted) == (set(), {1}, len(collected))
    # Handed to the broker, and the dispatcher died before it could tell.
    assert len(unknown) <= WINDOW
    assert (vhost.ready("queue_a.dead"), vhost.ready("mailbox.box")) == (0, 0)


@pytest.mark.timeout(120)
def test_a_dispatcher_that_loses_its_connection_again_and_again_gets_each_reply_once(
    distant: Callable[..., Distant],
) -> None:
    site = distant()
    worker, caller = site.worker(), site.caller()
    load = site.load(caller, window=200)
    for _ in range(CUTS):
        load.progress(since_s=time.monotonic())
        site.dispatchers.reset()
        load.progress(since_s=time.monotonic(), within_s=RECOVERY_S)
    verdict = site.verdict(load, worker)
    verdict.check()
    assert caller.dispatcher.generation == 1 + CUTS
    # Asked again means delivered again; the one worker remembers what it has done, so nothing ran twice. (A task
    # that was waiting for its next attempt would: the second copy is run by itself.)
    assert verdict.duplicated == 0
    assert caller.dispatcher.strangers == 0
