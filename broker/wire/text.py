"""Frames for people and for programs: a line each, an annotated dump, JSON. Nothing that came over the wire can
move a cursor or begin a line of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from broker.console.escaping import plain
from broker.wire.frames import Frame
from broker.wire.values import Value

_PREVIEW_BYTES = 60


def line(frame: Frame, *, connection: int, by_client: bool, at: datetime, refers_to: str) -> str:
    """``12:00:00.000000 1 → ch 1 basic.publish …``: time, connection, direction, channel, what, its size."""
    arrow = "→" if by_client else "←"
    name = frame.method or frame.kind
    shown = [f"{key}={_shown(value)}" for key, value in frame.fields.items() if not _is_usual(key, value)]
    if frame.kind == "body":
        shown.append(preview(frame.payload))
    if frame.problem:
        shown.append(f"(not readable: {plain(frame.problem)})")
    if refers_to:
        shown.append(f"({refers_to})")
    return (
        f"{at:%H:%M:%S.%f} {connection} {arrow} ch {frame.channel} {name} {' '.join(shown)}".rstrip()
        + f" [{len(frame.raw)} bytes]"
    )


def dump(frame: Frame) -> Iterator[str]:
    """Its bytes, sixteen a line, with the head and the end of the frame told apart."""
    raw = frame.raw
    parts = [("bytes", raw)]
    if frame.kind not in ("protocol", "garbage"):
        parts = [("type, channel, size", raw[:7]), (frame.kind, raw[7:-1]), ("frame end", raw[-1:])]
    at = 0
    for name, part in parts:
        for start in range(0, len(part), 16):
            piece = part[start : start + 16]
            text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in piece)
            yield f"    {at:06x}  {piece.hex(' '):<47}  {text:<16}  {name if not start else ''}".rstrip()
            at += len(piece)


def to_map(frame: Frame, *, connection: int, by_client: bool, at: datetime, refers_to: str) -> dict[str, object]:
    """The same as data."""
    return {
        "at": at.astimezone(UTC).isoformat(),
        "connection": connection,
        "by": "client" if by_client else "broker",
        "channel": frame.channel,
        "frame": frame.kind,
        "method": frame.method or None,
        "fields": {name: _plain(value) for name, value in frame.fields.items()},
        "body": preview(frame.payload) if frame.kind == "body" else None,
        "bytes": len(frame.raw),
        "refers_to": refers_to or None,
        "problem": frame.problem or None,
    }


def preview(body: bytes) -> str:
    """The beginning of a body, each byte that is no printable ASCII escaped."""
    shown = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\x{byte:02x}" for byte in body[:_PREVIEW_BYTES]
    )
    return f"'{shown}'" + ("…" if len(body) > _PREVIEW_BYTES else "")


def _is_usual(name: str, value: Value) -> bool:
    """Whether a field says nothing. Whether a delivery came before is always worth a word."""
    return value in ({}, "") or (value is False and name != "redelivered")


def _shown(value: Value) -> str:
    match value:
        case bytes():
            return preview(value)
        case dict():
            return "{" + ", ".join(f"{plain(name)}: {_shown(one)}" for name, one in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_shown, value)) + "]"
        case str():
            return plain(repr(value))
        case _:
            return str(value)


def _plain(value: Value) -> object:
    match value:
        case bytes():
            return preview(value)
        case dict():
            return {name: _plain(one) for name, one in value.items()}
        case list():
            return [_plain(one) for one in value]
        case None | bool() | int() | float() | str():
            return value
        case _:
            return str(value)
