"""A child of a worker that is a fresh interpreter: runs handlers, one task at a time, and knows no AMQP.

Life: started by ``worker.execution.child_process`` with one end of a socket pair and of another for tokens →
gets the handlers → says that it is ready, or why not → a token, the task that it is for, its outcome → ends when
the tokens do. Its standard input is a pipe that only the worker holds: when the worker dies, even by SIGKILL, the
pipe ends, and so does this process with all of its group, where what its handlers start belongs.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import msgpack

from broker.console.logs import configure
from broker.console.streams import make_safe, print_to_stderr
from broker.errors import ConfigError
from protocol.limits import Limits
from worker.execution import child_protocol as frames
from worker.execution.handler import Handler, load, run
from worker.execution.place import Place
from worker.telemetry.log_fields import of_worker

#: How long outcomes of a batch wait here for each other, at most.
FLUSH_S = 0.005
_BUFFER_BYTES = 4096
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: A signal → its handler.
Stops = Mapping[signal.Signals, Any]


def main(descriptors: Sequence[str]) -> None:
    """Run the tasks that come by the first of these descriptors, each with a token that comes by the second."""
    leave_stops_to_the_worker(usual_stops())
    make_safe(threaded=False)
    print_to_stderr()
    configure(fields=of_worker(os.getppid()))
    end_with_parent()
    pair, tokens = (socket.socket(fileno=int(descriptor)) for descriptor in descriptors)
    with pair, tokens, pair.makefile("rb") as incoming:
        setup = _next(incoming)
        if setup is None:
            return
        paths, handler_paths, limit_values, bounds = setup
        add_paths(paths)
        try:
            handlers: dict[str, Handler] = {task: load(path) for task, path in handler_paths.items()}
        except ConfigError as error:
            pair.sendall(msgpack.packb([frames.BROKEN, *error.problems]))
            return
        work(pair, tokens, incoming, handlers, limit_values, bounds)


def add_paths(paths: Sequence[str]) -> None:
    """The folders of handlers, behind all others, as ``worker.execution.handler_folders`` does."""
    sys.path += [path for path in paths if path not in sys.path]


def work(
    pair: socket.socket,
    tokens: socket.socket,
    incoming: BinaryIO,
    handlers: Mapping[str, Handler],
    limit_values: Mapping[str, int],
    bounds: tuple[int | None, int | None],
) -> None:
    """Say that this child is ready, and run what comes until the tokens end."""
    pair.sendall(msgpack.packb([frames.READY]))
    with closing(Place(Limits(**limit_values))) as place:
        _serve(tokens, incoming, Answers(pair), handlers, place, Wear(*bounds) if any(bounds) else None)


def _serve(
    tokens: socket.socket,
    incoming: BinaryIO,
    answers: Answers,
    handlers: Mapping[str, Handler],
    place: Place,
    wear: Wear | None,
) -> None:
    waiting: deque[frames.Work] = deque()
    while token := tokens.recv(frames.TOKEN.size):
        (claimed,) = frames.TOKEN.unpack(token)
        while True:
            if not waiting:
                fields = _next(incoming)
                if fields is None:
                    return
                waiting.extend(frames.to_work(fields))
            work = waiting.popleft()
            # A task without a token was taken back before it began.
            if work.number == claimed:
                break
        began_s = time.monotonic()
        outcome = run(handlers[work.handler], work.arguments, work.expires_at, work.context, place)
        answer = [*frames.from_outcome(outcome, time.monotonic() - began_s), work.number]
        is_worn = wear is not None and wear.is_over()
        answers.add(answer, hold=bool(waiting) and not is_worn)
        if is_worn:
            return


class Answers:
    """Sends outcomes. What is held for the next of its batch leaves after ``FLUSH_S`` even if that one hangs."""

    def __init__(self, pair: socket.socket) -> None:
        self._pair = pair
        self._lock = threading.Lock()
        self._held: list[list[object]] = []
        self._since_s = 0.0
        self._holding: threading.Event | None = None

    def add(self, outcome: list[object], *, hold: bool) -> None:
        with self._lock:
            now_s = time.monotonic()
            if not self._held:
                self._since_s = now_s
            self._held.append(outcome)
            if not hold or now_s - self._since_s >= FLUSH_S:
                self._send()
            else:
                self._hold()

    def _hold(self) -> None:
        if self._holding is None:
            self._holding = threading.Event()
            threading.Thread(target=self._flush_in_time, args=(self._holding,), daemon=True).start()
        self._holding.set()

    def _send(self) -> None:
        # With a small buffer to begin with: a child that has hardly any memory left still answers.
        self._pair.sendall(msgpack.packb(self._held, buf_size=_BUFFER_BYTES))
        self._held = []
        if self._holding is not None:
            self._holding.clear()

    def _flush_in_time(self, holding: threading.Event) -> None:
        while holding.wait():
            time.sleep(FLUSH_S)
            with self._lock:
                if self._held:
                    self._send()


def _next(incoming: BinaryIO) -> Any:
    head = incoming.read(frames.HEAD.size)
    if len(head) < frames.HEAD.size:
        return None
    (size,) = frames.HEAD.unpack(head)
    return frames.unpack(incoming.read(size))


def usual_stops() -> Stops:
    """What the signals that stop a worker do now."""
    return {number: signal.getsignal(number) for number in _STOPS}


def leave_stops_to_the_worker(usual: Stops) -> None:
    """A signal that stops a worker may reach its children as well, and the worker lets what runs finish.

    They are heard and passed over, not ignored: what a handler starts would ignore them too. In a fork they do
    what is ``usual`` again.
    """
    pass_over_stops(usual)
    forking = threading.local()

    def before_fork() -> None:
        # Python forgets a signal that a fork gets at once.
        forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPS)

    def after_fork() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, forking.mask)

    def be_as_usual() -> None:
        for number, meaning in usual.items():
            if signal.getsignal(number) is _pass_over:
                signal.signal(number, meaning)
        after_fork()

    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=be_as_usual)


def pass_over_stops(usual: Stops) -> None:
    for number in _STOPS:
        if usual[number] is not signal.SIG_IGN:
            signal.signal(number, _pass_over)
            signal.siginterrupt(number, False)


def _pass_over(_number: int, _frame: object) -> None:
    return


def end_with_parent(*, threaded: bool = True) -> int:
    """Watch the pipe on a copy of standard input, which is returned; handlers see an empty input instead.
    ``threaded``: by a thread as well as by the kernel, which not every one does."""
    lifeline = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    if sys.platform == "linux":
        # The kernel itself ends the group, also while a handler keeps Python's lock:
        # https://man7.org/linux/man-pages/man2/F_SETOWN.2const.html, F_SETSIG.2const.html
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)

    def watch() -> None:
        os.read(lifeline, 1)
        # This process leads its group: the handlers' own children go with it.
        os.killpg(os.getpgrp(), signal.SIGKILL)

    if threaded:
        threading.Thread(target=watch, name="lifeline", daemon=True).start()
    return lifeline


@dataclass(slots=True)
class Wear:
    """When a child has run enough, and another one takes its place: ``worker.max_tasks_per_child`` and
    ``max_memory_per_child_mb``; None: no bound."""

    max_tasks: int | None
    max_mb: int | None
    tasks: int = 0

    def is_over(self) -> bool:
        """Whether that was its last task. To be asked after each of them."""
        self.tasks += 1
        return self.tasks == self.max_tasks or (self.max_mb is not None and resident_bytes() > self.max_mb << 20)


def resident_bytes() -> int:
    """The memory of this process; where the kernel says no more, the most that it ever had (macOS)."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * resource.getpagesize()
    except FileNotFoundError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
