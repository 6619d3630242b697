"""What handlers noted, read back by the test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.waiting import eventually


class Journal:
    """A file of JSON lines; ``str`` is its path, to be passed to a handler."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __str__(self) -> str:
        return str(self._path)

    @property
    def entries(self) -> list[dict[str, Any]]:
        if not self._path.exists():
            return []
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    @property
    def ids(self) -> list[str]:
        """Of the tasks that started, in order, one for each start."""
        return [str(entry["id"]) for entry in self.entries]

    def wait(self, count: int = 1, within_s: float = 10.0) -> list[dict[str, Any]]:
        """The entries, once there are at least ``count``."""
        eventually(lambda: len(self.entries) >= count, f"entry {count} of the journal", within_s)
        return self.entries
