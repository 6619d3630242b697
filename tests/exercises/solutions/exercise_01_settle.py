from pika.adapters.blocking_connection import BlockingChannel


def settle(channel: BlockingChannel, delivery_tag: int, outcome: str) -> None:
    if outcome == "done":
        channel.basic_ack(delivery_tag)
    else:
        channel.basic_reject(delivery_tag, requeue=outcome == "again")
