"""How long a worker may hold a delivery unacked, and how long the broker lets it. Pure.

RabbitMQ takes a delivery back that is unacked for longer than its ``consumer_timeout``. From 4.3 on a consumer of
a quorum queue says for how long, and gets it, whatever a policy or the broker's configuration says; what is older
accepts the same argument and ignores it (tried on 3.10.8, 4.0.5 and 4.3.6;
https://www.rabbitmq.com/docs/consumers).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence

from broker.config.settings import Settings, effective_prefetch, finds_itself
from broker.errors import ConfigError

#: The oldest version on which a consumer's own timeout counts.
ASKS = (4, 3)
#: What would wait for too long goes back before, see ``goes_back``.
LONGEST_WAIT_S = 300.0
#: Beyond the longest time that a handler may take: for its reply, and the confirm.
SETTLE_S = 60
_VERSION = re.compile(r"(\d+)\.(\d+)")


def version_of(text: str) -> tuple[int, int] | None:
    """Major and minor number of a RabbitMQ version."""
    found = _VERSION.match(text)
    return None if found is None else (int(found[1]), int(found[2]))


def held_s(settings: Settings, queues: Sequence[str]) -> tuple[float, str]:
    """How long a worker of these queues may hold a delivery at most, and why.

    The time counts from the delivery: what waits for a slot, or for an open breaker, is held as well.
    """
    return max(_held(settings, queues), default=(0.0, "it has no tasks"))


def _held(settings: Settings, queues: Sequence[str]) -> Iterator[tuple[float, str]]:
    known, concurrency = settings.queues, settings.worker.concurrency
    prefetch = {name: effective_prefetch(known[name], settings.worker) for name in queues}
    total = sum(prefetch.values())
    rounds = math.ceil(total / concurrency)
    is_returned = goes_back(settings, queues)
    for name, task in settings.tasks.items():
        if task.queue not in prefetch:
            continue
        if is_returned:
            yield (
                LONGEST_WAIT_S + task.timeout_s,
                f"{name} can wait {LONGEST_WAIT_S:g} s and take {task.timeout_s:g} s",
            )
            continue
        can = f"{name} can take {rounds} × {task.timeout_s:g} s"
        yield rounds * task.timeout_s, f"with prefetch {total} and concurrency {concurrency}, {can}"
        if (breaker := settings.breakers.get(task.breaker or "")) is not None:
            # Each of those that are held is tried in its turn.
            held, turn_s = prefetch[task.queue], breaker.open_s + task.timeout_s
            can = f"{name} can wait {held} × {turn_s:g} s"
            yield held * turn_s, f"with an open breaker {task.breaker} and prefetch {held}, {can}"


def goes_back(settings: Settings, queues: Sequence[str]) -> bool:
    """Whether a worker of these queues gives back what has waited for long, before the broker takes it back."""
    held = sum(effective_prefetch(settings.queues[name], settings.worker) for name in queues)
    rounds = math.ceil(held / settings.worker.concurrency)
    longest_s = max((task.timeout_s for task in settings.tasks.values() if task.queue in queues), default=0.0)
    is_long = rounds * longest_s > settings.broker.consumer_timeout_s
    return is_long and all(finds_itself(settings, name) for name in queues)


def suspect_from(delivery_limit: int) -> int:
    """How often a task of a queue was returned, at least, that may be what ends workers. It runs alone then."""
    return max(1, delivery_limit // 2)


def granted_s(settings: Settings, queues: Sequence[str], version: str) -> int:
    """For how long a worker of these queues asks to hold a delivery; ``broker.consumer_timeout_s`` at least.

    Raises ``ConfigError`` if a broker of this version does not grant it, and would take tasks back.
    """
    most_s, why = held_s(settings, queues)
    limit_s = settings.broker.consumer_timeout_s
    if most_s > limit_s and (version_of(version) or ASKS) < ASKS:
        text = (
            f"{why}, and RabbitMQ {version} takes a task back that is unacked for {limit_s:g} s, so that it runs "
            "twice. Lower timeout_s, the prefetch, or the number of queues of one worker; or raise the broker's "
            "consumer_timeout and broker.consumer_timeout_s with it; or use RabbitMQ 4.3, which is asked for "
            "what is needed."
        )
        raise ConfigError([text])
    return math.ceil(max(most_s + SETTLE_S, limit_s))
