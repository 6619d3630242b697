"""A status from what a broker lists: counts, rates, workers, and how they are shown."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from rich.console import Console

from broker.config.settings import Settings
from broker.status.counts import Counts, counts_of, with_counts
from broker.status.summary import Listing, Status, queue_names, status_of
from broker.status.text import bar, duration, to_json, to_tables
from protocol.names import OBITUARIES, delay_level

NOW_S = 1_800_000_000.0
SETTINGS = Settings.model_validate(
    {"queues": {"queue_a": {}, "queue_b": {"prefetch": 7}}, "tasks": {}, "mailboxes": ["results"]}
)
EVIL = "x\x1b[2J\r\n\x9b31m\u202ey"


def connection(name: str, role: str, concurrency: object = 2, **further: Any) -> dict[str, Any]:
    own = {
        "connection_name": f"{name} {role}",
        "platform": "Python 3.13",
        "started": int(NOW_S - 60),
        "concurrency": concurrency,
    }
    return {
        "name": f"{name} {role} -> broker",
        "client_properties": own,
        # A connection may be younger than its process.
        "connected_at": int((NOW_S - 5) * 1000),
        "user": "worker",
        "state": "running",
        **further,
    }


def consumer(name: str, queue: str, prefetch: int) -> dict[str, Any]:
    on = {"connection_name": f"{name} consume -> broker"}
    return {"queue": {"name": queue}, "prefetch_count": prefetch, "channel_details": on}


def channel(name: str, unacked: int) -> dict[str, Any]:
    return {"connection_details": {"name": f"{name} consume -> broker"}, "messages_unacknowledged": unacked}


def listing(
    counts: Sequence[Mapping[str, Any]] = (),
    consumers: Sequence[Mapping[str, Any]] = (),
    connections: Sequence[Mapping[str, Any]] = (),
    channels: Sequence[Mapping[str, Any]] = (),
) -> Listing:
    return Listing(counts=counts, consumers=consumers, connections=connections, channels=channels)


def look(listed: Listing | None = None, ready: Mapping[str, int] | None = None) -> Status:
    """A status with so many ready messages in some queues, and none in the others."""
    inspected = {name: ((ready or {}).get(name, 0), 0) for name in queue_names(SETTINGS)}
    return status_of(SETTINGS, inspected, listed, NOW_S)


def test_what_amqp_does_not_say_is_unknown_and_not_nothing() -> None:
    status = look(ready={"queue_a": 3})
    assert (status.work[0].ready, status.work[0].unacked, status.work[0].in_rate) == (3, None, None)
    assert (status.workers, status.staleness_s) == (None, None)


def test_a_queue_that_is_not_seen_is_unknown_and_named() -> None:
    status = status_of(SETTINGS, {"queue_a": (0, 0)}, None, NOW_S, ["before"])
    assert status.work[1].ready is None
    before, note = status.notes
    assert before == "before"
    assert note.startswith("queue_b, mailbox.results, queue_a.dead, queue_b.dead and 22 more: missing")


@pytest.mark.parametrize(
    ("waiting", "within_s"),
    [({}, None), ({0: 1}, 0.1), ({3: 2, 9: 1}, 1.5), ({9: 5}, 102.3)],
)
def test_the_next_delayed_task_is_due_within_twice_its_level(
    waiting: dict[int, int], within_s: float | None
) -> None:
    status = look(ready={delay_level(level): count for level, count in waiting.items()})
    assert (status.next_due_s, status.delayed) == (within_s, sum(waiting.values()))


@pytest.mark.parametrize(
    ("acked", "growth", "rates"),
    [(2.0, 3.0, (5.0, 2.0)), (2.0, -3.0, (0.0, 2.0)), (None, 1.5, (1.5, 0.0)), (None, None, (None, None))],
)
def test_what_comes_in_is_what_was_acked_and_how_much_the_queue_grew(
    acked: float | None, growth: float | None, rates: tuple[float | None, float | None]
) -> None:
    counts: dict[str, Any] = {"name": "queue_a", "messages_unacknowledged": 4}
    if acked is not None:
        counts["message_stats"] = {"ack_details": {"rate": acked}}
    if growth is not None:
        counts["messages_details"] = {"rate": growth}
    queue = look(listing([counts])).work[0]
    assert (queue.in_rate, queue.out_rate, queue.unacked) == (*rates, 4)


def test_a_worker_is_a_pair_of_connections_and_its_consumers() -> None:
    name = "worker-host-1.example-42"
    status = look(
        listing(
            consumers=[consumer(name, "queue_a", 400), consumer(name, OBITUARIES, 20)],
            connections=[connection(name, "publish"), connection(name, "consume"), connection("else", "consume")],
            channels=[channel(name, 3)],
        )
    )
    assert status.workers is not None
    [worker] = status.workers
    assert (worker.host, worker.pid, worker.queues) == ("host-1.example", 42, ("queue_a",))
    assert (worker.concurrency, worker.prefetch, worker.unacked) == (2, 400, 3)
    assert (worker.up_s, worker.user, worker.platform, worker.state) == (60, "worker", "Python 3.13", "running")


def test_a_worker_of_which_one_connection_is_missing_or_blocked_says_so() -> None:
    half, blocked = "worker-a-1", "worker-b-2"
    status = look(
        listing(
            connections=[
                connection(half, "publish"),
                connection(blocked, "consume"),
                connection(blocked, "publish", state="blocked"),
            ]
        )
    )
    assert status.workers is not None
    assert [(worker.pid, worker.state) for worker in status.workers] == [(1, "half"), (2, "blocked")]


def test_workers_that_the_api_does_not_show_are_counted_by_their_consumers() -> None:
    inspected = {OBITUARIES: (0, 3)}
    text = io.StringIO()
    status = status_of(SETTINGS, inspected, listing(), NOW_S)
    Console(file=text, width=1000).print(to_tables(status, delays=False))
    assert "workers: 3, of which the management API shows none (yet)" in text.getvalue()


@pytest.mark.parametrize("said", [None, "2", True])
def test_concurrency_is_not_guessed_where_a_worker_does_not_say_it(said: object) -> None:
    name = "worker-a-1"
    pair = [connection(name, "publish", said), connection(name, "consume", said)]
    status = look(listing(consumers=[consumer(name, "queue_b", 7)], connections=pair))
    assert status.workers is not None
    assert (status.workers[0].concurrency, status.workers[0].prefetch) == (None, 7)


@pytest.mark.parametrize("listed", [{}, {"client_properties": []}, {"client_properties": {"connection_name": 7}}])
def test_connections_that_say_nothing_are_no_workers(listed: dict[str, Any]) -> None:
    assert look(listing(connections=[listed], consumers=[{}], channels=[{}])).workers == ()


def test_names_of_strangers_are_escaped_for_eyes_and_for_programs() -> None:
    name = f"worker-{EVIL}-1"
    status = look(
        listing(
            consumers=[consumer(name, EVIL, 4)],
            connections=[connection(name, role, user=EVIL, state=EVIL) for role in ("publish", "consume")],
        )
    )
    text = io.StringIO()
    Console(file=text, width=1000).print(to_tables(status, delays=True))
    for shown in (text.getvalue(), to_json(status)):
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert "\\x1b[2J" in shown or "\\u001b[2J" in shown


def test_json_has_every_queue_once_and_null_for_what_is_not_known() -> None:
    values = json.loads(to_json(look(ready={delay_level(3): 2})))
    assert [queue["name"] for queue in values["queues"]] == ["queue_a", "queue_b"]
    assert values["queues"][0]["unacked"] is None
    assert values["delay_line"]["waiting"] == 2
    assert len(values["delay_line"]["levels"]) == 20
    assert [box["name"] for box in values["mailboxes"]] == ["mailbox.results"]
    assert [queue["name"] for queue in values["dead"]] == ["queue_a.dead", "queue_b.dead", "tasks.lost"]


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 10, ""), (10, 10, "█" * 20), (5, 10, "█" * 10), (1, 100_000, "▏"), (7, 0, ""), (30, 10, "█" * 20)],
)
def test_a_bar_is_as_long_as_its_part(part: int, whole: int, shown: str) -> None:
    assert bar(part, whole) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "–"), (0.04, "0.0 s"), (59.94, "59.9 s"), (90, "1 m 30 s"), (7260, "2 h 1 m"), (200_000, "2 d 7 h")],
)
def test_a_time_is_shown_in_its_two_greatest_units(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


PAGE = """\
# HELP glassrabbit_worker_info Always 1.
glassrabbit_worker_info{queues="queue_a",worker="host-1.example:42"} 1.0
glassrabbit_worker_deliveries_total{outcome="done",task="a"} 1.234567e+06
glassrabbit_worker_deliveries_total{outcome="done",task="b"} 3.0
glassrabbit_worker_deliveries_total{outcome="retried",task="b"} 2.0
glassrabbit_worker_deliveries_total{outcome="failed",task="b"} 1.0
glassrabbit_worker_deliveries_total{outcome="refused",task="unknown"} 4.0
glassrabbit_worker_deliveries_total{outcome="joined",task="b"} 9.0
"""


def test_what_a_worker_has_done_is_read_from_its_page() -> None:
    assert counts_of(PAGE) == (("host-1.example", 42), Counts(done=1234570, retried=2, failed=5))


@pytest.mark.parametrize("page", ["", "404 not found", PAGE.replace("_info", "_other"), PAGE.replace(":42", ":x")])
def test_what_is_no_page_of_a_worker_says_nothing(page: str) -> None:
    assert counts_of(page) is None


def test_what_a_worker_elsewhere_has_done_is_unknown() -> None:
    names = ("worker-host-1.example-42", "worker-host-2.example-42")
    pairs = [connection(name, role) for name in names for role in ("publish", "consume")]
    status = look(listing(connections=pairs))
    assert status.workers is not None
    found = with_counts(status.workers, {("host-1.example", 42): Counts(done=7)})
    assert [(worker.done, worker.retried, worker.failed) for worker in found] == [(7, 0, 0), (None, None, None)]
