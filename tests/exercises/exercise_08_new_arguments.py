"""Give a queue other arguments, and keep its messages.

`queue_a` is bound to the exchange `tasks` by its own name and holds three messages. Nobody consumes it. A
declaration with other arguments is refused (406). The channel is in confirm mode.

As it stands, the queue is deleted and declared anew: its messages are gone, and claim 1 fails.

Hints:
- The arguments are the queue's for ever (lesson 16): there has to be a second queue for a while.
- A message has moved when the confirm of its copy has come; only then ack the original.
- At every moment one of the queues must be bound, or what others publish meanwhile is lost.
"""

from __future__ import annotations

from collections.abc import Callable

from pika.adapters.blocking_connection import BlockingChannel

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson, refusal

Arguments = dict[str, str | int]
UNSOLVED = Unsolved(claim=1, saw=0)


def rebuild(channel: BlockingChannel, arguments: Arguments) -> None:
    channel.queue_delete("queue_a")
    channel.queue_declare("queue_a", durable=True, arguments=arguments)
    channel.queue_bind("queue_a", "tasks", "queue_a")


def check(lesson: Lesson, rebuild: Callable[[BlockingChannel, Arguments], None]) -> None:
    operator, publisher = lesson.channel("operator", confirms=True), lesson.channel("publisher", confirms=True)
    arguments: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": 5}
    publisher.exchange_declare("tasks", "direct", durable=True)
    publisher.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
    publisher.queue_bind("queue_a", "tasks", "queue_a")
    for body in (b"1", b"2", b"3"):
        publisher.basic_publish("tasks", "queue_a", body)

    rebuild(operator, arguments)
    lesson.claim(1, "How many messages wait in queue_a afterwards?", lesson.ready("queue_a"), 3)
    declared = refusal(lambda: publisher.queue_declare("queue_a", durable=True, arguments=arguments))
    lesson.claim(2, "Declared again with the new arguments: which error?", declared, "none")
    publisher.basic_publish("tasks", "queue_a", b"4", mandatory=True)
    lesson.claim(3, "Something is published to tasks. How many wait now?", lesson.ready("queue_a"), 4)
    bound, always = {"queue='queue_a'"}, True
    for event in lesson.recording.events():
        name = event.words.partition(" ")[0]
        if event.client == "operator" and event.method == "queue.bind":
            bound.add(name)
        elif event.client == "operator" and event.method in ("queue.unbind", "queue.delete"):
            bound.discard(name)
        always = always and bool(bound)
    lesson.claim(4, "Was a queue bound at every moment?", always, True)
