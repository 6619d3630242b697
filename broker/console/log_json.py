"""A log record as one line of JSON: ASCII only, bounded, with the fields named here and no others.

What a library adds to its records by ``extra`` may be anything, a password or a body too, and is left out.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from broker.console.escaping import plain_json

#: What a line may say beside time, level, logger and message, if it is known.
FIELDS = ("task_id", "task", "queue", "worker", "attempt", "left_out")
#: Bytes of a line. Docker cuts what it collects into pieces of 16 KiB.
LONGEST_LINE = 16_000

#: What is the same for all that is logged here and now.
Fields = Callable[[], Mapping[str, object]]


class JsonLines(JsonFormatter):
    """``fields`` is asked for each record; what the record says itself comes first."""

    def __init__(self, fields: Fields) -> None:
        super().__init__()
        self._fields = fields

    def add_fields(
        self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]
    ) -> None:
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["time"] = time.replace("+00:00", "Z")
        log_data["level"] = record.levelname.lower()
        log_data["logger"] = record.name
        log_data["message"] = record.getMessage()
        known = {**self._fields(), **record.__dict__}
        log_data.update({name: known[name] for name in FIELDS if known.get(name) is not None})
        texts = (message_dict.get("exc_info"), message_dict.get("stack_info"))
        if traceback := "\n".join(str(text) for text in texts if text):
            log_data["traceback"] = traceback

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        longest = LONGEST_LINE
        while True:
            line = super().jsonify_log_record({key: _cut(value, longest) for key, value in log_data.items()})
            line = plain_json(line)
            if len(line) <= LONGEST_LINE:
                return line
            longest //= 2


def _cut(value: object, longest: int) -> object:
    """Numbers as they are, all else as text; of what is too long the beginning and the end."""
    if isinstance(value, int):
        return value
    # Half of a surrogate pair is no text to the readers of JSON that are strict.
    text = str(value).encode("utf-8", "backslashreplace").decode()
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]}… ({len(text)} characters) …{text[-half:]}"
