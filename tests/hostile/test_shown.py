"""What strangers write moves no cursor, forges no line, floods nothing: in logs, in errors, in output."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path

import pytest

from protocol.names import new_id
from tests.support.commands import Ended, command
from tests.support.hostile_socket import Socket, short, task_fields
from tests.support.installation import Install, Installation
from tests.support.vhost import Vhost, body
from tests.support.waiting import eventually

#: Clears a screen, sets a title, moves a cursor by one byte (C1), ends a line in five ways, turns text round.
EVIL = "x\x1b[2J\x1b]0;title\x07\x9b31m\r\n12:00:00 WARNING forged\x0b\x85\u2028\u2029\x00\x7f\u202ey"
#: What may stand in output beside what can be seen.
_PLAIN = {"\n", "\t"}


def cannot_harm(text: str) -> bool:
    """Whether a terminal shows it as it is, and every line is one that we began."""
    seen = {char for char in text if not char.isprintable()} - _PLAIN
    assert not seen, sorted(seen)
    assert not re.search(r"^12:00:00 WARNING forged", text, re.MULTILINE)
    return True


def controls_nothing(text: str) -> bool:
    """Whether it is data without control characters, C1 and DEL included; of any script, in any direction."""
    seen = {char for char in text if unicodedata.category(char) == "Cc"} - {"\n"}
    assert not seen, sorted(seen)
    return True


def shell(installation: Installation, *words: str, stdin: str = "") -> Ended:
    return command(installation.environment, *words, stdin=stdin)


def test_the_log_of_a_worker_escapes_the_id_of_a_task_that_the_broker_buried(
    installation: Installation, raw: Socket
) -> None:
    installation.declare()
    evil = EVIL.encode()
    raw.publish("", "queue_a", body(), task_fields(message_id=short(evil), expiration=short("1")))
    installation.vhost.read_dead("queue_a")
    worker = installation.worker()
    worker.wait_for("reported to its requester")
    assert cannot_harm(worker.log)


def test_the_log_of_a_worker_escapes_what_it_says_of_a_message_that_it_refuses(
    installation: Installation, raw: Socket
) -> None:
    worker, vhost = installation.worker(), installation.vhost
    evil = short(EVIL.encode())
    names = ("content_type", "content_encoding", "correlation_id", "reply_to", "message_id", "type")
    for name in names:
        raw.send_message("", "queue_a", body(), task_fields(**{name: evil}))
    raw.send_message("", "queue_a", body(**{EVIL: 1}), task_fields("echo"))
    raw.wait()
    vhost.read_dead("queue_a", len(names) + 1)
    worker.wait_for("refused", count=len(names))
    assert cannot_harm(worker.log)


def test_the_log_of_a_worker_escapes_and_cuts_what_an_exception_says(installation: Installation) -> None:
    worker, caller = installation.worker(), installation.caller()
    caller.ask("raise_text", {"text": EVIL})
    caller.ask("raise_text", {"text": "z" * 1_000_000})
    worker.wait_for("is dead", count=2)
    assert cannot_harm(worker.log)
    assert len(worker.log) < 50_000


@pytest.fixture
def installation(install: Install) -> Installation:
    """The usual one, and a task whose exception says what its publisher wants."""
    return install(
        tasks={
            "raise_text": {
                "queue": "queue_a",
                "handler": "tests.support.hostile_handlers:raise_text",
                "retry": {"max_retries": 0},
            }
        }
    )


def test_an_exception_gives_its_caller_and_its_letter_its_type_and_a_text_of_1_kb(
    installation: Installation,
) -> None:
    """And nothing of where it was raised, of local variables, or of what it was raised from."""
    installation.worker()
    failure = installation.caller().ask("raise_text", {"text": "é" * 100_000, "secret": "hunter2"}).failure
    assert failure is not None
    assert (failure.code, failure.type) == ("retries_exhausted", "RuntimeError")
    assert len(failure.text.encode()) <= 1024
    letter = installation.vhost.read_dead("queue_a")[0]
    shown = repr(failure) + repr(letter.headers) + repr(letter.properties)
    assert len(letter.headers["history"][0]["text"].encode()) <= 1024
    for secret in ("hunter2", "Traceback", ".py", str(Path(__file__).parents[2])):
        assert secret not in shown


def test_the_error_of_a_task_is_shown_without_its_escapes(installation: Installation) -> None:
    installation.worker()
    for words in (["call", "raise_text"], ["call", "raise_text", "-o", "json"]):
        ended = shell(installation, "dispatcher", *words, "-a", f"text={EVIL}".replace("\x00", ""))
        assert ended.code == 1
        assert controls_nothing(ended.out)
        assert cannot_harm(ended.err)


def test_a_result_is_shown_without_its_escapes(installation: Installation) -> None:
    installation.worker()
    for words in (["call", "echo"], ["call", "echo", "-o", "json"]):
        ended = shell(installation, "dispatcher", *words, "-a", f"value={EVIL}".replace("\x00", ""))
        assert ended.code == 0
        assert controls_nothing(ended.out + ended.err)


def test_diff_and_prune_show_a_stranger_s_binding_without_its_escapes(install: Install, vhost: Vhost) -> None:
    installation = install(broker={"management_url": vhost.broker.management.url})
    installation.declare()
    key = EVIL.replace("\x00", "")
    with installation.vhost.channel() as channel:
        channel.queue_bind("queue_a", "tasks", key)
    for words in (["diff"], ["declare", "--prune"]):
        ended = shell(installation, "broker", *words)
        assert "forged" in ended.out
        assert cannot_harm(ended.out + ended.err)


def test_a_thousand_names_that_there_are_not_are_a_few_short_lines_that_say_how_many_there_were(
    installation: Installation, raw: Socket
) -> None:
    worker, vhost = installation.worker(), installation.vhost
    lines = len(worker.log.splitlines())
    for _ in range(1000):
        raw.send_message("", "queue_a", body(), task_fields(f"t{new_id()}"))
    raw.wait()
    eventually(lambda: vhost.ready("queue_a.dead") == 1000, "the last letter", 60)
    worker.sigterm()
    worker.wait()
    said = worker.log.splitlines()[lines:]
    left_out = [int(count) for line in said for count in re.findall(r" (\d+) more within 10 s are left out", line)]
    assert len(worker.lines("is refused: unknown_task")) - len(left_out) + sum(left_out) == 1000
    assert len(said) < 100
    assert max(map(len, said)) < 250
