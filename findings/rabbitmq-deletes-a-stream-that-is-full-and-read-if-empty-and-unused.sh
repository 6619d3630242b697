#!/usr/bin/env bash
# RabbitMQ 4.0.5 (and 3.10.8, 4.3.6): queue.delete with if_empty or if_unused, which is to spare a queue that holds
# messages or has a consumer, deletes a stream that has both, and answers ok with 0 messages. For streams the flags are
# ignored (rabbit_stream_queue.erl: `delete(Q, _IfUnused, _IfEmpty, ActingUser)`). A classic queue refuses with 406, and
# a quorum queue with 540, "not supported". So a clean-up that is careful in this way is right until the first stream
# matches its pattern. Issue 10543 of the broker takes it for granted that streams mind the flags.
# Seen on 2026-11-30 with pika 1.4.4. IMAGE names another image of the same version.
set -euo pipefail
image=${IMAGE:-rabbitmq:4.0.5}
folder=$(mktemp -d)
trap 'docker rm --force --volumes "$container" >/dev/null 2>&1 || true; rm -rf "$folder"' EXIT
container=$(docker run --detach --publish 127.0.0.1::5672 "$image")
port=$(docker port "$container" 5672/tcp | head -n 1 | sed 's/.*://')
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4
cat >"$folder/deletes.py" <<'PYTHON'
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


def delete(kind, **flags):
    """What the broker answers, of a queue with one message that is ready and one that a consumer holds."""
    queue = f"{kind} {' '.join(flags)}"
    channel, seen = connection.channel(), []
    channel.confirm_delivery()
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": kind})
    for body in b"held", b"ready":
        channel.basic_publish("", queue, body)
    reader, other = connection.channel(), pika.BlockingConnection(parameters)
    reader.basic_qos(prefetch_count=1)
    start = {"x-stream-offset": "first"} if kind == "stream" else None
    reader.basic_consume(queue, lambda *delivery: seen.append(delivery[3]), arguments=start)
    while not seen:
        connection.process_data_events(1)
    try:
        other.channel().queue_delete(queue, **flags)
        answer = "deleted"
    except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.ConnectionClosedByBroker) as refused:
        answer = f"refused with {refused.reply_code}"
    return f"{queue}: {answer}"


for kind in "classic", "quorum", "stream":
    print(delete(kind, if_empty=True))
    print(delete(kind, if_unused=True))
PYTHON
seen=$("$folder/venv/bin/python" "$folder/deletes.py" "$port")
docker exec "$container" rabbitmqctl version
echo "$seen"
[ "$seen" = 'classic if_empty: refused with 406
classic if_unused: refused with 406
quorum if_empty: refused with 540
quorum if_unused: refused with 540
stream if_empty: deleted
stream if_unused: deleted' ] || { echo 'it behaves differently now' >&2; exit 1; }
