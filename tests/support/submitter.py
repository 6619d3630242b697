"""Submits tasks to a mailbox, in a process of its own, and prints the id of each as soon as it is accepted.

python -m tests.support.submitter TASK MAILBOX COUNT
"""

from __future__ import annotations

import asyncio
import sys

from broker.config.loader import load
from dispatcher.client import Dispatcher

#: So many wait for their confirms at a time.
WINDOW = 20


async def main(task: str, mailbox: str, count: int) -> None:
    free = asyncio.Semaphore(WINDOW)
    async with Dispatcher(load()) as dispatcher, asyncio.TaskGroup() as group:

        async def submit() -> None:
            try:
                print(await dispatcher.submit(task, mailbox=mailbox), flush=True)
            finally:
                free.release()

        for _ in range(count):
            await free.acquire()
            group.create_task(submit())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
