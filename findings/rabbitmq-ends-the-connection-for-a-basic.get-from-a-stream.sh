#!/usr/bin/env bash
# RabbitMQ 4.0.5 (and 3.10.8, 4.3.6): a basic.get from a stream, or a purge of it, ends the whole connection (540, not
# implemented), with all its channels. A get from a queue that does not exist (404) or is exclusive to another (405)
# ends its channel alone, as one expects who opens a channel of its own for a look into a queue. Here the same look
# takes away the consumer beside it, and its unacknowledged work goes to others. The page on streams says that they
# cannot do it, not what it costs. Cure: look on a connection of its own, or at the queue's type first.
# Seen on 2026-11-30 with pika 1.4.4. IMAGE names another image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/looks.py" <<'PYTHON'
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
connection.channel().queue_declare("a stream", durable=True, arguments={"x-queue-type": "stream"})


def look(queue):
    """What a basic.get on a channel of its own ends."""
    connection = pika.BlockingConnection(parameters)
    bystander, looker = connection.channel(), connection.channel()
    try:
        looker.basic_get(queue)
        return f"{queue}: nothing ends"
    except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker) as closed:
        return f"{queue}: {closed.reply_code}, the other channel {'stays' if bystander.is_open else 'ends as well'}"


print(look("no queue"))
print(look("a stream"))
PYTHON
seen=$("$folder/venv/bin/python" "$folder/looks.py" "$port")
docker exec "$container" rabbitmqctl version
echo "$seen"
[ "$seen" = 'no queue: 404, the other channel stays
a stream: 540, the other channel ends as well' ] || { echo 'it behaves differently now' >&2; exit 1; }
