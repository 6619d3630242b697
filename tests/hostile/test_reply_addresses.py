"""A worker may publish to every queue of its vhost, and a stranger's ``reply_to`` never makes it do so."""

from __future__ import annotations

import base64
import os

import msgpack
import pytest

from protocol.names import DIRECT_REPLY_TO, OBITUARIES, delay_level, new_id
from tests.support.by_hand import reply
from tests.support.hostile import ADDRESS, CUT_ADDRESS
from tests.support.hostile_socket import Socket, short, task_fields
from tests.support.installation import Installation
from tests.support.vhost import Vhost, body, task

VICTIM = "victim"


def addresses(vhost: Vhost) -> dict[str, str]:
    """What is neither a mailbox nor an address of a requester."""
    pid, key = (base64.b64decode(part) for part in ADDRESS.removeprefix(f"{DIRECT_REPLY_TO}.").split("."))
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
        "no key": ADDRESS.rpartition(".")[0],
        "three parts": f"{ADDRESS}.x",
        "a space before it": f" {ADDRESS}",
        "a line after it": f"{ADDRESS}\n",
        "cut short": CUT_ADDRESS,
        "no padding": ADDRESS.rstrip("="),
        "an id of a byte less": _address(pid[:-1], key),
        "an id of a byte more": _address(pid + b"\x00", key),
        "a key of 15 bytes": _address(pid, key[:-1]),
        "a key of 17 bytes": _address(pid, key + b"\x00"),
    }


def _address(*parts: bytes) -> str:
    return ".".join([DIRECT_REPLY_TO, *(base64.b64encode(part).decode() for part in parts)])


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
    assert {letter.body: letter.reason.code for letter in letters} == sent
    assert journal.entries == []
    assert [vhost.ready(queue) for queue in (VICTIM, "queue_a", "queue_b.dead", OBITUARIES)] == [0, 0, 0, 0]
    assert caller.ask("echo", {"value": 1}).result == 1
    assert vhost.connection_names() == connections
    assert not worker.lines("link down")


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
