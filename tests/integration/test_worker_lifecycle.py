"""A worker from its start on: it is ready soon, says what keeps it from it, and is never left not consuming."""

from __future__ import annotations

import pika.exceptions
import pytest

from tests.support.installation import Install, Installation
from tests.support.slowness import in_time
from tests.support.vhost import Vhost, body, task
from tests.support.waiting import eventually

#: From the start of a worker until it consumes.
START_S = 1.0


@pytest.mark.alone
@pytest.mark.every_broker(long=True)
def test_a_worker_consumes_within_a_second_of_its_start(installation: Installation) -> None:
    """The best of three starts: what else the machine does can only make one slower."""
    installation.declare()
    starts_s: list[float] = []
    for _ in range(3):
        starts_s.append(installation.worker("queue_a", "queue_b").ready_after_s)
        if starts_s[-1] < START_S:
            break
    print("ready after", ", ".join(f"{start_s:.2f} s" for start_s in starts_s))
    assert in_time(min(starts_s), START_S)
    consumers = [installation.vhost.consumers(queue) for queue in ("queue_a", "queue_b")]
    assert consumers == [len(starts_s)] * 2


def test_a_dispatcher_that_comes_while_the_first_worker_declares_finds_every_task(
    installation: Installation,
) -> None:
    installation.worker(ready=False)
    eventually(lambda: _has_exchange(installation.vhost, "tasks"), "the first sign of the topology")
    assert installation.caller().ask("note").result == 1


def test_a_worker_runs_only_what_is_routed_to_its_queues(installation: Installation) -> None:
    worker_a, worker_b = installation.worker("queue_a"), installation.worker("queue_b")
    caller = installation.caller()
    asked = {name: [caller.asking(name) for _ in range(5)] for name in ("note", "note_b")}
    ran_on = {
        name: {asking.result(10).run.worker.rpartition(":")[2] for asking in askings}
        for name, askings in asked.items()
    }
    assert ran_on == {"note": {str(worker_a.pid)}, "note_b": {str(worker_b.pid)}}


def test_a_queue_that_the_configuration_does_not_know_is_refused(installation: Installation) -> None:
    worker = installation.worker("queue_c", ready=False)
    assert worker.wait() == 78
    assert worker.lines("'queue_c' is not in the configuration; it has queue_a, queue_b")


def test_a_handler_that_cannot_be_imported_is_refused_by_its_name(install: Install) -> None:
    installation = install(
        tasks={"broken": {"queue": "queue_a", "handler": "no_such_module:function"}},
    )
    worker = installation.worker(ready=False)
    assert worker.wait(20) == 78
    assert worker.lines("handler 'no_such_module:function' cannot be loaded")


def test_a_handler_whose_import_does_not_end_is_refused_and_the_setting_is_named(install: Install) -> None:
    installation = install(
        tasks={"endless": {"queue": "queue_a", "handler": "endless:function"}}, worker={"import_timeout_s": 2}
    )
    (installation.folder / "endless.py").write_text("import threading\n\nthreading.Event().wait()\n")
    worker = installation.worker(ready=False)
    assert worker.wait(30) == 78
    assert worker.lines("were not imported within 2 s. Import less there, or raise worker.import_timeout_s")


def test_a_task_of_another_queue_need_not_be_importable(install: Install) -> None:
    installation = install(
        tasks={"broken": {"queue": "queue_b", "handler": "no_such_module:function"}},
    )
    installation.worker("queue_a")
    assert installation.caller().ask("note").result == 1


@pytest.mark.every_broker(long=True)
def test_a_worker_whose_queue_was_deleted_declares_it_and_consumes_again(installation: Installation) -> None:
    worker, vhost = installation.worker(), installation.vhost
    with vhost.channel() as channel:
        channel.queue_delete("queue_a")
    worker.wait_for("link up again")
    assert vhost.consumers("queue_a") == 1
    assert installation.caller().ask("note").result == 1


@pytest.mark.own_broker
def test_under_a_memory_alarm_acks_go_on_and_replies_wait_and_nothing_is_lost(install: Install) -> None:
    installation = install(
        worker={"concurrency": 2}, queues={"queue_a": {"prefetch": 2}}, broker={"heartbeat_s": 4}
    )
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal, gate = installation.journal(), installation.gate()
    arguments = {"gate": str(gate), "journal": str(journal)}
    answered = caller.asking("hold", arguments)
    journal.wait()
    for _ in range(5):
        vhost.publish("tasks", "hold", body(**arguments), task("hold"))
    watermark = vhost.broker.ctl("eval", "vm_memory_monitor:get_vm_memory_high_watermark().").strip()
    vhost.broker.ctl("set_vm_memory_high_watermark", "0.000001")
    try:
        gate.touch()
        worker.wait_for("link blocked")
        # The reply that waits keeps one of two prefetched deliveries: the others pass by ack after ack.
        journal.wait(6)
        assert not answered.done()
    finally:
        vhost.broker.ctl("set_vm_memory_high_watermark", watermark)
    assert answered.result(10).result == 1
    worker.sigterm()
    assert worker.wait() == 0
    assert (vhost.ready("queue_a"), len(journal.entries)) == (0, 6)
    assert not worker.lines("link down")


@pytest.mark.own_broker
def test_a_task_that_was_done_while_the_broker_was_away_is_answered_and_not_run_again(
    installation: Installation,
) -> None:
    worker, caller, vhost = installation.worker(), installation.caller(), installation.vhost
    journal, gate = installation.journal(), installation.gate()
    asking = caller.asking("hold", {"gate": str(gate), "journal": str(journal)})
    journal.wait()
    vhost.broker.kill()
    worker.wait_for("link down", count=2)
    gate.touch()
    vhost.broker.restart()
    worker.wait_for("link up again", count=2)
    assert asking.result(20).result == 1
    eventually(lambda: vhost.ready("queue_a") == 0, "the end of the redelivery")
    assert len(journal.entries) == 1


@pytest.mark.own_broker
def test_a_worker_waits_for_a_broker_that_is_not_there_yet(installation: Installation) -> None:
    broker = installation.vhost.broker
    broker.kill()
    worker = installation.worker(ready=False)
    worker.wait_for("link down", count=2)
    broker.restart()
    worker.wait_ready()
    assert installation.caller().ask("note").result == 1


def _has_exchange(vhost: Vhost, name: str) -> bool:
    try:
        with vhost.channel() as channel:
            channel.exchange_declare(name, passive=True)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    return True
