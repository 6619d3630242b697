"""What ``broker watch`` printed, in words that are the same in each run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.commands import Ended, Running
from tests.support.installation import Installation


@contextmanager
def watching(installation: Installation, *words: str) -> Iterator[Running]:
    """``broker watch WORDS -o jsonl``, once the workers have answered."""
    with Running(installation.environment, "broker", "watch", *words, "-o", "jsonl") as running:
        running.says("watching: ")
        yield running


def lives(ended: Ended) -> list[str]:
    """The life of each message, one step on each line, with labels in place of workers and times."""
    assert ended.code == 0, ended
    steps = ended.objects
    ids = dict.fromkeys(task for step in steps for task in step["ids"])
    return [_masked("".join(_line(step) for step in steps if task in step["ids"])) for task in ids]


def _line(step: dict[str, Any]) -> str:
    known = "" if step["at"] else ", at an unknown time"
    way = step["from"] if step["from"] == step["to"] else f"{step['from']} → {step['to']}"
    text = f": {step['text']}" if step["text"] else ""
    return f"{step['step']}, {way}{text} ({step['source']}{known})\n"


def _masked(text: str) -> str:
    workers: dict[str, str] = {}
    named = re.sub(
        r"[\w.-]+:\d+(?=\W)", lambda found: workers.setdefault(found[0], f"worker {len(workers) + 1}"), text
    )
    return re.sub(r"\b\d+\.\d{3} s", "… s", named)
