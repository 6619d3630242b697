from pika.adapters.blocking_connection import BlockingChannel


def rebuild(channel: BlockingChannel, arguments: dict[str, str | int]) -> None:
    def replace(old: str, new: str) -> None:
        channel.queue_declare(new, durable=True, arguments=arguments)
        channel.queue_bind(new, "tasks", "queue_a")
        channel.queue_unbind(old, "tasks", "queue_a")
        while (found := channel.basic_get(old))[0] is not None:
            method, properties, body = found
            channel.basic_publish("", new, body, properties, mandatory=True)
            channel.basic_ack(method.delivery_tag)
        channel.queue_delete(old)

    replace("queue_a", "queue_a.new")
    replace("queue_a.new", "queue_a")
