#!/usr/bin/env bash
# RabbitMQ 4.0.5: a quorum queue looks for expired messages at its head only, and since 4.0 a message with a priority of
# 5 or more is the head, before older ones without (two of them for each one of these). So of two messages under the
# *same* TTL of the queue, the one that was published 3 s earlier leaves with the later one, 3 s late. No argument of
# the queue asks for priorities. 3.10.8 ignores them in quorum queues, and 4.3.6 looks at the head of each priority:
# there both leave in time. Cure: no priority in a queue that delays; keep the number in a header of your own.
# Seen on 2026-11-30 with pika 1.4.4. IMAGE names another image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/expires.py" <<'PYTHON'
import sys
import time

import pika

QUORUM = {"x-queue-type": "quorum"}
parameters = pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]))
for _ in range(120):
    try:
        connection = pika.BlockingConnection(parameters)
        break
    except pika.exceptions.AMQPConnectionError:
        time.sleep(0.5)
channel = connection.channel()
channel.confirm_delivery()
channel.queue_declare("out", durable=True, arguments=QUORUM)


def leaves(priority):
    """When the first of two messages leaves that expire after 5 s, if the second, 3 s later, has that priority."""
    queue = f"priority {priority}"
    dead_letter = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "out"}
    channel.queue_declare(queue, durable=True, arguments=QUORUM | dead_letter | {"x-message-ttl": 5000})
    channel.basic_publish("", queue, b"first")
    time.sleep(3)
    channel.basic_publish("", queue, b"second", pika.BasicProperties(priority=priority))
    left = {}
    while len(left) < 2:
        method, _, body = channel.basic_get("out", auto_ack=True)
        if method is not None:
            left[body] = time.monotonic()
        time.sleep(0.02)
    return "in time" if left[b"second"] - left[b"first"] > 1.5 else "with the second"


print(f"priority 4: the first leaves {leaves(4)}, priority 5: {leaves(5)}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/expires.py" "$port")
docker exec "$container" rabbitmqctl version
echo "$seen"
[ "$seen" = 'priority 4: the first leaves in time, priority 5: with the second' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
