"""A topology for eyes: as a table, as a Mermaid flowchart, as JSON. Pure."""

from __future__ import annotations

import json
from dataclasses import asdict

from broker.topology.model import Binding, Topology
from protocol.delay import LEVELS
from protocol.names import DUE, delay_level

_LINE = {delay_level(level) for level in range(LEVELS)}
_DELAY_NODE = "delay line"


def to_json(topology: Topology) -> str:
    """Everything, argument by argument."""
    return json.dumps(
        {
            "schema": 1,
            "exchanges": [asdict(one) for one in topology.exchanges],
            "queues": [asdict(one) for one in topology.queues],
            "bindings": [
                {
                    "source": one.source,
                    "destination": one.destination,
                    "destination_type": "exchange" if one.to_exchange else "queue",
                    "routing_key": one.routing_key,
                }
                for one in topology.bindings
            ],
        },
        indent=2,
        ensure_ascii=False,
    )


def rows(topology: Topology) -> list[tuple[str, str, str, str]]:
    """Kind, name, arguments or routing key, purpose; the delay line's twenty levels as they are."""
    return [
        *(
            ("exchange", one.name, ", ".join([one.type, *_pairs(one.arguments)]), one.purpose)
            for one in topology.exchanges
        ),
        *(("queue", one.name, ", ".join(_pairs(one.arguments)), one.purpose) for one in topology.queues),
        *(("binding", f"{one.source} → {one.destination}", one.routing_key, "") for one in topology.bindings),
    ]


def to_mermaid(topology: Topology) -> str:
    """A flowchart. The delay line is one node: its inside is in ``protocol/delay.py``."""
    lines = ["flowchart LR"]
    lines += [
        f"    {_id('exchange', one.name)}([{one.name}])" for one in topology.exchanges if one.name not in _LINE
    ]
    lines += [f"    {_id('queue', one.name)}[({one.name})]" for one in topology.queues if one.name not in _LINE]
    lines.append(f"    delay_line[/{_DELAY_NODE}: {LEVELS} levels/]")
    lines.append(f"    delay_line --> {_id('exchange', DUE)}")
    for one in topology.exchanges:
        alternate = one.arguments.get("alternate-exchange")
        if alternate:
            lines.append(f"    {_id('exchange', one.name)} -. alternate .-> {_id('exchange', str(alternate))}")
    for queue in topology.queues:
        target = queue.arguments.get("x-dead-letter-exchange")
        if target and queue.name not in _LINE:
            lines.append(f"    {_id('queue', queue.name)} -. dead-letters .-> {_id('exchange', str(target))}")
    lines += [_arrow(one) for one in topology.bindings if one.source not in _LINE]
    return "\n".join(lines)


def _arrow(binding: Binding) -> str:
    kind = "exchange" if binding.to_exchange else "queue"
    label = binding.routing_key.removeprefix("*." * LEVELS)
    arrow = f"-- {label} -->" if label else "-->"
    return f"    {_id('exchange', binding.source)} {arrow} {_id(kind, binding.destination)}"


def _id(kind: str, name: str) -> str:
    """A Mermaid id, another one for every name: what Mermaid does not take is spelt out."""
    spelt = "".join(char if char.isalnum() else "__" if char == "_" else f"_{ord(char):02x}" for char in name)
    return f"{kind}_{spelt}"


def _pairs(arguments: object) -> list[str]:
    assert hasattr(arguments, "items")
    return [f"{key.removeprefix('x-')}={value}" for key, value in arguments.items()]
