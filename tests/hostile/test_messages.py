"""What a stranger can publish harms nobody: it ends as a dead letter with its code and its own bytes."""

from __future__ import annotations

import msgpack
import pika

from protocol.names import DIRECT_REPLY_TO, new_id
from tests.support import hostile
from tests.support.hostile import RawTable
from tests.support.installation import Installation
from tests.support.vhost import body, task
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess

VICTIM = "victim"
SOUND = body(value="sound")


def test_a_message_that_is_wrong_is_buried_at_once_with_its_code_and_its_bytes(installation: Installation) -> None:
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal = installation.journal()
    noted = body(journal=str(journal))
    with vhost.channel() as channel:
        channel.queue_declare(VICTIM, durable=True)
    wrong = [
        ("wrong_queue", noted, task("task_b")),
        ("undecodable", b"\xc1", task("note")),
        ("undecodable", noted + b"\x00", task("note")),
        ("unknown_task", noted, task("os.system")),
        ("unsupported_version", noted, task("note", headers={"v": 2})),
        ("unsupported_version", noted, task("note", headers={})),
        ("bad_reply_to", noted, task("note", reply_to=VICTIM)),
        ("bad_reply_to", noted, task("note", reply_to=f"{DIRECT_REPLY_TO}.junk")),
        ("bad_reply_to", noted, task("note", reply_to=hostile.CUT_ADDRESS)),
        ("bad_arguments", body(no_such_argument=1), task("echo")),
        ("too_large", bytes(2 * 1024 * 1024), task("note")),
        ("bad_properties", noted, task("note", task_id="not an id")),
        ("bad_properties", noted, task("note", content_encoding="gzip")),
    ]
    for _, content, properties in wrong:
        vhost.publish("", "queue_a", content, properties)

    letters = vhost.read_dead("queue_a", len(wrong))
    found = {letter.properties.message_id: (letter.reason.code, letter.body) for letter in letters}
    assert found == {properties.message_id: (code, content) for code, content, properties in wrong}
    assert all(letter.reason.queue == "queue_a" for letter in letters)
    assert vhost.ready(VICTIM) == 0
    assert journal.entries == []
    _is_unharmed(worker)
    assert caller.ask("echo", {"value": 1}).run.worker.endswith(f":{worker.pid}")


def test_properties_that_cannot_be_decoded_never_cost_the_connection(installation: Installation) -> None:
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    connections = vhost.connection_names()
    assert len(connections) == 2
    fields = {"type": "note", "message_id": new_id(), "delivery_mode": 2}
    broken: list[pika.BasicProperties] = [
        task("note", timestamp=2**62),
        RawTable(hostile.header_timestamp(2**62), **fields),
        RawTable(hostile.nested_tables(1500), **fields),
        task(b"\xff\xfe"),  # type: ignore[arg-type]
        task("note", correlation_id=b"\xff\xfe"),
        task("note", headers={"v": 1, "history": [{"error": b"\xff\xfe"}]}),
    ]
    contents = [body(value=number) for number in range(len(broken))]
    for content, properties in zip(contents, broken, strict=True):
        vhost.publish("", "queue_a", content, properties)

    letters = vhost.read_dead("queue_a", len(broken))
    assert {letter.body: letter.reason.code for letter in letters} == dict.fromkeys(contents, "bad_properties")
    assert caller.ask("echo", {"value": 1}).result == 1
    _is_unharmed(worker)
    assert vhost.connection_names() == connections


def test_the_sender_of_a_wrong_message_gets_a_failure_if_the_address_is_sound(installation: Installation) -> None:
    installation.worker()
    replies: list[bytes] = []
    with installation.vhost.connection() as connection:
        channel = connection.channel()
        channel.basic_consume(DIRECT_REPLY_TO, lambda *reply: replies.append(reply[-1]), auto_ack=True)
        channel.basic_publish("tasks", "echo", b"\xc1", task("echo", reply_to=DIRECT_REPLY_TO))
        eventually(lambda: connection.process_data_events(0.1) or replies, "the reply")
    assert msgpack.unpackb(replies[0])["error"]["code"] == "undecodable"


def _is_unharmed(worker: WorkerProcess) -> None:
    assert worker.is_alive
    assert not worker.lines("link down")
    assert not worker.lines("CRITICAL")
