"""What a newcomer mistypes: each command says what is wrong, with the right code, before it asks any broker."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.brokers import free_port
from tests.support.hands import Ended, hand
from tests.support.hands_tree import commands
from tests.support.workers import ROOT, environment

USAGE, CONFIGURATION = 2, 78
NO_QUEUE = "queue 'queue_c' is not in the configuration; it has queue_a, queue_b."
NO_PAIR = "is not QUEUE=N with N from 0 to 1000, like queue_a=2"

#: Command → what follows it, its exit code, and what it says of that.
WRONG: dict[str, tuple[str, int, str]] = {
    "broker declare": ("--mailbox My-Box", USAGE, "use a-z, 0-9, _ and -"),
    "broker show": ("-o yaml", USAGE, "'yaml' is not one of 'table', 'mermaid', 'json'"),
    "broker diff": ("queue_a", USAGE, "unexpected extra argument (queue_a)"),
    "broker completion": ("ksh", USAGE, "'ksh' is not one of 'bash', 'zsh', 'fish'"),
    "broker status": ("--watch soon", USAGE, "'soon' is not a number of seconds"),
    "broker doctor": ("--timeout 0", USAGE, "0 is not a finite number of seconds above 0"),
    "broker config show": ("worker", USAGE, "unexpected extra argument (worker)"),
    "broker config validate": ("none.yml", CONFIGURATION, "none.yml: cannot be read: No such file or directory"),
    "broker config schema": ("worker", USAGE, "unexpected extra argument (worker)"),
    "broker dead list": ("--since yesterday", USAGE, "'yesterday' is no time: write 15m, 2h, 3d, or 2026-"),
    "broker dead show": ("--limit few", USAGE, "'few' is not a valid whole number"),
    "broker dead export": ("--limit 0", USAGE, "0 is not in the range x>=1"),
    "broker dead replay": ("queue_a --edit seconds", USAGE, "--edit 'seconds': write KEY=VALUE"),
    "broker dead purge": ("--yes", USAGE, "name the queues whose letters are meant, like queue_a"),
    "broker up": ("now", USAGE, "unexpected extra argument (now)"),
    "broker down": ("now", USAGE, "unexpected extra argument (now)"),
    "broker wire": ("--listen 99999", USAGE, "99999 is not in the range"),
    "broker pause": ("queue_c", CONFIGURATION, NO_QUEUE),
    "broker resume": ("", USAGE, "Missing argument 'QUEUE|WORKER'"),
    "broker running": ("--older-than long", USAGE, "'long' is not a number of seconds"),
    "broker watch": ("", USAGE, "name messages by their ids, or give --task NAME"),
    "broker cancel": ("", USAGE, "name tasks by their ids, or give --task NAME"),
    "broker drain": ("queue_a", USAGE, "'queue_a' is no worker: write HOST:PID"),
    "broker log-level": ("vm:1 loud", USAGE, "'loud' is not one of 'debug', 'info', 'warning'"),
    "broker peek": ("queue_a -n few", USAGE, "'few' is not a valid whole number"),
    "broker purge": ("", USAGE, "Missing argument 'QUEUE'"),
    "broker move": ("queue_b queue_a --task task_b", CONFIGURATION, "wrong_queue: task_b belongs to queue_b"),
    "dispatcher": ("task_a", USAGE, "No such command 'task_a'"),
    "dispatcher call": ("task_a -a seconds", USAGE, "-a 'seconds': write KEY=VALUE"),
    "dispatcher map": ("task_a none.jsonl", USAGE, "'none.jsonl' does not exist"),
    "dispatcher submit": ("task_a --delay 1h", USAGE, "'1h' is not a number of seconds"),
    "dispatcher collect": ("My-Box", USAGE, "use a-z, 0-9, _ and -"),
    "dispatcher demo": ("now", USAGE, "unexpected extra argument (now)"),
    "dispatcher load": ("--rate fast", USAGE, "'fast' is not a valid number"),
    "dispatcher load compare": ("a.json b.json", USAGE, "'a.json' does not exist"),
    "dispatcher load ab": ("--a worker.prefetsh=1", USAGE, "worker.prefetsh"),
    "worker": ("queue_c", CONFIGURATION, NO_QUEUE),
    "worker up": ("queue_a", USAGE, NO_PAIR),
    "worker scale": ("queue_a=many", USAGE, NO_PAIR),
    "worker autoscale": ("queue_c --once", CONFIGURATION, NO_QUEUE),
}


def mistyped(words: str) -> Ended:
    """Run ``glassrabbit WORDS`` where no broker answers."""
    nowhere = environment(ROOT / "config.yml", f"amqp://guest:guest@127.0.0.1:{free_port()}/")
    return hand(["-c", "from broker.console.start import main; main()", *words.split()], nowhere)


def test_every_command_has_a_wrong_word() -> None:
    assert sorted(WRONG) == sorted(commands())


def test_each_command_says_what_is_wrong_before_it_asks_a_broker() -> None:
    with ThreadPoolExecutor(3) as pool:
        ends = dict(zip(WRONG, pool.map(mistyped, (f"{name} {WRONG[name][0]}" for name in WRONG)), strict=True))
    for name, (_, code, said) in WRONG.items():
        assert (ends[name].code, ends[name].out) == (code, b""), f"{name}: {ends[name]}"
        assert said in " ".join(ends[name].err.split()), f"{name}: {ends[name].err}"
        assert "Traceback" not in ends[name].err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("statu", USAGE, "Did you mean 'status'?"),
        ("dispatcher submit task_a --delay -1", USAGE, "-1 is not a finite number of seconds of at least 0"),
        ("dispatcher call task_a --expires 0", USAGE, "0 is not a finite number of seconds above 0"),
        ("dispatcher map task_a --batch many", USAGE, "'many' is not a valid whole number"),
        ("broker move queue_a queue_a", USAGE, "FROM and TO are two queues of tasks"),
        ("broker move queue_a.dead queue_a", USAGE, "For dead letters there is `dead replay`"),
        ("broker wire --pcap /none/frames.pcap", 1, "/none/frames.pcap: No such file or directory"),
    ],
)
def test_a_second_glance(words: str, code: int, said: str) -> None:
    ended = mistyped(words)
    assert (ended.code, ended.out) == (code, b"")
    assert said in ended.err
