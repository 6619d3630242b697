"""The doctor's verdicts from facts: when a check fails, what it says, and which failure that is."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from broker.commands.doctor import examine
from broker.config.settings import Settings
from broker.doctor.check_access import DEFAULT_EXCHANGE, check_permissions, check_reachable
from broker.doctor.check_broker import (
    check_alarms,
    check_clocks,
    check_crash,
    check_headroom,
    check_lost_nodes,
    check_management,
    check_version,
    skew,
)
from broker.doctor.check_limits import (
    check_consumer_timeout,
    check_delivery_limit,
    check_heartbeat,
    check_message_size,
    check_prefetch,
)
from broker.doctor.check_tasks import (
    check_dead_lettering,
    check_delay_line,
    check_probe,
    check_results,
    check_topology,
    check_workers,
)
from broker.doctor.text import to_json, to_text
from broker.doctor.verdict import Api, Facts, Point, Probe, Reached, Rights, State, Verdict, diagnosis, exit_code
from broker.management import Clock
from protocol.names import DEAD, OBITUARIES, REPLIES, TASKS
from tests.support.pages import section

GIB = 1024**3
NODE = {
    "name": "rabbit@a",
    "mem_used": GIB,
    "mem_limit": 8 * GIB,
    "disk_free": 100 * GIB,
    "disk_free_limit": 50_000_000,
}
NOW_S = 1_800_000_000
EVIL = "x\x1b[2J\r\nforged\u202e"


def settings(**tree: Any) -> Settings:
    return Settings.model_validate(tree)


def api(**further: Any) -> Api:
    values: dict[str, Any] = {
        "user": "guest",
        "tags": frozenset({"monitoring"}),
        "overview": {},
        "nodes": [NODE],
        "clock": Clock(before_s=NOW_S, theirs_s=NOW_S, after_s=NOW_S),
    }
    lists = ("feature_flags", "counts", "exchanges", "queues", "bindings", "policies", "consumers", "connections")
    return Api(**{**dict.fromkeys(lists, ()), **values, **further})


def facts(**further: Any) -> Facts:
    reached = [Reached(where="amqp://a/", version="4.0.5")]
    return Facts(**{"settings": settings(), "reached": reached, "api": api(), "differences": [], **further})


def verdict(point: Point, state: State) -> Verdict:
    return Verdict(check="it", point=point, state=state, measured="", why="")


def test_what_this_is_is_the_first_point_that_fails() -> None:
    failed = [verdict(point, State.FAILED) for point in (Point.RESULTS, Point.TASKS, Point.WORKER)]
    assert diagnosis([verdict(Point.BROKER, State.UNKNOWN), *failed]) is Point.WORKER
    assert diagnosis([verdict(point, State.OK) for point in Point]) is None


def test_a_broker_that_refuses_us_is_there_and_one_that_is_silent_is_not() -> None:
    silent = facts(reached=[Reached(where="a", problem="no answer")])
    refusing = facts(reached=[Reached(where="a", problem="no", refused=True)])
    for given, code in ((silent, 69), (refusing, 1)):
        assert exit_code(examine(given), given) == code


def test_one_silent_node_of_several_is_worth_knowing() -> None:
    two = [Reached(where="amqp://a/", took_ms=3), Reached(where="amqp://b/", problem="b is silent.")]
    found = check_reachable(facts(reached=two))
    assert (found.state, found.fix) == (State.UNKNOWN, "b is silent.")
    assert found.measured == "amqp://a/ in 3 ms; 1 of 2 endpoints do not answer"


def test_a_doctor_that_knows_nothing_says_so_and_every_verdict_that_is_not_ok_names_a_way() -> None:
    nothing = Facts(settings=settings(), reached=[Reached(where="a", problem="Start it.")], api_problem="No API.")
    for found in examine(nothing):
        assert found.why
        # A check that could not be made is not ticked.
        assert found.state is not State.OK
        assert found.fix


DISPATCHER = {TASKS: True, "tasks.delay.19": True, DEAD: False, REPLIES: False, DEFAULT_EXCHANGE: False}
WORKER = {TASKS: False, "tasks.delay.19": True, DEAD: True, REPLIES: True, DEFAULT_EXCHANGE: True}
READS = {"queue_a": True, "queue_b": False, OBITUARIES: True}


@pytest.mark.parametrize(
    ("write", "read", "lacks"),
    [
        (DISPATCHER, dict.fromkeys(READS, False), None),
        (WORKER, READS, None),
        (DISPATCHER | {"tasks.delay.19": False}, {}, "may not write tasks.delay.19"),
        (WORKER | {DEAD: False}, READS, "may not write tasks.dead"),
        (WORKER | {DEFAULT_EXCHANGE: False}, READS, f"may not write {DEFAULT_EXCHANGE}"),
        (WORKER, READS | {OBITUARIES: False}, "may not read tasks.obituaries"),
        (WORKER, dict.fromkeys(READS, None), None),
        (
            dict.fromkeys(WORKER, False),
            dict.fromkeys(READS, False),
            "may not write tasks (as a dispatcher); may not",
        ),
    ],
)
def test_a_login_needs_all_the_rights_of_what_it_does(
    write: dict[str, bool], read: dict[str, bool | None], lacks: str | None
) -> None:
    found = check_permissions(facts(rights=Rights(write=write, read=read)))
    if lacks is None:
        assert found.state is State.OK
    else:
        assert found.state is State.FAILED
        assert found.measured.startswith(lacks)
        assert "rabbitmqctl set_permissions -p / guest" in found.fix


def test_without_direct_replies_the_default_exchange_is_not_needed() -> None:
    rights = Rights(write=WORKER | {DEFAULT_EXCHANGE: False}, read=READS)
    assert check_permissions(facts(settings=settings(replies="mailbox"), rights=rights)).state is State.OK


@pytest.mark.parametrize(
    ("version", "flags", "state"),
    [
        ("4.3.6", [], State.OK),
        ("3.9.29", [], State.FAILED),
        ("3.10.8", [{"name": "stream_queue", "state": "disabled", "stability": "stable"}], State.UNKNOWN),
        ("3.10.8", [{"name": "quorum_queue", "state": "disabled", "stability": "stable"}], State.FAILED),
        ("4.0.5", [{"name": "khepri_db", "state": "disabled", "stability": "experimental"}], State.OK),
        ("unknown", [], State.UNKNOWN),
    ],
)
def test_the_version_and_what_is_switched_off(version: str, flags: list[dict[str, str]], state: State) -> None:
    reached = [Reached(where="a", version=version)]
    assert check_version(facts(reached=reached, api=api(feature_flags=flags))).state is state


def test_an_api_without_numbers_or_for_a_user_without_tag_is_worth_knowing() -> None:
    assert check_management(facts()).state is State.OK
    for less in (api(overview={"disable_stats": True}), api(tags=frozenset({"management"}))):
        assert check_management(facts(api=less)).state is State.UNKNOWN


def test_an_alarm_is_seen_by_the_api_and_by_a_publish_that_waits() -> None:
    assert check_alarms(facts()).state is State.OK
    assert (
        "disk alarm on rabbit@a" in check_alarms(facts(api=api(nodes=[NODE | {"disk_free_alarm": True}]))).measured
    )
    assert check_alarms(facts(api=None, blocked=True)).state is State.FAILED
    assert check_alarms(facts(api=None)).state is State.UNKNOWN


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, State.OK),
        ({"mem_used": 7 * GIB}, State.FAILED),
        ({"disk_free": 400 * 1024**2}, State.FAILED),
        ({"disk_free_limit": 60 * GIB}, State.FAILED),
    ],
)
def test_memory_and_disk_need_room(change: dict[str, int], state: State) -> None:
    assert check_headroom(facts(api=api(nodes=[NODE | change]))).state is state


@pytest.mark.parametrize(
    ("before_s", "after_s", "ahead_s"),
    [(0, 0, 0), (0.9, 1.2, 0), (1.5, 1.6, 0.5), (-3, -2.5, -2.5), (-0.5, 0.1, 0), (61, 62, 60)],
)
def test_clocks_that_give_whole_seconds_differ_by_no_more_than_is_sure(
    before_s: float, after_s: float, ahead_s: float
) -> None:
    clock = Clock(before_s=NOW_S + before_s, theirs_s=NOW_S, after_s=NOW_S + after_s)
    assert skew(clock) == pytest.approx(ahead_s)
    state = State.FAILED if abs(ahead_s) > 2 else State.OK
    assert check_clocks(facts(api=api(clock=clock))).state is state


@pytest.mark.parametrize(
    ("difference", "check"),
    [
        ("binding tasks.due → queue_a (*.task_a): missing on the broker", check_delay_line),
        ("exchange tasks.delay.07: missing on the broker", check_delay_line),
        ("queue queue_a: policy max-length is 10, should be not set", check_delay_line),
        ("queue queue_a: x-max-length is 10, should be not set", check_delay_line),
        ("queue mailbox.results: missing on the broker", check_results),
        ("binding tasks.killed → tasks.obituaries (queue_a): missing on the broker", check_results),
        ("queue tasks.obituaries: x-max-length is 5, should be 100000", check_results),
        ("queue queue_a: x-delivery-limit is 5, should be 50", check_topology),
        ("binding tasks → queue_a (task_a): on the broker, not in the configuration", check_topology),
    ],
)
def test_a_difference_is_reported_by_the_check_that_it_harms_and_by_no_other(difference: str, check: Any) -> None:
    found = [one(facts(differences=[difference])) for one in (check_topology, check_delay_line, check_results)]
    [failed] = [one for one in found if one.state is State.FAILED]
    assert failed == check(facts(differences=[difference]))
    assert failed.measured == difference


def test_of_many_differences_some_are_named() -> None:
    many = [f"queue q{number}: missing on the broker" for number in range(9)]
    assert check_topology(facts(differences=many)).measured.endswith(
        "; queue q2: missing on the broker and 6 more"
    )


def worker_connection(age_s: float, **further: Any) -> dict[str, Any]:
    own = {"connection_name": "worker-a-1 publish", "product": "glassrabbit"}
    return {"client_properties": own, "connected_at": int((NOW_S - age_s) * 1000), "timeout": 30, **further}


def test_a_worker_with_half_its_connections_fails_unless_it_is_young() -> None:
    inspected = {OBITUARIES: (0, 1)}
    for age_s, state in ((60, State.FAILED), (3, State.OK)):
        one = facts(inspected=inspected, api=api(connections=[worker_connection(age_s)]))
        assert check_workers(one).state is state


def test_a_heartbeat_is_neither_nervous_nor_asleep_nor_absent() -> None:
    for heartbeat_s, state in ((1, State.FAILED), (30, State.OK), (1200, State.FAILED)):
        given = settings(broker={"heartbeat_s": heartbeat_s})
        assert check_heartbeat(facts(settings=given)).state is state
    absent = api(connections=[worker_connection(60, timeout=0)])
    assert "nobody notices" in check_heartbeat(facts(api=absent)).measured


def test_the_lower_of_argument_and_policy_is_the_delivery_limit() -> None:
    def listed(**further: Any) -> Facts:
        return facts(api=api(counts=[{"name": "queue_a", "arguments": {"x-delivery-limit": 50}, **further}]))

    assert check_delivery_limit(listed()).state is State.OK
    for limit in (3, 40):
        found = check_delivery_limit(listed(effective_policy_definition={"delivery-limit": limit}))
        assert found.measured.startswith(f"queue_a gives up after {limit} returns")
    few = settings(queues={"queue_a": {"delivery_limit": 2}}, tasks={"t": {"queue": "queue_a", "handler": "m:f"}})
    assert check_delivery_limit(facts(settings=few)).state is State.FAILED


def patience(version: str, *consumers: dict[str, Any], **tree: Any) -> Verdict:
    """The verdict on how long a broker of this version lets ``queue_a`` be held by these consumers."""
    listed = [{"queue": {"name": "queue_a"}, **consumer} for consumer in consumers]
    reached = [Reached(where="amqp://a/", version=version)]
    return check_consumer_timeout(
        facts(reached=reached, api=api(consumers=listed, counts=tree.pop("counts", ())), settings=settings(**tree))
    )


def test_a_task_must_fit_into_the_broker_s_patience_with_its_wait() -> None:
    assert patience("4.0.5", {"consumer_timeout": 1_800_000}).state is State.OK
    found = patience("4.0.5", {"consumer_timeout": 1_800_000}, {"consumer_timeout": 500_000})
    assert found.measured == (
        "with prefetch 4 and concurrency 2, task_a can take 2 × 300 s; queue_a takes it back after 500 s"
    )


@pytest.mark.parametrize(
    ("version", "consumer", "measured"),
    [
        (
            "3.10.8",
            {"arguments": {"x-consumer-timeout": 1000}},
            "the broker does not report it; it is taken for 1800 s",
        ),
        ("4.0.5", {"arguments": {"x-consumer-timeout": 1000}, "consumer_timeout": 900_000}, "queue_a: 900 s"),
        ("4.3.6", {"arguments": {"x-consumer-timeout": 900_000}, "consumer_timeout": 1000}, "queue_a: 900 s"),
        ("4.3.6", {"arguments": {"x-consumer-timeout": 900_000}, "consumer_timeout": 1}, "queue_a: 900 s"),
        ("4.3.6", {"consumer_timeout": 1_800_000}, "queue_a: 1800 s"),
    ],
)
def test_what_counts_for_a_consumer_depends_on_the_version(
    version: str, consumer: dict[str, Any], measured: str
) -> None:
    found = patience(version, consumer)
    assert (found.state, found.measured) == (State.OK, measured)


def test_without_consumers_a_policy_counts_where_the_version_knows_it() -> None:
    counts = [
        {
            "name": "queue_a",
            "arguments": {"x-consumer-timeout": 700_000},
            "effective_policy_definition": {"consumer-timeout": 500_000},
        }
    ]
    assert [patience(version, counts=counts).state for version in ("3.10.8", "4.0.5", "4.3.6")] == [
        State.OK,
        State.FAILED,
        State.OK,
    ]


def test_long_tasks_need_a_broker_that_is_known_to_let_them() -> None:
    task = {"queue": "queue_a", "handler": "m:f", "timeout_s": 3000}
    long: dict[str, Any] = {"queues": {"queue_a": {}}, "tasks": {"t": task}}
    assert patience("3.10.8", **long).state is State.FAILED
    assert patience("3.10.8", **long, broker={"consumer_timeout_s": 7200}).state is State.OK
    assert patience("4.0.5", {"consumer_timeout": 7_200_000}, **long).state is State.OK
    assert patience("4.3.6", **long).state is State.OK
    found = patience("4.3.6", {"consumer_timeout": 1_800_000}, **long)
    assert (found.state, found.fix) == (
        State.FAILED,
        "Restart workers of before, which did not ask for what they need.",
    )


def test_a_prefetch_is_neither_below_concurrency_nor_absent() -> None:
    assert check_prefetch(facts()).state is State.OK
    idle = settings(worker={"concurrency": 4}, queues={"queue_a": {"prefetch": 1}})
    assert check_prefetch(facts(settings=idle)).measured == "a worker of queue_a holds 1 and could run 4"
    greedy = api(consumers=[{"queue": {"name": "queue_a"}, "consumer_tag": "x", "prefetch_count": 0}])
    assert check_prefetch(facts(api=greedy)).state is State.FAILED


@pytest.mark.parametrize(
    ("stuck", "rate", "state"),
    [
        (None, 0, State.UNKNOWN),
        ({}, 0, State.OK),
        ({"tasks.delay.02": 1}, 0, State.FAILED),
        ({"tasks.delay.02": 50}, 100.0, State.OK),
        ({"tasks.delay.02": 101}, 100.0, State.FAILED),
        ({"queue_a": 3}, None, State.FAILED),
    ],
)
def test_what_does_not_move_on_is_a_fault_unless_the_line_is_busy(
    stuck: dict[str, int] | None, rate: float | None, state: State
) -> None:
    exchange = {"name": "tasks.delay.02", "message_stats": {"publish_in_details": {"rate": rate}}}
    found = check_dead_lettering(facts(stuck=stuck, api=api(exchanges=[exchange])))
    assert found.state is state
    if stuck and state is State.FAILED:
        [[queue, count]] = stuck.items()
        assert found.measured == f"does not move on from {queue}: {count}"


@pytest.mark.parametrize(
    ("version", "members", "policy", "state", "measured"),
    [
        ("4.0.5", 3, {}, State.OK, "what they held is delivered elsewhere at once"),
        ("4.3.6", 1, {}, State.OK, "one node"),
        ("4.3.6", 3, {}, State.UNKNOWN, "what they held of queue_a waits 60 s, unless the nodes are configured"),
        (
            "4.3.6",
            3,
            {"consumer-disconnected-timeout": 5000},
            State.OK,
            "what they held is delivered elsewhere as",
        ),
    ],
)
def test_a_cluster_of_4_3_should_give_back_soon_what_a_lost_node_held(
    version: str, members: int, policy: dict[str, int], state: State, measured: str
) -> None:
    nodes = [f"rabbit@{number}" for number in range(members)]
    counts = [{"name": "queue_a", "members": nodes, "effective_policy_definition": policy}, {"name": "theirs"}]
    reached = [Reached(where="amqp://a/", version=version)]
    found = check_lost_nodes(facts(reached=reached, api=api(counts=counts)))
    assert (found.state, found.measured.startswith(measured)) == (state, True), found.measured
    assert ("consumer-disconnected-timeout" in found.fix) is (state is State.UNKNOWN)


def test_a_body_of_the_largest_size_is_taken_or_not_or_nobody_knows() -> None:
    states = [check_message_size(facts(takes_largest=takes)).state for takes in (True, False, None)]
    assert states == [State.OK, State.FAILED, State.UNKNOWN]


def test_what_a_crash_costs_is_reported_only_if_it_is_known() -> None:
    assert check_crash(facts()).state is State.UNKNOWN
    assert "after 10 s" in check_crash(facts(resends_after_s=10.0)).measured


@pytest.mark.parametrize(
    ("end", "state", "point"),
    [
        ("done", State.OK, Point.RESULTS),
        ("failed", State.OK, Point.RESULTS),
        ("taken", State.FAILED, Point.RESULTS),
        ("waiting", State.FAILED, Point.TASKS),
        ("unroutable", State.FAILED, Point.TASKS),
    ],
)
def test_a_probe_distinguishes_an_answer_from_a_silence_and_a_task_that_nobody_took(
    end: str, state: State, point: Point
) -> None:
    found = check_probe(Probe(task="noop", took_ms=5, end=end))
    assert (found.state, found.point) == (state, point)


def test_what_strangers_named_moves_no_cursor() -> None:
    evil = api(
        consumers=[{"queue": {"name": "queue_a"}, "consumer_tag": EVIL, "prefetch_count": 0}],
        nodes=[NODE | {"name": EVIL, "mem_alarm": True}],
    )
    verdicts = examine(facts(api=evil, differences=[f"binding tasks → queue_a ({EVIL}): on the broker"]))
    text = io.StringIO()
    Console(file=text, width=10_000).print(to_text(verdicts))
    for shown in (text.getvalue(), to_json(verdicts)):
        assert "forged" in shown
        assert not any(line.startswith("forged") for line in shown.splitlines())
        assert all(char.isprintable() or char == "\n" for char in shown)
    assert json.loads(to_json(verdicts))["failure"] == "broker down"


def test_the_page_has_every_check() -> None:
    page = section("docs/operations.md", "Doctor")
    probed = replace(facts(), probe=Probe(task="noop", took_ms=1, end="done"))
    verdicts = examine(probed)
    assert len(verdicts) == 24
    for found in verdicts:
        assert f"`{found.check}`" in page
    for point in Point:
        assert f"| {point} |" in page
