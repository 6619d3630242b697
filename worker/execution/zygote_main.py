"""A zygote: a process that imports the handlers once and is forked for each child, so that children share memory.

It has one thread, and no descriptor but standard ones and the socket by which its worker asks for forks. If the
handlers' modules hold on to more than that, it says so instead, and children are fresh interpreters: a fork would
have half of it. Linux only. It dies with its worker as a child does; children that it leaves die with their
lifelines, which are the worker's.
"""

from __future__ import annotations

import atexit
import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgpack

from broker.console.logs import configure
from broker.console.streams import make_safe, print_to_stderr
from broker.errors import ConfigError
from worker.execution import child_protocol as frames
from worker.execution.child_main import (
    Stops,
    add_paths,
    end_with_parent,
    leave_stops_to_the_worker,
    pass_over_stops,
    usual_stops,
    work,
)
from worker.execution.handler import Handler, load
from worker.telemetry.log_fields import of_worker

#: With a request to fork: standard input, the socket pair, the tokens.
_DESCRIPTORS = 3


def main(descriptors: Sequence[str]) -> None:
    """Import handlers, say that this is done, and fork as often as asked."""
    usual = usual_stops()
    pass_over_stops(usual)
    make_safe(threaded=False)
    print_to_stderr()
    configure(fields=of_worker(os.getppid()))
    lifeline = end_with_parent(threaded=False)
    with socket.socket(fileno=int(descriptors[0])) as worker:
        setup = worker.recv(frames.READ_BYTES)
        if not setup:
            return
        paths, handler_paths, limit_values, bounds = frames.unpack(setup)
        add_paths(paths)
        try:
            handlers, unfit = load_all(handler_paths)
        except ConfigError as error:
            worker.sendall(msgpack.packb([frames.BROKEN, *error.problems]))
            return
        if unfit is not None:
            worker.sendall(msgpack.packb([frames.UNFIT, unfit]))
            return
        gc.collect()
        # What is there now is never looked at again by the collector, so that its pages stay shared.
        gc.freeze()
        worker.sendall(msgpack.packb([frames.READY]))
        passed = _serve(worker)
    if passed is not None:
        os.close(lifeline)
        _be_a_child(passed, usual, handlers, limit_values, bounds)


def load_all(paths: Mapping[str, str]) -> tuple[dict[str, Handler], str | None]:
    """The handlers, and what of them cannot be forked: which module, and what it holds. Raises ``ConfigError``."""
    handlers: dict[str, Handler] = {}
    with _exit_handlers() as registered:
        for task, path in paths.items():
            before = _descriptors()
            handlers[task] = load(path)
            gc.collect()
            held = _held(before, registered)
            if held is not None:
                return handlers, f"{path.partition(':')[0]} holds {held} after its import"
    return handlers, None


def _held(descriptors: set[str], registered: list[str]) -> str | None:
    if registered:
        return f"an exit handler of {registered[0]}"
    with suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return "a process"
    opened = sorted(_descriptors() - descriptors)
    if opened:
        return "a socket" if any("socket:" in one for one in opened) else "an open file"
    if _threads() > 1:
        # Some libraries (OpenBLAS, in numpy) end their threads before a fork and start them again after it.
        _fork_and_forget()
        if _threads() > 1:
            return "a thread"
    return None


def _descriptors() -> set[str]:
    """The open ones, each with what it is."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        # That of the listing itself is gone.
        with suppress(FileNotFoundError):
            found.add(f"{number} {os.readlink(f'/proc/self/fd/{number}')}")
    return found


def _threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def _fork_and_forget() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


@contextmanager
def _exit_handlers() -> Iterator[list[str]]:
    """The modules, but for Python's own, whose functions are registered meanwhile to run at the exit."""
    seen: list[str] = []
    register = atexit.register

    def note(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        module = str(getattr(function, "__module__", None) or "a module")
        if module.partition(".")[0] not in sys.stdlib_module_names:
            seen.append(module)
        return register(function, *args, **kwargs)

    atexit.register = note
    try:
        yield seen
    finally:
        atexit.register = register


def _serve(worker: socket.socket) -> list[int] | None:
    """Fork when asked, until the worker is gone. Returns in each fork, with the descriptors that it was given."""
    waking, wake = os.pipe()
    os.set_blocking(waking, False)
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    alive: set[int] = set()
    while True:
        ready = select.select([worker.fileno(), waking], [], [])[0]
        if waking in ready:
            os.read(waking, frames.READ_BYTES)
            _reap(worker, alive)
        if worker.fileno() not in ready:
            continue
        message, passed, _, _ = socket.recv_fds(worker, frames.READ_BYTES, _DESCRIPTORS)
        if not message:
            return None
        match frames.unpack(message):
            case [frames.FORK]:
                pid = _fork(worker)
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    os.close(waking)
                    os.close(wake)
                    return passed
                if pid is not None:
                    alive.add(pid)
                for one in passed:
                    os.close(one)
            case [frames.KILL, int(pid), int(number)] if pid in alive:
                _signal(pid, number)


def _fork(worker: socket.socket) -> int | None:
    """The number of the fork, 0 in the fork itself; None: there can be no more."""
    try:
        pid = os.fork()
    except OSError as error:
        worker.sendall(msgpack.packb([frames.REFUSED, str(error)]))
        return None
    # In both processes: each may be the first that needs the group.
    with suppress(ProcessLookupError, PermissionError):
        os.setpgid(pid, pid)
    if pid:
        worker.sendall(msgpack.packb([frames.FORKED, pid]))
    return pid


def _reap(worker: socket.socket, alive: set[int]) -> None:
    """Report the children that have ended, and end what their handlers have started."""
    for pid in list(alive):
        # As long as it is not waited for, its number is that of its group alone.
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            continue
        _signal(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        alive.discard(pid)
        worker.sendall(msgpack.packb([frames.ENDED, pid, os.waitstatus_to_exitcode(status)]))


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _be_a_child(
    passed: Sequence[int],
    usual: Stops,
    handlers: Mapping[str, Handler],
    limit_values: Mapping[str, int],
    bounds: tuple[int | None, int | None],
) -> None:
    lifeline, *sockets = passed
    os.dup2(lifeline, 0)
    os.close(lifeline)
    leave_stops_to_the_worker(usual)
    end_with_parent()
    # As Python's own ``random`` does by itself.
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()
    pair, tokens = (socket.socket(fileno=number) for number in sockets)
    with pair, tokens, pair.makefile("rb") as incoming:
        work(pair, tokens, incoming, handlers, limit_values, bounds)
