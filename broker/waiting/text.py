"""Messages that wait as text and as data: one row for each task. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from broker.console.json_text import dumps
from broker.dead_letters.queue import Letter, read_letter
from broker.dead_letters.text import CELL, LINE, cell, decoded, utc
from protocol.batch import read_batch
from protocol.errors import Malformed
from protocol.limits import Limits

#: The columns of a table. JSON has all keys.
HEAD = ("id", "task", "attempt", "sent", "returned", "arguments")


def rows_of(message: int, letter: Letter, limits: Limits) -> Iterator[dict[str, object]]:
    """A row for each task of the message with this number; one alone if it is none of ours."""
    common: dict[str, object] = {
        "message": message,
        "id": letter.id,
        "task": letter.task,
        "attempt": None,
        "sent": f"{utc(letter.sent_ms, 'T')}Z" if letter.sent_ms else None,
        "returned": letter.returned,
        "bytes": len(letter.body),
        "batch": None,
        "arguments": None,
    }
    try:
        task = read_letter(letter, limits, waits=True)
        tasks = read_batch(task.body, task.batch, limits) if task.batch else [(task.id, task.body)]
    except Malformed as error:
        yield {**common, "problem": str(error)}
        return
    common |= {"attempt": task.attempt, "batch": task.batch or None}
    for task_id, packed in tasks:
        arguments, problem = decoded(packed, limits)
        yield {**common, "id": task_id, "arguments": arguments, "problem": problem}


def as_cells(row: dict[str, object], output: str) -> dict[str, object]:
    """A row for a table or for lines: each cell is text, and is cut."""
    said = dumps(row["arguments"]) if row["problem"] is None else f"! {row['problem']}"
    cells = {**row, "arguments": said}
    width = CELL if output == "table" else LINE
    return {key: None if cells[key] is None else cell(str(cells[key]), width) for key in HEAD}
