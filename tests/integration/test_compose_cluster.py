"""The cluster of compose.yaml, as a user starts it: three copies of each queue, and one node may go."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.test_compose import Project

_NODES = ("rabbit-1", "rabbit-2", "rabbit-3")

pytestmark = [pytest.mark.long, pytest.mark.containers, pytest.mark.timeout(600)]


class Cluster(Project):
    """The services of the profile ``cluster`` alone."""

    def call(self, *arguments: str) -> str:
        """What a dispatcher prints that has the URLs of all nodes."""
        return self.compose("run", "--rm", "-T", "--no-deps", "cluster-worker", "dispatcher", "call", *arguments)

    def remove(self) -> None:
        self.compose("--profile", "cluster", "down", "--volumes", "--timeout", "5")
        super().remove()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        cluster.compose("build", "--quiet")
        cluster.up("cluster-worker")
        yield cluster
    finally:
        cluster.remove()


def test_a_cluster_starts_without_the_single_node_and_publishes_nothing(cluster: Cluster) -> None:
    services = json.loads(cluster.compose("--profile", "cluster", "config", "--format", "json"))["services"]
    assert not [name for name in _NODES if services[name].get("ports")]
    assert set(cluster.compose("ps", "--services").split()) == {*_NODES, "cluster-worker"}


def test_every_queue_has_a_copy_on_each_node_and_one_node_may_go(cluster: Cluster) -> None:
    listing = cluster.compose(
        "exec", "-T", "rabbit-2", "rabbitmqctl", "--quiet", "--formatter", "json", "list_queues", "name", "members"
    )
    members = {queue["name"]: set(queue["members"]) for queue in json.loads(listing)}
    assert {"queue_a", "queue_b", "tasks.delay.00"} <= set(members)
    assert set(map(frozenset, members.values())) == {frozenset(f"rabbit@{node}" for node in _NODES)}
    cluster.compose("kill", _NODES[0])
    assert json.loads(cluster.call("noop", "-a", "data=[1,2]", "-o", "json"))["result"] == [1, 2]
