"""Reads ``vectors.json``: the protocol's bytes and values, which belong to no implementation."""

from __future__ import annotations

import json
import math
from dataclasses import make_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

Vector = dict[str, Any]

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text("utf-8"))


class Numpy:
    """Looks like a scalar of numpy, which nobody has to install for this."""

    shape = ()

    def __init__(self, number: float) -> None:
        self._number = number
        self.dtype = SimpleNamespace(kind={bool: "b", int: "i", float: "f"}[type(number)])

    def item(self) -> float:
        return self._number


Numpy.__module__ = "numpy"


def section(name: str) -> list[Vector]:
    vectors: list[Vector] = VECTORS[name]
    return vectors


def title(vector: object) -> str:
    """How pytest names a vector."""
    return str(vector["name"]) if isinstance(vector, dict) and "name" in vector else str(vector)


def octets(written: str | list[list[Any]]) -> bytes:
    """Bytes, written in hexadecimal or as a list of [hexadecimal, how often]."""
    if isinstance(written, str):
        return bytes.fromhex(written)
    return b"".join(bytes.fromhex(part) * times for part, times in written)


def value_of(written: Any) -> Any:
    """A value, where ``{"$…": …}`` stands for what JSON cannot hold."""
    match written:
        case {"$bytes": part}:
            return octets(part)
        case {"$int": digits}:
            return int(digits)
        case {"$float": word}:
            return float(word)
        case {"$repeat": [value, times]}:
            return [value_of(value)] * times
        case {"$datetime": text}:
            return datetime.fromisoformat(text)
        case {"$date": text}:
            return date.fromisoformat(text)
        case {"$time": text}:
            return time.fromisoformat(text)
        case {"$timedelta": seconds}:
            return timedelta(seconds=seconds)
        case {"$decimal": text}:
            return Decimal(text)
        case {"$uuid": text}:
            return UUID(text)
        case {"$enum": value}:

            class Given(Enum):
                MEMBER = value_of(value)

            return Given.MEMBER
        case {"$dataclass": table}:
            return make_dataclass("Given", table)(**value_of(table))
        case {"$set": items}:
            return {*value_of(items)}
        case {"$tuple": items}:
            return tuple(value_of(items))
        case {"$numpy": number}:
            return Numpy(number)
        case dict():
            return {key: value_of(value) for key, value in written.items()}
        case list():
            return [value_of(value) for value in written]
    return written


def same(one: Any, other: Any) -> bool:
    """Equal in value and type: 1, 1.0 and true differ here, and one NaN is like another."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and bool(one == other)
