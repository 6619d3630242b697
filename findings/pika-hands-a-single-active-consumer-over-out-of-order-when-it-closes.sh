#!/usr/bin/env bash
# pika 1.4.4 (BlockingChannel.close, and so BlockingConnection.close) with RabbitMQ 4.0.5 (and 3.10.8, 4.3.6): close()
# cancels the consumers before it closes the channel. A queue with x-single-active-consumer goes to its next consumer at
# the cancel, though the first one still holds messages, and these come back only with the close: the next one gets
# message 1 before message 0. So a worker that stops in good order breaks the order that the queue is there for, and
# one that is killed keeps it. The page on consumers says only that a consumer that is cancelled or dies is followed.
# Seen on 2026-11-30, quorum queue, prefetch 1. Cure: settle all, then close. IMAGE names an image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/holds.py" <<'PYTHON'
import sys

import pika

connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1])))
channel, held = connection.channel(), []
channel.basic_qos(prefetch_count=1)
channel.basic_consume(sys.argv[2], lambda *message: held.append(message))
while not held:
    connection.process_data_events(1)
print("holds a message", flush=True)
sys.stdin.readline()
channel.close()
PYTHON
cat >"$folder/hands_over.py" <<'PYTHON'
import subprocess
import sys
import time

import pika

port, holds = sys.argv[1:]
for _ in range(120):
    try:
        connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(port)))
        break
    except pika.exceptions.AMQPConnectionError:
        time.sleep(0.5)
channel = connection.channel()
channel.confirm_delivery()
channel.basic_qos(prefetch_count=1)


def order(way):
    """What the second consumer of a queue gets when the first, which holds message 0, ends in that way."""
    queue, got = way.__name__, []
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum", "x-single-active-consumer": True})
    for number in range(3):
        channel.basic_publish("", queue, str(number).encode())
    first = subprocess.Popen([sys.executable, holds, port, queue], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    first.stdout.readline()

    def take(_, method, properties, body):
        got.append(body.decode())
        time.sleep(1)
        channel.basic_ack(method.delivery_tag)

    channel.basic_consume(queue, take)
    way(first)
    end = time.monotonic() + 30
    while len(got) < 3 and time.monotonic() < end:
        connection.process_data_events(1)
    return f"{queue} {' '.join(got)}"


def closed(first):
    first.communicate(b"\n")


def killed(first):
    first.kill()
    first.wait()


print(f"{order(closed)}, {order(killed)}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/hands_over.py" "$port" "$folder/holds.py")
docker exec "$container" rabbitmqctl version
echo "$seen"
[ "$seen" = 'closed 1 0 2, killed 0 1 2' ] || { echo 'it behaves differently now' >&2; exit 1; }
