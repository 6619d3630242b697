"""``python -m broker status``: what it shows is what the broker counts, soon, and as plain as it should be."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pika
import pytest

from protocol.names import OBITUARIES
from tests.hostile.test_shown import EVIL, cannot_harm
from tests.integration.test_readme import assert_printed, run_block
from tests.support.administrator import close_connections
from tests.support.brokers import Broker, free_port
from tests.support.commands import Ended, Running, command
from tests.support.installation import Install, Installation
from tests.support.pages import block_with, section
from tests.support.slowness import in_time
from tests.support.vhost import Vhost, body, task, vhost_of
from tests.support.waiting import eventually
from tests.support.workers import ROOT

#: Ten workers, of which one is real, and what waits for them.
WORKERS, PREFETCH, WAITING = 10, 4, 2_000
HELD = (WORKERS - 1) * PREFETCH
MANY = 50_000
#: Numbers of the API are up to ten seconds old, and so is what it knows of connections.
_LAG_S = 30.0


def status(installation: Installation, *words: str, **environment: str) -> Ended:
    return command({**installation.environment, **environment}, "broker", "status", *words)


def seen(installation: Installation, *words: str, **environment: str) -> dict[str, Any]:
    ended = status(installation, "-o", "json", *words, **environment)
    assert ended.code == 0, ended.err
    shown: dict[str, Any] = json.loads(ended.out)
    return shown


def queue(shown: dict[str, Any], name: str) -> dict[str, Any]:
    [found] = [one for one in shown["queues"] if one["name"] == name]
    return dict(found)


@contextlib.contextmanager
def false_worker(vhost: Vhost, host: str, pid: int) -> Iterator[None]:
    """Two connections and two consumers with the names of a worker's, which take tasks and never settle them."""
    with contextlib.ExitStack() as cleanup:
        for role in ("publish", "consume"):
            parameters = pika.URLParameters(f"{vhost.url}?heartbeat=0")
            parameters.client_properties = {"connection_name": f"worker-{host}-{pid} {role}", "product": "test"}
            connection = pika.BlockingConnection(parameters)
            cleanup.callback(connection.close)
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        for name in ("queue_b", OBITUARIES):
            channel.basic_consume(name, lambda *_: None, consumer_tag=f"worker-{host}-{pid}.{name}")
        yield


@pytest.fixture(scope="module")
def crowd(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Ten workers, one of them with a name that would take over a terminal, and tasks that wait for them."""
    with vhost_of(broker, "status") as vhost, contextlib.ExitStack() as cleanup:
        url = {"management_url": broker.management.url}
        changes = {"broker": url, "worker": {"http": {"port": free_port()}}}
        installation = Installation(vhost, tmp_path_factory.mktemp("status"), changes)
        cleanup.callback(installation.close)
        installation.declare()
        installation.worker("queue_a")
        caller = installation.caller()
        assert caller.ask("task_a", {"seconds": 0}).failure is None
        assert caller.ask("task_a", {"reject": True}).failure is not None
        for number in range(WORKERS - 1):
            host = "host-a.example" if number else EVIL.replace("\x00", "")
            cleanup.enter_context(false_worker(vhost, host, 1000 + number))
        fill(vhost, WAITING)
        eventually(lambda: vhost.ready("queue_b") == WAITING - HELD, "all tasks in their queue", 60)
        yield installation


def fill(vhost: Vhost, count: int) -> None:
    with vhost.connection() as connection:
        channel = connection.channel()
        for _ in range(count):
            channel.basic_publish("tasks", "task_b", body(), task("task_b"))


def agreeing(crowd: Installation, waiting: int) -> tuple[dict[str, Any], list[float]]:
    """A status that shows the numbers of the broker, as it does soon, and how long each command took."""
    walls = []

    def agrees() -> dict[str, Any] | None:
        ended = status(crowd, "-o", "json")
        walls.append(ended.wall_s)
        shown = json.loads(ended.out)
        tasks = queue(shown, "queue_b")
        same = (tasks["ready"], tasks["unacked"], tasks["consumers"]) == (waiting - HELD, HELD, WORKERS - 1)
        return shown if same and len(shown["workers"]) == WORKERS else None

    shown = eventually(agrees, "the numbers of the broker", _LAG_S)
    assert shown is not None
    return shown, walls


@pytest.mark.alone
def test_ten_workers_and_what_waits_for_them_are_shown_as_they_are(crowd: Installation) -> None:
    used_s = cpu_s()
    shown, walls = agreeing(crowd, WAITING)
    # Of wall time a busy machine takes what it wants; the long test below holds that to a second.
    assert (cpu_s() - used_s) / len(walls) < 1
    assert (shown["staleness_s"], shown["notes"]) == (10, [])
    [real] = [one for one in shown["workers"] if one["queues"] == ["queue_a"]]
    assert (real["concurrency"], real["prefetch"], real["unacked"], real["state"]) == (2, 4, 0, "running")
    assert real["platform"].startswith("Python")
    assert (real["done"], real["retried"], real["failed"]) == (1, 0, 1)
    other = next(one for one in shown["workers"] if one != real)
    assert (other["done"], other["retried"], other["failed"]) == (None, None, None)
    assert (other["unacked"], other["prefetch"], other["queues"]) == (PREFETCH, PREFETCH, ["queue_b"])


def cpu_s() -> float:
    """What the commands that have ended took of the processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_a_worker_with_a_hostile_name_moves_no_cursor_and_the_table_says_how_old_it_is(
    crowd: Installation,
) -> None:
    # The management API hears of a worker seconds after it has come.
    eventually(lambda: "forged" in status(crowd).out, "the worker in the management API", 30)
    table, values = status(crowd, "--delays"), status(crowd, "-o", "json")
    for ended in (table, values):
        assert "forged" in ended.out
        assert cannot_harm(ended.out + ended.err)
    assert "by the management API, up to 10 s old" in table.out
    assert "█" in table.out
    assert table.out.count("tasks.delay.") == 20


def test_without_the_management_api_amqp_says_what_it_can(crowd: Installation) -> None:
    nowhere = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": f"http://127.0.0.1:{free_port()}"}
    shown = seen(crowd, **nowhere)
    tasks = queue(shown, "queue_b")
    assert (shown["staleness_s"], shown["workers"]) == (None, None)
    assert tasks["ready"] == WAITING - HELD
    assert (tasks["unacked"], tasks["consumers"], tasks["in_rate"]) == (None, WORKERS - 1, None)
    [note] = shown["notes"]
    assert note.endswith("Unacked tasks, rates and workers are unknown.")


def test_a_watch_looks_again_until_it_is_interrupted(crowd: Installation) -> None:
    with Running(crowd.environment, "broker", "status", "--watch", "0.1", "-o", "json") as running:
        for line in running.lines(2):
            assert json.loads(line)["staleness_s"] == 10
        running.sigint()
        ended = running.wait()
    assert (ended.code, ended.err) == (130, "")


@pytest.mark.parametrize("plain", [False, True], ids=["in colour", "NO_COLOR"])
def test_a_terminal_gets_colours_unless_it_wants_none(crowd: Installation, plain: bool) -> None:
    environment = {**crowd.environment, "TERM": "xterm-256color", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "broker", "status"],
        cwd=ROOT,
        env={**environment, **({"NO_COLOR": "1"} if plain else {})},
        stdin=theirs,
        stdout=theirs,
        timeout=30,
        check=True,
    )
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:
        while piece := terminal.read(4096):
            shown += piece
    assert b"queue_b" in shown
    assert (b"\x1b[3" in shown) is not plain


def test_delayed_tasks_dead_letters_and_missing_queues_are_reported(install: Install, vhost: Vhost) -> None:
    nowhere = {"management_url": f"http://127.0.0.1:{free_port()}"}
    installation = install(broker=nowhere)
    installation.declare()
    vhost.publish("tasks.delay.09", "0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.0.0.0.0.note", body())
    vhost.publish("tasks.dead", "queue_a", body())
    vhost.publish("tasks", "note", body(), task(headers={"v": 1, "sent_at": 1_000_000_000_000}))
    with vhost.channel() as channel:
        channel.queue_delete("queue_b")
    shown = seen(installation, "--oldest")
    line = shown["delay_line"]
    assert (line["waiting"], line["next_due_within_s"]) == (1, 102.3)
    assert line["levels"][9] == {"name": "tasks.delay.09", "waits_s": 51.2, "waiting": 1}
    assert shown["dead"][0] == {"name": "queue_a.dead", "letters": 1}
    assert queue(shown, "queue_a")["oldest_s"] > 1_000_000
    assert queue(shown, "queue_b")["ready"] is None
    assert any(note.startswith("queue_b: missing") for note in shown["notes"])
    table = status(installation).out
    assert "delay line, next ≤ 1 m 42 s" in table
    assert "tasks.delay." not in table


def test_without_a_broker_it_says_so(installation: Installation) -> None:
    ended = status(installation, BROKER_URL=f"amqp://guest:hunter2@127.0.0.1:{free_port()}/")
    assert (ended.code, ended.out) == (69, "")
    assert "cannot be reached" in ended.err
    assert "hunter2" not in ended.err


def test_a_reconnect_makes_no_worker_younger(install: Install, vhost: Vhost) -> None:
    """What is shown is the age of its process, not of its connections."""
    installation = install(broker={"management_url": vhost.broker.management.url})
    worker = installation.worker()

    def up_s() -> float | None:
        [shown] = seen(installation)["workers"] or [{"state": "not known yet"}]
        return shown["up_s"] if shown["state"] == "running" else None

    def links() -> set[int]:
        shown = vhost.broker.management.connections(vhost.name)
        return {one["connected_at"] for one in shown if "worker-" in str(one.get("client_properties"))}

    before_s = eventually(up_s, "the worker in the management API", _LAG_S)
    first = links()
    close_connections(vhost)
    worker.wait_for("link up again", count=2)
    eventually(lambda: len(links()) == 2 and links().isdisjoint(first), "its new connections", _LAG_S)
    after_s = eventually(up_s, "the worker in the management API", _LAG_S)
    assert before_s is not None
    assert after_s is not None
    assert after_s > before_s


#: Whether a status has all its numbers.
COMPLETE = (
    "python -m broker status -o json | python -c 'import json, sys; status = json.load(sys.stdin);"
    ' exit(not all(queue["in_rate"] is not None for queue in status["queues"])'
    ' or [(one["state"], one["unacked"]) for one in status["workers"]] != [("running", 0)])\''
)


#: What the doctor of the page says of RabbitMQ 4.0, and what of others.
OF_VERSION = {
    "3.10": ("queue_a: 1800 s", "the broker does not report it; it is taken for 1800 s"),
    "4.3": ("what they held is delivered elsewhere at once", "one node"),
}


@pytest.mark.every_broker(long=True)
def test_the_commands_of_the_page_print_what_it_shows(vhost: Vhost, tmp_path: Path) -> None:
    sections = [section("docs/operations.md", heading) for heading in ("Status", "Doctor")]
    block = "".join(block_with(text, "console", "python -m broker") for text in sections)
    # What differs from place to place: the names of machines and of the virtual host; and the width of tables.
    shown = block.replace("/ in 20 ms", f"/{vhost.name} in 20 ms").replace("host /", f"host {vhost.name}")
    shown = shown.replace("  vm  ", f"  {socket.gethostname()}  ")
    # A machine without an engine has the version of its distribution.
    version = ".".join(vhost.broker.version.split(".")[:2])
    shown = shown.replace(*OF_VERSION.get(version, ("", "")))
    printed = run_block(
        # Rates, and the worker's second connection, are there later on a slow machine.
        block.replace("$ sleep 10\n", f"$ until {COMPLETE}; do sleep 1; done\n"),
        tmp_path,
        BROKER_URL=vhost.url,
        GLASSRABBIT__BROKER__MANAGEMENT_URL=vhost.broker.management.url,
        GLASSRABBIT__WORKER__HTTP__PORT=str(free_port()),
    )
    assert_printed(placeless(shown), placeless("\n".join(printed)).splitlines())


def placeless(text: str) -> str:
    lines = [line for line in text.splitlines() if not set(line) <= {"─", " "}]
    return re.sub(r"\w*rabbit@[\w.-]+:", "rabbit@host:", "\n".join(lines))


@pytest.mark.alone
@pytest.mark.long
def test_fifty_thousand_tasks_are_shown_in_less_than_a_second(crowd: Installation) -> None:
    fill(crowd.vhost, MANY - WAITING)
    eventually(lambda: crowd.vhost.ready("queue_b") == MANY - HELD, "all tasks in their queue", 60)
    _, walls = agreeing(crowd, MANY)
    walls += [status(crowd).wall_s for _ in range(3)]
    assert in_time(min(walls), 1), walls
