"""Dead letters that a stranger wrote: every command shows them escaped, loses none, replays none that is unsound.

A stranger here may write ``tasks.dead`` itself, which only workers may: the worst that a letter can be.
"""

from __future__ import annotations

import json
import unicodedata

from tests.support.commands import Ended, command
from tests.support.hostile_bodies import ALL
from tests.support.hostile_properties import HEADERS, KIND_OF_HEADER, SHORT_STRINGS
from tests.support.hostile_socket import Socket, field, long, short, task_fields
from tests.support.installation import Installation
from tests.support.vhost import body

EVIL = "x\x1b[2J\x1b]0;title\x07\x9b31m\r\nforged\x0b\x85\u2028\u202ey"


def dead(installation: Installation, *words: str) -> Ended:
    return command(installation.environment, "broker", "dead", *words, within_s=60)


def fill(installation: Installation, raw: Socket) -> int:
    """Put letters of every kind into the dead queue of ``queue_a``; how many."""
    installation.declare()
    evil, count = long(EVIL.encode()), 0
    worded = {
        name: (None, {"headers": long(field("v", b"b", b"\x01") + field(name, b"S", evil))})
        for name in ("reason", "text", "queue", "worker", "died")
    }
    named = {name: (None, {name: short(EVIL)}) for name in ("message_id", "type", "reply_to", "correlation_id")}
    for name, (_, change) in (KIND_OF_HEADER | HEADERS | SHORT_STRINGS | worded | named).items():
        if name == "15,000 nested tables":
            continue  # RabbitMQ itself takes a second for each look at it.
        raw.send_message("tasks.dead", "queue_a", body(**{EVIL: EVIL}), task_fields("echo", **change))
        count += 1
    for _, content in ALL.values():
        raw.send_message("tasks.dead", "queue_a", content, task_fields("echo"))
        count += 1
    raw.wait()
    return count


def test_every_command_survives_letters_of_every_kind_and_changes_none(
    installation: Installation, raw: Socket
) -> None:
    count, vhost = fill(installation, raw), installation.vhost
    for words in (
        ["list", "-o", "plain"],
        ["list", "-o", "jsonl"],
        ["show", "-o", "plain", "--limit", str(count)],
        ["show", "-o", "jsonl", "--limit", str(count)],
        ["export"],
        ["replay", "--dry-run"],
    ):
        ended = dead(installation, words[0], "queue_a", *words[1:])
        assert ended.code in (0, 1), (words, ended.err)
        assert "Traceback" not in ended.err
        controls = {char for char in ended.out + ended.err if unicodedata.category(char) == "Cc"} - {"\n", "\t"}
        assert not controls, (words, controls)
        if "jsonl" in words or words[0] == "export":
            assert len([json.loads(line) for line in ended.out.split("\n") if line]) == count
        assert vhost.ready("queue_a.dead") == count


def test_a_replay_of_letters_of_every_kind_publishes_what_is_sound_and_leaves_the_rest(
    installation: Installation, raw: Socket
) -> None:
    count, vhost = fill(installation, raw), installation.vhost
    ended = dead(installation, "replay", "queue_a", "-o", "json")
    assert ended.code in (1, 4), ended.err
    [report] = json.loads(ended.out)
    # Bodies are for the worker to judge; properties are read before anything is sent.
    assert report["replayed"] == vhost.ready("queue_a")
    assert vhost.ready("queue_a.dead") == count - report["replayed"]
    worker = installation.worker()
    assert installation.caller().ask("echo", {"value": 1}).result == 1
    assert not worker.lines("link down")
