#!/usr/bin/env bash
# CPython 3.11 to 3.13, asyncio: a task that calls cancel() on itself and then returns without awaiting again is
# cancelled, and what it returned is gone: nothing was ever interrupted. It matters to whoever runs coroutines of
# others to their end and wants their results: an inner coroutine has to hand its result over by itself.
# Seen on 2026-11-30 with Python 3.11.7, 3.12.1 and 3.13.0. No package is needed.
set -euo pipefail
seen=$(python3 - <<'PYTHON'
import asyncio

reached = []


async def work():
    asyncio.current_task().cancel()
    reached.append("the end")
    return "a result"


async def main():
    task = asyncio.create_task(work())
    await asyncio.wait({task})
    return task.cancelled()


print(f"reached {reached[0] if asyncio.run(main()) is True and reached else 'nothing'}, cancelled")
PYTHON
)
echo "$seen"
[ "$seen" = 'reached the end, cancelled' ] || { echo 'it behaves differently now' >&2; exit 1; }
