"""A child of a worker: a fresh interpreter that runs handlers, one task at a time, and knows no AMQP.

Life: started by ``worker.processes`` with one end of a socket pair → told the handlers → says that it is ready,
or why not → task in, outcome out → ends when the socket pair does. Its standard input is a pipe that only the
worker holds: when the worker dies, even by SIGKILL, the pipe ends, and so does this process with all that its
handlers started.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from typing import Any, BinaryIO

from broker.errors import ConfigError
from broker.logs import to_stderr
from protocol.limits import Limits
from worker import frames
from worker.handler import Handler, load, run
from worker.log_fields import of_worker

READY = "ready"
BROKEN = "broken"


def main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    to_stderr("%(asctime)s %(name)s %(message)s", fields=of_worker(os.getppid()))
    _end_with_parent()
    with socket.socket(fileno=descriptor) as pair, pair.makefile("rb") as incoming:
        setup = _next(incoming)
        if setup is None:
            return
        paths, handler_paths, limit_values = setup
        sys.path[:0] = [path for path in paths if path not in sys.path]
        limits = Limits(**limit_values)
        try:
            handlers: dict[str, Handler] = {task: load(path) for task, path in handler_paths.items()}
        except ConfigError as error:
            pair.sendall(frames.pack([BROKEN, *error.problems]))
            return
        pair.sendall(frames.pack([READY]))
        while (fields := _next(incoming)) is not None:
            call = frames.to_call(fields)
            outcome = run(handlers[call.context.task], call, limits)
            pair.sendall(frames.pack(frames.from_outcome(outcome)))


def _next(incoming: BinaryIO) -> Any:
    head = incoming.read(frames.HEAD.size)
    if len(head) < frames.HEAD.size:
        return None
    (size,) = frames.HEAD.unpack(head)
    return frames.unpack(incoming.read(size))


def _end_with_parent() -> None:
    """Watch the pipe on a copy of standard input; handlers see an empty input instead."""
    lifeline = os.dup(0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)

    def watch() -> None:
        os.read(lifeline, 1)
        # This process leads its group: the handlers' own children go with it.
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
