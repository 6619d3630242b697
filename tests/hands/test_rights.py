"""What each command answers to a user with few rights: it does what it may, or names the right that lacks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.hands import hand
from tests.support.hostile_users import PASSWORD, RIGHTS, Users
from tests.support.installation import Install
from tests.support.letters import bury, dead_task

#: Command → the exit code and what standard error says, for the user of a dispatcher and for that of a worker.
ANSWERS = {
    "broker declare": ((69, "may not declare the topology"), (69, "may not declare the topology")),
    "broker declare --prune": ((69, "Give it the tag `management`"), (69, "Give it the tag `management`")),
    "broker diff": ((69, "Give it the tag `management`"), (69, "Give it the tag `management`")),
    "broker status": ((75, "Give it the tag `management`"), (75, "Give it the tag `management`")),
    "broker dead list": ((69, "may not read queue_a.dead"), (69, "may not read queue_a.dead")),
    "broker dead show queue_a": ((69, "may not read queue_a.dead"), (69, "may not read queue_a.dead")),
    "broker dead export queue_a": ((69, "may not read queue_a.dead"), (69, "may not read queue_a.dead")),
    "broker dead replay queue_a": ((69, "may not read queue_a.dead"), (69, "may not read queue_a.dead")),
    "broker dead replay queue_a --dry-run": ((69, "may not read queue_a.dead"), (69, "may not read queue_a.dead")),
    "broker dead purge queue_a --yes": ((69, "may not read queue_a.dead"), (69, "may not read queue_a.dead")),
    "dispatcher call echo -a value=1 --timeout 10": ((0, ""), (69, "tasks")),
    "dispatcher submit echo -a value=1 --timeout 10": ((0, ""), (69, "tasks")),
    "dispatcher submit echo --mailbox other --timeout 10": ((4, "no mailbox other"), (4, "no mailbox other")),
    "dispatcher collect other --timeout 10": (
        (69, "may not read mailbox other"),
        (69, "may not read mailbox other"),
    ),
    "worker autoscale queue_a --once": ((0, "Give it the tag `management`"), (0, "Give it the tag `management`")),
}


@pytest.fixture
def users(install: Install) -> Iterator[Users]:
    installation = install(broker={"management_url": None}, mailboxes=["box"])
    installation.declare()
    installation.worker()
    bury(installation.settings, [dead_task("echo")])
    users, management = Users(installation), installation.vhost.broker.management
    for role in RIGHTS:
        management.add_user(users.name(role), PASSWORD, installation.vhost.name, RIGHTS[role])
    yield users
    for role in RIGHTS:
        management.remove_user(users.name(role))


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("role", "place"), [("dispatcher", 0), ("worker", 1)])
def test_a_command_does_what_the_rights_allow_and_names_what_they_do_not(
    role: str, place: int, users: Users
) -> None:
    api = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": users.installation.vhost.broker.management.url}
    wrong = []
    for command, answers in ANSWERS.items():
        code, words = answers[place]
        ended = hand(["-m", *command.split()], {**users.environment(role), **api})
        if ended.code != code or words not in ended.err or "Traceback" in ended.err or PASSWORD in ended.err:
            wrong.append((command, ended.code, ended.err))
    assert wrong == []
