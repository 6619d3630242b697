"""Which ``reply_to`` may be answered.

A worker publishes a direct reply to the default exchange, which reaches every queue of the vhost, so an
address is a thing to check, not to trust. A regular expression is not enough: RabbitMQ 3.10 and 4.0 close the
whole connection (541) over an address that looks right and decodes wrong. An address is
``amq.rabbitmq.reply-to.`` + base64 of an Erlang pid whose node name is ``reply@<digits>`` + ``.`` + base64 of
16 bytes (rabbit_direct_reply_to.erl in 3.10 and 4.0, rabbit_volatile_queue.erl since 4.2).
"""

from __future__ import annotations

import base64
import binascii
import re
from enum import Enum, auto
from functools import lru_cache

from protocol.names import DIRECT_REPLY_TO, mailbox_of

_PREFIX = DIRECT_REPLY_TO + "."
#: External term format: version 131, NEW_PID_EXT, ATOM_UTF8_EXT with a two-byte length.
_PID = re.compile(rb"\x83\x58\x76(?P<length>\x00[\x07-\x10])(?P<node>reply@[0-9]{1,10}).{12}", re.DOTALL)
#: The number of values of Erlang's ``phash2``.
_HASHES = 1 << 27
_KEY_BYTES = 16
_LONGEST = 200


class ReplyKind(Enum):
    """Where an answer goes."""

    NONE = auto()
    DIRECT = auto()
    MAILBOX = auto()


# Requesters ask more than once. A short string of AMQP has at most 255 bytes, so what is kept is bounded.
@lru_cache(maxsize=1024)
def reply_kind(reply_to: str | None) -> ReplyKind | None:
    """What kind of address this is, or None if it must not be answered at all."""
    if reply_to is None:
        return ReplyKind.NONE
    if is_direct_address(reply_to):
        return ReplyKind.DIRECT
    return ReplyKind.MAILBOX if mailbox_of(reply_to) is not None else None


def is_direct_address(reply_to: str) -> bool:
    """True only for the exact structure that a broker makes."""
    return reply_node(reply_to) is not None


@lru_cache(maxsize=1024)
def reply_node(reply_to: str) -> str | None:
    """The node part of a direct reply address (``reply@`` and digits); None if it is no such address."""
    if len(reply_to) > _LONGEST or not reply_to.startswith(_PREFIX):
        return None
    pid_text, dot, key_text = reply_to[len(_PREFIX) :].partition(".")
    if not dot:
        return None
    pid, key = _decoded(pid_text), _decoded(key_text)
    if pid is None or key is None or len(key) != _KEY_BYTES:
        return None
    match = _PID.fullmatch(pid)
    if match is None or int.from_bytes(match["length"]) != len(match["node"]):
        return None
    return match["node"].decode("ascii")


@lru_cache(maxsize=16)
def node_part(node: str) -> str:
    """What a broker writes into the addresses of its node of this name: a hash, by which its peers look it up."""
    value = 0
    for byte in node.encode():
        value = (value << 4) + byte & 0xFFFFFFFF
        if top := value & 0xF0000000:
            value ^= top >> 24 ^ top
    return f"reply@{value % _HASHES}"


def _decoded(text: str) -> bytes | None:
    """Canonical base64 only: what decodes must encode to the same text again."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode("ascii") == text else None
