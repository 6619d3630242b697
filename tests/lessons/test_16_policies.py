"""`inequivalent arg`: how do I change a queue that exists?

Asked in [kombu #824](https://github.com/celery/kombu/issues/824) and [kernel-memory
#648](https://github.com/microsoft/kernel-memory/pull/648).

**Most pages say** "delete the queue and declare it again", or "use a policy, it overrides".

**What happens.** Arguments are the queue's for ever: a declaration with others is refused, and closes the
channel. A policy can be set on a queue that is there, and it needs no redeclaration. But it does not simply
override, and neither does the argument: of a TTL, a length or a delivery limit the *lower* value counts. So a
policy can shorten what the program asked for, unseen by it, and cannot lengthen it. A message keeps the TTL
that it came with: what stood in the queue before the policy waits as long as before.

**Source.** [Policies](https://www.rabbitmq.com/docs/policies); measured on 3.10.8, 4.0.5, 4.3.6.

**Our own code** declares with arguments, shows a difference instead of failing at it
([`diff`](../../broker/topology/diff.py)), and looks for policies that change what it asked for
([`overruled`](../../broker/topology/diff.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant('"definition": {"message-ttl": 200}', '"definition": {"message-ttl": 120000}', breaks=3)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_17_delayed_retry"


def test_an_argument_is_for_ever_and_of_two_ttls_the_lower_counts(lesson: Lesson) -> None:
    publisher, management = lesson.channel("publisher", confirms=True), lesson.vhost.broker.management
    declared = {"x-queue-type": "quorum", "x-message-ttl": 60_000}
    publisher.queue_declare("queue_a", durable=True, arguments=declared)
    again = lesson.channel("again")
    other = declared | {"x-message-ttl": 1000}
    error = refusal(lambda: again.queue_declare("queue_a", durable=True, arguments=other))
    lesson.claim(
        1,
        "Declared again with another TTL?",
        error.split(" for ")[0],
        "406 PRECONDITION_FAILED - inequivalent arg 'x-message-ttl'",
    )

    policy = {"pattern": "^queue_a$", "definition": {"message-ttl": 200}, "apply-to": "queues"}
    management.request("PUT", "policies", lesson.vhost.name, "short", body=policy)
    lesson.wait(lambda: "effective_policy_definition" in management.queue(lesson.vhost.name, "queue_a"))
    error = refusal(lambda: publisher.queue_declare("queue_a", durable=True, arguments=declared))
    lesson.claim(2, "A policy with 0.2 s is set. Is the old declaration refused now?", error, "none")

    publisher.basic_publish("", "queue_a", b"1")
    lesson.wait(lambda: lesson.ready("queue_a") == 0)
    lesson.claim(
        3, "The argument says 60 s, the policy 0.2 s: how many wait in the end?", lesson.ready("queue_a"), 0
    )
