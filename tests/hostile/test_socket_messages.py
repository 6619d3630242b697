"""What pika would never send, sent by a socket: a worker refuses it, or minds its own business, and lives.

Each message ends as one dead letter with its code and its own bytes, or is done; each refusal is one line of the
log; no connection of the worker is lost; the next good task is done by the same worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.support import hostile_bodies
from tests.support.hostile_bodies import ALL
from tests.support.hostile_properties import HEADERS, KIND_OF_HEADER, NAMES, SHORT_STRINGS, Change
from tests.support.hostile_socket import Closed, Socket, field, long, short, task_fields
from tests.support.installation import Installation
from tests.support.journal import Journal
from tests.support.vhost import body
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess


@dataclass(frozen=True)
class Message:
    """A message, and the code of its refusal; None: it is done."""

    code: str | None
    body: bytes
    properties: Mapping[str, bytes]


def changed(cases: Mapping[str, tuple[str | None, Change]], journal: Journal) -> list[Message]:
    """A message for each case. Its body tells which one, and notes in the journal that it ran."""
    return [
        Message(code, body(journal=str(journal), case=case), task_fields(**change))
        for case, (code, change) in cases.items()
    ]


def withstand(installation: Installation, raw: Socket, journal: Journal, messages: list[Message]) -> None:
    """Send all of them to a worker, and see what this module promises."""
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    connections, log = vhost.connection_names(), len(worker.log.splitlines())
    for message in messages:
        raw.send_message("", "queue_a", message.body, message.properties)
    raw.wait()

    refused = {message.body: message.code for message in messages if message.code is not None}
    letters = vhost.read_dead("queue_a", len(refused), within_s=60)
    assert {letter.body: letter.reason.code for letter in letters} == refused
    done = sorted(message.body for message in messages if message.code is None)
    entries = journal.wait(len(done), within_s=30) if done else []
    assert sorted(body(journal=str(journal), case=entry["case"]) for entry in entries) == done

    assert caller.ask("echo", {"value": 1}).run.worker.endswith(f":{worker.pid}")
    _is_unharmed(worker)
    said = worker.log.splitlines()[log:]
    # A line for each, until there are many of a kind: then their number.
    assert len(said) <= len(refused), said
    assert vhost.connection_names() == connections
    worker.sigterm()
    assert worker.wait() == 0
    assert (vhost.ready("queue_a"), vhost.ready("queue_a.dead")) == (0, 0)
    assert len(journal.entries) == len(done)


def _is_unharmed(worker: WorkerProcess) -> None:
    assert worker.is_alive
    for word in ("link down", "CRITICAL", "Traceback", "not ready"):
        assert not worker.lines(word)


def test_no_body_runs_a_handler_or_costs_a_connection(installation: Installation, raw: Socket) -> None:
    messages = [Message(code, content, task_fields("echo")) for code, content in ALL.values()]
    withstand(installation, raw, installation.journal(), messages)


@pytest.mark.every_broker
def test_no_header_of_any_kind_and_no_short_string_costs_a_connection(
    installation: Installation, raw: Socket
) -> None:
    journal = installation.journal()
    withstand(installation, raw, journal, changed(KIND_OF_HEADER | HEADERS | SHORT_STRINGS, journal))


def test_no_name_is_imported_or_looked_up_but_those_of_the_configuration(
    installation: Installation, raw: Socket
) -> None:
    journal = installation.journal()
    cases: dict[str, tuple[str | None, Change]] = {
        repr(name): (code, {"type": short(name)}) for name, code in NAMES.items()
    }
    withstand(installation, raw, journal, changed(cases, journal))


def test_an_odd_value_that_is_sound_comes_back_as_it_was_sent(installation: Installation) -> None:
    installation.worker()
    caller = installation.caller()
    for value in hostile_bodies.SOUND.values():
        assert repr(caller.ask("echo", {"value": value}).result) == repr(value)


ARGUMENTS = {
    "an argument that there is not": {"value": 1, "no_such": 1},
    "self": {"self": 1},
    "one of Python's own": {"__class__": 1},
    "one by position": {"0": 1},
    "one without a name": {"": 1},
    "one with a long name": {"n" * 100_000: 1},
    "one that moves the cursor": {"\x1b[2J\n\u2028": 1},
}


def test_arguments_that_do_not_fit_are_refused_without_a_run_and_without_a_retry(
    installation: Installation, raw: Socket
) -> None:
    messages = [Message("bad_arguments", body(**given), task_fields("echo")) for given in ARGUMENTS.values()]
    withstand(installation, raw, installation.journal(), messages)


@pytest.mark.every_broker
def test_a_message_that_the_broker_refuses_never_reaches_a_worker(
    installation: Installation,
) -> None:
    worker, vhost = installation.worker(), installation.vhost
    for change, code in (
        ({"expiration": short("-1")}, 406),
        ({"expiration": short("soon")}, 406),
        ({"user_id": short("somebody")}, 406),
        ({"user_id": short("")}, 406),
        ({"headers": long(field("x", b"S", long(bytes(131_064))))}, 501),
    ):
        with Socket(vhost) as raw, pytest.raises(Closed) as refused:
            raw.publish("tasks", "note", body(), task_fields(**change))
        assert refused.value.code == code
    eventually(lambda: vhost.ready("queue_a") == 0, "an empty queue")
    _is_unharmed(worker)
