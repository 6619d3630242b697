#!/usr/bin/env bash
# RabbitMQ 4.0.5: a reply that is published `mandatory` to a live direct reply address is returned as unroutable
# (312 NO_ROUTE) and delivered all the same. Whoever takes the return for the truth sends the reply again, or writes
# a dead letter for a caller that has its answer. 4.3.6 does not return it, nor one to an address that is gone. So
# `mandatory` says nothing about direct replies on any version.
# Seen on 2026-11-30 with pika 1.4.4. IMAGE names another image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/asks.py" <<'PYTHON'
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
caller, answerer = connection.channel(), connection.channel()
got, returned = [], []
caller.basic_consume("amq.rabbitmq.reply-to", lambda *message: got.append(message[3]), auto_ack=True)
answerer.queue_declare("asked", durable=True, arguments={"x-queue-type": "quorum"})
caller.basic_publish("", "asked", b"?", pika.BasicProperties(reply_to="amq.rabbitmq.reply-to"))
method, properties, body = None, None, None
while method is None:
    method, properties, body = answerer.basic_get("asked", auto_ack=True)
answerer.confirm_delivery()
try:
    answerer.basic_publish("", properties.reply_to, b"!", mandatory=True)
except pika.exceptions.UnroutableError as error:
    returned += [message.method.reply_code for message in error.messages]
connection.process_data_events(2)
print(f"returned {returned}, delivered {got}")
connection.close()
PYTHON
seen=$("$folder/venv/bin/python" "$folder/asks.py" "$port")
docker exec "$container" rabbitmqctl version
echo "$seen"
[ "$seen" = "returned [312], delivered [b'!']" ] || { echo 'it behaves differently now' >&2; exit 1; }
