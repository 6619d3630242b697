"""Three nodes, of which some die, are renewed, or are cut off: what was accepted is done, and work goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from broker.errors import Refused
from dispatcher.errors import NoReply
from tests.support.brokers import DEFAULT
from tests.support.caller import Caller
from tests.support.cluster import Cluster
from tests.support.dead_node_reply import answer_a_dead_node
from tests.support.journal import Journal
from tests.support.spread import Spread, installed, longest_gap, running
from tests.support.waiting import eventually

#: For work to go on after a node is gone.
GAP_S = 15.0
#: The same for a node that falls silent: its peers notice after 5 to 7 s, and it notices by itself.
SILENT_GAP_S = 25.0
#: How long a majority is away.
AWAY_S = 10.0
IMPATIENT_S = 3.0
TASKS = 5

pytestmark = [pytest.mark.containers, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(DEFAULT) as cluster:
        yield cluster


@pytest.fixture
def spread(cluster: Cluster, tmp_path: Path) -> Iterator[Spread]:
    with installed(cluster, tmp_path) as spread:
        yield spread


def submitting(caller: Caller, journal: Journal, number: int, timeout_s: float) -> Future[str]:
    """Its id, once it is accepted."""
    arguments = {"journal": str(journal), "number": number}
    return caller.start(caller.dispatcher.submit("note", arguments, mailbox="box", timeout_s=timeout_s))


def test_every_queue_has_a_member_on_each_node(spread: Spread) -> None:
    cluster = spread.cluster
    queues = cluster.management.get("queues", spread.vhost.name)
    everywhere = {member.node for member in cluster.members}
    assert len(queues) > 20
    assert {queue["name"]: set(queue["members"]) for queue in queues} == {
        queue["name"]: everywhere for queue in queues
    }


def test_when_the_node_that_leads_the_queue_is_killed_work_goes_on(spread: Spread) -> None:
    cluster = spread.cluster
    workers = [spread.worker(), spread.worker()]
    load = spread.load(spread.caller())
    load.progress(since_s=time.monotonic())
    leader = cluster.leader(spread.vhost.name, "queue_a")
    clients = spread.clients_of(leader)
    cluster.lose(leader)
    gap_s = load.progress(since_s=time.monotonic() + 0.5, within_s=GAP_S + 5)
    eventually(lambda: cluster.leader(spread.vhost.name, "queue_a") != leader, "the API to know of a new leader")
    leader.revive()
    cluster.await_whole()
    load.progress(since_s=time.monotonic())
    verdict = spread.verdict(load, *workers)
    print(f"{leader.name} had {len(clients)} clients: longest gap {longest_gap(load):.1f} s")
    verdict.check()
    assert max(gap_s, longest_gap(load)) < GAP_S


@pytest.mark.long
def test_a_rolling_restart_interrupts_work_for_seconds_and_costs_nothing(spread: Spread) -> None:
    workers = [spread.worker(), spread.worker()]
    load = spread.load(spread.caller())
    load.progress(since_s=time.monotonic())
    for member in spread.cluster.members:
        spread.cluster.look_through(next(one for one in spread.cluster.members if one is not member))
        # What RabbitMQ's guide asks for before a node is stopped: https://www.rabbitmq.com/docs/rolling-upgrade
        member.run("rabbitmq-upgrade", "await_online_quorum_plus_one")
        member.run("rabbitmq-upgrade", "drain")
        load.progress(since_s=time.monotonic(), within_s=GAP_S)
        member.renew()
        spread.cluster.await_whole()
        load.progress(since_s=time.monotonic(), within_s=GAP_S)
    verdict = spread.verdict(load, *workers)
    print(f"longest gap {longest_gap(load):.1f} s")
    verdict.check()
    assert longest_gap(load) < GAP_S


@pytest.mark.long
def test_clients_leave_a_node_that_is_cut_off_from_its_peers(spread: Spread) -> None:
    """It can still be reached, and closes its door by itself: ``cluster_partition_handling = pause_minority``."""
    worker = spread.worker()
    load = spread.load(spread.caller())
    load.progress(since_s=time.monotonic())
    alone, others = spread.home_and_others()
    clients = spread.clients_of(alone)
    alone.cut_off()
    cut_s = time.monotonic()
    eventually(lambda: not alone.is_open, "the end of AMQP on the node that is alone", SILENT_GAP_S)
    closed_s = time.monotonic() - cut_s
    load.progress(since_s=time.monotonic(), within_s=SILENT_GAP_S)
    assert not spread.clients_of(alone)
    assert all(member.is_open for member in others)
    alone.rejoin()
    spread.cluster.await_whole()
    load.progress(since_s=time.monotonic())
    verdict = spread.verdict(load, worker)
    print(f"{len(clients)} clients, closed after {closed_s:.1f} s, longest gap {longest_gap(load):.1f} s")
    verdict.check()
    assert longest_gap(load) < SILENT_GAP_S


@pytest.mark.long
def test_without_a_majority_nothing_is_accepted_and_all_resolves_when_it_is_back(spread: Spread) -> None:
    """The node that is left keeps its clients (RabbitMQ's default) and can promise them nothing."""
    cluster, vhost = spread.cluster, spread.vhost
    last, *lost = cluster.members
    last.ctl("eval", "application:set_env(rabbit, cluster_partition_handling, ignore).")
    worker, caller, journal = spread.worker(), spread.caller(), spread.installation.journal()
    load = spread.load(caller)
    load.progress(since_s=time.monotonic())
    cluster.lose(*lost)
    lost_s = time.monotonic()
    eventually(lambda: spread.clients_of(last), "a client on the node that is left", GAP_S)

    impatient = [submitting(caller, journal, number, IMPATIENT_S) for number in range(TASKS)]
    patient = [submitting(caller, journal, TASKS + number, 60.0) for number in range(TASKS)]
    errors = [future.exception(IMPATIENT_S + 2) for future in impatient]
    eventually(lambda: time.monotonic() - lost_s > AWAY_S, "the end of the absence", AWAY_S)
    confirms = [
        event for proxy in spread.dispatchers for event in proxy.events("confirm") if event.at > lost_s + 1
    ]
    assert not confirms
    assert not [future for future in patient if future.done() and not future.exception()]
    assert not [at for at in load.times if at > lost_s + 1]

    for member in lost:
        member.revive()
    back_s = time.monotonic()
    cluster.await_whole()
    whole_s = time.monotonic() - back_s
    load.progress(since_s=back_s, within_s=GAP_S)
    ends = [future.exception(60) for future in patient]
    verdict = spread.verdict(load, worker)
    ran = {entry["number"] for entry in journal.entries if "number" in entry}
    accepted = {TASKS + number for number, end in enumerate(ends) if end is None}
    refused = {TASKS + number for number, end in enumerate(ends) if isinstance(end, Refused)}
    refused |= {number for number, error in enumerate(errors) if isinstance(error, Refused)}
    print(
        f"whole after {whole_s:.1f} s; accepted {len(accepted)}, refused {len(refused)}, "
        f"unknown {2 * TASKS - len(accepted) - len(refused)}; ran {len(ran)}, gap {longest_gap(load):.1f} s"
    )
    verdict.check()
    assert {type(error) for error in errors} <= {NoReply, Refused}
    assert {type(end) for end in ends} <= {type(None), Refused}
    assert accepted <= ran
    assert not refused & ran
    assert len({letter.properties.correlation_id for letter in vhost.messages("mailbox.box", len(accepted))})


@pytest.mark.long
def test_on_4_0_a_reply_to_a_node_that_is_down_is_confirmed_and_gone(spread: Spread) -> None:
    assert answer_a_dead_node(spread) == (0, 0)
