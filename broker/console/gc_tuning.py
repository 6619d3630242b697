"""How often Python looks for garbage in a process that holds thousands of tasks."""

from __future__ import annotations

import gc


def look_less_often() -> None:
    """For a process of its own, once it has loaded what it needs.

    Python looks through what is young at each 700 new objects, and a task is several. Thousands of tasks may be
    in progress, and live: to look through them that often takes up to a fifth of the time of a batch.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
