"""Takes the replies out of a mailbox and writes each down before it asks for the next one, which acks it.

python -m tests.chaos.collector --mailbox NAME

Until SIGTERM, however often the broker is away; then until the mailbox is empty, and exits with 0. Exits with 1
if that cannot be had.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging

from broker.config.loader import load
from broker.errors import BrokerError
from dispatcher.client import Dispatcher
from dispatcher.errors import NoMailbox
from protocol.reply import Reply
from tests.chaos import process
from tests.chaos.records import Collected, Ledger, now
from tests.chaos.workload import digest_of

log = logging.getLogger("glassrabbit.chaos")

#: One collection lasts as long as the process: it remembers what it has given, and gives nothing twice.
FOR_EVER_S = 1e7
FOR_EVER = 10**9
#: After SIGTERM: nothing came for so long.
IDLE_S = 2.0
#: After that: so long may it take to find the mailbox empty.
EMPTY_WITHIN_S = 60.0


class Collector:
    """Collects one mailbox, and remembers when the last reply came."""

    def __init__(self, dispatcher: Dispatcher, ledger: Ledger, mailbox: str) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._mailbox = mailbox
        self.latest_s = now()

    async def collect(self, count: int | None = None) -> None:
        """Write down what comes. Raises ``NoMailbox``, and what the broker does."""
        async for reply in self._dispatcher.collect(self._mailbox, count=count, timeout_s=FOR_EVER_S):
            self._ledger.write(self._collected(reply))
            self.latest_s = now()

    async def collect_for_ever(self) -> None:
        """Whatever ends a collection, the next one goes on: the mailbox may be made later, or made again."""
        while True:
            try:
                await self.collect(FOR_EVER)
            except (BrokerError, NoMailbox) as error:
                log.warning("the collection of %s begins anew: %s", self._mailbox, error)
            await asyncio.sleep(process.PAUSE_S)

    async def collect_the_rest(self) -> None:
        """Raises ``TimeoutError`` if the mailbox was not seen to be empty within its time."""
        async with asyncio.timeout(EMPTY_WITHIN_S):
            while True:
                try:
                    await self.collect()
                except NoMailbox:
                    return
                except BrokerError:
                    await asyncio.sleep(process.PAUSE_S)
                else:
                    return

    def _collected(self, reply: Reply) -> Collected:
        attempts = reply.run.attempts
        if reply.failure is not None:
            code = reply.failure.code
            return Collected(
                mailbox=self._mailbox, key="", id=reply.id, answer="failed", code=code, attempts=attempts
            )
        return Collected(
            mailbox=self._mailbox,
            key=reply.result.get("key", "") if isinstance(reply.result, dict) else "",
            id=reply.id,
            answer="done",
            attempts=attempts,
            digest=digest_of(reply.result),
        )


async def main(mailbox: str) -> int:
    stop = process.until_sigterm()
    async with process.dispatcher(load(None), stop) as dispatcher:
        if dispatcher is None:
            log.error("no broker was there before the end: what is in %s is not known", mailbox)
            return 1
        collector = Collector(dispatcher, process.ledger(f"collector-{mailbox}"), mailbox)
        collecting = asyncio.create_task(collector.collect_for_ever())
        stopped = asyncio.create_task(stop.wait())
        # A defect of the collection ends it, and must not pass in silence.
        await asyncio.wait({collecting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        while not collecting.done() and (left_s := collector.latest_s + IDLE_S - now()) > 0:
            await asyncio.wait({collecting}, timeout=left_s)
        stopped.cancel()
        collecting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await collecting
        try:
            await collector.collect_the_rest()
        except TimeoutError:
            log.error("mailbox %s was not seen to be empty within %g s", mailbox, EMPTY_WITHIN_S)
            return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.collector")
    parser.add_argument("--mailbox", required=True)
    process.run(main(parser.parse_args().mailbox))
