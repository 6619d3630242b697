"""A worker that counts the calls which one task costs it: ``python -m tests.support.counted_worker QUEUE``.

Counted are calls of Python functions of ``worker``, ``broker`` and ``protocol`` in the worker's own process, from
the read that brings a delivery to the write of its ack; comprehensions are not. It prints one JSON object a task,
``calls`` and ``files``, as soon as its ack is written.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from types import CodeType, FrameType
from typing import Any

from broker.amqp.acks import Acks
from broker.amqp.pika_transport import Stream
from tests.support.workers import ROOT
from worker.__main__ import main
from worker.lifecycle import Lifecycle

#: A worker writes nothing to standard output, and so nothing of its own comes between.
OUT = os.fdopen(os.dup(1), "w")
PACKAGES = tuple(str(ROOT / package) + "/" for package in ("worker", "broker", "protocol"))
_READ, _TAKEN, _ACK = Stream.data_received.__code__, Lifecycle.taken.__code__, Acks.frames.__code__


class Count:
    """A profile function. One task is open at a time: the requester asks for the next one after it was printed."""

    def __init__(self) -> None:
        self._calls: Counter[CodeType] = Counter()
        self._is_taken = False

    def __call__(self, frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(PACKAGES) or code.co_name.startswith("<"):
            return
        if code is _READ and not self._is_taken:
            self._calls = Counter()
        self._is_taken |= code is _TAKEN
        self._calls[code] += 1
        if code is _ACK and self._is_taken:
            files = {code.co_filename for code in self._calls}
            print(json.dumps({"calls": self._calls.total(), "files": len(files)}), file=OUT, flush=True)
            self._calls, self._is_taken = Counter(), False


if __name__ == "__main__":
    sys.setprofile(Count())
    main(prog_name="counted_worker")
