#!/usr/bin/env bash
# pamqp 4.0.1, which aio-pika writes its frames with: a float in the headers of a message is encoded as AMQP's 'f', of
# 32 bits, though a Python float has 64 and the protocol has 'd' for it. `time.time()` arrives up to 64 s wrong, 0.1 is
# another number, and nothing warns. py-amqp (kombu, Celery) sends 'd'. A latency that a reader computes from such a
# header is wrong by the same, or negative. Source: encode.py, `b'f' + floating_point(value)` for every float.
# Seen on 2026-11-30 with aio-pika 10.2.1, Python 3.11.7. Cure: send an integer of milliseconds, or a string.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check aio-pika==10.2.1 pamqp==4.0.1
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import aio_pika
from pamqp import frame, header

message = aio_pika.Message(b"", headers={"sent_at": 1764540000.123, "share": 0.1})
sent = frame.marshal(header.ContentHeader(0, 0, message.properties), 1)
arrived = frame.unmarshal(sent)[2].properties.headers
print(f"sent_at {arrived['sent_at'] - 1764540000.123:+.3f} s, share {arrived['share']}")
PYTHON
)
echo "$seen"
[ "$seen" = 'sent_at +31.877 s, share 0.10000000149011612' ] || { echo 'it behaves differently now' >&2; exit 1; }
