"""Values from outside as JSON: nothing in it moves a cursor, and what JSON does not have is named."""

from __future__ import annotations

import base64
import json
import math
from datetime import datetime
from decimal import Decimal

from broker.console.escaping import plain_json

#: Maps and lists within one another, where a value is not plain: what is deeper is named, not shown.
DEPTH = 128


def dumps(value: object, *, indent: int | None = None) -> str:
    """JSON of what msgpack or AMQP carried: bytes as base64, times as text, NaN and the infinities by their names.

    Characters that are not printable, some of which JSON lets pass and a terminal obeys, are escaped. Raises
    ``TypeError`` for what neither carries.
    """
    try:
        text = json.dumps(value, default=_named, ensure_ascii=False, indent=indent, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_jsonable(value, DEPTH), ensure_ascii=False, indent=indent, allow_nan=False)
    return plain_json(text)


def _jsonable(value: object, depth: int) -> object:
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"float": str(value)}
        case dict() | list() if depth == 0:
            return "… nested too deep"
        case dict():
            return {_key(key): _jsonable(item, depth - 1) for key, item in value.items()}
        case list():
            return [_jsonable(item, depth - 1) for item in value]
        case _:
            return _named(value)


def _named(value: object) -> object:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(type(value).__name__)


def _key(key: object) -> str:
    return key.decode("utf-8", "backslashreplace") if isinstance(key, bytes) else str(key)
