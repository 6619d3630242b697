"""Every operation of AMQP on every thing of the topology, tried by each role: what it may is a short list.

What a role may not do is counted, so that a thing that is added to the topology is tried as well.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from broker.topology.model import Topology, topology_of
from protocol.names import CONTROL_STREAM, TASKS, new_id
from tests.support.commands import Ended, command
from tests.support.hostile_socket import Closed, Socket, task_fields
from tests.support.hostile_users import PASSWORD, RIGHTS, Users
from tests.support.management import Management, ManagementError
from tests.support.steering import name_of
from tests.support.vhost import body, task
from tests.support.workers import ROOT

Operation = Callable[[BlockingChannel], object]

REFUSED = 403
KINDS = ("configure", "write", "read")
#: Exchanges that every vhost has.
BUILT_IN = ("amq.direct", "amq.fanout", "amq.headers", "amq.match", "amq.topic")
DELAY = [f"publish to tasks.delay.{level:02d}" for level in range(20)]


def to_read(queue: str) -> set[str]:
    """What AMQP makes one right: whoever may read a queue may also empty it."""
    return {f"get from {queue}", f"consume {queue}", f"consume {queue} alone", f"purge {queue}"}


MAY = {
    "dispatcher": {"publish to tasks", *DELAY, *to_read("mailbox.box")},
    "worker": {
        "publish to the default exchange",
        "publish to tasks.dead",
        "publish to replies",
        *DELAY,
        "publish to control.markers",
        *to_read("queue_a"),
        *to_read("tasks.obituaries"),
        "consume tasks.control",
    },
    "operator": {
        "publish to control",
        "publish to control.markers",
        "consume tasks.control",
        *to_read("tasks.obituaries"),
        "publish to the default exchange",
        *to_read("queue_a"),
        *to_read("queue_b"),
    },
}


def operations(topology: Topology) -> Iterator[tuple[str, Operation]]:
    """All of them, by what they are called; those that destroy come last of each thing."""
    for exchange in (*(one.name for one in topology.exchanges), *BUILT_IN, ""):
        yield from _on_exchange(exchange)
    for queue in (*(one.name for one in topology.queues), "mailbox.other"):
        yield from _on_queue(queue)
    yield "make a queue", lambda channel: channel.queue_declare("mine", durable=True)
    yield "make a queue for oneself", lambda channel: channel.queue_declare("mine", exclusive=True)
    yield "make a queue that the broker names", lambda channel: channel.queue_declare("", exclusive=True)
    yield "make a work queue's twin", lambda channel: channel.queue_declare("queue_a.due", durable=True)
    yield "make a mailbox", lambda channel: channel.queue_declare("mailbox.mine", durable=True)
    yield "make an exchange", lambda channel: channel.exchange_declare("mine", "fanout")


def _on_exchange(name: str) -> Iterator[tuple[str, Operation]]:
    shown = name or "the default exchange"
    yield (
        f"publish to {shown}",
        lambda channel: channel.basic_publish(name, "0." * 20 + "none", body(), task("none")),
    )
    if not name:
        return
    yield f"bind {shown} to {TASKS}", lambda channel: channel.exchange_bind(name, TASKS, "k")
    yield f"bind {TASKS} to {shown}", lambda channel: channel.exchange_bind(TASKS, name, "k")
    yield f"unbind {shown}", lambda channel: channel.exchange_unbind(name, TASKS, "k")
    yield f"declare {shown} once more", lambda channel: channel.exchange_declare(name, "fanout", durable=True)
    yield f"delete {shown}", lambda channel: channel.exchange_delete(name)


def _on_queue(name: str) -> Iterator[tuple[str, Operation]]:
    if name == CONTROL_STREAM:
        yield f"consume {name}", _consume_stream
    else:
        yield f"get from {name}", lambda channel: channel.basic_get(name)
        yield f"consume {name}", lambda channel: channel.basic_consume(name, lambda *_: None)
        yield f"consume {name} alone", lambda channel: channel.basic_consume(name, lambda *_: None, exclusive=True)
        yield f"purge {name}", lambda channel: channel.queue_purge(name)
    yield f"bind {name} to {TASKS}", lambda channel: channel.queue_bind(name, TASKS, "k")
    yield f"bind {name} to amq.topic", lambda channel: channel.queue_bind(name, "amq.topic", "#")
    yield f"unbind {name}", lambda channel: channel.queue_unbind(name, TASKS, "k")
    yield f"declare {name} once more", lambda channel: channel.queue_declare(name, durable=True)
    yield f"delete {name}", lambda channel: channel.queue_delete(name)


def _consume_stream(channel: BlockingChannel) -> None:
    """What is written from now on. Nothing is left unacked, which RabbitMQ 3.10 would end the connection for."""
    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(CONTROL_STREAM, lambda *_: None, arguments={"x-stream-offset": "next"})


@pytest.mark.every_broker
@pytest.mark.parametrize("role", MAY)
def test_a_role_may_do_what_it_needs_and_everything_else_is_refused_with_403(declared: Users, role: str) -> None:
    installation = declared.installation
    topology = topology_of(installation.settings)
    _make_other_mailbox(declared)
    may, tried, refused = MAY[role], 0, 0
    connection = pika.BlockingConnection(pika.URLParameters(declared.url(role)))
    try:
        for what, operation in operations(topology):
            code = _refused_with(connection, operation)
            assert code == (None if what in may else REFUSED), what
            tried, refused = tried + 1, refused + (code == REFUSED)
    finally:
        connection.close()
    print(f"{role} on {installation.vhost.broker.version}: {refused} of {tried - len(may)} refused")
    assert refused == tried - len(may)
    assert refused > 400


def _refused_with(connection: pika.BlockingConnection, operation: Operation) -> int | None:
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        operation(channel)
    except pika.exceptions.ChannelClosedByBroker as error:
        return int(error.reply_code)
    channel.close()
    return None


def _make_other_mailbox(users: Users) -> None:
    with users.installation.vhost.channel() as channel:
        channel.queue_declare("mailbox.other", durable=True, arguments={"x-queue-type": "quorum"})


@pytest.mark.every_broker
def test_to_look_without_any_right_is_refused_from_4_3_on(declared: Users) -> None:
    """Before, anyone may ask whether a thing is there, and how many messages it has."""
    version = declared.installation.vhost.broker.version
    is_strict = tuple(int(part) for part in version.split(".")[:2]) >= (4, 3)
    foreign = {"dispatcher": "queue_a", "worker": "queue_a.dead"}
    for role, queue in foreign.items():
        connection = pika.BlockingConnection(pika.URLParameters(declared.url(role)))
        code = _refused_with(connection, lambda channel: channel.queue_declare(queue, passive=True))  # noqa: B023
        connection.close()
        assert code == (REFUSED if is_strict else None), role


@pytest.mark.every_broker
def test_no_role_can_speak_for_another_or_enter_another_vhost(declared: Users) -> None:
    """Whoever needs to keep two installations apart gives each a vhost: in one, every routing key is for all."""
    installation = declared.installation
    management, other = installation.vhost.broker.management, f"{installation.vhost.name}-other"
    management.add_vhost(other)
    try:
        for role in RIGHTS:
            url = declared.url(role).rpartition("/")[0]
            with pytest.raises(pika.exceptions.ProbableAccessDeniedError):
                pika.BlockingConnection(pika.URLParameters(f"{url}/{other}"))
    finally:
        management.remove_vhost(other)
    for role in ("dispatcher", "admin"):
        with (
            Socket(installation.vhost, user=declared.name(role), password=PASSWORD) as raw,
            pytest.raises(Closed) as refused,
        ):
            raw.publish(TASKS, "echo", body(), task_fields("echo", user_id=b"\x05guest"))
        assert refused.value.code == 406


#: What stands for what in the page's table.
STANDS_FOR = {"QUEUE": "queue_a", "ID": new_id()}
#: Who watches waits for a message: not for long, and none comes.
FURTHER = {"watch": ("--timeout", "1")}


def steering() -> dict[str, dict[str, list[str]]]:
    """The rights to each command that steers, by its words, as docs/steering.md has them."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in (ROOT / "docs" / "steering.md").read_text().splitlines():
        cells = [re.findall(r"`([^`]+)`", cell) for cell in line.split("|")[1:-1]]
        if len(cells) == 4 and "control" in cells[2]:
            found |= {words: dict(zip(KINDS, cells[1:], strict=True)) for words in cells[0]}
    return found


def _steer(users: Users, worker: str, words: str, rights: Mapping[str, Iterable[str]]) -> Ended:
    """Run a command as a user who has these rights and no others."""
    vhost, name = users.installation.vhost, f"{words.split()[0]}-{new_id()}"
    only = {kind: f"^({'|'.join(map(re.escape, rights[kind]))})$" for kind in KINDS}
    vhost.broker.management.add_user(name, PASSWORD, vhost.name, only)
    url = f"amqp://{name}:{PASSWORD}@{vhost.broker.host}:{vhost.broker.port}/{vhost.name}"
    given = {**STANDS_FOR, "WORKER": worker}
    try:
        named = (*(given.get(word, word) for word in words.split()), *FURTHER.get(words.split()[0], ()))
        return command({**users.installation.environment, "BROKER_URL": url}, "broker", *named)
    finally:
        vhost.broker.management.remove_user(name)


@pytest.mark.every_broker(long=True)
def test_each_command_that_steers_needs_the_rights_of_the_page_and_a_stranger_steers_nobody(
    declared: Users,
) -> None:
    worker = declared.installation.worker()
    name = name_of(worker)
    table = steering()
    assert {"pause", "resume", "running", "cancel", "drain", "log-level", "watch"} <= {
        words.split()[0] for words in table
    }
    nothing: dict[str, list[str]] = {kind: [] for kind in KINDS}
    asked = [(words, rights) for words in table for rights in (nothing, table[words])]
    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(lambda one: _steer(declared, name, *one), asked))
    for (words, _), stranger, operator in zip(asked[::2], ends[::2], ends[1::2], strict=True):
        assert (stranger.code, "may not" in stranger.err) == (69, True), (words, stranger.err)
        assert operator.code == (75 if words.split()[0] in FURTHER else 0), (words, operator.err)


@pytest.mark.long
@pytest.mark.every_broker
@pytest.mark.timeout(240)
def test_no_command_that_steers_does_with_less(declared: Users) -> None:
    """How many workers there are is unknown without a right to their obituaries, and not a reason to refuse."""
    name = name_of(declared.installation.worker())
    for words, rights in steering().items():
        for kind in KINDS:
            for thing in rights[kind]:
                less = {**rights, kind: [one for one in rights[kind] if one != thing]}
                expected = (0, 75) if thing == "tasks.obituaries" else (69,)
                ended = _steer(declared, name, words, less)
                assert ended.code in expected, (words, thing, ended.err)


def test_no_role_is_let_into_the_management_api(declared: Users) -> None:
    own = declared.installation.vhost.broker.management
    for role in RIGHTS:
        api = Management(own.host, own.port, declared.name(role), PASSWORD)
        for path in ("overview", "users", "definitions", "permissions"):
            with pytest.raises(ManagementError, match=": 401 "):
                api.get(path)
