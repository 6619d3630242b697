"""When nothing moves any more, and what is left then."""

from __future__ import annotations

from protocol.names import OBITUARIES, delay_level
from tests.support.vhost import Vhost
from tests.support.waiting import eventually
from tests.support.workers import WorkerProcess

#: Queues through which the short delays of the tests pass (up to 6.3 s).
_DELAYS = tuple(delay_level(level) for level in range(6))
#: Between two queues a message is in neither for a moment: quiet is what was seen so often in a row.
_LOOKS = 4


def moving(vhost: Vhost, *queues: str) -> int:
    """Messages that are ready in work queues, in the delay line and among the obituaries. Exact now."""
    with vhost.connection() as connection:
        channel = connection.channel()
        return sum(
            channel.queue_declare(queue, passive=True).method.message_count
            for queue in (*queues, OBITUARIES, *_DELAYS)
        )


def until_quiet(vhost: Vhost, *queues: str, within_s: float = 20.0) -> None:
    """Return once nothing is ready in these work queues, which workers consume, and nothing is on its way to them.

    A quorum queue without a leader has, as RabbitMQ tells it, neither messages nor consumers.
    """
    looks = 0

    def is_quiet() -> bool:
        nonlocal looks
        looks = looks + 1 if moving(vhost, *queues) == 0 and all(map(vhost.consumers, queues)) else 0
        return looks >= _LOOKS

    eventually(is_quiet, f"the end of all work in {', '.join(queues)}", within_s)


def finish(vhost: Vhost, *workers: WorkerProcess, queue: str = "queue_a", within_s: float = 20.0) -> int:
    """Let workers do everything and stop them; how many messages are stuck: what they had not acked is ready."""
    until_quiet(vhost, queue, within_s=within_s)
    for worker in workers:
        worker.sigterm()
    for worker in workers:
        assert worker.wait(15) == 0, worker.log
    return moving(vhost, queue)
