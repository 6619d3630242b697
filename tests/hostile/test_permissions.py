"""Separate users do all of their work with the rights that they need, and say what they lack.

What they may not do is tried in ``test_permission_matrix``.
"""

from __future__ import annotations

import pytest

from tests.support.caller import Caller
from tests.support.commands import command
from tests.support.hostile_users import Users
from tests.support.vhost import body, task


def test_the_admin_declares(users: Users) -> None:
    ended = command(users.environment("admin"), "broker", "declare", "--mailbox", "box")
    assert ended.code == 0, ended.err
    assert users.installation.vhost.exists("mailbox.box")


@pytest.mark.every_broker
def test_dispatcher_and_worker_do_all_their_work_with_these_rights(declared: Users) -> None:
    installation, vhost = declared.installation, declared.installation.vhost
    worker = installation.worker(BROKER_URL=declared.url("worker"))
    assert worker.lines("may not declare: working on the topology that is there")
    with Caller(declared.settings("dispatcher")) as caller:
        assert caller.ask("echo", {"value": 1}).result == 1
        assert caller.ask("echo", {"value": 2}, delay_s=0.2).result == 2
        assert caller.ask("fail", {"times": 1}).run.attempts == 2
        failure = caller.ask("reject").failure
        assert failure is not None
        assert failure.code == "rejected"
        assert len(vhost.read_dead("queue_a")) == 1
        submitted = caller.submit("echo", {"value": 3}, mailbox="box")
    collected = command(declared.environment("dispatcher"), "dispatcher", "collect", "box", "-n", "1")
    assert (collected.code, collected.objects[0]["id"]) == (0, submitted)
    # An obituary: the worker reads it, and answers the direct address by the default exchange.
    worker.sigterm()
    assert worker.wait() == 0
    with Caller(declared.settings("dispatcher")) as caller:
        asking = caller.asking("echo", expires_s=0.2)
        vhost.read_dead("queue_a")
        installation.worker(BROKER_URL=declared.url("worker"))
        failure = asking.result(10).failure
        assert failure is not None
        assert failure.code == "expired"


@pytest.mark.every_broker(long=True)
def test_an_operator_sees_moves_and_removes_what_waits_with_these_rights(declared: Users) -> None:
    vhost, environment = declared.installation.vhost, declared.environment("operator")
    vhost.publish("", "queue_a", body(), task("task_b"))
    for words, out in (
        ("peek queue_a -o plain", "\ttask_b\t"),
        ("move queue_a queue_b -o plain", "queue_a\t1\t1\t1\t0"),
        ("purge queue_b --yes -o plain", "queue_b\t1"),
    ):
        ended = command(environment, "broker", *words.split())
        assert ended.code == 0, ended.err
        assert out in ended.out
    for words in ("peek queue_a", "purge queue_a --yes", "move queue_a queue_b"):
        refused = command(declared.environment("dispatcher"), "broker", *words.split())
        assert (refused.code, refused.out) == (69, "")
        assert "this user may not read queue_a. It needs the right to read it." in refused.err


@pytest.mark.every_broker(long=True)
def test_a_mailbox_that_is_missing_and_may_not_be_made_ends_with_4(declared: Users) -> None:
    vhost, environment = declared.installation.vhost, declared.environment("dispatcher")
    with vhost.channel() as channel:
        channel.queue_delete("mailbox.box")
    for words in (["submit", "echo", "--mailbox", "box"], ["collect", "box"], ["collect", "box", "-n", "1"]):
        ended = command(environment, "dispatcher", *words, within_s=10)
        assert (ended.code, ended.out) == (4, "")
        assert "there is no mailbox box. Run `python -m broker declare --mailbox box`" in ended.err
    assert vhost.ready("queue_a") == 0


@pytest.mark.every_broker(long=True)
def test_a_mailbox_that_may_not_be_read_is_reported(declared: Users) -> None:
    with declared.installation.vhost.channel() as channel:
        channel.queue_declare("mailbox.private", durable=True, arguments={"x-queue-type": "quorum"})
    for options in ([], ["-n", "1"]):
        words = ["collect", "private", *options]
        ended = command(declared.environment("dispatcher"), "dispatcher", *words, within_s=8)
        assert (ended.code, ended.out) == (69, "")
        assert "mailbox" in ended.err


@pytest.mark.every_broker(long=True)
def test_without_a_topology_those_who_may_not_declare_say_so(users: Users) -> None:
    ended = command(users.environment("dispatcher"), "dispatcher", "call", "echo", within_s=15)
    assert (ended.code, ended.out) == (69, "")
    assert "may not declare the topology" in ended.err
    ended = command(users.environment("dispatcher"), "broker", "declare")
    assert (ended.code, ended.out) == (69, "")
    assert "may not declare the topology" in ended.err
