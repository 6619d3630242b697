"""Decode frames by hand.

A frame of AMQP is its kind (1 octet), its channel (2), the size of its payload (4), the payload, and the octet
0xCE. Return those that are complete, each as kind, channel and payload; TCP delivers pieces, so the last one may
not be. Raise ValueError for a frame that does not end in 0xCE.

As it stands, numbers are read as an x86 processor keeps them: the broker's first frame has a size that no data
ever fills, and claim 1 fails.

Hints:
- AMQP has network byte order, `>` in a format of `struct`.
- Before `payload` is taken, its 0xCE must have arrived as well.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from pika import frame, spec

from tests.exercises.exercise import Unsolved
from tests.lessons.kit import Lesson

Frames = list[tuple[int, int, bytes]]
UNSOLVED = Unsolved(claim=1, saw=[])


def decode(data: bytes) -> Frames:
    frames = []
    while len(data) >= 7:
        kind, channel, size = struct.unpack("<BHI", data[:7])
        if len(data) < 7 + size:
            break
        frames.append((kind, channel, data[7 : 7 + size]))
        data = data[8 + size :]
    return frames


def check(lesson: Lesson, decode: Callable[[bytes], Frames]) -> None:
    broker, start = lesson.vhost.broker, b""
    with socket.create_connection((broker.host, broker.port), 10) as raw:
        raw.sendall(b"AMQP\x00\x00\x09\x01")
        while not start.endswith(b"\xce"):
            start += raw.recv(4096)
    first = [(kind, channel, struct.unpack(">HH", payload[:4])) for kind, channel, payload in decode(start)]
    expected = [(1, 0, (10, 10))]
    lesson.claim(1, "The broker's first frame: kind, channel, class and method?", first, expected)

    both = frame.Method(7, spec.Basic.Ack(1)).marshal() + frame.Body(7, b"pack order 1").marshal()
    seen = [(kind, channel, len(payload)) for kind, channel, payload in decode(both)]
    lesson.claim(2, "An ack and a body in one piece: kinds, channels, sizes?", seen, [(1, 7, 13), (3, 7, 12)])
    lesson.claim(3, "The last octet has not arrived. How many are complete?", len(decode(both[:-1])), 1)
    try:
        seen_end = repr(decode(both[:-1] + b"\x00"))
    except ValueError:
        seen_end = "refused"
    lesson.claim(4, "The last octet is 0, not 0xCE?", seen_end, "refused")
