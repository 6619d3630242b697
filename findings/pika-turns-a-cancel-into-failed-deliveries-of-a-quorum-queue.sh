#!/usr/bin/env bash
# pika 1.4.4 (AsyncioConnection; the adapters share this code) with RabbitMQ 4.0.5: what still arrives for a consumer
# between basic_cancel and its cancel-ok is rejected by pika itself with requeue=True. A quorum queue counts each
# as a failed delivery: x-delivery-count is 1 for messages that no application has seen. An application that pauses
# its consumer time and again brings innocent messages nearer to the delivery limit (20 by default since 4.0), beyond
# which they are dead-lettered or dropped. The larger the prefetch, the more may be on its way: here 200 of 200.
# Seen on 2026-11-30, on 4.0.5 and 4.3.6. IMAGE names another image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/cancels.py" <<'PYTHON'
import asyncio
import sys
import time

import pika
from pika.adapters.asyncio_connection import AsyncioConnection

MESSAGES = 200
parameters = pika.ConnectionParameters("127.0.0.1", int(sys.argv[1]))
for _ in range(120):
    try:
        blocking = pika.BlockingConnection(parameters)
        break
    except pika.exceptions.AMQPConnectionError:
        time.sleep(0.5)
publisher = blocking.channel()
publisher.confirm_delivery()
publisher.queue_declare("work", durable=True, arguments={"x-queue-type": "quorum"})
for number in range(MESSAGES):
    publisher.basic_publish("", "work", str(number).encode())


async def take_and_cancel():
    """How many deliveries the application saw."""
    opened, cancelled, closed, seen = (*(asyncio.Future() for _ in range(3)), [])
    connection = AsyncioConnection(parameters, on_open_callback=opened.set_result)
    connection.add_on_close_callback(lambda *_: closed.set_result(None))
    await opened
    got_channel = asyncio.Future()
    channel = connection.channel(on_open_callback=got_channel.set_result)
    await got_channel
    channel.basic_qos(prefetch_count=MESSAGES)
    tag = channel.basic_consume("work", lambda *delivery: seen.append(delivery[1].delivery_tag))
    channel.basic_cancel(tag, callback=cancelled.set_result)
    await cancelled
    connection.close()
    await closed
    return len(seen)


handled = asyncio.run(take_and_cancel())
counted = 0
for _ in range(MESSAGES):
    method, properties, _body = publisher.basic_get("work")
    while method is None:
        time.sleep(0.1)
        method, properties, _body = publisher.basic_get("work")
    counted += (properties.headers or {}).get("x-delivery-count", 0) > 0
    publisher.basic_ack(method.delivery_tag)
print(f"seen by the application {handled}; with a delivery count afterwards {'some' if counted else 'none'}")
print(counted, file=sys.stderr)
PYTHON
seen=$("$folder/venv/bin/python" "$folder/cancels.py" "$port")
echo "$seen"
[ "$seen" = 'seen by the application 0; with a delivery count afterwards some' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
