from __future__ import annotations

from protocol.reply_address import node_part
from worker.settlement.reply_nodes import MOST, PENALTY, REFILL_S, Nodes

CLUSTER = "rabbit@first"


def names(count: int) -> list[str]:
    return [f"reply@{number}" for number in range(count)]


def admitted(nodes: Nodes, candidates: list[str], now_s: float = 0.0) -> list[str]:
    return [name for name in candidates if nodes.admits(name, CLUSTER, now_s)]


def test_nodes_are_learned_up_to_a_bound_and_those_stay_known() -> None:
    nodes, strangers = Nodes(), names(200)
    assert admitted(nodes, strangers) == strangers[:MOST]
    assert admitted(nodes, strangers) == strangers[:MOST]


def test_the_node_that_the_broker_names_its_cluster_after_is_known_from_the_start() -> None:
    nodes = Nodes()
    admitted(nodes, names(200))
    assert nodes.admits(node_part(CLUSTER), CLUSTER, 0.0)
    assert not nodes.admits(node_part("rabbit@other"), CLUSTER, 0.0)


def test_one_more_is_learned_after_a_while_and_never_more_than_the_first_time() -> None:
    nodes, strangers = Nodes(), names(1000)
    admitted(nodes, strangers)
    assert admitted(nodes, strangers, REFILL_S) == strangers[: MOST + 1]
    assert admitted(nodes, strangers, 1000 * REFILL_S) == strangers[: MOST + 1 + MOST]


def test_names_over_which_the_broker_chokes_end_the_learning_soon() -> None:
    nodes, learned = Nodes(), []
    for name in names(200):
        if nodes.admits(name, CLUSTER, 0.0):
            learned.append(name)
            nodes.penalise(name)
            nodes.penalise(name)
    assert len(learned) == MOST // PENALTY
