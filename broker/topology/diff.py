"""What differs between a topology and a broker, argument by argument. Pure: two descriptions in, a list out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.topology.model import Binding, Topology
from protocol.delay import LEVELS
from protocol.names import DUE, TASKS, delay_level

_LINE = frozenset(map(delay_level, range(LEVELS)))
#: The exchanges from which a task reaches its queue.
_TASK_SOURCES = _LINE | {TASKS, DUE}


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as the configuration says. ``ours`` and ``theirs`` are None where it is absent."""

    kind: str
    name: str
    what: str
    ours: object
    theirs: object

    def __str__(self) -> str:
        if self.theirs is None and self.what == "":
            return f"{self.kind} {self.name}: missing on the broker"
        if self.ours is None and self.what == "":
            return f"{self.kind} {self.name}: on the broker, not in the configuration"
        return f"{self.kind} {self.name}: {self.what} is {_shown(self.theirs)}, should be {_shown(self.ours)}"


def compare(
    topology: Topology,
    exchanges: Sequence[Mapping[str, Any]],
    queues: Sequence[Mapping[str, Any]],
    bindings: Sequence[Mapping[str, Any]],
    policies: Sequence[Mapping[str, Any]] = (),
) -> list[Difference]:
    """Compare with what the management API lists; it names the policy of an exchange, and lists it by itself."""
    return [
        *_compare_things(
            "exchange",
            {one.name: {"type": str(one.type), **one.arguments} for one in topology.exchanges},
            {one["name"]: {"type": one["type"], **_arguments(one)} for one in exchanges},
        ),
        *_compare_things(
            "queue",
            {one.name: dict(one.arguments) for one in topology.queues},
            {one["name"]: {"x-queue-type": one.get("type"), **_arguments(one)} for one in queues},
        ),
        *_overruled(topology, exchanges, queues, policies),
        *_compare_bindings(topology, bindings),
    ]


def stale_bindings(topology: Topology, bindings: Iterable[Mapping[str, Any]]) -> list[Binding]:
    """Ways into a queue that the configuration does not name, and out of the delay line: a task that moved still
    reaches its old queue."""
    wanted = set(topology.bindings)
    return [
        found
        for found in map(_binding, bindings)
        if found.source in _TASK_SOURCES
        and found not in wanted
        and (found.source in _LINE or not found.to_exchange)
    ]


def _compare_things(
    kind: str, ours: Mapping[str, Mapping[str, Any]], theirs: Mapping[str, Mapping[str, Any]]
) -> Iterable[Difference]:
    for name, wanted in ours.items():
        found = theirs.get(name)
        if found is None:
            yield Difference(kind, name, "", "declared", None)
            continue
        for key in sorted(wanted.keys() | found.keys()):
            if wanted.get(key) != found.get(key):
                yield Difference(kind, name, key, wanted.get(key), found.get(key))


def _overruled(
    topology: Topology,
    exchanges: Iterable[Mapping[str, Any]],
    queues: Iterable[Mapping[str, Any]],
    policies: Iterable[Mapping[str, Any]],
) -> Iterable[Difference]:
    definitions = {one["name"]: one["definition"] for one in policies}
    applied = {one["name"]: definitions.get(one.get("policy"), {}) for one in exchanges}
    for exchange in topology.exchanges:
        alternate = applied.get(exchange.name, {}).get("alternate-exchange")
        if alternate is not None and "alternate-exchange" not in exchange.arguments:
            yield Difference("exchange", exchange.name, "policy alternate-exchange", None, alternate)
    effective = {one["name"]: one.get("effective_policy_definition") for one in queues}
    for queue in topology.queues:
        for key, ours, theirs in overruled(queue.arguments, effective.get(queue.name)):
            yield Difference("queue", queue.name, f"policy {key}", ours, theirs)


def _compare_bindings(topology: Topology, bindings: Iterable[Mapping[str, Any]]) -> Iterable[Difference]:
    found = list(bindings)
    there = set(map(_binding, found))
    for binding in topology.bindings:
        if binding not in there:
            yield Difference("binding", _name(binding), "", "bound", None)
    for binding in stale_bindings(topology, found):
        yield Difference("binding", _name(binding), "", None, "bound")


def _binding(listed: Mapping[str, Any]) -> Binding:
    return Binding(
        listed["source"],
        listed["destination"],
        listed["routing_key"],
        to_exchange=listed["destination_type"] == "exchange",
    )


def _name(binding: Binding) -> str:
    key = f" ({binding.routing_key})" if binding.routing_key else ""
    return f"{binding.source} → {binding.destination}{key}"


def _arguments(thing: Mapping[str, Any]) -> Mapping[str, Any]:
    arguments = thing.get("arguments")
    return arguments if isinstance(arguments, Mapping) else {}


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


# Which keys of a policy change what an argument says was tried with quorum queues on RabbitMQ 3.10.8, 4.0.5 and
# 4.3.6: of two numbers the lower one counts; ``overflow`` is the policy's; everything else is the argument's, and
# the policy's where there is no argument (https://www.rabbitmq.com/docs/policies).
_LOWER = frozenset({"message-ttl", "max-length", "max-length-bytes", "delivery-limit", "expires"})
_MISSING = frozenset(
    {
        "dead-letter-exchange",
        "dead-letter-routing-key",
        "dead-letter-strategy",
        # RabbitMQ 4.3: of these each delays what is given back.
        "delayed-retry-type",
        "delayed-retry-min",
        "delayed-retry-max",
    }
)


def overruled(arguments: Mapping[str, object], definition: object) -> Iterator[tuple[str, object, object]]:
    """Of a queue: each key that counts more than our argument, what the argument says, and what the policy does.

    ``definition``: as the management API lists it, operator policies included.
    """
    if isinstance(definition, Mapping):
        for key in sorted(definition):
            ours, theirs = arguments.get(f"x-{key}"), definition[key]
            if _counts(key, ours, theirs):
                yield key, ours, theirs


def _counts(key: str, ours: object, theirs: object) -> bool:
    if key in _LOWER:
        # Below 0 is no limit, and changes nothing.
        return isinstance(theirs, int) and theirs >= 0 and (not isinstance(ours, int) or theirs < ours)
    return (key == "overflow" and theirs != ours) or (key in _MISSING and ours is None)
