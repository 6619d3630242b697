"""Maps many no-op tasks from a generator, in a process of its own: how its memory grows after a quarter of them.

python -m tests.support.mapper COUNT [auto]
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from pathlib import Path

from broker.config.loader import load
from dispatcher.client import Dispatcher
from dispatcher.pace import Batch
from protocol.reply import Reply

_PAGE_BYTES = resource.getpagesize()


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


async def main(count: int, batch: Batch) -> None:
    done = before = 0
    # After a quarter all is as large as it gets: the window, and the batches if there are any.
    warm_up = count // 4
    async with Dispatcher(load()) as dispatcher:
        async for ended in dispatcher.map("echo", ({"value": number} for number in range(count)), batch=batch):
            done += isinstance(ended.end, Reply) and ended.end.failure is None
            if done == warm_up:
                before = resident_bytes()
    print(json.dumps({"done": done, "grown_bytes": resident_bytes() - before}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), "auto" if sys.argv[2:] == ["auto"] else None))
