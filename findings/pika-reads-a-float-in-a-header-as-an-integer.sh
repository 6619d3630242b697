#!/usr/bin/env bash
# pika 1.4.4: a float or double in the headers of a message that another client sent is cut to an integer when pika
# decodes it (data.py: `long(struct.unpack_from('>d', ...))`): a rate of 0.9 arrives as 0, a time without its fraction,
# and no error says so. pika itself cannot send one: the publish raises UnsupportedAMQPFieldException. So
# only a queue that serves two clients shows it: here kombu's py-amqp 5.3.1 writes the properties and pika reads them.
# Seen on 2026-11-30 with Python 3.11.7; pika's main branch decodes and encodes floats. Cure: send a string.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check pika==1.4.4 amqp==5.3.1
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import pika
from amqp.basic_message import Message

sent = {"rate": 0.9, "sent_at": 1764540000.75}
properties = pika.BasicProperties()
properties.decode(Message("", application_headers=sent)._serialize_properties())
print(*(f"{name} {value} -> {int(properties.headers[name])}," for name, value in sent.items()), end=" ")
print("an integer:", all(isinstance(value, int) for value in properties.headers.values()), end=", ")
try:
    pika.BasicProperties(headers=sent).encode()
except pika.exceptions.UnsupportedAMQPFieldException:
    print("not sent by pika")
PYTHON
)
echo "$seen"
[ "$seen" = 'rate 0.9 -> 0, sent_at 1764540000.75 -> 1764540000, an integer: True, not sent by pika' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
