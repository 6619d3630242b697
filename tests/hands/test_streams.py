"""What a person sees and a pipe gets, whatever the standard streams of a command are."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import time
from typing import Any

import pytest

from protocol.names import new_id
from tests.support.by_hand import post
from tests.support.hands import Ended, Hand, Out, Streams, hand
from tests.support.installation import Install, Installation
from tests.support.workers import ROOT

#: More than the broker waits for a heartbeat of a second.
SILENCE_S = 6.0


def test_a_thousand_results_come_out_of_a_pipe_while_a_terminal_shows_how_many_there_are(
    installation: Installation,
) -> None:
    """``seq 1000 | sed 's/.*/{"value": &}/' | python -m dispatcher map echo | wc -l``"""
    installation.worker()
    lines = "".join(f'{{"value": {number}}}\n' for number in range(1000)).encode()
    words = ["-m", "dispatcher", "map", "echo"]
    ended = hand(words, installation.environment, Streams(stderr=Out.TERMINAL), stdin=lines)
    assert ended.code == 0
    results = [json.loads(line)["result"] for line in ended.out.splitlines()]
    assert sorted(results) == list(range(1000))
    assert "tasks" in ended.err
    assert "/" in ended.err


def test_results_on_the_terminal_that_shows_them_are_the_progress(installation: Installation) -> None:
    installation.worker()
    words = ["-m", "dispatcher", "map", "echo"]
    streams = Streams(stdout=Out.TERMINAL, stderr=Out.TERMINAL)
    ended = hand(words, installation.environment, streams, stdin=b"{}\n" * 10)
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == 10


def test_map_waits_for_a_slow_reader_and_keeps_its_connection_meanwhile(install: Install) -> None:
    """The broker hangs up after two seconds without a heartbeat; then every task would be asked again."""
    installation = install(broker={"heartbeat_s": 1})
    installation.worker()
    journal = installation.journal()
    lines = f'{{"journal": "{journal}"}}\n'.encode() * 10
    words = ["-m", "dispatcher", "map", "note", "--verbose"]
    with Hand(words, installation.environment, Streams(stdout=Out.UNREAD), stdin=lines) as running:
        journal.wait(10, 30)
        time.sleep(SILENCE_S)
        assert installation.vhost.connection_names("dispatcher")
        running.read_at_last()
        ended = running.wait()
    assert (ended.code, len(json_lines_of(ended))) == (0, 10)
    assert "published 10: " in ended.err
    assert "reconnects 0" in ended.err
    assert len(journal.entries) == 10


@pytest.mark.parametrize("stdout", [Out.FULL, Out.CLOSED, Out.BROKEN])
def test_a_reply_that_could_not_be_printed_stays_in_its_mailbox(installation: Installation, stdout: Out) -> None:
    installation.declare()
    environment, vhost = installation.environment, installation.vhost
    hand(["-m", "broker", "declare", "--mailbox", "box"], environment)
    post(vhost, "box", task_id := new_id())
    words = ["-m", "dispatcher", "collect", "box"]
    assert hand(words, environment, Streams(stdout=stdout)).code == 1
    ended = hand(words, environment)
    assert [line["id"] for line in json_lines_of(ended)] == [task_id]


@pytest.mark.parametrize("words", [["map", "echo"], ["collect", "box", "-n", "2"]], ids=lambda words: words[0])
def test_replies_come_in_each_format(installation: Installation, words: list[str]) -> None:
    installation.worker()
    environment = installation.environment
    hand(["-m", "broker", "declare", "--mailbox", "box"], environment)

    def run(output: str) -> list[str]:
        for value in ("é\t1", "é\t2") if words[0] == "collect" else ():
            submitted = ["submit", "echo", "-a", f"value={value}", "--mailbox", "box"]
            assert hand(["-m", "dispatcher", *submitted], environment).code == 0
        stdin = b'{"value": "\xc3\xa9\\t1"}\n{"value": "\xc3\xa9\\t2"}\n'
        ended = hand(["-m", "dispatcher", *words, "-o", output], environment, stdin=stdin)
        assert (ended.code, ended.err) == (0, "")
        return ended.out.decode().splitlines()

    results = {"é\t1", "é\t2"}
    assert {reply["result"] for reply in map(json.loads, run("jsonl"))} == results
    assert {reply["result"] for reply in json.loads("\n".join(run("json")))} == results
    rows = [line.split("\t") for line in run("plain")]
    assert {json.loads(row[-1]) for row in rows} == results
    assert {len(row) for row in rows} == {6}
    head, *aligned = run("table")
    assert head.split() == ["id", "attempts", "queued", "ran", "worker", "end"]
    assert {re.split(" {2,}", line)[0] for line in aligned} == {line[:32] for line in aligned}
    assert {json.loads(line[line.index('"') :]) for line in aligned} == results


def test_a_failure_names_the_exception_and_an_id_can_be_copied_from_a_terminal_of_80_columns(
    install: Install,
) -> None:
    installation = install(
        tasks={
            "look_up": {
                "queue": "queue_a",
                "handler": "tests.support.handlers:look_up",
                "retry": {"max_retries": 0},
            }
        }
    )
    installation.worker()
    environment = installation.environment
    failed = hand(["-m", "dispatcher", "call", "look_up"], environment)
    assert (failed.code, failed.out) == (1, b"")
    assert failed.err.endswith(": KeyError: 'x'\n")
    listed = hand(["-m", "broker", "dead", "list"], environment, Streams(stdout=Out.TERMINAL))
    out = listed.out.decode()
    assert "KeyError: 'x'" in out
    [task_id] = re.findall(r"\b[0-9a-f]{32}\b", out)
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in out.splitlines()) <= 80
    shown = hand(["-m", "broker", "dead", "show", "--id", task_id, "-o", "json"], environment)
    [letter] = json.loads(shown.out)
    assert (letter["id"], letter["error"], letter["text"]) == (task_id, "KeyError", "'x'")


def test_lines_are_taken_from_a_terminal_and_it_blocks_as_before(installation: Installation) -> None:
    """The shell reads and writes it, too; one that does not block loses what a program writes."""
    installation.worker()
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b'{"value": 1}\n\x04')
        command = [sys.executable, "-m", "dispatcher", "map", "echo"]
        done = subprocess.run(
            command, cwd=ROOT, env=installation.environment, stdin=theirs, capture_output=True, timeout=30
        )
        assert (done.returncode, json.loads(done.stdout)["result"]) == (0, 1)
        assert os.get_blocking(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def json_lines_of(ended: Ended) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ended.out.decode().splitlines()]
