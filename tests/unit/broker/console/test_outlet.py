"""Lines for people on a descriptor that takes them late, or never: nobody waits, and what was lost is counted."""

from __future__ import annotations

import logging
import os
import select
import time
from collections.abc import Iterator

import pytest

from broker.console.outlet import MOST_BYTES, PATIENCE_S, Outlet
from tests.support.waiting import eventually

LINE = b"x" * 999 + b"\n"


class Pipe:
    """A pipe, and what was read from it."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.seen = b""

    def fill(self) -> int:
        """Until nothing more fits; how many bytes."""
        size = 0
        while select.select([], [self.writer], [], 0)[1]:
            size += os.write(self.writer, b" " * select.PIPE_BUF)
        return size

    def read(self) -> bytes:
        while select.select([self.reader], [], [], 0)[0] and (data := os.read(self.reader, 1 << 16)):
            self.seen += data
        return self.seen


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.close(pipe.reader)
    os.close(pipe.writer)


def lost(caplog: pytest.LogCaptureFixture) -> list[int]:
    return [int(record.getMessage().split()[0]) for record in caplog.records if "could not be" in record.msg]


@pytest.fixture(autouse=True)
def heard() -> Iterator[None]:
    """pytest hears what our loggers say, whatever another test has set up."""
    logger = logging.getLogger("glassrabbit")
    before, logger.propagate = logger.propagate, True
    yield
    logger.propagate = before


def test_a_writer_does_not_wait_for_a_reader_and_what_was_lost_is_said_once_there_is_one(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    outlet, filled, count = Outlet(pipe.writer, threaded=True), pipe.fill(), 3 * MOST_BYTES // len(LINE)
    began_s = time.monotonic()
    for _ in range(count):
        assert outlet.write(LINE) == len(LINE)
    assert time.monotonic() - began_s < PATIENCE_S

    def is_said() -> bool:
        pipe.read()
        return bool(lost(caplog))

    eventually(is_said, "how many were lost")
    eventually(lambda: (pipe.read().count(b"\n") + sum(lost(caplog))) == count, "the rest")
    assert pipe.seen[filled:] == LINE * pipe.seen.count(b"\n")


def test_where_the_writer_writes_it_waits_a_second_for_room_and_not_twice(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    outlet, filled = Outlet(pipe.writer, threaded=False), pipe.fill()
    began_s = time.monotonic()
    for _ in range(100):
        outlet.write(b"lost\n")
    assert PATIENCE_S <= time.monotonic() - began_s < 2 * PATIENCE_S
    pipe.read()
    outlet.write(b"kept\n")
    assert lost(caplog) == [100]
    assert pipe.read()[filled:] == b"kept\n"


def test_a_fork_writes_by_itself(pipe: Pipe) -> None:
    outlet = Outlet(pipe.writer, threaded=True)
    outlet.write(b"before\n")
    eventually(lambda: pipe.read() == b"before\n", "the first line")
    if (pid := os.fork()) == 0:
        outlet.write(b"from the fork\n")
        os._exit(0)
    os.waitpid(pid, 0)
    assert pipe.read() == b"before\nfrom the fork\n"


@pytest.mark.parametrize("threaded", [True, False])
def test_a_full_disk_and_a_reader_that_has_gone_are_no_errors(threaded: bool) -> None:
    reader, broken = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    for descriptor in (broken, full):
        outlet = Outlet(descriptor, threaded=threaded)
        assert [outlet.write(LINE) for _ in range(3)] == [len(LINE)] * 3
        eventually(lambda outlet=outlet: outlet.lost == 3, "the count")  # type: ignore[misc]
        os.close(descriptor)
