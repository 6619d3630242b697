"""Text from outside, so that it can neither move a cursor nor start a line of its own."""

from __future__ import annotations

import re

#: All that might not be printable: it finds the few among megabytes of base64.
_SUSPECT = re.compile(r"[^\n\x20-\x7e]")


def plain(text: str) -> str:
    """Text in which every character that is not printable is escaped, the ends of lines too."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def plain_json(text: str) -> str:
    """JSON that says the same without characters that are not printable: it lets DEL, C1 and others pass."""
    return _SUSPECT.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    char = found[0]
    if char.isprintable():
        return char
    # Beyond 16 bits JSON writes two halves.
    code = ord(char) - 0x10000
    return f"\\u{ord(char):04x}" if code < 0 else f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
