"""Workers that are steered while they run: what an operator said holds for as long as it was meant to."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protocol.control import Pause, exchange_of, pack
from protocol.names import CONTROL_STREAM, new_id
from tests.integration.test_readme import assert_printed, run_block
from tests.support.commands import command
from tests.support.frames import Event
from tests.support.health import Health
from tests.support.hostile_users import PASSWORD, RIGHTS, UNSTEERED, Users
from tests.support.installation import Install, Installation
from tests.support.link import SILENT, Link
from tests.support.processes import cpu_s
from tests.support.proxy import Proxy
from tests.support.slowness import in_time
from tests.support.steering import CONTROL, SHORT, fill, kept, marker, say, steer
from tests.support.vhost import Vhost
from tests.support.waiting import eventually
from tests.support.workers import ROOT

PAGE = (ROOT / "docs" / "steering.md").read_text()
HTTP = {"http": {"enabled": True, "port": 0}}


def waits(installation: Installation, queue: str = "queue_a") -> int:
    return installation.vhost.ready(queue)


@pytest.mark.every_broker
def test_no_worker_takes_tasks_of_a_paused_queue_and_each_does_once_it_is_resumed(install: Install) -> None:
    installation = install(control=CONTROL, worker=HTTP)
    journal, caller = installation.journal(), installation.caller()
    first = installation.worker("queue_a", "queue_b")
    steer(installation, "pause", "queue_a")
    first.wait_for("queue_a is paused by ")
    second = installation.worker("queue_a", "queue_b")
    asked = [caller.asking("note", {"journal": str(journal)}) for _ in range(4)]
    assert caller.ask("note_b").failure is None
    assert [one.done() for one in asked] == [False] * 4
    assert (waits(installation), installation.vhost.consumers("queue_a")) == (4, 0)
    for worker in (first, second):
        assert Health(worker).get("/readyz") == (200, "ok\nqueue_a is paused\n")
    assert "queue_a, paused" in steer(installation, "status").out
    steer(installation, "resume", "queue_a")
    resumed_s = time.monotonic()
    assert [one.result(10).failure for one in asked] == [None] * 4
    assert in_time(time.monotonic() - resumed_s, 1.0)
    assert Health(first).get("/readyz") == (200, "ok\n")
    assert len(journal.ids) == 4


def test_what_a_worker_holds_and_has_not_begun_goes_back_when_its_queue_is_paused(install: Install) -> None:
    installation = install(control=CONTROL, worker={"concurrency": 1}, queues={"queue_a": {"prefetch": 5}})
    journal, gate, caller = installation.journal(), installation.gate(), installation.caller()
    worker = installation.worker()
    asked = [caller.asking("hold", {"gate": str(gate), "journal": str(journal)}, timeout_s=60) for _ in range(5)]
    journal.wait(1)
    steer(installation, "pause", "queue_a")
    eventually(lambda: waits(installation) == 4, "four tasks to wait again")
    gate.touch()
    assert asked[0].result(10).failure is None
    assert len(journal.ids) == 1
    steer(installation, "resume", "queue_a")
    assert [one.result(10).failure for one in asked] == [None] * 5
    assert sorted(set(journal.ids)) == sorted(journal.ids)
    assert worker.is_alive


@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(120)
def test_a_pause_and_its_end_hold_long_after_the_retention_has_passed(install: Install) -> None:
    installation = install(control=SHORT)
    worker = installation.worker()
    steer(installation, "pause", "queue_a")
    [(said_at, pause)] = [one for one in kept(installation.vhost) if isinstance(one[1], Pause)]

    def is_over(offset: int) -> bool:
        fill(installation.vhost, 8)
        return kept(installation.vhost)[0][0] > offset

    for _ in range(3):
        eventually(lambda: is_over(said_at), "the retention to pass", 40)  # noqa: B023
        said_at = max(at for at, record in kept(installation.vhost) if record.id == pause.id)
    late = installation.worker()
    late.wait_for("queue_a is paused by ")
    steer(installation, "resume", "queue_a")
    for one in (worker, late):
        one.wait_for("queue_a is resumed")
    end = kept(installation.vhost)[-2][0]
    eventually(lambda: is_over(end), "the retention to pass", 40)
    later = installation.worker()
    assert not later.lines("paused")
    assert installation.caller().ask("note").failure is None


@pytest.mark.every_broker(long=True)
def test_a_pause_that_was_written_again_behind_its_end_does_not_come_back(install: Install) -> None:
    installation = install(control=SHORT)
    worker = installation.worker()
    steer(installation, "pause", "queue_a")
    [pause] = [record for _, record in kept(installation.vhost) if isinstance(record, Pause)]
    steer(installation, "resume", "queue_a")
    worker.wait_for("queue_a is resumed")
    say(installation.vhost, pause)

    def kinds() -> list[str]:
        return [type(one).__name__ for _, one in kept(installation.vhost) if type(one).__name__ != "Marker"]

    eventually(lambda: kinds()[-2:] == ["Pause", "Resume"], "its end to be written again", 15)
    assert len(worker.lines("is paused")) == 1
    assert not installation.worker().lines("is paused")


@pytest.mark.every_broker(long=True)
@pytest.mark.own_broker
@pytest.mark.timeout(300)
def test_a_pause_outlives_the_broker_and_every_worker(install: Install) -> None:
    installation = install(control=CONTROL)
    worker = installation.worker()
    steer(installation, "pause", "queue_a")
    worker.wait_for("queue_a is paused by ")
    installation.vhost.broker.restart()
    # On 4.0.5 a stream may be down for a minute after its node was killed.
    worker.wait_for("control link up again", 150)
    worker.sigterm()
    assert worker.wait() == 0
    installation.worker().wait_for("queue_a is paused by ")
    asked = installation.caller().asking("note", timeout_s=60)
    eventually(lambda: waits(installation) == 1, "the task to wait")
    steer(installation, "resume", "queue_a")
    assert asked.result(20).failure is None


def test_a_worker_whose_control_connection_was_lost_goes_on_behind_what_it_has_read(install: Install) -> None:
    installation = install(control=CONTROL)
    vhost = installation.vhost
    with Proxy(vhost.broker.host, vhost.broker.port) as proxy:
        worker = installation.worker(BROKER_URL=f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}")
        assert proxy.reset(names="control") == 1
        steer(installation, "pause", "queue_a")
        worker.wait_for("queue_a is paused by ")
        fresh = [event for event in proxy.events("deliver") if event.exchange.startswith("control")]
        # Its first marker once; then the command's marker, its record, and its own second marker.
        assert len(fresh) == 4


@pytest.fixture
def users(install: Install) -> Iterator[Users]:
    installation = install(control=CONTROL, worker=HTTP)
    installation.declare()
    users, management = Users(installation), installation.vhost.broker.management
    for role in RIGHTS:
        rights = UNSTEERED if role == "worker" else RIGHTS[role]
        management.add_user(users.name(role), PASSWORD, installation.vhost.name, rights)
    yield users
    for role in RIGHTS:
        management.remove_user(users.name(role))


def test_a_worker_without_rights_to_the_stream_works_and_says_that_it_is_not_steered(users: Users) -> None:
    installation = users.installation
    worker = installation.worker(BROKER_URL=users.url("worker"))
    assert worker.lines("not steered: this user may not read tasks.control")
    status, text = Health(worker).get("/readyz")
    assert (status, text[:15]) == (200, "ok\nnot steered:")
    assert installation.caller().ask("note").failure is None


def test_a_worker_that_must_be_steered_takes_no_task_until_it_is(users: Users) -> None:
    installation = users.installation
    required = {"GLASSRABBIT__CONTROL__REQUIRED": "true", "BROKER_URL": users.url("worker")}
    worker = installation.worker(ready=False, **required)
    asked = installation.caller().asking("note", timeout_s=60)
    worker.wait_for("may not read tasks.control")
    began_s = time.monotonic()
    eventually(lambda: time.monotonic() - began_s > 6, "more time than it would wait otherwise")
    assert not asked.done()
    management = installation.vhost.broker.management
    may = {**RIGHTS["worker"], "read": ".*", "write": ".*"}
    management.add_user(users.name("worker"), PASSWORD, installation.vhost.name, may)
    assert asked.result(30).failure is None


@pytest.mark.timeout(90)
def test_a_stream_that_is_silent_stops_nobody(install: Install) -> None:
    installation = install(control=CONTROL)
    vhost = installation.vhost

    def hold_it(event: Event, link: Link) -> None:
        if event.kind == "consume" and event.queue == CONTROL_STREAM:
            link.to_client.become(SILENT)

    with Proxy(vhost.broker.host, vhost.broker.port) as proxy:
        proxy.on_event = hold_it
        worker = installation.worker(BROKER_URL=f"amqp://guest:guest@127.0.0.1:{proxy.port}/{vhost.name}")
        assert in_time(worker.ready_after_s, 9)
        assert worker.lines("taking tasks without")
        assert installation.caller().ask("note").failure is None


@pytest.mark.long
@pytest.mark.every_broker
@pytest.mark.needs("/proc")
@pytest.mark.timeout(240)
def test_to_read_fifty_thousand_records_costs_a_start_less_than_a_second_and_a_long_stream_is_not_silent(
    install: Install,
) -> None:
    """A second of a processor: how long that takes depends on what else runs there."""
    installation = install(control=CONTROL)
    before_s = cpu_s(installation.worker().pid)
    with installation.vhost.channel() as channel:
        for _ in range(50_000):
            mark = marker()
            channel.basic_publish(exchange_of(mark), CONTROL_STREAM, pack(mark))
    steer(installation, "pause", "queue_b")
    late = [installation.worker("queue_a", "queue_b") for _ in range(2)]
    assert min(cpu_s(one.pid) for one in late) - before_s < 1.0
    for worker in late:
        worker.wait_for("queue_b is paused by ")
        assert not worker.lines("taking tasks without")


def test_who_may_not_write_control_steers_nobody(install: Install, users: Users) -> None:
    """A worker's user may write markers, and through the default exchange any queue: the stream, too."""
    installation = users.installation
    vhost, worker = installation.vhost, installation.worker()
    now_ms = time.time_ns() // 1_000_000
    pause = Pause(id=new_id(), by="a stranger", at=now_ms, written=now_ms, queue="queue_a")
    for exchange in ("control.markers", ""):
        say(vhost, pause, exchange, headers={"x-exchange": "control", "x-routing-key": "control"})
    worker.wait_for("a pause must not come by exchange control.markers")
    worker.wait_for("a pause must not come by exchange amq.default")
    refused = command(users.environment("worker"), "broker", "pause", "queue_a")
    assert (refused.code, "may not" in refused.err) == (69, True)
    assert installation.caller().ask("note").failure is None
    assert not worker.lines("is paused")


def test_pausing_says_that_nobody_is_there_to_remember_it(install: Install) -> None:
    installation = install(control=CONTROL)
    installation.declare()
    assert "holds for 172,800 s" in steer(installation, "pause", "queue_a").err
    worker = installation.worker("queue_a", "queue_b")
    worker.wait_for("queue_a is paused by ")
    again = steer(installation, "pause", "queue_a")
    assert not again.err


def test_without_a_control_stream_nobody_is_told_that_it_worked(install: Install) -> None:
    ended = command(install().environment, "broker", "pause", "queue_a")
    assert (ended.code, "control.enabled is false" in ended.err) == (78, True)
    ended = command(install(control=CONTROL).environment, "broker", "pause", "queue_a")
    assert (ended.code, "tasks.control does not exist" in ended.err) == (4, True)


def test_the_page_does_what_it_says(vhost: Vhost, tmp_path: Path) -> None:
    block = "".join(re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    assert_printed(block, run_block(block, tmp_path, BROKER_URL=vhost.url))


def test_the_doctor_knows_who_is_not_steered_and_what_is_paused(install: Install) -> None:
    installation = install(control=CONTROL)
    api = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": installation.vhost.broker.management.url}
    installation.declare()
    installation.worker("queue_a", "queue_b", GLASSRABBIT__CONTROL__ENABLED="false")
    steer(installation, "pause", "queue_b")

    def said() -> str:
        return command({**installation.environment, **api}, "broker", "doctor").out

    eventually(lambda: "not steered: " in said(), "the doctor to miss a worker", 40)
    assert "queue_b is paused by" in said()
