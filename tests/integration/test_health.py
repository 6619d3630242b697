"""/livez, /readyz and /metrics of a running worker: the truth, while the broker is there and while it is not."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from dispatcher.errors import UnknownTask
from protocol.names import new_id
from tests.integration.test_readme import assert_printed, run_block
from tests.support.brokers import free_port
from tests.support.commands import command
from tests.support.health import Health, LivenessProbe
from tests.support.installation import Install, Installation
from tests.support.pages import block_with, section, unsaid
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually
from tests.support.workers import ROOT

#: Within which readiness has to tell of a fault, and the longest pause between two attempts of a worker's.
RED_S = 5.0
GREEN_S = 20.0
PAGE = section("docs/operations.md", "Health and metrics")
TOKEN = "correct-horse-battery"


@pytest.mark.timeout(90)
def test_the_numbers_of_a_worker_agree_with_what_was_done(install: Install) -> None:
    once = {"queue": "queue_a", "handler": "tests.support.handlers:crash", "retry": {"max_retries": 0}}
    installation = install(tasks={"crash": once}, queues={"queue_a": {"prefetch": 5}})
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    health, journal, gate = Health(worker), installation.journal(), installation.gate()

    for _ in range(3):
        caller.ask("note")
    assert caller.ask("fail", {"times": 1}).run.attempts == 2
    for name in ("reject", "crash"):
        assert caller.ask(name).failure is not None
    vhost.publish("", "queue_a", body(), task("no_such_task"))
    twice = new_id()
    for count in (1, 2):
        vhost.publish("tasks", "echo", body(journal=str(journal)), task("echo", task_id=twice))
        health.wait(
            {("deliveries_total", "echo", "done"): 1, ("deliveries_total", "echo", "answered_again"): count - 1}
        )
    numbers = health.wait(
        {
            ("deliveries_total", "note", "done"): 3,
            ("deliveries_total", "fail", "done"): 1,
            ("deliveries_total", "fail", "retried"): 1,
            ("deliveries_total", "reject", "failed"): 1,
            ("deliveries_total", "crash", "failed"): 1,
            ("deliveries_total", "unknown", "refused"): 1,
            ("dead_letters_total", "reject", "rejected"): 1,
            ("dead_letters_total", "crash", "worker_lost"): 1,
            ("dead_letters_total", "unknown", "unknown_task"): 1,
            ("child_restarts_total",): 1,
            ("run_seconds_count", "note"): 3,
            ("run_seconds_count", "fail"): 2,
            # Of a task that was retried the first wait alone; none of what does not say when it was sent.
            ("queue_seconds_count", "fail"): 1,
            ("queue_seconds_count", "echo"): 0,
            ("ready",): 1,
            ("busy",): 0,
            ("unacked",): 0,
            ("concurrency",): 2,
            ("prefetch", "queue_a"): 5,
            ("reconnects_total", "consume"): 0,
            # Six replies to callers, a retry copy, three letters.
            ("published_total",): 10,
            ("publishes_total", "confirmed"): 10,
            ("publishes_total", "returned"): 0,
        }
    )
    assert 0 < numbers["run_seconds_sum", "note"] < 30
    assert vhost.ready("queue_a.dead") == 3

    # What is under way, and what happens to it when the connections are lost.
    held = caller.asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait(2)
    health.wait({("busy",): 1, ("unacked",): 1})
    vhost.broker.ctl("close_all_connections", "--vhost", vhost.name, "a test")
    health.wait(
        {
            ("reconnects_total", "consume"): 1,
            ("reconnects_total", "publish"): 1,
            ("deliveries_total", "hold", "joined"): 2,  # the redelivery, and what the caller sent again
            ("unacked",): 2,
        }
    )
    gate.touch()
    assert held.result(20).result == 1
    health.wait(
        {
            ("deliveries_total", "hold", "done"): 1,
            ("deliveries_total", "hold", "stale"): 1,
            ("run_seconds_count", "hold"): 1,
            ("unacked",): 0,
        }
    )


Wedge = Callable[[Installation], contextlib.AbstractContextManager[None]]


@contextlib.contextmanager
def consumer_cancelled(installation: Installation) -> Iterator[None]:
    """The queue is deleted, and the worker may not make it again."""
    with installation.vhost.channel() as channel:
        channel.queue_delete("queue_a")
    yield
    installation.declare()


@contextlib.contextmanager
def channel_closed(installation: Installation) -> Iterator[None]:
    """The exchange for dead letters is gone: whatever is published to it closes the channel."""
    with installation.vhost.channel() as channel:
        channel.exchange_delete("tasks.dead")
    installation.vhost.publish("tasks", "reject", body(), task("reject"))
    yield
    installation.declare()


@contextlib.contextmanager
def next_hop_refusing(installation: Installation) -> Iterator[None]:
    """Nothing is bound to the exchange for dead letters."""
    with installation.vhost.channel() as channel:
        channel.queue_unbind("queue_a.dead", "tasks.dead", "queue_a")
    installation.vhost.publish("tasks", "reject", body(), task("reject"))
    yield
    installation.declare()


@contextlib.contextmanager
def publishes_blocked(installation: Installation) -> Iterator[None]:
    """The broker is short of memory. It says so when something is published, as the reply here."""
    broker, gate, journal = installation.vhost.broker, installation.gate(), installation.journal()
    held = installation.caller().asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()
    watermark = broker.ctl("eval", "vm_memory_monitor:get_vm_memory_high_watermark().").strip()
    broker.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        gate.touch()
        yield
    finally:
        broker.ctl("set_vm_memory_high_watermark", watermark)
    assert held.result(20).result == 1


@contextlib.contextmanager
def broker_down(installation: Installation) -> Iterator[None]:
    installation.vhost.broker.kill()
    yield
    installation.vhost.broker.restart()


WEDGES: list[Wedge] = [consumer_cancelled, channel_closed, next_hop_refusing, publishes_blocked, broker_down]


@pytest.mark.own_broker
@pytest.mark.timeout(180)
def test_readiness_follows_each_wedge_and_its_end_within_5_s_and_the_worker_lives_throughout(
    installation: Installation,
) -> None:
    """One worker, which may declare nothing, goes through all of them."""
    installation.declare()
    user, vhost = f"user-{secrets.token_hex(4)}", installation.vhost
    rights = {"configure": "^$", "write": ".*", "read": ".*"}
    vhost.broker.management.add_user(user, "secret", vhost.name, rights)
    worker = installation.worker(BROKER_URL=f"amqp://{user}:secret@127.0.0.1:{vhost.broker.port}/{vhost.name}")
    health = Health(worker)
    reported: list[str] = []
    try:
        with LivenessProbe(health):
            for wedge in WEDGES:
                assert health.is_ready
                name = getattr(wedge, "__name__", "")
                with wedge(installation):
                    since_s = time.monotonic()
                    eventually(lambda: not health.is_ready, f"readiness's word of {name}", RED_S)
                    red_s = time.monotonic() - since_s
                    status, text = health.get("/readyz")
                    assert (status, text.startswith("not ready: ")) == (503, True), name
                    assert health.numbers()["ready",] == 0
                healed_s = time.monotonic()
                eventually(lambda: health.is_ready, f"the end of {name}", GREEN_S)
                reported.append(f"{name}: red after {red_s:.2f} s ({text.strip()}), "
                            f"green {time.monotonic() - healed_s:.2f} s after the repair")  # fmt: skip
        numbers = health.numbers()
        assert (numbers["refused",], numbers["blocked_seconds_total",] > 0) == (0, True)
        worker.sigterm()
        assert worker.wait() == 0
    finally:
        vhost.broker.management.remove_user(user)
    print("\n".join(reported))


def test_workers_of_one_machine_share_a_range_of_ports_and_go_beyond_it(installation: Installation) -> None:
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = taken.getsockname()[1]
        further = {"GLASSRABBIT__WORKER__HTTP__PORT": str(port)}
        workers = [installation.worker(ready=False, **further) for _ in range(3)]
        healths = [Health(worker.wait_ready()) for worker in workers]

    assert all(health.is_ready for health in healths)
    assert len({health.port for health in healths}) == 3
    assert all(port < health.port for health in healths if health.port < port + 10)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"enabled": False}, None),
        ({"bind": "203.0.113.1", "token": TOKEN}, "no health and metrics, going on without"),
    ],
)
def test_a_worker_works_without_health_if_it_cannot_or_shall_not_have_it(
    settings: dict[str, object], said: str | None, install: Install
) -> None:
    installation = install(worker={"http": settings})
    worker = installation.worker()

    assert installation.caller().ask("note").result == 1
    assert not worker.lines("health and metrics at")
    assert said is None or worker.lines(said)
    worker.sigterm()
    assert worker.wait() == 0


def test_a_token_is_asked_of_this_machine_too_and_its_probes_may_be_open(install: Install) -> None:
    shown = {"Authorization": f"Bearer {TOKEN}"}
    for is_open in (False, True):
        installation = install(worker={"http": {"token": TOKEN, "open_probes": is_open}})
        health = Health(installation.worker())
        for page in ("/livez", "/readyz", "/metrics"):
            assert health.get(page, shown)[0] == 200
            assert health.get(page)[0] == (200 if is_open and page != "/metrics" else 401), page
            assert health.get(page, {"Authorization": "Bearer wrong"})[0] == health.get(page)[0]


@pytest.mark.needs("/proc")
@pytest.mark.parametrize("kept_in", ["environment", "file", "configuration"])
def test_the_health_check_of_the_container_knows_the_token(kept_in: str, install: Install, tmp_path: Path) -> None:
    variable, file = "GLASSRABBIT__WORKER__HTTP__TOKEN", tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    own = {"environment": {variable: TOKEN}, "file": {f"{variable}_FILE": str(file)}}.get(kept_in, {})
    installation = install(**({} if own else {"worker": {"http": {"token": TOKEN}}}))
    worker = installation.worker(ready=True, **own)

    def check(environment: dict[str, str]) -> str | None:
        source = (ROOT / "docker" / "healthy.py").read_text()
        # This machine has other workers than this one; a container has not.
        source = source.replace('Path("/proc").glob("[0-9]*")', f'[Path("/proc/{worker.pid}")]')
        done = subprocess.run(
            [sys.executable, "-IS", "-c", source], env=environment, capture_output=True, text=True, timeout=30
        )
        return done.stderr if done.returncode else None

    environment = {**installation.environment, **own, "PYTHONPATH": str(ROOT)}
    assert check(environment) is None
    if own:
        assert check({**environment, **dict.fromkeys(own, "")}) == "unauthorized\n"


def test_status_shows_what_a_worker_has_done_that_asks_for_a_token(install: Install, vhost: Vhost) -> None:
    installation = install(
        worker={"http": {"token": TOKEN, "port": free_port()}},
        broker={"management_url": vhost.broker.management.url},
    )
    installation.worker()
    installation.caller().ask("note")

    def done() -> bool:
        shown = command(installation.environment, "broker", "status", "-o", "json")
        return [worker["done"] for worker in json.loads(shown.out)["workers"]] == [1]

    eventually(done, "the count of the worker")


def test_a_worker_that_drains_lives_and_is_not_ready(installation: Installation) -> None:
    worker, caller = installation.worker(), installation.caller()
    health, journal, gate = Health(worker), installation.journal(), installation.gate()
    held = caller.asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()

    worker.sigterm()
    eventually(lambda: not health.is_ready, "the end of readiness")
    assert health.get("/livez") == (200, "ok\n")

    gate.touch()
    assert held.result(20).result == 1
    assert worker.wait() == 0
    # What was asked for is no warning.
    assert not worker.lines("not ready")


def test_the_commands_of_the_operations_page_say_what_it_shows(installation: Installation, tmp_path: Path) -> None:
    worker = installation.worker()
    installation.caller().ask("task_a", {"seconds": 0})
    health = Health(worker)
    health.wait({("deliveries_total", "task_a", "done"): 1})

    assert unsaid(block_with(PAGE, "console", "/livez").replace("9870", str(health.port))) == []
    block = block_with(PAGE, "console", "--verbose")
    assert_printed(block, run_block(block, tmp_path, BROKER_URL=installation.vhost.url))


def test_a_dispatcher_says_what_it_sent_and_what_came_back(installation: Installation) -> None:
    installation.worker()
    caller, vhost = installation.caller(), installation.vhost
    journal, gate = installation.journal(), installation.gate()
    for _ in range(3):
        caller.ask("note")
    caller.submit("note")
    with vhost.channel() as channel:
        channel.queue_unbind("queue_b", "tasks", "task_b")
    with pytest.raises(UnknownTask):
        caller.ask("task_b")
    held = caller.asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()

    now = caller.dispatcher.metrics
    assert (now.published, now.confirmed, now.returned, now.nacked, now.lost) == (6, 5, 1, 0, 0)
    assert (now.replies, now.duplicates, now.strangers, now.in_flight, now.reconnects) == (3, 0, 0, 1, 0)

    vhost.broker.ctl("close_all_connections", "--vhost", vhost.name, "a test")
    eventually(lambda: caller.dispatcher.metrics.published == 7, "the same task again")
    gate.touch()
    assert held.result(20).result == 1
    now = caller.dispatcher.metrics
    assert (now.replies, now.in_flight, now.reconnects) == (4, 0, 1)

    # As the operations page says.
    names: dict[str, Any] = {"dispatcher": caller.dispatcher}
    exec(block_with(PAGE, "python", "dispatcher.metrics"), names)  # noqa: S102
    value = REGISTRY.get_sample_value
    assert value("glassrabbit_dispatcher_replies_total", {"kind": "answered"}) == 4
    assert value("glassrabbit_dispatcher_publishes_total", {"outcome": "returned"}) == 1
    assert value("glassrabbit_dispatcher_in_flight") == 0
    REGISTRY.unregister(names["collector"])
