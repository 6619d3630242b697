#!/usr/bin/env bash
# tenacity 9.2.1: `async for attempt in retrying` keeps the state of its attempts in the AsyncRetrying object, since
# __aiter__ returns that object itself. Two coroutines that share one (made once, in a module or a class) share the
# outcome: when the second succeeds while the first waits for its next attempt, the first one's loop ends, without that
# attempt and without an error, and what follows it runs as if the call had succeeded. A Retrying with `for` does not,
# nor does the decorator, which copies it for each call. Its authors know of a relative (issue 93); no page says it.
# Seen on 2026-11-30 with Python 3.11.7. Cure: an AsyncRetrying of its own for each loop, `retrying.copy()`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check tenacity==9.2.1
seen=$("$folder/venv/bin/python" - <<'PYTHON'
import asyncio

import tenacity

RETRYING = tenacity.AsyncRetrying(wait=tenacity.wait_fixed(0.5), stop=tenacity.stop_after_attempt(5), reraise=True)


async def call(retrying, failures):
    """How many attempts were made of a call that fails so often, and whether it succeeded in the end."""
    attempts, done = 0, False
    async for attempt in retrying:
        with attempt:
            attempts += 1
            if attempts <= failures:
                raise ConnectionError
            done = True
    return f"{attempts} of {failures + 1} attempts, {'done' if done else 'not done'}"


async def both(first, second):
    waits = asyncio.create_task(call(first, 2))
    await asyncio.sleep(0.2)
    await call(second, 0)
    return await waits


print(f"shared: {asyncio.run(both(RETRYING, RETRYING))}; copied: {asyncio.run(both(RETRYING.copy(), RETRYING.copy()))}")
PYTHON
)
echo "$seen"
[ "$seen" = 'shared: 1 of 3 attempts, not done; copied: 3 of 3 attempts, done' ] ||
  { echo 'it behaves differently now' >&2; exit 1; }
