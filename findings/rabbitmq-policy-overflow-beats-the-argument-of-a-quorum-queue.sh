#!/usr/bin/env bash
# RabbitMQ 4.0.5 (and 3.10.8, 4.3.6): a quorum queue is declared with x-overflow=reject-publish, so that a full queue
# refuses instead of losing. A policy with overflow=drop-head wins over the argument: the publish is confirmed and the
# oldest message is gone. A declaration still answers ok, since the argument is what it was. Of other keys (TTL,
# lengths, delivery limit) the lower value wins; of the dead-letter routing key the argument does.
# Seen on 2026-11-30 with pika 1.4.4. IMAGE names another image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/fills.py" <<'PYTHON'
import subprocess
import sys
import time

import pika

ARGUMENTS = {"x-queue-type": "quorum", "x-max-length": 2, "x-overflow": "reject-publish"}
parameters = pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]))
for _ in range(120):
    try:
        connection = pika.BlockingConnection(parameters)
        break
    except pika.exceptions.AMQPConnectionError:
        time.sleep(0.5)
channel = connection.channel()
channel.confirm_delivery()


def fill(queue):
    """How many of twelve publishes were refused, and the first message that is left."""
    channel.queue_declare(queue, durable=True, arguments=ARGUMENTS)
    time.sleep(2)
    refused = 0
    for number in range(12):
        try:
            channel.basic_publish("", queue, str(number).encode())
        except pika.exceptions.NackError:
            refused += 1
    return f"{queue}: {'some' if refused else 'none'} refused, first left {channel.basic_get(queue)[2].decode()}"


print(fill("plain"))
policy = ["set_policy", "p", "^governed$", '{"overflow":"drop-head"}', "--apply-to", "queues"]
subprocess.run(["docker", "exec", sys.argv[2], "rabbitmqctl", "-q", *policy], check=True)
print(fill("governed"))
connection.close()
PYTHON
seen=$("$folder/venv/bin/python" "$folder/fills.py" "$port" "$container")
docker exec "$container" rabbitmqctl version
echo "$seen"
[ "$seen" = $'plain: some refused, first left 0\ngoverned: none refused, first left 10' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
