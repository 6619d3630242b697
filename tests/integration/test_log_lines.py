"""The log of a worker as machines read it: what each line is about, and how much of it a flood can cause."""

from __future__ import annotations

import json
from typing import Any

import yaml

from broker.console.log_json import FIELDS
from broker.console.log_throttle import MOST
from tests.support.commands import command
from tests.support.installation import Install, Installation
from tests.support.vhost import task
from tests.support.waiting import eventually
from tests.support.workers import ROOT, WorkerProcess

FLOOD = 3000
#: What a stranger writes into a message, so that a log would show it.
HOSTILE = 'canary\x1b[2J\n{"level": "info"}'


def start(installation: Installation) -> WorkerProcess:
    worker = installation.worker("queue_a", "--log-format", "json", ready=False)
    worker.wait_for('"ready: ')
    return worker


def events(worker: WorkerProcess) -> list[dict[str, Any]]:
    """Every line of the log, each of which must be JSON."""
    return [json.loads(line) for line in worker.log.split("\n")]


def test_each_event_is_one_line_with_the_task_it_is_about(install: Install) -> None:
    installation = install(
        tasks={"threaded": {"queue": "queue_a", "handler": "tests.support.handlers:fail", "executor": "thread"}},
        defaults={"retry": {"max_retries": 1, "backoff_s": [0.1]}},
        mailboxes=["results"],
    )
    worker, caller = start(installation), installation.caller()
    ids = {name: caller.ask(name, {"times": 9}).id for name in ("fail", "threaded")}
    rejected = caller.ask("reject").id
    installation.vhost.publish("", "queue_a", b"\xc1", task(HOSTILE))
    worker.wait_for("is refused")
    worker.sigterm()
    assert worker.wait() == 0
    said = events(worker)
    identity = {event["worker"] for event in said}
    assert len(identity) == 1
    assert identity.pop().endswith(f":{worker.pid}")
    for name, task_id in ids.items():
        about = [event for event in said if event.get("task_id") == task_id]
        assert {(event["task"], event["queue"]) for event in about} == {(name, "queue_a")}
        # Each attempt raises in its executor; after the first comes a retry, after the last one the end.
        assert [event["attempt"] for event in about] == [1, 1, 2, 2]
        assert [("traceback" in event, "is dead" in event["message"]) for event in about] == [
            (True, False),
            (False, False),
            (True, False),
            (False, True),
        ]
    (death,) = [event for event in said if event.get("task_id") == rejected]
    assert (death["level"], death["attempt"], death["task"]) == ("warning", 1, "reject")
    (refusal,) = [event for event in said if "is refused" in event["message"]]
    assert refusal["queue"] == "queue_a"


def test_a_flood_of_hostile_messages_leaves_a_few_lines_that_say_how_many_there_were(
    installation: Installation,
) -> None:
    worker = start(installation)
    with installation.vhost.connection() as connection:
        channel = connection.channel()
        for number in range(FLOOD):
            channel.basic_publish(
                "", "queue_a", b"\xc1", task(f"unknown_{number}", headers={"v": 1, "x": HOSTILE})
            )
    eventually(lambda: installation.vhost.ready("queue_a.dead") == FLOOD, "all letters", within_s=60)
    worker.sigterm()
    assert worker.wait() == 0
    refused = [event for event in events(worker) if event["message"].startswith("a message of queue_a is refused")]
    left_out = [event["left_out"] for event in events(worker) if "left_out" in event]
    assert len(refused) + sum(left_out) == FLOOD
    # A window is ten seconds.
    assert len(refused) <= MOST * len(left_out)
    assert len(left_out) <= 7
    assert "canary" not in worker.log


def test_the_end_of_a_command_is_a_line_too_and_data_stays_as_it_is(installation: Installation) -> None:
    environment = {**installation.environment, "GLASSRABBIT_LOG_FORMAT": "json"}
    start(installation)
    failed = command(environment, "dispatcher", "call", "reject")
    assert failed.code == 1
    (event,) = map(json.loads, failed.err.splitlines())
    assert (event["level"], event["logger"]) == ("error", "glassrabbit")
    assert "rejected" in event["message"]
    wrong = command(
        {**environment, "GLASSRABBIT__WORKER__GRACE": "x\x1b", "BROKER_URL": "no"}, "worker", "queue_a"
    )
    assert wrong.code == 78
    assert [json.loads(line)["level"] for line in wrong.err.splitlines()] == ["error", "error"]
    fine = command(environment, "dispatcher", "--log-format", "text", "call", "echo", "--json", '{"value": 1}')
    assert (fine.code, fine.err) == (0, "")
    mistyped = command({**environment, "GLASSRABBIT_LOG_FORMAT": "xml"}, "worker", "queue_a")
    assert mistyped.code == 2
    assert "'xml' is not one of 'text', 'json'" in mistyped.err


def test_the_example_for_vector_reads_the_fields_that_there_are() -> None:
    example = yaml.safe_load((ROOT / "docs" / "vector.yaml").read_text())
    program = example["transforms"]["events"]["source"]
    read = {word.split(")")[0].split(",")[0] for word in program.replace("\n", " ").split("event.")[1:]}
    assert {word.split()[0] for word in read} == {*FIELDS, "time", "level", "logger", "message", "traceback"}
    assert example["transforms"]["events"]["inputs"] == list(example["sources"])
    assert example["sinks"]["console"]["inputs"] == list(example["transforms"])
