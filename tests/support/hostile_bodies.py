"""Bodies that no honest client sends, by the name of what is wrong with them, and the code of their refusal."""

from __future__ import annotations

import gzip
import json
import struct
from typing import Final

import msgpack

from protocol.limits import DEFAULT_LIMITS

_LARGEST: Final = DEFAULT_LIMITS.body_bytes
_VALUES: Final = DEFAULT_LIMITS.nodes
_DEPTH: Final = DEFAULT_LIMITS.depth
#: A pickle, of the number 1: what it holds is of no account, since nothing loads it.
PICKLE: Final = b"\x80\x04K\x01."

UNDECODABLE, TOO_LARGE = "undecodable", "too_large"


def of(value: bytes) -> bytes:
    """The body of a task with one argument, ``value``, which is encoded already."""
    return b"\x81\xa5value" + value


def _array(count: int, item: bytes, last: bytes = b"") -> bytes:
    return of(b"\xdd" + (count + bool(last)).to_bytes(4) + item * count + last)


def unique_keys(count: int, salt: int = 0) -> bytes:
    """A map with so many keys, each another one; with another salt all others."""
    keys = (b"\xa8%08x\xc0" % (salt << 20 | number) for number in range(count))
    return of(b"\xdf" + count.to_bytes(4) + b"".join(keys))


#: The head of an array of 4,095 values. A decoder that makes room for what is claimed takes 32 kB for each.
_CLAIM: Final = b"\xdc\x0f\xff"
_TIMESTAMP_292E9: Final = b"\xc7\x0c\xff" + struct.pack(">Iq", 0, 2**63 - 1)
_NANOSECONDS: Final = b"\xd7\xff" + ((10**9 << 34) | 1).to_bytes(8)

#: Refused before anything of them is built.
SCANNED: Final[dict[str, tuple[str, bytes]]] = {
    # What other systems send.
    "a pickle": (UNDECODABLE, PICKLE),
    "a pickle in msgpack's place": (UNDECODABLE, of(PICKLE)),
    "yaml that makes an object": (UNDECODABLE, b"!!python/tuple [1, 2]"),
    "json": (UNDECODABLE, json.dumps({"value": 1}).encode()),
    "a gzip": (UNDECODABLE, gzip.compress(of(b"\x01"), mtime=0)),
    "a gzip of a hundred times its size": (UNDECODABLE, gzip.compress(bytes(100_000), mtime=0)),
    # Not whole, or more than whole.
    "nothing": (UNDECODABLE, b""),
    "cut short": (UNDECODABLE, of(b"\xa5four")),
    "a byte after it": (UNDECODABLE, of(b"\x01") + b"\x00"),
    "twice": (UNDECODABLE, of(b"\x01") * 2),
    "the reserved byte": (UNDECODABLE, of(b"\xc1")),
    # Extension types.
    **{
        f"an extension of type {kind}": (UNDECODABLE, of(b"\xd4" + struct.pack(">b", kind) + b"\x00"))
        for kind in (0, 1, 42, 127, -2, -128)
    },
    "an extension in an extension": (UNDECODABLE, of(b"\xc7\x03\x01\xd4\x02\x00")),
    "an extension of 4 GiB": (UNDECODABLE, of(b"\xc9\xff\xff\xff\xff\x01")),
    "a timestamp of 1970": (UNDECODABLE, of(b"\xd6\xff\x00\x00\x00\x00")),
    "a timestamp of the year 292e9": (UNDECODABLE, of(_TIMESTAMP_292E9)),
    "a timestamp of 1e9 nanoseconds": (UNDECODABLE, of(_NANOSECONDS)),
    "a timestamp of 5 bytes": (UNDECODABLE, of(b"\xc7\x05\xff" + bytes(5))),
    # Lengths that are only claimed.
    "a text of 4 GiB": (UNDECODABLE, of(b"\xdb\xff\xff\xff\xff")),
    "bytes of 4 GiB": (UNDECODABLE, of(b"\xc6\xff\xff\xff\xff")),
    "an array of 4 G": (UNDECODABLE, of(b"\xdd\xff\xff\xff\xff")),
    "a map of 4 G": (UNDECODABLE, of(b"\xdf\xff\xff\xff\xff")),
    "1,000 arrays that claim": (UNDECODABLE, of(_CLAIM * 1000)),
    "1,000 arrays that claim, padded": (
        TOO_LARGE,
        of(_CLAIM * 1000 + bytes(_LARGEST - 3007)),
    ),
    "arrays that claim, to the end": (TOO_LARGE, (_CLAIM * _LARGEST)[:_LARGEST]),
    # Depth and number.
    "33 arrays": (TOO_LARGE, of(b"\x91" * _DEPTH + b"\x01")),
    "33 maps": (TOO_LARGE, of(b"\x81\xa1a" * _DEPTH + b"\x01")),
    "1,024 arrays": (TOO_LARGE, of(b"\x91" * 1024 + b"\x01")),
    "a million arrays": (TOO_LARGE, of(b"\x91" * 1_000_000 + b"\x01")),
    "a value too many": (TOO_LARGE, _array(_VALUES - 2, b"\x01")),
    "a million values": (TOO_LARGE, _array(1_000_000, b"\x01")),
    "a million maps": (TOO_LARGE, _array(1_000_000, b"\x80")),
    "keys without end": (TOO_LARGE, unique_keys(100_000)),
    # Keys.
    "a key that is a number": (UNDECODABLE, b"\x82\xa5value\x01\x01\x01"),
    "a key that is nil": (UNDECODABLE, b"\x82\xa5value\x01\xc0\x01"),
    "a key that is a fraction": (UNDECODABLE, b"\x82\xa5value\x01\xcb" + bytes(8) + b"\x01"),
    "a key that is bytes": (UNDECODABLE, b"\x82\xa5value\x01\xc4\x01a\x01"),
    "a key that is an array": (UNDECODABLE, of(b"\x81\x90\x01")),
    "a key as text and as bytes": (UNDECODABLE, of(b"\x82\xa1a\x01\xc4\x01a\x02")),
    # Size.
    "a byte too many": (TOO_LARGE, bytes(_LARGEST + 1)),
    "nothing but zeros": (TOO_LARGE, bytes(4 * _LARGEST)),
}

#: Refused by what their text or keys are: as many values as a sound body may hold are built before.
BUILT: Final[dict[str, tuple[str, bytes]]] = {
    "text that is not UTF-8": (UNDECODABLE, of(b"\xa2\xff\xfe")),
    "text with a surrogate": (UNDECODABLE, of(b"\xa3\xed\xa0\x80")),
    "text that is longer than need be": (UNDECODABLE, of(b"\xa2\xc0\x80")),
    "a name that is not UTF-8": (UNDECODABLE, b"\x82\xa5value\x01\xa1\xff\x01"),
    "an argument twice": (UNDECODABLE, b"\x82\xa5value\x01\xa5value\x02"),
    "a key twice": (UNDECODABLE, of(b"\x82\xa1a\x01\xa1a\x02")),
    "a key twice, written otherwise": (UNDECODABLE, of(b"\x82\xa1a\x01\xd9\x01a\x02")),
    "a million bytes of text, the last wrong": (
        UNDECODABLE,
        of(b"\xdb\x00\x0f\x42\x40" + b"a" * 999_999 + b"\xff"),
    ),
    "90,000 maps and then no UTF-8": (UNDECODABLE, _array(90_000, b"\x80", b"\xa1\xff")),
    "90,000 texts and then no UTF-8": (UNDECODABLE, _array(90_000, b"\xa2ab", b"\xa1\xff")),
    "30,000 maps in maps, the last key twice": (
        UNDECODABLE,
        _array(30_000, b"\x81\xa0\x80", b"\x82\xa0\x80\xa0\x80"),
    ),
    "no map": (UNDECODABLE, b"\x91\x01"),
    "nil": (UNDECODABLE, b"\xc0"),
    "a text": (UNDECODABLE, b"\xa5value"),
}

ALL: Final = SCANNED | BUILT

#: Odd, and sound: it arrives as it was sent.
SOUND: Final[dict[str, object]] = {
    "not a number": float("nan"),
    "infinities": [float("inf"), float("-inf")],
    "a zero with a sign": -0.0,
    "the largest numbers": [2**64 - 1, -(2**63)],
    "text with zeros": "a\x00b",
    "text that moves a cursor": "\x1b[2J\x9b31m\u2028\u202e",
    "bytes of every value": bytes(range(256)),
    "as deep as may be": json.loads("[" * (_DEPTH - 1) + "]" * (_DEPTH - 1)),
    "an empty name": {"": None},
}


def packed(value: object) -> bytes:
    """The body that carries a value of ``SOUND``."""
    body: bytes = msgpack.packb({"value": value})
    return body
