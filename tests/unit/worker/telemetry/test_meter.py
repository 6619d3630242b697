"""What a worker counts: bounded whatever a message says, and written as Prometheus reads it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from broker.amqp.traffic import Traffic
from broker.metrics import BOUNDS_S, Histogram, page
from protocol.errors import ErrorCode
from protocol.names import new_id
from protocol.task import Task
from worker.telemetry.meter import FATES, Meter
from worker.telemetry.snapshot import Snapshot, families


def shown(meter: Meter, traffic: Traffic | None = None) -> dict[tuple[Any, ...], float]:
    """The page of a worker with these counts: name and values of its labels, the task first → value."""
    snapshot = Snapshot(
        identity="host:1",
        prefetch={"queue_a": 4, "queue_b": 2},
        is_ready=True,
        busy=1,
        concurrency=2,
        unacked=3,
        refused=0,
        obituaries=5,
        child_restarts=6,
        reconnects={"consume": 1, "publish": 2},
        traffic=traffic or Traffic(),
        blocked_s=1.5,
        metered=list(meter.families()),
    )
    _, text = page(families(snapshot))
    return {
        (sample.name.removeprefix("glassrabbit_worker_"), *in_order(sample.labels)): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def in_order(labels: dict[str, str]) -> list[str]:
    return [labels[name] for name in sorted(labels, key=lambda name: (name != "task", name))]


def task(name: str = "one", **further: Any) -> Task:
    return Task(id=new_id(), name=name, body=b"", **further)


def test_every_fate_of_every_task_is_there_before_it_first_happens() -> None:
    page = shown(Meter(["one", "two"]))

    deliveries = {key[1:]: value for key, value in page.items() if key[0] == "deliveries_total"}
    assert deliveries == {(name, fate): 0 for name in ("one", "two", "unknown") for fate in FATES}


def test_what_ended_is_counted_by_task_and_fate_and_dead_letters_by_reason() -> None:
    meter = Meter(["one", "two"])
    meter.ended("one", "done")
    meter.ended("one", "done")
    meter.ended("two", "failed", ErrorCode.TIMED_OUT)
    meter.ended("two", "retried")

    page = shown(meter)

    assert page["deliveries_total", "one", "done"] == 2
    assert page["deliveries_total", "two", "failed"] == 1
    assert page["deliveries_total", "two", "retried"] == 1
    assert page["dead_letters_total", "two", "timed_out"] == 1


def test_a_hundred_thousand_names_of_strangers_are_one_label() -> None:
    meter = Meter(["one"])
    before = len(shown(meter))
    for number in range(100_000):
        meter.ended(f"stranger.{number}", "refused", ErrorCode.UNKNOWN_TASK)
    for name in (None, b"\xff", 7, "a" * 1000):
        meter.ended(name, "refused", ErrorCode.BAD_PROPERTIES)

    page = shown(meter)

    assert page["deliveries_total", "unknown", "refused"] == 100_004
    assert len(page) == before + 2


def test_run_times_fall_into_buckets_that_include_their_bounds() -> None:
    meter = Meter(["one"])
    for ran_s in (0.005, 0.0051, 1.0, 4000.0):
        meter.ran(task(), "host:1", 0.0, [ran_s], 1.0)

    page = shown(meter)

    buckets = [page["run_seconds_bucket", "one", str(bound)] for bound in (0.005, 0.01, 1.0, BOUNDS_S[-1], "+Inf")]
    assert buckets == [1, 2, 3, 3, 4]
    assert page["run_seconds_count", "one"] == 4
    assert page["run_seconds_sum", "one"] == 4001.0101


def test_queue_time_is_that_of_first_attempts_which_say_when_they_were_sent() -> None:
    meter = Meter(["one"])
    for one, now_s in (
        (task(sent_at=1000), 1.85),
        (task(sent_at=9000), 1.85),  # sent by a clock that is ahead
        (task(), 1.85),
        (task(sent_at=1000, attempt=2), 90.0),
    ):
        meter.ran(one, "host:1", 0.0, [0.1], now_s)

    page = shown(meter)

    assert page["queue_seconds_count", "one"] == 2
    assert page["queue_seconds_sum", "one"] == pytest.approx(0.75)
    assert page["run_seconds_count", "one"] == 4


def test_the_page_has_the_worker_itself() -> None:
    page = shown(Meter([]), Traffic(published=9, confirmed=4, returned=1, nacked=2, lost=1))

    assert page["info", "queue_a,queue_b", "host:1"] == 1
    assert {name: page[name,] for name in ("ready", "busy", "concurrency", "unacked", "refused")} == {
        "ready": 1, "busy": 1, "concurrency": 2, "unacked": 3, "refused": 0,
    }  # fmt: skip
    assert (page["prefetch", "queue_a"], page["prefetch", "queue_b"]) == (4, 2)
    assert (page["obituaries_total",], page["child_restarts_total",]) == (5, 6)
    assert (page["reconnects_total", "consume"], page["reconnects_total", "publish"]) == (1, 2)
    assert page["published_total",] == 9
    assert {fate: page["publishes_total", fate] for fate in ("confirmed", "returned", "nacked", "lost")} == {
        "confirmed": 4, "returned": 1, "nacked": 2, "lost": 1,
    }  # fmt: skip
    assert page["blocked_seconds_total",] == 1.5


def test_a_page_does_not_change_with_what_is_counted_after_it() -> None:
    meter = Meter(["one"])
    before = list(meter.families())
    meter.ended("one", "done")
    meter.ran(task(), "host:1", 0.0, [1.0], 1.0)

    assert all(
        value == 0 or (isinstance(value, Histogram) and value.sum_s == 0)
        for family in before
        for _, value in family.samples
    )


def test_blocked_time_goes_on_until_it_is_over() -> None:
    traffic = Traffic()
    for blocked, now_s in ((False, 5.0), (True, 10.0), (True, 11.0), (False, 13.0), (False, 14.0), (True, 20.0)):
        traffic.note_blocked(blocked, now_s)

    assert (traffic.blocked_s(20.0), traffic.blocked_s(22.5)) == (3.0, 5.5)


@given(st.lists(st.floats(0, 4000), min_size=1, max_size=30))
def test_many_durations_at_once_are_counted_as_each_by_itself(durations: list[float]) -> None:
    one_by_one, at_once = Histogram(), Histogram()
    for one in durations:
        one_by_one.observe(one)
    at_once.observe_all(durations)
    assert at_once.counts == one_by_one.counts
    assert at_once.sum_s == pytest.approx(one_by_one.sum_s)
