"""Process 1 of a container that has no init of its own: it waits for processes whose parents have ended."""

from __future__ import annotations

import os
import signal

_PASSED_ON = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


def be_init() -> None:
    """As process 1 fork, and return in the fork alone; anywhere else do nothing.

    A worker cannot do both: it would take the exit codes of its own children, and of what handlers in its threads
    start, from those who wait for them.
    """
    if os.getpid() != 1:
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    worker = os.fork()
    if worker:
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _frame: os.kill(worker, number))
    else:
        # Ctrl-C in a terminal is for the group of process 1, which passes it on once.
        os.setpgrp()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    while worker:
        pid, status = os.wait()
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)
