"""``python -m broker dead``: seeing dead letters without touching them, putting them back, removing them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import secrets
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgpack
import pika
import pytest

from broker.amqp.careful import SMALL_BYTES
from broker.commands.dead_letters import dead as group
from broker.dead_letters.transfer import WINDOW
from protocol.names import new_id
from protocol.reply import Reply
from tests.integration.test_readme import assert_printed, run_block
from tests.support.administrator import small_messages
from tests.support.commands import Ended, command
from tests.support.hostile import ADDRESS, RawTable, header_timestamp, nested_tables
from tests.support.installation import Install, Installation
from tests.support.letters import DIED_MS, bury, dead_task
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually
from tests.support.workers import ROOT

#: What moves a cursor, colours, titles a window, ends a line or turns the direction of writing.
NASTY = "\x1b[2J\x1b[31m\r\n\tqueue_b.dead\x07\x7f\x9b5A\u202e\u2028      rejected"
DOCUMENT = (ROOT / "docs" / "dead-letters.md").read_text()
#: Options that every command of ours has.
IN_HELP = {"--config", "--output", "--timeout"}
QUICK = {"defaults": {"retry": {"max_retries": 1, "backoff_s": [0.1]}}, "mailboxes": ["results"]}


def dead(installation: Installation, *words: str, **options: Any) -> Ended:
    return command(installation.environment, "broker", "dead", *words, **options)


def said(installation: Installation, *words: str) -> list[dict[str, Any]]:
    """What a command that must succeed prints as lines of JSON."""
    ended = dead(installation, *words, "-o", "jsonl")
    assert ended.code == 0, ended.err
    return ended.objects


def ids(installation: Installation, *words: str) -> list[str]:
    return [one["id"] for one in said(installation, "list", *words)]


def settled(vhost: Vhost, queue: str, count: int) -> bool:
    """Whether all letters are back: the broker returns them a moment after the command has ended."""
    return bool(eventually(lambda: vhost.ready(queue) == count, f"{count} letters in {queue}"))


@pytest.mark.every_broker(long=True)
def test_looking_changes_neither_order_nor_number_of_ten_thousand_letters(installation: Installation) -> None:
    installation.declare()
    buried = bury(installation.settings, [dead_task() for _ in range(10_000)])
    assert ids(installation, "queue_a") == buried
    settled(installation.vhost, "queue_a.dead", 10_000)
    for words in (("list", "--limit", "5"), ("show", "--limit", "3"), ("export", "--id", buried[7000])):
        said(installation, *words, "queue_a")
        settled(installation.vhost, "queue_a.dead", 10_000)
    letters = installation.vhost.messages("queue_a.dead", 10_000, within_s=40)
    assert [letter.properties.message_id for letter in letters] == buried


def test_filters_choose_and_the_oldest_come_first(installation: Installation) -> None:
    installation.declare()
    settings = installation.settings
    first = bury(settings, [dead_task("note"), dead_task("echo")], code="rejected")
    second = bury(settings, [dead_task("note")], code="timed_out")
    other = bury(settings, [dead_task("task_b")], queue="queue_b")
    assert ids(installation) == [*first, *second, *other]
    assert ids(installation, "--queue", "queue_b") == ids(installation, "queue_b.dead") == other
    assert ids(installation, "--task", "note") == [first[0], *second]
    assert ids(installation, "--reason", "timed_out", "--reason", "expired") == second
    assert ids(installation, "--error", "TIMED_OUT by") == second
    assert ids(installation, "--since", "2000-01-01") == ids(installation)
    assert ids(installation, "--since", "2100-01-01") == []
    assert ids(installation, "--limit", "2") == first
    limited = dead(installation, "list", "--limit", "1")
    assert "3 more: raise --limit" in limited.err
    nothing = dead(installation, "list", "--task", "none")
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "no letters\n")


def hostile_letters(vhost: Vhost) -> int:
    """Letters that nobody honest writes, in ``queue_a.dead``; how many."""
    nasty = {"v": 1, "reason": NASTY, "text": NASTY, "queue": NASTY, "worker": NASTY, "died": 2**62}
    letters = [
        (task(NASTY, task_id=NASTY, headers=nasty, reply_to=NASTY, app_id=NASTY), body(value=NASTY)),
        (task(headers={"v": 1, "history": [{"attempt": 1, "error": NASTY, "text": NASTY}]}), NASTY.encode()),
        (task(headers={"v": 1, NASTY: NASTY}), body(**{NASTY: [NASTY, {NASTY: NASTY.encode()}]})),
        (task(), os.urandom(1_000_000)),
        (task(), body(text=NASTY * 20_000)),
        (task(), b"\x91" * 5000),
        (RawTable(header_timestamp(2**62), type=NASTY, message_id=new_id(), delivery_mode=2), body()),
        (RawTable(nested_tables(1500), type="note", message_id=NASTY, delivery_mode=2), body()),
        (RawTable(nested_tables(300), type="note", message_id=new_id(), delivery_mode=2), body()),
        (pika.BasicProperties(delivery_mode=2), b""),
    ]
    with vhost.channel() as channel:
        for properties, packed in letters:
            channel.basic_publish("tasks.dead", "queue_a", packed, properties, mandatory=True)
    return len(letters)


@pytest.mark.every_broker(long=True)
def test_hostile_letters_are_shown_escaped_and_cut_and_stay(installation: Installation) -> None:
    installation.declare()
    count = hostile_letters(installation.vhost)
    for words in (
        ("list",),
        ("list", "-o", "plain"),
        ("show",),
        *((what, "-o", "json") for what in ("list", "show", "export")),
    ):
        shown = dead(installation, *words, "queue_a")
        assert shown.code == 0, shown.err
        assert {char for char in shown.out + shown.err if not char.isprintable()} <= {"\n", "\t"}
    plain = dead(installation, "list", "-o", "plain", "queue_a").out.splitlines()
    assert [line.count("\t") for line in plain] == [7] * count
    shown = dead(installation, "show", "queue_a")
    assert sum(not line.startswith(" ") for line in shown.out.splitlines() if line) == count
    assert len(shown.out) < 10_000 * count
    exported = said(installation, "export", "queue_a")
    assert [one["properties"].get("type") for one in exported][:2] == [NASTY, "note"]
    assert settled(installation.vhost, "queue_a.dead", count)
    replay = dead(installation, "replay", "queue_a", "--reason", "unknown", "--reason", NASTY, "--dry-run")
    assert replay.code == 1
    assert "× bad_properties: " in replay.err


def test_show_prints_history_arguments_and_what_a_replay_would_do(install: Install) -> None:
    installation = install(**QUICK)
    installation.worker()
    task_id = installation.caller().submit("fail", {"times": 9}, mailbox="results")
    settled(installation.vhost, "queue_a.dead", 1)
    shown = dead(installation, "show", "queue_a").out
    assert shown.startswith(f"{task_id}  in queue_a.dead\n  task      fail\n")
    assert "  reason    retries_exhausted: RuntimeError: attempt 2 fails\n" in shown
    assert re.search(
        r"    attempt 1, \S+ \S+, \S+ s, \S+:\d+, RuntimeError: attempt 1 fails; again in 0\.[12] s", shown
    )
    assert "  reply to  mailbox.results\n" in shown
    assert '    {\n      "times": 9\n    }\n' in shown
    (one,) = said(installation, "show", "--id", task_id)
    assert (one["arguments"], one["attempts"], len(one["history"])) == ({"times": 9}, 2, 2)


def test_a_replayed_task_that_is_done_answers_its_mailbox(install: Install) -> None:
    installation = install(**QUICK)
    installation.worker()
    vhost, journal = installation.vhost, installation.journal()
    arguments = {"times": 9, "journal": str(journal)}
    task_id = installation.caller().submit("fail", arguments, mailbox="results")
    (failed,) = vhost.messages("mailbox.results")
    assert failed.value["error"]["code"] == "retries_exhausted"
    (report,) = said(installation, "replay", "queue_a", "--edit", "times=1")
    assert (report["replayed"], report["left"], report["unroutable"]) == (1, {}, {})
    (done,) = vhost.messages("mailbox.results")
    assert (done.value["id"], done.value["result"], done.value["attempts"]) == (task_id, 2, 2)
    assert [entry["attempt"] for entry in journal.entries] == [1, 2, 1, 2]
    assert set(journal.ids) == {task_id}
    assert vhost.ready("queue_a.dead") == 0


def test_a_mailbox_gives_each_end_of_a_replayed_task(install: Install) -> None:
    installation = install(**QUICK)
    installation.worker()
    vhost, caller = installation.vhost, installation.caller()
    arguments = {"times": 9, "journal": str(installation.journal())}
    task_id = caller.submit("fail", arguments, mailbox="results")
    eventually(lambda: vhost.ready("mailbox.results") == 1, "the end of its first life")
    said(installation, "replay", "queue_a", "--edit", "times=0")

    async def collect() -> list[Reply]:
        return [reply async for reply in caller.dispatcher.collect("results", count=2, timeout_s=20)]

    failed, done = caller.run(collect())
    assert (failed.id, failed.run.replay, done.id, done.run.replay) == (task_id, 0, task_id, 1)
    assert failed.failure is not None
    assert done.failure is None


def test_a_replayed_task_that_fails_again_has_the_history_of_both_lives(install: Install) -> None:
    installation = install(**QUICK)
    installation.worker()
    task_id = installation.caller().submit("fail")
    settled(installation.vhost, "queue_a.dead", 1)
    for replays in (1, 2):
        said(installation, "replay", "queue_a")
        (one,) = reborn(installation, replays)
        assert (one["id"], one["attempts"], one["reason"]) == (task_id, 2, "retries_exhausted")
        assert [entry["attempt"] for entry in one["history"]] == [1, 2] * (replays + 1)
    assert "  replayed  2 ×, and dead again\n" in dead(installation, "show", "queue_a").out


def reborn(installation: Installation, replays: int) -> list[dict[str, Any]]:
    """The letters of tasks that were replayed so often, as soon as there is one."""
    return eventually(
        lambda: [one for one in said(installation, "show", "queue_a") if one["replays"] == replays],
        "the next letter",
        30,
    )


def test_what_cannot_be_replayed_stays_in_order_and_is_counted(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    good = bury(installation.settings, [dead_task()])
    unknown = bury(installation.settings, [dead_task("gone"), dead_task("gone")])
    with vhost.channel() as channel:
        channel.basic_publish("tasks.dead", "queue_a", b"\x80", task(task_id="no id"))
        channel.basic_publish("tasks.dead", "queue_a", b"\x80", task(type=None))
    last = bury(installation.settings, [dead_task()])
    everything = ids(installation, "queue_a")
    ended = dead(installation, "replay", "queue_a", "-o", "jsonl")
    assert ended.code == 4
    (report,) = ended.objects
    assert (report["meant"], report["replayed"]) == (6, 2)
    assert (report["left"], report["unroutable"]) == ({"bad_properties": 2}, {"gone": 2})
    assert "2 × no queue is bound for task gone. Add the task" in ended.err
    assert "2 × bad_properties: message_id must be 32 lower-case hexadecimal digits (first: no id)" in ended.err
    settled(vhost, "queue_a.dead", 4)
    assert ids(installation, "queue_a") == everything[1:-1]
    assert [one.properties.message_id for one in vhost.messages("queue_a", 2)] == [*good, *last]
    assert dead(installation, "replay", "queue_a", "--id", "no id").code == 1
    assert dead(installation, "replay", "queue_a", "--id", unknown[0]).code == 4


@pytest.mark.every_broker(long=True)
@pytest.mark.own_broker
@pytest.mark.parametrize("size", [30_000, 100_000], ids=["sent beside others", "sent alone"])
def test_a_letter_that_the_broker_takes_no_longer_is_named_and_stays_and_all_others_go(
    installation: Installation, size: int
) -> None:
    installation.declare()
    vhost = installation.vhost
    good = bury(installation.settings, [dead_task() for _ in range(150)])
    (large,) = bury(installation.settings, [dead_task(packed=body(data=bytes(size)))])
    good += bury(installation.settings, [dead_task() for _ in range(150)])
    with small_messages(vhost.broker, 20_000):
        ended = dead(installation, "replay", "queue_a", "-o", "jsonl")
    assert ended.code == 1
    (report,) = ended.objects
    assert (report["meant"], report["replayed"], report["left"]) == (301, 300, {"too_large": 1})
    assert "1 × too_large: the broker refused a message for its size" in ended.err
    assert f"(first: {large})" in ended.err
    settled(vhost, "queue_a.dead", 1)
    assert ids(installation, "queue_a") == [large]
    replayed = [one.properties.message_id for one in vhost.messages("queue_a", vhost.ready("queue_a"))]
    if size > SMALL_BYTES:
        assert replayed == good
    # One was refused beside others: as many as were on their way may be there twice, and later.
    assert (set(replayed), len(replayed) - len(good) <= WINDOW) == (set(good), True)
    (report,) = said(installation, "replay", "queue_a")
    assert report["replayed"] == 1


def test_a_dry_run_replays_nothing(installation: Installation) -> None:
    installation.declare()
    buried = bury(installation.settings, [dead_task() for _ in range(3)])
    (report,) = said(installation, "replay", "queue_a", "--dry-run", "--limit", "2")
    assert (report["dry_run"], report["letters"], report["meant"], report["replayed"]) == (True, 3, 2, 2)
    settled(installation.vhost, "queue_a.dead", 3)
    assert installation.vhost.ready("queue_a") == 0
    assert ids(installation, "queue_a") == buried


def test_a_dry_run_foresees_what_the_run_then_does(installation: Installation) -> None:
    """A task that no queue is bound for any more stays; so does one whose name nobody knows."""
    api = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": installation.vhost.broker.management.url}
    environment = {**installation.environment, **api}
    installation.declare()
    with installation.vhost.channel() as admin:
        admin.queue_unbind("queue_a", "tasks", "echo")
    bury(installation.settings, [dead_task(), dead_task(name="echo"), dead_task(name="gone")])
    reports = []
    for words in (["--dry-run"], []):
        ended = command(environment, "broker", "dead", "replay", "queue_a", "-o", "jsonl", *words)
        assert ended.code == 4
        assert "1 × no queue is bound for task echo. Add the task" in ended.err
        reports.append({**ended.objects[0], "dry_run": None})
    assert reports[0] == reports[1]
    assert (reports[0]["replayed"], reports[0]["unroutable"]) == (1, {"echo": 1, "gone": 1})


def test_a_dry_run_is_refused_as_the_run_would_be(installation: Installation) -> None:
    installation.declare()
    bury(installation.settings, [dead_task()])
    vhost, user = installation.vhost, f"reader-{secrets.token_hex(4)}"
    management = vhost.broker.management
    management.add_user(user, "secret", vhost.name, {"configure": "^$", "write": "^$", "read": ".*"})
    try:
        url = f"amqp://{user}:secret@{vhost.broker.host}:{vhost.broker.port}/{vhost.name}"
        for words in (["--dry-run"], []):
            ended = command(
                {**installation.environment, "BROKER_URL": url}, "broker", "dead", "replay", "queue_a", *words
            )
            assert ended.code == 69
            assert "may not publish to exchange tasks. It needs the right to write it." in ended.err
    finally:
        management.remove_user(user)


def test_what_a_replay_goes_without_is_said(installation: Installation) -> None:
    installation.declare()
    further = ({"reply_to": ADDRESS}, {"expires_at": DIED_MS}, {"reply_to": "mailbox.results"})
    bury(installation.settings, [dead_task(**fields) for fields in further])
    ended = dead(installation, "replay", "queue_a")
    assert ended.code == 0
    assert "1 without reply: its address was no mailbox" in ended.err
    assert "1 without expiry: it had passed" in ended.err
    direct, expired, boxed = installation.vhost.messages("queue_a", 3)
    assert (direct.properties.reply_to, direct.properties.correlation_id) == (None, None)
    assert "expires_at" not in expired.headers
    assert boxed.properties.reply_to == "mailbox.results"


@pytest.mark.every_broker(long=True)
def test_what_the_broker_buried_is_replayed_with_its_death_in_the_history(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    expired, lost = new_id(), new_id()
    vhost.publish("tasks", "note", body(), task(task_id=expired, expiration="1"))
    # The end of the delay line, for a task that nothing is bound for yet.
    vhost.publish("tasks.due", ".".join(["0"] * 20 + ["later"]), body(), task("later", task_id=lost))
    settled(vhost, "queue_a.dead", 1)
    settled(vhost, "tasks.lost", 1)
    (one,) = said(installation, "list", "queue_a")
    assert (one["id"], one["reason"]) == (expired, "expired")
    assert one["died"] is not None
    (one,) = said(installation, "list", "tasks.lost")
    assert (one["id"], one["reason"], one["queue"]) == (lost, "unknown_task", "tasks.lost")
    assert dead(installation, "replay", "tasks.lost").code == 4
    with vhost.channel() as channel:
        channel.queue_bind("queue_b", "tasks", "later")
    said(installation, "replay", "tasks.lost", "queue_a")
    for queue, error in (("queue_a", "expired"), ("queue_b", "unknown_task")):
        (replayed,) = vhost.messages(queue)
        assert [entry["error"] for entry in replayed.headers["history"]] == [error]
        assert "x-death" not in replayed.headers


def test_purge_removes_what_is_chosen_and_keeps_the_others_in_order(installation: Installation) -> None:
    installation.declare()
    vhost = installation.vhost
    buried = bury(installation.settings, [dead_task(("note", "echo")[number % 2]) for number in range(10)])
    assert said(installation, "purge", "queue_a", "--task", "note", "--dry-run") == [
        {"queue": "queue_a.dead", "to be purged": 5}
    ]
    refused = dead(installation, "purge", "queue_a", "--task", "note")
    assert refused.code == 2
    assert "give --yes" in refused.err
    settled(vhost, "queue_a.dead", 10)
    (report,) = said(installation, "purge", "queue_a", "--task", "note", "--limit", "3", "--yes")
    assert report == {"queue": "queue_a.dead", "purged": 3}
    settled(vhost, "queue_a.dead", 7)
    assert ids(installation, "queue_a") == [one for one in buried if one not in buried[0:5:2]]
    said(installation, "purge", "queue_a", "--yes")
    assert vhost.ready("queue_a.dead") == 0


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 1, 2), ("y\n", 0, 0)])
@pytest.mark.parametrize(
    ("words", "what"), [("dead purge queue_a", "letters"), ("purge queue_a.dead", "messages")]
)
def test_at_a_terminal_purge_asks(
    installation: Installation, words: str, what: str, answer: str, code: int, left: int
) -> None:
    installation.declare()
    bury(installation.settings, [dead_task(), dead_task()])
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "wb") as terminal:
        process = subprocess.Popen(
            [sys.executable, "-m", "broker", *words.split()],
            cwd=ROOT,
            env=installation.environment,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(theirs)
        terminal.write(answer.encode())
        terminal.flush()
        _, err = process.communicate(timeout=30)
    assert f"Remove 2 {what} of queue_a.dead for good? [y/N]" in err
    assert process.returncode == code
    settled(installation.vhost, "queue_a.dead", left)


def test_letters_that_somebody_else_holds_are_not_seen_and_that_is_said(installation: Installation) -> None:
    installation.declare()
    buried = bury(installation.settings, [dead_task() for _ in range(3)])
    with installation.vhost.channel() as channel:
        channel.basic_qos(prefetch_count=2)
        next(channel.consume("queue_a.dead", inactivity_timeout=10))
        eventually(lambda: installation.vhost.ready("queue_a.dead") == 1, "two letters to be held")
        seen = dead(installation, "list", "queue_a", "-o", "jsonl")
        assert [one["id"] for one in seen.objects] == buried[2:]
        assert "note: queue_a.dead has another reader (1)" in seen.err
    settled(installation.vhost, "queue_a.dead", 3)


@contextlib.contextmanager
def user(installation: Installation, **rights: str) -> Iterator[dict[str, str]]:
    """The environment of a user with these rights and no others."""
    vhost = installation.vhost
    name, management = f"operator-{vhost.name}", vhost.broker.management
    management.add_user(name, "s3cret", vhost.name, {"configure": "^$", "write": "^$", "read": "^$", **rights})
    try:
        url = f"amqp://{name}:s3cret@{vhost.broker.host}:{vhost.broker.port}/{vhost.name}"
        yield {**installation.environment, "BROKER_URL": url}
    finally:
        management.remove_user(name)


READ = r"^(.*\.dead|tasks\.lost)$"


@pytest.mark.every_broker(long=True)
def test_reading_dead_queues_and_writing_tasks_is_all_that_it_needs(installation: Installation) -> None:
    installation.declare()
    bury(installation.settings, [dead_task(), dead_task()])
    with user(installation, read=READ, write="^tasks$") as environment:
        for words in (
            ("list",),
            ("show",),
            ("export",),
            ("replay", "queue_a", "--limit", "1"),
            ("purge", "queue_a", "--yes"),
        ):
            ended = command(environment, "broker", "dead", *words)
            assert ended.code == 0, ended.err
    assert (installation.vhost.ready("queue_a"), installation.vhost.ready("queue_a.dead")) == (1, 0)


@pytest.mark.every_broker(long=True)
@pytest.mark.parametrize(
    ("rights", "words", "code", "error"),
    [
        (
            {"read": READ},
            ("replay", "queue_a"),
            69,
            "this user may not publish to exchange tasks. It needs the right",
        ),
        ({"write": "^tasks$"}, ("list", "queue_a"), 69, "this user may not read queue_a.dead. It needs the right"),
        ({"read": ".*"}, ("list", "queue_z"), 4, "queue queue_z.dead does not exist. Check the name, or run"),
        ({"read": ".*"}, ("purge", "q z", "--yes"), 4, "'q z' cannot be a queue. Name one of queue_a, queue_b or"),
    ],
)
def test_what_is_refused_or_missing_is_said_and_no_letter_is_lost(
    installation: Installation, rights: dict[str, str], words: Sequence[str], code: int, error: str
) -> None:
    installation.declare()
    bury(installation.settings, [dead_task()])
    with user(installation, **rights) as environment:
        ended = command(environment, "broker", "dead", *words)
    assert ended.code == code
    assert f"error: {error}" in ended.err
    assert "Traceback" not in ended.err
    settled(installation.vhost, "queue_a.dead", 1)


def test_replay_and_purge_want_a_queue_by_name(installation: Installation) -> None:
    for words in (
        ("replay",),
        ("purge", "--yes"),
        ("list", "--since", "yesterday"),
        ("replay", "queue_a", "--edit", "n"),
    ):
        ended = dead(installation, *words)
        assert (ended.code, ended.out) == (2, "")


def test_memory_does_not_grow_with_the_letters(installation: Installation) -> None:
    installation.declare()
    packed = msgpack.packb({"data": bytes(32 * 1024)})
    peaks = []
    for count in (20, 1500):
        bury(installation.settings, [dead_task(packed=packed) for _ in range(count)])
        for what in ("list", "export", "replay"):
            words = [what, "queue_a", *(["--dry-run"] if what == "replay" else [])]
            peaks.append(peak_kib(installation, words))
    few, many = max(peaks[:3]), max(peaks[3:])
    # 1,500 letters are 48 MiB, 64 as base64; what is kept in memory of them is at most 8, and a buffer or two.
    assert many - few < 30 * 1024, peaks


def peak_kib(installation: Installation, words: Sequence[str]) -> int:
    """The greatest resident size of a command, which must succeed."""
    script = (
        "import atexit, pathlib, runpy, sys;"
        "atexit.register(lambda: print(pathlib.Path('/proc/self/status').read_text(), file=sys.stderr));"
        "runpy.run_module('broker', run_name='__main__', alter_sys=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, "dead", *words],
        cwd=ROOT,
        env=installation.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", ended.stderr, re.MULTILINE)
    return int(peak)


def test_the_commands_of_the_documentation_print_what_it_shows(vhost: Vhost, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```console\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    block = block.replace("letters.jsonl", str(tmp_path / "letters.jsonl"))
    assert_printed(block, run_block(block, tmp_path, BROKER_URL=vhost.url))
    (exported,) = (tmp_path / "letters.jsonl").read_text().splitlines()
    assert json.loads(exported)["reason"] == "rejected"


def test_the_documentation_names_every_filter_and_option() -> None:
    for name, one in group.commands.items():
        assert f"`{name}" in DOCUMENT or f"dead {name}" in DOCUMENT
        missing = {word for option in one.params for word in option.opts if word.startswith("--")} - IN_HELP
        assert {word for word in missing if word not in DOCUMENT} == set()
