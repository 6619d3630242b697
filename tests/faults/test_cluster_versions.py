"""What clusters of other versions do differently, and what comes of it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.support.commands import command
from tests.support.dead_node_reply import answer_a_dead_node
from tests.support.spread import Spread, installed, longest_gap, running
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess

AWAY_S = 10.0
SILENT_GAP_S = 25.0
#: For an idle worker to notice that nobody serves it, and to be served again: it asks every 10 to 20 s, and the
#: node takes 10 s for its answer.
IDLE_GAP_S = 75.0

pytestmark = [pytest.mark.long, pytest.mark.containers, pytest.mark.timeout(180)]


def astride(spread: Spread) -> WorkerProcess:
    """A worker that publishes to another node than the one that it consumes from. What a node that is cut off
    takes for a dispatcher of its peers is confirmed, and gone: direct replies are sent at most once."""
    while True:
        worker = spread.worker()
        if sum(bool(spread.clients_of(member)) for member in spread.cluster.members) == 2:
            return worker
        worker.sigterm()
        assert worker.wait() == 0


def verdict_on_lost_nodes(spread: Spread) -> tuple[str, str]:
    api = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": spread.cluster.management.url}
    ended = command({**spread.installation.environment, **api}, "broker", "doctor", "-o", "json")
    [verdict] = [one for one in json.loads(ended.out)["checks"] if one["check"] == "lost nodes"]
    return verdict["state"], verdict["measured"]


def test_on_4_3_the_doctor_misses_the_policy_by_which_a_lost_node_s_tasks_are_given_back_soon(
    tmp_path: Path,
) -> None:
    with running("4.3") as cluster, installed(cluster, tmp_path) as spread:
        late = "what they held of queue_a, queue_b waits 60 s, unless the nodes are configured otherwise"
        assert verdict_on_lost_nodes(spread) == ("unknown", late)
        definition = {"consumer-disconnected-timeout": 5000}
        policy = {"pattern": ".*", "definition": definition, "apply-to": "quorum_queues"}
        cluster.management.request("PUT", "policies", spread.vhost.name, "lost-nodes", body=policy)
        soon = ("ok", "what they held is delivered elsewhere as policies say")
        eventually(lambda: verdict_on_lost_nodes(spread) == soon, "the policy in the management API", 30)


def test_on_4_3_an_idle_worker_of_a_node_that_is_cut_off_goes_to_its_peers_and_works_meanwhile(
    tmp_path: Path,
) -> None:
    """The node serves it no more and does not say so; the queues that an idle worker asks do not answer there."""
    with running("4.3") as cluster, installed(cluster, tmp_path) as spread:
        worker = astride(spread)
        alone, others = spread.home_and_others()
        caller = spread.caller(*others)
        alone.cut_off()
        cut_s = time.monotonic()
        worker.wait_for("consume link up again", IDLE_GAP_S)
        print(f"consumes again after {time.monotonic() - cut_s:.1f} s:", *worker.lines("link"), sep="\n")
        assert caller.ask("note", timeout_s=SILENT_GAP_S).result == 1
        alone.rejoin()
        cluster.await_whole()
        assert spread.finish(worker) == 0


def test_on_4_3_what_a_node_holds_that_is_cut_off_waits_for_its_peers_and_is_not_lost(tmp_path: Path) -> None:
    """RabbitMQ 4.3 keeps the clients of such a node, hands them nothing, and does not tell them. Its worker stands
    still until the partition is over, or it asks; workers of other nodes go on."""
    with running("4.3") as cluster, installed(cluster, tmp_path) as spread:
        worker = astride(spread)
        alone, others = spread.home_and_others()
        other = spread.worker(*others)
        load = spread.load(spread.caller(*others))
        load.progress(since_s=time.monotonic())
        alone.cut_off()
        cut_s = time.monotonic()
        eventually(lambda: time.monotonic() - cut_s > AWAY_S, "the end of the partition", AWAY_S + 5)
        load.progress(since_s=time.monotonic(), within_s=SILENT_GAP_S)
        stayed = [name for name in spread.clients_of(alone) if name.endswith("consume")]
        alone.rejoin()
        cluster.await_whole()
        load.progress(since_s=time.monotonic())
        verdict = spread.verdict(load, worker, other)
        print(f"still on the node that was alone: {stayed}; longest gap {longest_gap(load):.1f} s")
        verdict.check()
        assert longest_gap(load) < SILENT_GAP_S


def test_on_3_10_a_reply_to_a_node_that_is_down_ends_connections_and_costs_nobody_a_reply(tmp_path: Path) -> None:
    """RabbitMQ closes the whole connection over it (541). The worker finds out which reply it is, and drops it."""
    with running("3.10") as cluster, installed(cluster, tmp_path) as spread:
        closed, dropped = answer_a_dead_node(spread)
        assert (closed >= 2, dropped) == (True, 1)
