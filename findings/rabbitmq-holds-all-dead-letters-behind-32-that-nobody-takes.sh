#!/usr/bin/env bash
# RabbitMQ 4.0.5 (and 3.10.8, 4.3.6): a quorum queue that dead-letters at least once keeps a message which its exchange
# routes nowhere. 31 of them harm nobody. From the 32nd on, no dead letter of that queue goes anywhere, whatever its
# routing key: the broker's own consumer of dead letters has a prefetch of 32 (documented as a bound of its memory) and
# tries again after 180 s. Nothing is logged, and a passive queue.declare says 0 messages. So a delay made of such a
# queue stops for all tasks once 32 messages for one that is gone have come. Cure: an alternate exchange, or a queue
# bound to everything, behind the dead-letter exchange.
# Seen on 2026-11-30 with pika 1.4.4. IMAGE names another image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/dies.py" <<'PYTHON'
import sys
import time

import pika

ARGUMENTS = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-strategy": "at-least-once",
    "x-dead-letter-exchange": "dead",
    "x-message-ttl": 100,
}
parameters = pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]))
for _ in range(120):
    try:
        connection = pika.BlockingConnection(parameters)
        break
    except pika.exceptions.AMQPConnectionError:
        time.sleep(0.5)
channel = connection.channel()
channel.confirm_delivery()
channel.exchange_declare("dead", "direct", durable=True)
channel.queue_declare("taken", durable=True, arguments={"x-queue-type": "quorum"})
channel.queue_bind("taken", "dead", "taken")


def dead_letter(unroutable):
    """Whether a dead letter that has a queue arrives within 20 s, after a number of them that have none."""
    queue = f"after {unroutable}"
    channel.exchange_declare(queue, "fanout", durable=True)
    channel.queue_declare(queue, durable=True, arguments=ARGUMENTS)
    channel.queue_bind(queue, queue)
    for _ in range(unroutable):
        channel.basic_publish(queue, "nobody", b"")
    channel.basic_publish(queue, "taken", b"")
    arrived, end = None, time.monotonic() + 20
    while arrived is None and time.monotonic() < end:
        time.sleep(0.2)
        arrived = channel.basic_get("taken", auto_ack=True)[0]
    counted = channel.queue_declare(queue, passive=True).method.message_count
    return f"{queue}: {'arrives' if arrived else 'does not arrive'}, {counted} counted"


print(dead_letter(31))
print(dead_letter(32))
PYTHON
seen=$("$folder/venv/bin/python" "$folder/dies.py" "$port")
docker exec "$container" rabbitmqctl version
echo "$seen"
[ "$seen" = 'after 31: arrives, 0 counted
after 32: does not arrive, 0 counted' ] || { echo 'it behaves differently now' >&2; exit 1; }
