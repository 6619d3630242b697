"""The worker's side of one child: starting it, what it has in hand, and how it ended.

A child may have several short tasks in hand, so that it need not wait for the loop between two of them. Each has
a token (``worker.execution.claim_tokens``), so that what the child has not begun can be taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import msgpack

from broker.errors import ConfigError
from worker.execution import child_protocol as frames
from worker.execution.claim_tokens import ClaimTokens
from worker.execution.executor import Result, Run
from worker.execution.outcome import Outcome

#: How long an idle child, or a zygote, may take to end by itself.
STOP_TIMEOUT_S = 2.0
_READ_BYTES = 1 << 16
#: Outcomes in one answer.
_MOST = 1 << 20
_GARBLED = "the process that ran it wrote to a socket that is not its own, and was ended"


class Process(Protocol):
    """What runs a child: an interpreter of its own, or a fork of one that has the handlers already."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    @property
    def is_orphan(self) -> bool:
        """Whether it had to end since what it was forked from did: no task of its is to blame."""

    async def wait(self) -> int:
        """Its return code, once it has ended."""

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Signal it, if it has not ended, and its group: what its handlers have started."""


#: Starts a process with these descriptors: its standard input, its end of the socket pair, that of the tokens.
Begin = Callable[[int, int, int], Awaitable[Process]]


class ChildLost(Exception):
    """The child's end of the socket pair is gone."""


class InHand(NamedTuple):
    """A task of a run, the seconds that it is expected to take, and the number of its token."""

    run: Run
    position: int
    expected_s: float
    number: int


class Child:
    """One child process. Replaced, never repaired."""

    def __init__(self, process: Process, lifeline: int, pair: socket.socket, tokens: ClaimTokens) -> None:
        self.process = process
        self._lifeline = lifeline
        self._pair = pair
        self._tokens = tokens
        self._loop = asyncio.get_running_loop()
        # Nothing is allocated for what a few bytes merely claim.
        self._unpacker = msgpack.Unpacker(max_buffer_size=0, max_array_len=_MOST, max_map_len=0, max_ext_len=0)
        self._out = bytearray()
        self._flushing = False
        self._on_message: Callable[[list[Any]], None] = self._on_first
        self._on_lost: Callable[[], None] = lambda: None
        self._first: asyncio.Future[list[Any]] = self._loop.create_future()
        self.is_lost = False
        self._is_garbled = False
        #: What it has in hand, in the order in which it runs them.
        self.in_hand: deque[InHand] = deque()
        self.expected_s = 0.0
        #: Since when it may be running the first of them.
        self.since_s = 0.0
        pair.setblocking(False)
        self._loop.add_reader(pair, self._read)
        self._watch = asyncio.create_task(self._hang_up_when_gone())

    @classmethod
    async def start(cls, begin: Begin, setup: list[object] | None, import_timeout_s: float = 60.0) -> Child:
        """Start a process and hand it its handlers; ``setup`` is None if it has them.

        Raises ``ChildLost``, or ``ConfigError``, also if the handlers are not imported in time.
        """
        ours, theirs = socket.socketpair()
        tokens = ClaimTokens()
        lifeline_end, lifeline = os.pipe()
        with theirs, os.fdopen(lifeline_end), contextlib.ExitStack() as unless_started:
            unless_started.callback(ours.close)
            unless_started.callback(tokens.close)
            unless_started.callback(os.close, lifeline)
            process = await begin(lifeline_end, theirs.fileno(), tokens.theirs.fileno())
            unless_started.pop_all()
        child = cls(process, lifeline, ours, tokens)
        try:
            async with asyncio.timeout(import_timeout_s):
                if setup is not None:
                    child._out += frames.pack(setup)
                    child._write()
                state, *problems = await child._first
        except TimeoutError as error:
            await child.kill()
            raise not_imported(import_timeout_s) from error
        except (ChildLost, asyncio.CancelledError):
            await child.kill()
            raise
        if state != frames.READY:
            await child.kill()
            raise ConfigError([str(problem) for problem in problems])
        return child

    def _on_first(self, message: list[Any]) -> None:
        if not self._first.done():
            self._first.set_result(message)

    def serve(
        self,
        on_results: Callable[[Run, list[Result]], None],
        on_answered: Callable[[], None],
        on_lost: Callable[[], None],
    ) -> None:
        """From now on: the results of each run, the end of each answer, and once the end of the child."""

        def on_message(message: list[Any]) -> None:
            self.since_s = time.monotonic()
            run: Run | None = None
            results: list[Result] = []
            try:
                for fields in message:
                    held, outcome, ran_s = self._answered(fields)
                    if run is not None and held.run is not run:
                        on_results(run, results)
                        results = []
                    run = held.run
                    results.append((held.position, outcome, ran_s))
            finally:
                # What was answered before the child went wrong counts.
                if run is not None:
                    on_results(run, results)
            on_answered()

        self._on_message, self._on_lost = on_message, on_lost
        if self.is_lost:
            self._loop.call_soon(on_lost)

    def _answered(self, fields: Any) -> tuple[InHand, Outcome, float]:
        outcome, ran_s, number = frames.to_outcome(fields)
        if not self.in_hand or number != self.in_hand[0].number:
            # Better that the child goes than that a task gets the result of another.
            raise frames.Garbled
        held = self.in_hand.popleft()
        self.expected_s -= held.expected_s
        return held, outcome, ran_s

    def send(self, run: Run, positions: range, expected_s: float) -> None:
        """Hand over tasks of a run, each expected to take ``expected_s``. They leave in this turn of the loop."""
        if not self.in_hand:
            self.since_s, self.expected_s = time.monotonic(), 0.0
        number = self._tokens.number
        self._out += frames.pack(frames.from_run(number, run, positions))
        self._tokens.grant(len(positions))
        self.in_hand.extend(
            [
                InHand(run, position, expected_s, (number + place) % frames.NUMBERS)
                for place, position in enumerate(positions)
            ]
        )
        self.expected_s += expected_s * len(positions)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def let_go(self) -> tuple[list[InHand], list[InHand]]:
        """What it has begun, and what it has not; nothing more is expected of it."""
        back = self.take_back()
        begun = list(self.in_hand)
        self.in_hand.clear()
        self._tokens.close()
        return begun, back

    def take_back(self, *, all_but_one: bool = False) -> list[InHand]:
        """What it has not begun, in its order; it will not run that. ``all_but_one``: if it has begun nothing, it
        keeps the first."""
        count = self._tokens.take_back()
        if all_but_one and count == len(self.in_hand) > 0:
            self._tokens.renew(self.in_hand[0].number)
            count -= 1
        taken = [self.in_hand.pop() for _ in range(count)]
        self.expected_s -= sum(held.expected_s for held in taken)
        return taken[::-1]

    def _flush(self) -> None:
        self._flushing = False
        # It may have been lost in the turn in which it was handed something.
        if not self.is_lost:
            self._write()
            self._tokens.send()

    def _write(self) -> None:
        """Send what is there; what the socket does not take follows when it can."""
        try:
            while self._out:
                del self._out[: self._pair.send(self._out)]
        except BlockingIOError:
            self._loop.add_writer(self._pair, self._write)
            return
        except OSError:
            self._out.clear()
        self._loop.remove_writer(self._pair)

    def _read(self) -> None:
        try:
            while data := self._pair.recv(_READ_BYTES):
                for answer in frames.answers(self._unpacker, data):
                    self._on_message(answer)
                if len(data) < _READ_BYTES:
                    return
        except BlockingIOError:
            return
        except OSError:
            pass
        except frames.Garbled:
            self._is_garbled = True
        self._lost()

    def _lost(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            self._hang_up()
            if not self._first.done():
                self._first.set_exception(ChildLost())
                self._first.exception()
            self._on_lost()

    async def _hang_up_when_gone(self) -> None:
        """The end of the process ends the conversation, even if a fork of it holds its end of the pair."""
        await self.process.wait()
        os.close(self._lifeline)
        if not self.is_lost:
            # First what it said before it ended.
            self._read()
            self._lost()

    def _hang_up(self) -> None:
        for forget in (self._loop.remove_reader, self._loop.remove_writer):
            forget(self._pair)
        self._pair.close()

    def terminate(self) -> None:
        """SIGTERM to it and whatever its handlers started."""
        if self.process.returncode is None:
            self.process.kill(signal.SIGTERM)

    async def kill(self) -> int:
        """End the child and whatever its handlers started; its return code. Nobody hears of its end."""
        # Before it has been waited for, its number cannot belong to another process.
        if self.process.returncode is None:
            self.process.kill()
        self._retire()
        return await self.process.wait()

    async def stop(self) -> None:
        """Let an idle child end by itself; kill it if it does not, and in any case what its handlers started."""
        self._retire()
        await self.fate()

    def _retire(self) -> None:
        if not self.is_lost:
            self.is_lost = True
            self._hang_up()
        self._tokens.close()

    async def fate(self) -> str:
        """What became of a child that was lost, in words."""
        if self._is_garbled:
            await self.kill()
            return _GARBLED
        try:
            code = await asyncio.wait_for(self.process.wait(), STOP_TIMEOUT_S)
        except TimeoutError:
            code = await self.kill()
        # What it forked holds the group, and the group its number, until the last of them has ended.
        self.process.kill()
        if code >= 0:
            return f"the process that ran it ended with exit code {code}"
        return f"the process that ran it was ended by {signal.Signals(-code).name}"


def not_imported(within_s: float) -> ConfigError:
    problem = f"the modules of the handlers were not imported within {within_s:g} s"
    return ConfigError([f"{problem}. Import less there, or raise worker.import_timeout_s."])
