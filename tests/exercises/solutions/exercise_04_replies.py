import time
from uuid import uuid4

from pika import BasicProperties
from pika.adapters.blocking_connection import BlockingChannel

from tests.exercises.exercise_04_replies import REPLY_TO, Replies


def ask(channel: BlockingChannel, replies: Replies, question: bytes, within_s: float) -> bytes | None:
    asking = BasicProperties(reply_to=REPLY_TO, correlation_id=uuid4().hex)
    channel.basic_publish("", "queue_a", question, asking)
    deadline = time.monotonic() + within_s
    while (left_s := deadline - time.monotonic()) > 0:
        channel.connection.process_data_events(time_limit=left_s)
        while replies:
            correlation_id, body = replies.popleft()
            if correlation_id == asking.correlation_id:
                return body
    return None
