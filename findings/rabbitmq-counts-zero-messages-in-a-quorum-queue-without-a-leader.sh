#!/usr/bin/env bash
# RabbitMQ 4.0.5 (and 3.10.8, 4.3.6): a passive queue.declare of a quorum queue that has no leader at the moment is
# answered with declare-ok, 0 messages and 0 consumers, although messages wait in it. Nothing in the answer says that
# the broker did not know. A script that drains "until the count is 0", or a check that alarms above 0, believes it.
# Cure: a basic.get as well, which such a queue does not answer with get-empty.
# Seen on 2026-11-30 with pika 1.4.4, one node, the queue's Raft member stopped. IMAGE names another image of the
# same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/counts.py" <<'PYTHON'
import subprocess
import sys
import time

import pika

port, container = int(sys.argv[1]), sys.argv[2]
parameters = pika.ConnectionParameters("127.0.0.1", port)
for _ in range(120):
    try:
        connection = pika.BlockingConnection(parameters)
        break
    except pika.exceptions.AMQPConnectionError:
        time.sleep(0.5)
channel = connection.channel()
channel.confirm_delivery()
channel.queue_declare("work", durable=True, arguments={"x-queue-type": "quorum"})
for number in range(3):
    channel.basic_publish("", "work", str(number).encode())


def count():
    return channel.queue_declare("work", passive=True).method.message_count


def rabbit(expression):
    command = ["docker", "exec", container, "rabbitmqctl", "eval", expression]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def wait_for(wanted):
    for _ in range(60):
        seen = count()
        if seen == wanted:
            break
        time.sleep(0.5)
    return seen


before = wait_for(3)
rabbit("ra:stop_server(quorum_queues, {'%2F_work', node()}).")
without = count()
rabbit("ra:restart_server(quorum_queues, {'%2F_work', node()}).")
print(f"3 published; counted {before}, without a leader {without}, with one again {wait_for(3)}")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/counts.py" "$port" "$container")
echo "$seen"
[ "$seen" = '3 published; counted 3, without a leader 0, with one again 3' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
