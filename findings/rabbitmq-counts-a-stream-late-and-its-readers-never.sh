#!/usr/bin/env bash
# RabbitMQ 4.0.5 (and 3.10.8, 4.3.6): queue.declare of a stream, passive or not, answers with a count of messages that
# is up to 5 s old (it comes from the node's statistics), and with 0 consumers always, also to the reader that has just
# taken five of these messages. "Nobody reads it, so I may delete it" and "the count did not rise after the confirm, so
# it is lost" are wrong. A classic queue counts both at once.
# Seen on 2026-11-30 with pika 1.4.4. IMAGE names another image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/counts.py" <<'PYTHON'
import sys
import time

import pika

parameters = pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]))
for _ in range(120):
    try:
        connection = pika.BlockingConnection(parameters)
        break
    except pika.exceptions.AMQPConnectionError:
        time.sleep(0.5)
channel = connection.channel()
channel.confirm_delivery()


def counts(queue):
    answer = channel.queue_declare(queue, passive=True).method
    return f"{answer.message_count} messages, {answer.consumer_count} consumers"


def publish(queue, count):
    for number in range(count):
        channel.basic_publish("", queue, str(number).encode())


def leave(queue, count):
    """Return just after the node has counted again."""
    for _ in range(400):
        if counts(queue)[0] != count:
            return
        time.sleep(0.05)


def read_five(kind, arguments):
    """What is counted after five confirmed messages, the first long before, and while a consumer holds them all."""
    channel.queue_declare(kind, durable=True, arguments={"x-queue-type": kind})
    publish(kind, 1)
    leave(kind, "0")
    publish(kind, 4)
    published, seen, reader = counts(kind), [], connection.channel()
    reader.basic_qos(prefetch_count=10)
    reader.basic_consume(kind, lambda *delivery: seen.append(delivery[3]), arguments=arguments)
    while len(seen) < 5:
        connection.process_data_events(1)
    return f"{kind}: {published}; read by one: {counts(kind)}"


print(read_five("classic", None))
print(read_five("stream", {"x-stream-offset": "first"}))
leave("stream", "1")
print(f"stream, later: {counts('stream')}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/counts.py" "$port")
docker exec "$container" rabbitmqctl version
echo "$seen"
[ "$seen" = 'classic: 5 messages, 0 consumers; read by one: 0 messages, 1 consumers
stream: 1 messages, 0 consumers; read by one: 1 messages, 0 consumers
stream, later: 5 messages, 0 consumers' ] || { echo 'it behaves differently now' >&2; exit 1; }
