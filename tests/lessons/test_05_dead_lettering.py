"""My rejected messages should be in the dead letter queue. Where are they?

Asked in [rabbitmq-server #8495](https://github.com/rabbitmq/rabbitmq-server/issues/8495), where a dead letter
queue did not refuse what it was told to refuse, and by everybody whose dead letter queue stays empty.

**Most pages say** "set `x-dead-letter-exchange`, and rejected messages go to the dead letter queue".

**What happens.** The broker publishes the dead message to that exchange and, by default, neither asks whether
it was routed nor waits for a confirm: where nothing is bound it is gone, and nobody is told. With
`x-dead-letter-strategy: at-least-once`, which needs `x-overflow: reject-publish`, it stays in its queue until
the target has confirmed it. A dead message carries where, why and how often it died in `x-death`.

**Source.** [At-least-once dead lettering](https://www.rabbitmq.com/docs/quorum-queues#dead-lettering).

**Our own code** gives every work queue that strategy ([`_work_queue`](../../broker/topology/model.py)) and
reads the reason from the entry of the queue in which it died ([`why`](../../protocol/dead_letter.py)).
"""

from __future__ import annotations

from tests.lessons.kit import ByVersion, Lesson, Mutant

MUTANT = Mutant('"x-dead-letter-strategy": "at-least-once"', '"x-dead-letter-strategy": "at-most-once"', breaks=5)
DIFFERS: dict[int, ByVersion] = {3: ByVersion({"3.10": False, "4.0": True})}
NEXT = "test_06_delay_line"


def test_a_dead_letter_is_safe_only_with_the_strategy_at_least_once(lesson: Lesson) -> None:
    worker = lesson.channel("worker", confirms=True)
    dead = {"x-queue-type": "quorum", "x-dead-letter-exchange": "graves", "x-overflow": "reject-publish"}
    worker.exchange_declare("graves", "direct", durable=True)
    worker.queue_declare("easy", durable=True, arguments=dead)
    worker.queue_declare("safe", durable=True, arguments=dead | {"x-dead-letter-strategy": "at-least-once"})
    worker.queue_declare("easy.dead", durable=True, arguments={"x-queue-type": "quorum"})
    worker.queue_bind("easy.dead", "graves", "easy")

    worker.basic_publish("", "easy", b"1")
    worker.basic_reject(worker.basic_get("easy")[0].delivery_tag, requeue=False)
    _, properties, _ = next(worker.consume("easy.dead", auto_ack=True, inactivity_timeout=10))
    lesson.claim(1, "In which queue did the message die?", properties.headers["x-death"][0]["queue"], "easy")
    lesson.claim(2, "Why?", properties.headers["x-death"][0]["reason"], "rejected")
    lesson.claim(
        3, "Is there a short form, x-last-death-reason?", "x-last-death-reason" in properties.headers, DIFFERS[3]
    )

    worker.queue_unbind("easy.dead", "graves", "easy")
    for queue in ("easy", "safe"):
        worker.basic_publish("", queue, b"2")
        worker.basic_reject(worker.basic_get(queue)[0].delivery_tag, requeue=False)
    lesson.wait(lambda: lesson.total("easy") == 0)
    lesson.claim(4, "Nothing is bound: what is left in easy?", lesson.total("easy"), 0)
    lesson.wait(lambda: lesson.total("safe") == 1)
    lesson.claim(5, "And in safe?", lesson.total("safe"), 1)
