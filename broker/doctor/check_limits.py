"""The doctor's checks of numbers that have to fit together, as they are on the broker. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from broker.config.holding import ASKS, held_s, version_of
from broker.config.settings import effective_prefetch
from broker.doctor.verdict import Facts, Point, State, Verdict, unseen
from broker.status.workers import Listed, table, whole

#: The oldest RabbitMQ on which a policy or a queue's argument sets the consumer timeout.
LISTED = (3, 12)
#: Below this a short pause of a machine or network ends connections.
SHORTEST_HEARTBEAT_S = 5


def _verdict(
    facts: Facts, check: str, point: Point, wrong: Iterable[str], right: str, why: str, fix: str
) -> Verdict:
    """Without what the broker says, nothing wrong in the configuration is no proof that all is well."""
    found, seen = list(wrong), facts.api is not None
    return Verdict(
        check=check,
        point=point,
        state=State.FAILED if found else State.OK if seen else State.UNKNOWN,
        measured="; ".join(found) or (right if seen else f"in the configuration: {right}"),
        why=why,
        fix=fix if found else "" if seen else "See the management API, which shows what is on the broker.",
    )


def check_delivery_limit(facts: Facts) -> Verdict:
    limits = {name: _delivery_limit(facts, name) for name in facts.settings.queues}
    return _verdict(
        facts,
        "delivery limit",
        Point.TASKS,
        _short_limits(facts, limits),
        ", ".join(f"{name}: {limit}" for name, limit in limits.items()),
        "After these returns the broker buries a task: also one that only waited in workers that were lost.",
        "Clear a policy with delivery-limit (`rabbitmqctl list_policies`), or raise delivery_limit beyond "
        "the retries.",
    )


def _short_limits(facts: Facts, limits: dict[str, int]) -> Iterator[str]:
    for name, limit in limits.items():
        retries = max(
            (one.retry.max_retries for one in facts.settings.tasks.values() if one.queue == name), default=0
        )
        configured = facts.settings.queues[name].delivery_limit
        if limit <= retries:
            yield f"{name} gives up after {limit} returns, and its tasks are tried {retries + 1} times"
        elif limit < configured:
            yield f"{name} gives up after {limit} returns; the configuration says {configured}"


def _delivery_limit(facts: Facts, queue: str) -> int:
    """What counts is the lower one of argument and policy."""
    listed = _listed(facts, queue)
    found = (
        listed.get("delivery_limit"),
        table(listed, "arguments").get("x-delivery-limit"),
        table(listed, "effective_policy_definition").get("delivery-limit"),
    )
    known = [limit for limit in map(whole, found) if limit is not None and limit >= 0]
    return min(known, default=facts.settings.queues[queue].delivery_limit)


def check_consumer_timeout(facts: Facts) -> Verdict:
    timeouts = {name: _consumer_timeouts_s(facts, name) for name in facts.settings.queues}
    found_s = [f"{name}: {min(found):g} s" for name, found in timeouts.items() if found]
    asks = (version_of(facts.version) or ASKS) >= ASKS
    untold = "each worker asks for its own" if asks else "the broker does not report it; it is taken for"
    return _verdict(
        facts,
        "consumer timeout",
        Point.TASKS,
        _taken_back(facts, timeouts),
        ", ".join(found_s) or f"{untold} {facts.settings.broker.consumer_timeout_s:g} s",
        "The broker takes a task back that is unacked for so long, and it runs twice.",
        "Restart workers of before, which did not ask for what they need."
        if asks
        else "Raise consumer_timeout on the broker or in its policy, or lower prefetch or timeout_s of the tasks.",
    )


def _taken_back(facts: Facts, timeouts: dict[str, list[float]]) -> Iterator[str]:
    """The time counts from delivery: what waits behind other tasks in a worker waits for these as well."""
    asks = (version_of(facts.version) or ASKS) >= ASKS
    for queue, found in timeouts.items():
        most_s, why = held_s(facts.settings, [queue])
        limit_s = min(found, default=math.inf if asks else facts.settings.broker.consumer_timeout_s)
        if most_s > limit_s:
            yield f"{why}; {queue} takes it back after {limit_s:g} s"


def _consumer_timeouts_s(facts: Facts, queue: str) -> list[float]:
    """What counts for each consumer of a queue; for none, what would for the next one of a worker.

    RabbitMQ 3.10 goes by its own configuration alone, and lists nothing of it; newer ones list what follows from
    configuration, policy and the queue's argument. From 4.3 on the consumer's own argument counts more.
    """
    version = version_of(facts.version) or ASKS
    consumers = _consumers(facts, queue)
    own = "x-consumer-timeout" if version >= ASKS else ""
    found = [table(one, "arguments").get(own) or one.get("consumer_timeout") for one in consumers]
    if not consumers and LISTED <= version < ASKS:
        listed = _listed(facts, queue)
        found = [
            table(listed, "arguments").get("x-consumer-timeout"),
            table(listed, "effective_policy_definition").get("consumer-timeout"),
        ]
    return [timeout / 1000 for timeout in map(whole, found) if timeout]


def check_heartbeat(facts: Facts) -> Verdict:
    heartbeat_s, grace_s = facts.settings.broker.heartbeat_s, facts.settings.worker.grace_s
    return _verdict(
        facts,
        "heartbeat",
        Point.WORKER,
        _heartbeats(facts, heartbeat_s),
        f"{heartbeat_s} s: silence is noticed within {_noticed_s(heartbeat_s)} s; a stop waits {grace_s:g} s",
        "A worker that fell silent keeps its tasks until the broker notices; too short a time ends sound ones.",
        "Set broker.heartbeat_s to 10 … 60, everywhere, and restart what was started with another.",
    )


def _heartbeats(facts: Facts, heartbeat_s: int) -> Iterator[str]:
    if heartbeat_s < SHORTEST_HEARTBEAT_S:
        yield f"{heartbeat_s} s is less than the pauses that machines and networks make"
    timeout_s = facts.settings.broker.consumer_timeout_s
    if _noticed_s(heartbeat_s) >= timeout_s:
        yield (
            f"silence is noticed after {_noticed_s(heartbeat_s)} s, later than the broker takes tasks back "
            f"({timeout_s:g} s)"
        )
    for connection in facts.api.connections if facts.api else ():
        client = table(connection, "client_properties")
        if client.get("product") == "glassrabbit" and connection.get("timeout") == 0:
            yield f"{client.get('connection_name')} has none: nobody notices if it falls silent"


def _noticed_s(heartbeat_s: int) -> int:
    return 2 * (heartbeat_s + 5)


def check_message_size(facts: Facts) -> Verdict:
    why = "A body that the broker does not take (406) fails its task, or its result, each time."
    limit = facts.settings.limits.messages.body_bytes
    if facts.takes_largest is None:
        return unseen(
            "message size",
            why,
            "It is tried by a user who may publish, up to 16 MiB. By default RabbitMQ takes 128 MiB, since 4.0 "
            f"16 MiB (max_message_size); limits.body_bytes is {limit}.",
            Point.TASKS,
        )
    return Verdict(
        check="message size",
        point=Point.TASKS,
        state=State.OK if facts.takes_largest else State.FAILED,
        measured=f"the broker takes {'' if facts.takes_largest else 'no '}replies with results of {limit} bytes",
        why=why,
        fix="" if facts.takes_largest else "Lower limits.body_bytes, or raise max_message_size in rabbitmq.conf.",
    )


def check_prefetch(facts: Facts) -> Verdict:
    concurrency = facts.settings.worker.concurrency
    held = {
        name: effective_prefetch(queue, facts.settings.worker) for name, queue in facts.settings.queues.items()
    }
    return _verdict(
        facts,
        "prefetch",
        Point.TASKS,
        _prefetches(facts, held, concurrency),
        f"{', '.join(f'{name}: {prefetch}' for name, prefetch in held.items())}; concurrency {concurrency}",
        "A worker runs no more tasks than it holds; one that holds too many keeps them from the others.",
        "Set prefetch to null, or to concurrency at least, and restart the workers.",
    )


def _prefetches(facts: Facts, held: dict[str, int], concurrency: int) -> Iterator[str]:
    for name, prefetch in held.items():
        if prefetch < concurrency:
            yield f"a worker of {name} holds {prefetch} and could run {concurrency}"
        for consumer in _consumers(facts, name):
            if consumer.get("prefetch_count") == 0:
                yield f"consumer {consumer.get('consumer_tag')} of {name} takes everything: it has no prefetch"


def _listed(facts: Facts, queue: str) -> Listed:
    counts = facts.api.counts if facts.api else ()
    return next((one for one in counts if one.get("name") == queue), {})


def _consumers(facts: Facts, queue: str) -> list[Listed]:
    consumers = facts.api.consumers if facts.api else ()
    return [one for one in consumers if table(one, "queue").get("name") == queue]
