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


def json_escapes(text: str) -> str:
    r"""Every character as JSON's \uXXXX; beyond 16 bits it is two of them."""
    units = text.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _escaped(found: re.Match[str]) -> str:
    return found[0] if found[0].isprintable() else json_escapes(found[0])
