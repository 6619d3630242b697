"""The topology for eyes: table, Mermaid and JSON say the same."""

from __future__ import annotations

import json
import re

from broker.topology import show
from broker.topology.model import build

TOPOLOGY = build({"queue_a": 50}, {"task_a": "queue_a", "reports.daily": "queue_a"}, ["my-box"])
MERMAID = show.to_mermaid(TOPOLOGY).splitlines()

_NODE = re.compile(r"    (\w+)(?:\(\[(.+)\]\)|\[\((.+)\)\]|\[/(.+)/\])")
_ARROW = re.compile(r"    (\w+) (?:-->|-- (.+) -->|-\. (.+) \.->) (\w+)")


def test_json_holds_every_thing_with_every_argument() -> None:
    shown = json.loads(show.to_json(TOPOLOGY))
    assert shown["schema"] == 1
    assert {one["name"]: one["arguments"] for one in shown["queues"]} == {
        one.name: dict(one.arguments) for one in TOPOLOGY.queues
    }
    assert {(one["name"], one["type"]) for one in shown["exchanges"]} == {
        (one.name, str(one.type)) for one in TOPOLOGY.exchanges
    }
    assert {
        (one["source"], one["destination"], one["routing_key"], one["destination_type"] == "exchange")
        for one in shown["bindings"]
    } == {(one.source, one.destination, one.routing_key, one.to_exchange) for one in TOPOLOGY.bindings}


def test_the_table_has_a_row_for_each_thing() -> None:
    rows = show.rows(TOPOLOGY)
    kinds = [kind for kind, *_ in rows]
    assert [kinds.count(kind) for kind in ("exchange", "queue", "binding")] == [
        len(TOPOLOGY.exchanges),
        len(TOPOLOGY.queues),
        len(TOPOLOGY.bindings),
    ]
    queue_a = next(row for row in rows if row[:2] == ("queue", "queue_a"))
    assert "delivery-limit=50" in queue_a[2]
    assert ("binding", "tasks → queue_a", "task_a", "") in rows


def test_every_line_of_the_flowchart_is_a_node_or_an_arrow_between_nodes() -> None:
    head, *lines = MERMAID
    assert head == "flowchart LR"
    nodes = [found[1] for line in lines if (found := _NODE.fullmatch(line))]
    arrows = [found for line in lines if (found := _ARROW.fullmatch(line))]
    assert len(nodes) + len(arrows) == len(lines)
    assert len(set(nodes)) == len(nodes)
    assert {end for found in arrows for end in (found[1], found[4])} <= set(nodes)
    # ``end`` alone and quotes or brackets within a text would break the diagram.
    assert not [line for line in lines if '"' in line or re.search(r"\bend\b", line)]


def test_the_flowchart_shows_the_way_of_a_task_and_the_delay_line_as_one_node() -> None:
    for line in (
        "    exchange_tasks -- task_a --> queue_queue__a",
        "    exchange_tasks_2edue -- reports.daily --> queue_queue__a",
        "    delay_line --> exchange_tasks_2edue",
        "    exchange_tasks_2edue -. alternate .-> exchange_tasks_2elost",
        "    queue_queue__a -. dead-letters .-> exchange_tasks_2ekilled",
        "    exchange_replies -- my-box --> queue_mailbox_2emy_2dbox",
    ):
        assert line in MERMAID
    assert not [line for line in MERMAID if "tasks_2edelay" in line]


def test_two_names_that_differ_in_a_dot_or_a_dash_alone_are_two_nodes() -> None:
    topology = build({"queue_a": 50}, {}, ["my-box", "my_box"])
    nodes = [found[1] for line in show.to_mermaid(topology).splitlines() if (found := _NODE.fullmatch(line))]
    assert len(set(nodes)) == len(nodes)
