"""A worker may publish to every queue of its vhost, and a stranger's ``reply_to`` never makes it do so."""

from __future__ import annotations

import base64
import os

import msgpack
import pytest

from protocol.names import DIRECT_REPLY_TO, OBITUARIES, delay_level, new_id
from tests.support import hostile
from tests.support.by_hand import reply
from tests.support.hostile_socket import Socket, short, task_fields
from tests.support.installation import Install, Installation
from tests.support.vhost import Vhost, body, task
from worker.settlement.reply_nodes import MOST

VICTIM = "victim"
INVENTED = 200
#: Erlang terms of other kinds, and of the right kind with something wrong.
PIDS = {
    "a compressed term": b"\x83P\x00\x00\xff\xff\x78\x9c",
    "a fun": b"\x83p" + bytes(40),
    "an atom": b"\x83\x77\x05hello",
    "a large tuple": b"\x83i\xff\xff\xff\xff",
    "another node's name": b"\x83\x58\x76\x00\x0arabbit@box" + bytes(12),
    "no digits": b"\x83\x58\x76\x00\x06reply@" + bytes(12),
    "eleven digits": b"\x83\x58\x76\x00\x11reply@" + b"1" * 11 + bytes(12),
    "a length that is wrong": b"\x83\x58\x76\x00\x09reply@1234" + bytes(12),
    "a byte too many": b"\x83\x58\x76\x00\x0areply@1234" + bytes(13),
    "a byte too few": b"\x83\x58\x76\x00\x0areply@1234" + bytes(11),
    "nothing": b"",
}


def addresses(vhost: Vhost) -> dict[str, str]:
    """What is neither a mailbox nor an address of a requester."""
    good = hostile.direct_address()
    return {
        **{f"the queue {name}": name for name in (VICTIM, "queue_a", "queue_b.dead", OBITUARIES, delay_level(0))},
        **{f"the exchange {name}": name for name in ("tasks", "replies", "amq.direct", "amq.rabbitmq.trace")},
        "a queue named by a broker": "amq.gen-" + base64.b64encode(os.urandom(16)).decode(),
        "255 bytes": "x" * 255,
        "a URL": vhost.url[:200],
        "a mailbox without a name": "mailbox.",
        "a mailbox of another spelling": "mailbox.Results",
        "a mailbox with a way out": "mailbox.../queue_a",
        "a mailbox with a second line": "mailbox.box\n",
        "no mailbox": "mailbox_box",
        "junk": f"{DIRECT_REPLY_TO}.junk",
        "two words of junk": f"{DIRECT_REPLY_TO}.x.y",
        "no key": good.rpartition(".")[0],
        "three parts": f"{good}.x",
        "a space before it": f" {good}",
        "a line after it": f"{good}\n",
        "cut short": good[:-1],
        "no padding": good.rstrip("="),
        "other base64": good.replace("A", "-"),
        "random base64": hostile.random_address(),
        "random bytes": hostile.direct_address(pid=os.urandom(39)),
        **{name: hostile.direct_address(pid=pid) for name, pid in PIDS.items()},
        "a key of 15 bytes": hostile.direct_address(key=os.urandom(15)),
        "a key of 17 bytes": hostile.direct_address(key=os.urandom(17)),
    }


@pytest.mark.every_broker
def test_a_task_with_an_address_that_is_none_is_refused_before_it_runs_and_nothing_is_sent_there(
    installation: Installation, raw: Socket
) -> None:
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    connections, journal = vhost.connection_names(), installation.journal()
    with vhost.channel() as channel:
        channel.queue_declare(VICTIM, durable=True)
    sent = {}
    for name, address in addresses(vhost).items():
        content = body(journal=str(journal), name=name)
        sent[content] = "bad_reply_to"
        raw.send_message("tasks", "note", content, task_fields(reply_to=short(address)))
    raw.wait()

    letters = vhost.read_dead("queue_a", len(sent), within_s=30)
    assert {letter.body: letter.why.code for letter in letters} == sent
    assert journal.entries == []
    assert [vhost.ready(queue) for queue in (VICTIM, "queue_a", "queue_b.dead", OBITUARIES)] == [0, 0, 0, 0]
    assert caller.ask("echo", {"value": 1}).result == 1
    assert vhost.connection_names() == connections
    assert not worker.lines("link down")


@pytest.mark.own_broker
@pytest.mark.every_broker
def test_addresses_of_200_invented_nodes_cost_the_broker_few_atoms_and_ordinary_requesters_nothing(
    install: Install, raw: Socket
) -> None:
    """RabbitMQ 4.0 keeps a name for ever, and 3.10 closes the connection over each that it does not know."""
    installation = install(worker={"concurrency": 2}, queues={"queue_a": {"prefetch": 10}})
    worker, vhost = installation.worker(), installation.vhost
    connections, journal = vhost.connection_names(), installation.journal()
    atoms = _atoms(vhost)
    for number in range(INVENTED):
        address = hostile.direct_address(b"reply@%d" % (1_000_000 + number))
        raw.send_message("tasks", "note", body(journal=str(journal)), task_fields(reply_to=short(address)))
    raw.wait()
    # The first of them whose address the worker sees comes after those of the strangers.
    caller = installation.caller()
    assert [caller.ask("echo", {"value": one}, timeout_s=30).result for one in range(5)] == list(range(5))
    letters = vhost.read_dead("queue_a", INVENTED - len(journal.entries), within_s=30)
    assert {letter.why.code for letter in letters} == {"bad_reply_to"}
    assert len(journal.entries) <= MOST
    assert caller.ask("echo", {"value": 1}).result == 1
    grown = _atoms(vhost) - atoms
    print(f"{len(journal.entries)} were run, {len(letters)} refused; {grown} atoms more")
    assert grown < 100
    if worker.lines("the reply was dropped"):
        assert vhost.broker.name == "3.10"
    else:
        assert vhost.connection_names("worker") == connections


def _atoms(vhost: Vhost) -> int:
    return int(vhost.broker.ctl("eval", "erlang:system_info(atom_count)."))


@pytest.mark.every_broker
def test_a_stranger_who_guesses_at_replies_ends_no_call(installation: Installation) -> None:
    """Whoever may publish to the default exchange and learns an address still has to know 128 random bits."""
    caller, vhost = installation.caller(), installation.vhost
    asking = caller.asking("echo", {"value": "honest"})
    letter = vhost.messages("queue_a")[0]
    address, task_id = letter.properties.reply_to, letter.properties.message_id
    # Another id than any that is asked for, however near.
    near = f"{int(task_id, 16) ^ 1:032x}"
    guesses = [near, new_id(), "0" * 32, task_id.upper(), task_id[:31], f"{task_id}0"]
    with vhost.channel() as channel:
        for guess in guesses:
            forged = task(correlation_id=guess)
            channel.basic_publish("", address, reply(guess, "forged"), forged)
        channel.basic_publish("", address, msgpack.packb([]), task(correlation_id=near))
        channel.basic_publish("", address, reply(task_id, "honest"), task(correlation_id=task_id))
    assert asking.result(10).result == "honest"
    assert caller.dispatcher.generation == 1
