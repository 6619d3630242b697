"""docs/code.md: what it says decides a question is reached where that question arises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.errors import TaskFailed
from protocol.names import mailbox_queue
from tests.support.installation import Install, Installation
from tests.support.waiting import eventually
from tests.support.workers import ROOT
from tests.unit.test_code_page import DECIDED


def reaching(installation: Installation, out: Path, *words: str, **further: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.reached", str(out), *words],
        cwd=ROOT,
        env={**installation.environment, **further},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def come_back(installation: Installation, queue: str) -> None:
    """Take the next message of a queue and give it back: it is redelivered from now on."""
    eventually(lambda: installation.vhost.ready(queue) == 1, "the batch in its queue")
    with installation.vhost.channel() as channel:
        method, _, _ = channel.basic_get(queue)
        channel.basic_nack(method.delivery_tag, requeue=True)


def test_what_decides_each_question_is_reached_when_the_question_arises(install: Install, tmp_path: Path) -> None:
    installation = install(
        tasks={"fail": {"executor": "thread"}, "loop": {"retry": {"max_retries": 0}}},
        defaults={"retry": {"max_retries": 1}},
    )
    installation.declare()
    caller, outs = installation.caller(), [tmp_path / name for name in ("worker", "call", "config")]

    async def batch() -> list[object]:
        found = caller.dispatcher.map("echo", [{"value": number} for number in range(3)], batch=3)
        return [ended async for ended in found]

    batched = caller.start(batch())
    come_back(installation, "queue_a")
    caller.submit("echo", {"value": 1}, mailbox="gone")
    with installation.vhost.channel() as channel:
        channel.queue_delete(mailbox_queue("gone"))

    worker = reaching(installation, outs[0], "worker", "queue_a")
    assert len(batched.result(60)) == 3
    for task in ("fail", "loop"):
        with pytest.raises(TaskFailed):
            caller.run(caller.dispatcher.call(task))
    [letter, *_] = installation.vhost.read_dead("queue_a", 3)
    assert letter.properties.headers["reason"]
    worker.terminate()
    assert worker.wait(60) == 0

    call = reaching(installation, outs[1], "dispatcher", "call", "note_b", "--timeout", "0.5")
    assert call.wait(60) == 75
    amqps = "amqps://guest:guest@localhost:5671/"
    assert reaching(installation, outs[2], "broker", "config", "validate", BROKER_URL=amqps).wait(60) == 0

    reached = {line for out in outs for line in out.read_text().splitlines()}
    missing = [
        (question, file, name)
        for question, file, name in DECIDED
        if not {f"{file} {name}", f"{file} {name}.__init__"} & reached
    ]
    assert missing == []
