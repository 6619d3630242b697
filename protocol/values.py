"""What becomes of values that msgpack does not know: plain data that every language reads. One way: nothing comes
back as what it was.

One rule for arguments and results. Only what is not plain already comes by here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgpack

from protocol.limits import Limits, cut

_CARRIED: Final = (
    "Allowed are None, bool, int, float, str, bytes, dict with str keys, list, tuple, set, frozenset, dataclass; "
    "as text or numbers: datetime, date, time, timedelta, Decimal, UUID, Enum, numpy scalars"
)
_PLAIN: Final = (type(None), bool, int, float, str, bytes, bytearray, memoryview, list, tuple, dict)
_PATH_BYTES: Final = 300
_KEY_LENGTH: Final = 50
_TYPE_BYTES: Final = 100


class Misfit(Exception):
    """A value that cannot be carried. Its text begins with where that is, and never repeats a value."""

    def __init__(self, text: str, *, is_too_large: bool = False) -> None:
        super().__init__(text)
        self.is_too_large = is_too_large
        #: Keys and places, from the innermost value outwards.
        self.way: list[str | int] = []

    def __str__(self) -> str:
        """Like ``["rows"][3]: …``, to be put behind the name of the outermost value."""
        path = "".join(f"[{json.dumps(key)}]" for key in reversed(self.way))
        return f"{cut(path, _PATH_BYTES)}: {super().__str__()}"


def plain(value: object, limits: Limits) -> object:
    """A copy that is plain data. Raises ``Misfit``."""
    return _plain(value, limits, limits.depth, iter(range(limits.nodes)))


def _plain(value: object, limits: Limits, depth: int, left: Iterator[int]) -> object:
    if next(left, None) is None:
        raise Misfit(f"more than {limits.nodes} values", is_too_large=True)
    # msgpack's own tuples are for extension types.
    if not isinstance(value, _PLAIN) or isinstance(value, msgpack.ExtType | msgpack.Timestamp):
        value = _carried(value)
    match value:
        case str() if not value.isascii():
            _require_utf8(value)
        case int() if not -(2**63) <= value < 2**64:
            raise Misfit("an int of more than 64 bits")
        case dict() | list() | tuple() if value and not depth:
            raise Misfit(f"nested deeper than {limits.depth}", is_too_large=True)
        case dict():
            return {_key(key): _inside(key, item, limits, depth, left) for key, item in value.items()}
        case list() | tuple():
            return [_inside(place, item, limits, depth, left) for place, item in enumerate(value)]
    return value


def _inside(key: str | int, item: object, limits: Limits, depth: int, left: Iterator[int]) -> object:
    try:
        return _plain(item, limits, depth - 1, left)
    except Misfit as misfit:
        misfit.way.append(key if isinstance(key, int) else key[:_KEY_LENGTH])
        raise


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise Misfit(f"a key of type {_type(key)}; keys are str")
    _require_utf8(key)
    return key


def _require_utf8(text: str) -> None:
    try:
        str.encode(text)
    except UnicodeEncodeError as error:
        raise Misfit("a surrogate that UTF-8 cannot carry") from error


def _carried(value: Any) -> object:
    """What goes in the place of a value; what that holds may have to be replaced as well."""
    match value:
        case Enum():
            return value.value if isinstance(value.value, _PLAIN) else _carried(value.value)
        # pandas has a date that is none, and unequal to itself.
        case datetime() | date() | time() if value == value:
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal() | UUID():
            return str(value)
        case set() | frozenset():
            return _sorted(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == () and value.dtype.kind in "biuf":
        number = value.item()
        if isinstance(number, int | float):
            return number
    raise Misfit(f"{_type(value)} cannot be carried. {_CARRIED}")


def _sorted(value: set[Any] | frozenset[Any]) -> list[Any]:
    try:
        return sorted(value)
    except TypeError:
        return list(value)


def _type(value: object) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return cut(name, _TYPE_BYTES)
