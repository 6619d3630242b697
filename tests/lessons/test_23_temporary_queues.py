"""Where do replies go while my requester reconnects, if its reply queue is exclusive?

Asked in [nameko #359](https://github.com/nameko/nameko/issues/359), [infrahub
#435](https://github.com/opsmill/infrahub/issues/435) and [micronaut-rabbitmq
#742](https://github.com/micronaut-projects/micronaut-rabbitmq/issues/742).

**Most pages say** "declare an exclusive, auto-delete queue for the replies".

**What happens.** An exclusive queue belongs to one *connection*: others may not even look at it (405), and it is
deleted with its messages when that connection ends. So a requester that reconnects finds neither its queue nor
the replies; a reply that comes meanwhile is returned to the worker if it was published with `mandatory`, and is
gone otherwise. Auto-delete is another thing: such a queue is deleted when its *last* consumer ends. Without ever
having had one it stays.

**Source.** [Temporary queues](https://www.rabbitmq.com/docs/queues#temporary-queues), [exclusive
queues](https://www.rabbitmq.com/docs/queues#exclusive-queues); measured on 3.10.8, 4.0.5, 4.3.6 (in a cluster
of 4.3.6 the queue of a client whose *node* died was still locked after 80 s).

**Our own code** has no temporary queue: replies come by direct reply-to (lesson 3), and those that must outlive
their requester go to a durable mailbox ([`mailboxes`](../../broker/topology/model.py)).
"""

from __future__ import annotations

from contextlib import suppress

from pika.exceptions import UnroutableError

from tests.lessons.kit import ByVersion, Lesson, Mutant, refusal

MUTANT = Mutant(
    'requester.queue_declare("replies", exclusive=True)',
    'requester.queue_declare("replies", durable=True)',
    breaks=1,
)
DIFFERS: dict[int, ByVersion] = {}
NEXT = "test_24_leaderless"


def test_an_exclusive_queue_ends_with_its_connection_and_takes_the_replies_along(lesson: Lesson) -> None:
    requester, worker = lesson.channel("requester"), lesson.channel("worker", confirms=True)
    requester.queue_declare("replies", exclusive=True)
    worker.basic_publish("", "replies", b"42", mandatory=True)
    stranger = lesson.channel("stranger")
    error = refusal(lambda: stranger.queue_declare("replies", passive=True))
    lesson.claim(
        1, "A reply waits in it. What if another connection looks?", error.split(" - ")[0], "405 RESOURCE_LOCKED"
    )

    lesson.kill("requester")
    lesson.wait(lambda: not lesson.vhost.exists("replies"))
    again = lesson.channel("requester, again")
    count = again.queue_declare("replies", exclusive=True).method.message_count
    lesson.claim(2, "The requester reconnects and declares it again. How many replies wait?", count, 0)

    lesson.kill("requester, again")
    lesson.wait(lambda: not lesson.vhost.exists("replies"))
    with suppress(UnroutableError):
        worker.basic_publish("", "replies", b"43", mandatory=True)
    lesson.claim(
        3,
        "It is gone. What does the worker hear of a reply?",
        lesson.heard("worker"),
        ["basic.return", "basic.ack"],
    )

    worker.queue_declare("passing", durable=True, auto_delete=True)
    lesson.claim(4, "An auto-delete queue without a consumer: is it there?", lesson.vhost.exists("passing"), True)
    worker.basic_cancel(worker.basic_consume("passing", lambda *_: None))
    lesson.claim(5, "And after its only consumer has ended?", lesson.vhost.exists("passing"), False)
