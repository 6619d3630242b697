"""Which keys of a policy change what an argument says. Pure.

Tried with quorum queues on RabbitMQ 3.10.8, 4.0.5 and 4.3.6: of two numbers the lower one counts; ``overflow`` is
the policy's; everything else is the argument's, and the policy's where there is no argument
(https://www.rabbitmq.com/docs/policies).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
