"""Asks for tasks, as many a second as it is told, and writes down what it is told of each.

python -m tests.chaos.requester --name r1 --mode direct|mailbox|nobody --seed S --seconds N --rate R

Some direct calls go in batches. Exits with 0 once it has asked for N seconds, or got SIGTERM, and every call has
ended; with 1 if one has not. Keys come from the name and the seed: of two requesters of a campaign, one after the
other too, one must differ.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Literal

from broker.config.loader import load
from broker.config.settings import Settings
from broker.errors import PublishError
from dispatcher.client import Dispatcher
from dispatcher.errors import NoMailbox, NoReply, UnknownTask
from dispatcher.pending import End
from protocol.errors import GlassrabbitError
from protocol.reply import Reply
from tests.chaos import process, workload
from tests.chaos.records import Asked, Ended, Ledger, Mode, Told
from tests.chaos.workload import Request, digest_of

log = logging.getLogger("glassrabbit.chaos")

HANDLERS = "tests.chaos.handlers"
#: A call that takes so much longer than it may has not ended, and never will.
MARGIN_S = 15.0

Call = asyncio.Task[None]


class Requester:
    """Asks in one mode. ``ask`` returns when the caller knows all that it will ever know."""

    def __init__(
        self, dispatcher: Dispatcher, ledger: Ledger, settings: Settings, options: argparse.Namespace
    ) -> None:
        self._dispatcher = dispatcher
        self._ledger = ledger
        self._queues = {name: task.queue for name, task in settings.tasks.items()}
        self._name: str = options.name
        self._mode: Mode = options.mode
        self._mailbox: str | None = options.mailbox
        self._within_s: float = options.within

    async def ask(self, requests: Sequence[Request]) -> None:
        """Many are of one task, and asked for as a batch."""
        batch = requests[0].key if len(requests) > 1 else ""
        for request in requests:
            self._note(request, batch)
        if batch:
            await self._map(requests)
        elif self._mode == "direct":
            await self._call(requests[0])
        else:
            await self._submit(requests[0])

    def _note(self, request: Request, batch: str) -> None:
        self._ledger.write(
            Asked(
                key=request.key,
                kind=request.kind,
                queue=self._queues.get(request.task, ""),
                requester=self._name,
                mode=self._mode,
                # The delay line does not use up the caller's time.
                within_s=self._within_s + request.delay_s,
                digest=digest_of(request.arguments),
                delay_s=request.delay_s,
                failures=request.failures,
                batch=batch,
            )
        )

    async def _map(self, requests: Sequence[Request]) -> None:
        async for one in self._dispatcher.map(
            requests[0].task,
            [request.arguments for request in requests],
            timeout_s=self._within_s,
            batch=len(requests),
        ):
            self._learn(requests[one.line - 1].key, one.end)

    async def _call(self, request: Request) -> None:
        try:
            reply = await self._dispatcher.ask(
                request.task, request.arguments, timeout_s=self._within_s, delay_s=request.delay_s
            )
        except GlassrabbitError as error:
            self._learn(request.key, error)
        else:
            self._learn(request.key, reply)

    def _learn(self, key: str, end: End) -> None:
        match end:
            case Reply():
                self._ledger.write(Told(key=key, id=end.id, answer="accepted"))
                self._ledger.write(ended(key, end))
            case GlassrabbitError():
                told = learnt(key, end)
                self._ledger.write(told)
                answer: Literal["unknown", "returned", "refused"] = (
                    "unknown" if told.answer == "accepted" else told.answer
                )
                self._ledger.write(Ended(key=key, id=told.id, answer=answer))

    async def _submit(self, request: Request) -> None:
        try:
            task_id = await self._dispatcher.submit(
                request.task,
                request.arguments,
                mailbox=self._mailbox,
                timeout_s=self._within_s,
                delay_s=request.delay_s,
            )
        except GlassrabbitError as error:
            self._ledger.write(learnt(request.key, error))
        else:
            self._ledger.write(Told(key=request.key, id=task_id, answer="accepted"))


def learnt(key: str, error: GlassrabbitError) -> Told:
    """What a caller learns of its publish from an error."""
    match error:
        case UnknownTask():
            return Told(key=key, id="", answer="returned", text=str(error))
        case NoReply():
            # It is only its text that tells a caller which of the two it is.
            accepted = "; the broker has it" in str(error)
            return Told(key=key, id=error.task_id, answer="accepted" if accepted else "unknown", text=str(error))
        case PublishError() | NoMailbox() if error.outcome_known:
            return Told(key=key, id="", answer="refused", text=f"{type(error).__name__}: {error}")
        case _:
            return Told(key=key, id="", answer="unknown", text=f"{type(error).__name__}: {error}")


def ended(key: str, reply: Reply) -> Ended:
    """A call that ended with a reply."""
    attempts = reply.run.attempts
    if reply.failure is not None:
        return Ended(key=key, id=reply.id, answer="failed", code=reply.failure.code, attempts=attempts)
    return Ended(key=key, id=reply.id, answer="done", attempts=attempts, digest=digest_of(reply.result))


def requests(settings: Settings, options: argparse.Namespace) -> Iterator[list[Request]]:
    """The requests of this process, those of a batch together. The name of a handler's function is the kind of its
    tasks."""
    shares = workload.weights(options.rate, options.poison_every)
    shares = {kind: share for kind, share in shares.items() if not options.kind or kind in options.kind}
    tasks = {
        kind: [name for name, task in settings.tasks.items() if task.handler == f"{HANDLERS}:{kind}"]
        for kind in shares
    }
    max_attempts = settings.defaults.retry.max_retries + 1
    stream = workload.requests(options.seed, options.name, tasks, shares, max_attempts)
    if options.mode == "direct":
        return workload.together(options.seed, options.name, stream, options.batched)
    return ([request] for request in stream)


async def ask_all(
    requester: Requester, stream: Iterator[list[Request]], rate: float, most: int, stop: asyncio.Event
) -> set[Call]:
    """Ask for one after the other, at its time whatever became of those before, until told to stop; the calls
    that are still under way. ``most`` are at a time; beyond that it asks more slowly."""
    calls: set[Call] = set()
    while not await process.is_set(stop, 1 / rate):
        calls = {call for call in calls if not call.done() or call.exception()}
        if len(calls) < most and (together := next(stream)):
            calls.add(asyncio.create_task(requester.ask(together)))
    return calls


async def main(options: argparse.Namespace) -> int:
    settings, stop = load(None), process.until_sigterm()
    asyncio.get_running_loop().call_later(options.seconds, stop.set)
    async with process.dispatcher(settings, stop) as dispatcher:
        if dispatcher is None:
            log.warning("%s found no broker to ask", options.name)
            return 0
        requester = Requester(dispatcher, process.ledger(options.name), settings, options)
        calls = await ask_all(requester, requests(settings, options), options.rate, options.most, stop)
        if calls:
            await asyncio.wait(calls, timeout=options.within + workload.DELAY_S[1] + MARGIN_S)
        never = [call for call in calls if not call.done() or call.exception()]
        for call in never:
            log.error("a call did not end: %s", call.exception() if call.done() else "it is still under way")
            # Before the connection is closed, which would end it: that it never did must not be hidden.
            call.cancel()
    return 1 if never else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.requester")
    parser.add_argument("--name", required=True)
    parser.add_argument("--mode", choices=["direct", "mailbox", "nobody"], required=True)
    parser.add_argument("--mailbox", help="where the replies go to; needed with --mode mailbox")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--most", type=int, default=200, help="calls under way at a time")
    parser.add_argument("--kind", action="append", help="only tasks of this kind (again: and of this)")
    parser.add_argument("--within", type=float, default=90.0, help="seconds that a call may take")
    parser.add_argument(
        "--poison-every", type=float, default=180.0, help="seconds between tasks that kill workers"
    )
    parser.add_argument("--batched", type=float, help="of direct calls that may: this part (0 to 1) in batches")
    options = parser.parse_args()
    if (options.mode == "mailbox") is not (options.mailbox is not None):
        parser.error("--mode mailbox and --mailbox belong together")
    return options


if __name__ == "__main__":
    process.run(main(arguments()))
