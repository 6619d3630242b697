"""Bodies: msgpack with bounds. Decides what may be decoded; refuses to know what it means.

``scan`` walks the bytes once without building anything. What passes it cannot nest deeper, hold more values
or claim more elements than the limits and the bytes at hand allow, so the decoder that follows is safe:
msgpack itself would allocate eight bytes for each element that a nested array header merely claims.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgpack

from protocol.errors import ErrorCode, GlassrabbitError, Malformed
from protocol.limits import Limits

#: Bytes to skip after a head of fixed size.
_FIXED: Final = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8}
_FIXED_SIZE: Final = _FIXED | {0xCC + i: 1 << i for i in range(4)} | {0xD0 + i: 1 << i for i in range(4)}
#: Head → bytes of the length that follows.
_STRINGS: Final = {0xD9: 1, 0xDA: 2, 0xDB: 4}
_BINARIES: Final = {0xC4: 1, 0xC5: 2, 0xC6: 4}
_SIZED: Final = _STRINGS | _BINARIES
_ARRAYS: Final = {0xDC: 2, 0xDD: 4}
_MAPS: Final = {0xDE: 2, 0xDF: 4}
_CONTAINERS: Final = bytes([*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF])
#: All bytes but the heads of containers, bytes and extensions.
_OPENS_NOTHING: Final = bytes({*range(256)} - {*_CONTAINERS, *range(0xC4, 0xCA), *range(0xD4, 0xD9)})
_HARMLESS_BYTES: Final = 4096
#: All bytes but the heads that claim a number of elements, and how many may be claimed together.
_CLAIM_LITTLE: Final = bytes({*range(256)} - {*_ARRAYS, *_MAPS})
_CLAIMED: Final = 4 * 1024 * 1024
#: What is larger is never decoded at once: values take up to twenty times their bytes.
_AT_ONCE_BYTES: Final = 1024 * 1024
_NO_CONTAINERS: Final = bytes({*range(256)} - {*_CONTAINERS})
#: What an encoder begins with, and up to what it keeps what it has grown to.
_BUFFER_BYTES: Final = 4096
_KEPT_BYTES: Final = 256 * 1024
#: What msgpack raises for a value that it cannot pack.
_UNPACKABLE: Final = (TypeError, ValueError, OverflowError, RecursionError, BufferError)
#: The types of values that hold no others.
SCALARS: Final = frozenset((type(None), bool, int, float, str, bytes))


class NotEncodable(GlassrabbitError):
    """A value that msgpack cannot carry by the rules of ``scan``. Return or send plain data instead."""


class EncodedTooLarge(NotEncodable):
    """A value whose bytes exceed the limit. Send a reference (a path, a key) instead of the data."""


def scan(body: bytes, limits: Limits) -> None:  # noqa: C901 - one loop, unrolled for speed
    """Check one msgpack value and its end. Raises ``Malformed`` (``too_large`` or ``undecodable``)."""
    if len(body) > limits.body_bytes:
        raise Malformed(ErrorCode.TOO_LARGE, f"body of {len(body)} bytes; the limit is {limits.body_bytes}")
    end, at, nodes = len(body), 0, 0
    left, in_map = 1, False
    outer: list[tuple[int, bool]] = []
    while True:
        while left == 0:
            if not outer:
                if at != end:
                    raise _undecodable(f"{end - at} bytes after the value")
                return
            left, in_map = outer.pop()
        if at >= end:
            raise _undecodable("the body ends inside a value")
        head = body[at]
        at += 1
        nodes += 1
        if nodes > limits.nodes:
            raise Malformed(ErrorCode.TOO_LARGE, f"more than {limits.nodes} values")
        if in_map and left % 2 == 0 and not (0xA0 <= head <= 0xBF or head in _STRINGS):
            raise _undecodable("a map key that is not a string")
        left -= 1
        at, children, is_map = _after(head, body, at)
        if at > end or children > end - at:
            raise _undecodable("a length beyond the end of the body")
        if children:
            outer.append((left, in_map))
            if len(outer) > limits.depth:
                raise Malformed(ErrorCode.TOO_LARGE, f"nested deeper than {limits.depth}")
            left, in_map = children, is_map


def _after(head: int, body: bytes, at: int) -> tuple[int, int, bool]:
    """Where a head's own bytes end, how many values it opens, and whether these are a map's pairs."""
    if head < 0x80 or head >= 0xE0:
        return at, 0, False
    if head < 0x90:
        return at, 2 * (head & 0x0F), True
    if head < 0xA0:
        return at, head & 0x0F, False
    if head < 0xC0:
        return at + (head & 0x1F), 0, False
    if head in _FIXED_SIZE:
        return at + _FIXED_SIZE[head], 0, False
    if head in _SIZED:
        size = _SIZED[head]
        return at + size + int.from_bytes(body[at : at + size]), 0, False
    if head in _ARRAYS:
        size = _ARRAYS[head]
        return at + size, int.from_bytes(body[at : at + size]), False
    if head in _MAPS:
        size = _MAPS[head]
        return at + size, 2 * int.from_bytes(body[at : at + size]), True
    raise _undecodable(f"byte 0x{head:02x}: extension types are refused" if head != 0xC1 else "byte 0xc1")


def decode(body: bytes, limits: Limits) -> Any:
    """The value of a body. Raises ``Malformed``; nothing is built before ``scan`` has passed, or is needless."""
    if not _is_harmless(body, limits):
        scan(body, limits)
    try:
        return msgpack.unpackb(body, raw=False, strict_map_key=True, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise _undecodable("a string that is not UTF-8") from error
    except ValueError:
        # Only of a body that was not scanned: the scan says what is wrong with it.
        scan(body, limits)
        raise


def decode_all(body: bytes) -> list[Any] | None:
    """The values of an array, or None for what is to be looked at piece by piece. Not everything that ``scan``
    refuses is refused: nobody looks how deep they nest, how many there are, at extension types and keys of bytes.

    msgpack itself refuses to nest deeper than 1,024, and to pack what nests deeper than 511. It allocates for each
    array and map what its head claims, at most one element for each byte: so there may be few such heads, or bytes
    that look like them. Of smaller ones, which take 64 bytes each, there may be one in six bytes: a seventh of
    random bytes look like them.
    """
    if len(body) > _AT_ONCE_BYTES:
        return None
    claims, containers = len(body.translate(None, _CLAIM_LITTLE)), len(body.translate(None, _NO_CONTAINERS))
    if claims * len(body) > _CLAIMED or containers > len(body) // 6 + 100:
        return None
    try:
        values = msgpack.unpackb(body, raw=False, strict_map_key=True)
        if type(values) is not list:
            return None
        # Of a key that stands twice in a map one is left. To pack what there is costs less than to look at each.
        if msgpack.Packer(use_bin_type=True, buf_size=len(body) + 16).pack(values) != body:
            del values
            values = msgpack.unpackb(body, raw=False, strict_map_key=True, object_pairs_hook=_unique)
    except (ValueError, Malformed):
        return None
    found: list[Any] = values
    return found


def _is_harmless(body: bytes, limits: Limits) -> bool:
    """Whether a body is so small and plain that msgpack itself refuses whatever in it ``scan`` would refuse.

    A value takes a byte at least and a nesting one head, so few bytes are few values and few heads are no depth;
    ``depth`` arrays of ``nodes`` claimed elements are 1 MiB at most; and what msgpack would let pass (extension
    types, keys of bytes) needs a head that is not there. Of text, ASCII looks like no head; other text is scanned.
    """
    if len(body) > min(_HARMLESS_BYTES, limits.body_bytes, limits.nodes):
        return False
    heads = body.translate(None, _OPENS_NOTHING)
    return len(heads) <= limits.depth and not heads.translate(None, _CONTAINERS)


def _has_string_keys(body: bytes) -> bool:
    """Of a harmless body. msgpack writes keys of other types, and refuses to read them."""
    try:
        msgpack.unpackb(body, raw=True, strict_map_key=True)
    except ValueError:
        return False
    return True


def elements(body: bytes, most: int) -> list[bytes]:
    """The values of an array, each as its bytes. Nothing of them is built, and nothing else is known of them.

    Raises ``Malformed`` (``undecodable``); of an array that claims more than ``most``, the first ``most`` + 1.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=len(body))
    unpacker.feed(body)
    parts = []
    try:
        length = unpacker.read_array_header()
        start = unpacker.tell()
        for _ in range(min(length, most + 1)):
            unpacker.skip()
            end = unpacker.tell()
            parts.append(body[start:end])
            start = end
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise _undecodable("no array, or one that ends too early") from error
    if length <= most and start != len(body):
        raise _undecodable(f"{len(body) - start} bytes after the value")
    return parts


def decode_arguments(body: bytes, limits: Limits) -> dict[str, Any]:
    """The keyword arguments that a task's body holds."""
    value = decode(body, limits)
    if not isinstance(value, dict):
        raise _undecodable("the body must be a map of arguments")
    return value


def encode(value: object, limits: Limits, what: str = "value") -> bytes:
    """The bytes of a value, held to the same rules as what is received.

    Raises ``NotEncodable``, or its subclass ``EncodedTooLarge``.
    """
    return Encoder(limits).encode(value, what)


class Encoder:
    """``encode`` for many values of one thread: what writes msgpack is made once."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._make_packer()

    def _make_packer(self) -> None:
        self._pack = msgpack.Packer(use_bin_type=True, buf_size=_BUFFER_BYTES).pack

    def encode(self, value: object, what: str = "value") -> bytes:
        """Raises ``NotEncodable``, or its subclass ``EncodedTooLarge``; ``what`` is what they call the value."""
        limits = self.limits
        try:
            body = self._packed(value)
            # Scalars cannot change meanwhile, as a map in another thread's hands could.
            if type(value) in SCALARS and len(body) <= limits.body_bytes:
                return body
            if not (_is_harmless(body, limits) and _has_string_keys(body)):
                scan(body, limits)
        except (Malformed, *_UNPACKABLE):
            return self._encode_plain(value, what)
        return body

    def _encode_plain(self, value: object, what: str) -> bytes:
        """The bytes of what goes in the place of a value that is not plain; or where in it and why that is not."""
        # Few values need it, and it takes a child some memory.
        from protocol.values import Misfit, plain

        try:
            body = self._packed(plain(value, self.limits))
            scan(body, self.limits)
        except Misfit as misfit:
            raise (EncodedTooLarge if misfit.is_too_large else NotEncodable)(f"{what}{misfit}") from misfit
        except Malformed as error:
            kind = EncodedTooLarge if error.code is ErrorCode.TOO_LARGE else NotEncodable
            raise kind(f"{what}: {error.text}") from error
        except _UNPACKABLE as error:
            raise NotEncodable(f"{what}: {str(error)[:200]}") from error
        return body

    def arguments(self, arguments: Mapping[str, Any]) -> bytes:
        """``encode`` for the arguments of a task, of which most are flat: a copy that nobody else has is soon
        judged."""
        table = dict(arguments)
        if is_plain(table, self.limits):
            try:
                body = self._packed(table)
            except (ValueError, OverflowError):
                body = b""
            if 0 < len(body) <= self.limits.body_bytes:
                return body
        return self.encode(table, "arguments")

    def _packed(self, value: object) -> bytes:
        try:
            body: bytes = self._pack(value)
        except BaseException:
            self._make_packer()
            raise
        if len(body) > _KEPT_BYTES:
            self._make_packer()
        return body


def is_plain(table: dict[Any, Any], limits: Limits) -> bool:
    """Whether it is a flat map of scalars: packed, it can break no rule but that of size."""
    for key, item in table.items():
        if type(key) is not str or type(item) not in SCALARS:
            return False
    return 2 * len(table) < limits.nodes


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise _undecodable("a map with a key twice")
    return table


def _undecodable(text: str) -> Malformed:
    return Malformed(ErrorCode.UNDECODABLE, text)
