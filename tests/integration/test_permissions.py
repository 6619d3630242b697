"""Separate users: one declares, one asks, one works; and each may do nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from broker import config
from broker.settings import Settings
from tests.support.caller import Caller
from tests.support.commands import command
from tests.support.installation import Installation
from tests.support.vhost import Vhost, body, task

PASSWORD = "s3cret"
RIGHTS = {
    "admin": {"configure": ".*", "write": ".*", "read": ".*"},
    "dispatcher": {
        "configure": "^$",
        "write": r"^(tasks|tasks\.delay\..*)$",
        "read": r"^mailbox\.box$",
    },
    "worker": {
        "configure": "^$",
        "write": r"^(tasks\.delay\..*|tasks\.dead|replies|amq\.default)$",
        "read": r"^(queue_a|tasks\.obituaries)$",
    },
}
REFUSED = 403


@dataclass(frozen=True)
class Users:
    """Three users of one vhost."""

    installation: Installation

    def url(self, user: str) -> str:
        vhost = self.installation.vhost
        return f"amqp://{self.name(user)}:{PASSWORD}@{vhost.broker.host}:{vhost.broker.port}/{vhost.name}"

    def name(self, user: str) -> str:
        return f"{user}-{self.installation.vhost.name}"

    def environment(self, user: str) -> dict[str, str]:
        return {**self.installation.environment, "BROKER_URL": self.url(user)}

    def settings(self, user: str) -> Settings:
        return config.load(None, self.environment(user))

    @contextlib.contextmanager
    def channel(self, user: str) -> Iterator[BlockingChannel]:
        connection = pika.BlockingConnection(pika.URLParameters(self.url(user)))
        try:
            channel = connection.channel()
            channel.confirm_delivery()
            yield channel
        finally:
            if connection.is_open:
                connection.close()


@pytest.fixture
def users(installation: Installation) -> Iterator[Users]:
    """The users; nothing is declared yet."""
    users, management = Users(installation), installation.vhost.broker.management
    for user, rights in RIGHTS.items():
        management.add_user(users.name(user), PASSWORD, installation.vhost.name, rights)
    yield users
    for user in RIGHTS:
        management.remove_user(users.name(user))


@pytest.fixture
def declared(users: Users) -> Users:
    """The users, on a topology with a mailbox that the admin has declared."""
    ended = command(users.environment("admin"), "broker", "declare", "--mailbox", "box")
    assert ended.code == 0, ended.err
    return users


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


@pytest.mark.every_broker
def test_a_mailbox_that_is_missing_and_may_not_be_made_ends_with_4(declared: Users) -> None:
    vhost, environment = declared.installation.vhost, declared.environment("dispatcher")
    with vhost.channel() as channel:
        channel.queue_delete("mailbox.box")
    for words in (["submit", "echo", "--mailbox", "box"], ["collect", "box"], ["collect", "box", "-n", "1"]):
        ended = command(environment, "dispatcher", *words, within_s=10)
        assert (ended.code, ended.out) == (4, "")
        assert "there is no mailbox box. Run `python -m broker declare --mailbox box`" in ended.err
    assert vhost.ready("queue_a") == 0


@pytest.mark.every_broker
def test_a_mailbox_that_may_not_be_read_is_told(declared: Users) -> None:
    ended = command(declared.environment("admin"), "broker", "declare", "--mailbox", "private")
    assert ended.code == 0
    for options in ([], ["-n", "1"]):
        words = ["collect", "private", *options]
        ended = command(declared.environment("dispatcher"), "dispatcher", *words, within_s=8)
        assert (ended.code, ended.out) == (69, "")
        assert "mailbox" in ended.err


@pytest.mark.every_broker
def test_without_a_topology_those_who_may_not_declare_say_so(users: Users) -> None:
    ended = command(users.environment("dispatcher"), "dispatcher", "call", "echo", within_s=15)
    assert (ended.code, ended.out) == (69, "")
    assert "may not declare the topology" in ended.err
    ended = command(users.environment("dispatcher"), "broker", "declare")
    assert (ended.code, ended.out) == (69, "")
    assert "may not declare the topology" in ended.err


def publish(exchange: str, key: str = "echo") -> Callable[[BlockingChannel], object]:
    return lambda channel: channel.basic_publish(exchange, key, body(), task("echo"))


def declare_queue(name: str, **arguments: object) -> Callable[[BlockingChannel], object]:
    return lambda channel: channel.queue_declare(
        name, durable=True, arguments={"x-queue-type": "quorum", **arguments}
    )


def get(queue: str) -> Callable[[BlockingChannel], object]:
    return lambda channel: channel.basic_get(queue)


def consume(queue: str) -> Callable[[BlockingChannel], object]:
    return lambda channel: channel.basic_consume(queue, lambda *_: None)


#: What nobody but the admin may do.
FOR_NOBODY: dict[str, Callable[[BlockingChannel], object]] = {
    "declare a queue": declare_queue("mine"),
    "declare a mailbox": declare_queue("mailbox.mine"),
    "declare an exchange": lambda channel: channel.exchange_declare("mine", "direct", durable=True),
    "bind": lambda channel: channel.queue_bind("queue_a", "tasks", "mine"),
    "unbind": lambda channel: channel.queue_unbind("queue_a", "tasks", "echo"),
    "purge": lambda channel: channel.queue_purge("queue_a.dead"),
    "delete a queue": lambda channel: channel.queue_delete("queue_a"),
    "delete an exchange": lambda channel: channel.exchange_delete("tasks"),
    "publish to tasks.due": publish("tasks.due"),
    "publish to tasks.killed": publish("tasks.killed", "queue_a"),
    "publish to tasks.lost": publish("tasks.lost"),
    "get from queue_b": get("queue_b"),
    "get from queue_a.dead": get("queue_a.dead"),
    "get from the delay line": get("tasks.delay.00"),
    "get from tasks.lost": get("tasks.lost"),
    "get from another mailbox": get("mailbox.private"),
    "consume queue_a.dead": consume("queue_a.dead"),
}
FOR_OTHERS: dict[str, dict[str, Callable[[BlockingChannel], object]]] = {
    "dispatcher": {
        "publish to the default exchange": publish("", "queue_a"),
        "publish to replies": publish("replies", "box"),
        "publish to tasks.dead": publish("tasks.dead", "queue_a"),
        "get from queue_a": get("queue_a"),
        "consume queue_a": consume("queue_a"),
        "get obituaries": get("tasks.obituaries"),
    },
    "worker": {
        "publish to tasks": publish("tasks"),
        "get from the mailbox": get("mailbox.box"),
    },
}
ALLOWED: dict[str, dict[str, Callable[[BlockingChannel], object]]] = {
    "dispatcher": {
        "publish to tasks": publish("tasks"),
        "publish to the delay line": publish("tasks.delay.00", "0." * 19 + "1.echo"),
        "get from the mailbox": get("mailbox.box"),
        "consume direct replies": lambda channel: channel.basic_consume(
            "amq.rabbitmq.reply-to", lambda *_: None, auto_ack=True
        ),
    },
    "worker": {
        "get from queue_a": get("queue_a"),
        "get obituaries": get("tasks.obituaries"),
        "publish to the delay line": publish("tasks.delay.19", "0." * 20 + "echo"),
        "publish to tasks.dead": publish("tasks.dead", "queue_a"),
        "publish to replies": publish("replies", "box"),
        "publish to the default exchange": publish("", "queue_a"),
    },
}


@pytest.mark.every_broker
@pytest.mark.parametrize("user", ["dispatcher", "worker"])
def test_everything_else_is_refused_with_403(declared: Users, user: str) -> None:
    vhost = declared.installation.vhost
    _make_private_mailbox(vhost)
    for what, attempt in (FOR_NOBODY | FOR_OTHERS[user]).items():
        assert refused_with(declared, user, attempt) == REFUSED, what
    for what, attempt in ALLOWED[user].items():
        assert refused_with(declared, user, attempt) is None, what


def refused_with(users: Users, user: str, attempt: Callable[[BlockingChannel], object]) -> int | None:
    """The code that an attempt was refused with, or None if it was allowed."""
    with users.channel(user) as channel:
        try:
            attempt(channel)
        except pika.exceptions.ChannelClosedByBroker as error:
            return int(error.reply_code)
    return None


def _make_private_mailbox(vhost: Vhost) -> None:
    with vhost.channel() as channel:
        channel.queue_declare("mailbox.private", durable=True, arguments={"x-queue-type": "quorum"})
