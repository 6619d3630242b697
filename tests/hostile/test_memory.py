"""Refusing takes little memory while it lasts, and leaves nothing behind, in the worker and in its children."""

from __future__ import annotations

import pytest

from tests.support.hostile_bodies import ALL, BUILT, unique_keys
from tests.support.hostile_memory import MIB, family, growth, resident
from tests.support.hostile_properties import HEADERS, SHORT_STRINGS, Change
from tests.support.hostile_socket import Socket, header, task_fields
from tests.support.installation import Install, Installation
from tests.support.vhost import body
from tests.support.workers import WorkerProcess

#: What an allocator takes from the kernel at a time, or keeps of what it took before.
SLACK = 4 * MIB
#: The values of a body are built before its text and keys are looked at: 100,000 of them take at most this.
VALUES = 16 * MIB
#: RabbitMQ 4 takes no larger message.
LARGEST = 16 * MIB
ROUND = 500
ROUNDS = 5


@pytest.fixture
def lonely(install: Install) -> Installation:
    """An installation whose worker runs one task at a time, in one child, and refuses many at a time."""
    return install(worker={"concurrency": 1}, queues={"queue_a": {"prefetch": 50}}, defaults={"timeout_s": 10})


def test_refusing_a_message_takes_less_than_ten_times_its_size(lonely: Installation, raw: Socket) -> None:
    worker = lonely.worker()
    cases = [
        *(
            (name, content, task_fields("echo"), VALUES if name in BUILT else 0)
            for name, (_, content) in ALL.items()
        ),
        *(
            (name, b"\xc1", task_fields(**change), 0)
            for name, (code, change) in (HEADERS | SHORT_STRINGS).items()
            if code
        ),
        ("the largest message of all", bytes(LARGEST), task_fields("echo"), 0),
    ]
    warm(lonely, raw, worker)
    for name, content, properties, allowed in cases:
        size = len(content) + len(header(properties, len(content)))
        with growth(*family(worker.pid)) as grown:
            raw.publish("", "queue_a", content, properties)
            lonely.vhost.read_dead("queue_a")
        assert grown.bytes < 10 * size + SLACK + allowed, name


def test_of_thousands_of_refused_messages_nothing_is_left(lonely: Installation, raw: Socket) -> None:
    worker = lonely.worker()
    cases: list[tuple[bytes, Change]] = [
        *((content, {}) for _, content in ALL.values()),
        *((b"\xc1", change) for code, change in (HEADERS | SHORT_STRINGS).values() if code),
    ]
    small = [case for case in cases if len(case[0]) + sum(len(raw or b"") for raw in case[1].values()) < 20_000]
    sizes: list[int] = []
    for _ in range(ROUNDS):
        for number in range(ROUND):
            content, change = small[number % len(small)]
            raw.send_message("", "queue_a", content, task_fields("echo", **change))
        raw.wait()
        lonely.vhost.read_dead("queue_a", ROUND, within_s=60)
        sizes.append(sum(map(resident, family(worker.pid))))
    assert worker.is_alive
    print(f"resident after each {ROUND}: {sizes}")
    # The first round warms up.
    assert sizes[-1] - sizes[1] < 2 * MIB, sizes


def test_of_keys_that_come_once_and_never_again_nothing_is_left(lonely: Installation, raw: Socket) -> None:
    worker = lonely.worker()
    sizes: list[int] = []
    for salt in range(24):
        # An argument that echo does not have: it is refused after it was decoded.
        raw.publish("", "queue_a", b"\x82\xa1x\x01" + unique_keys(30_000, salt)[1:], task_fields("echo"))
        letter = lonely.vhost.read_dead("queue_a")[0]
        assert letter.reason.code == "bad_arguments"
        sizes.append(sum(map(resident, family(worker.pid))))
    assert sizes[-1] - sizes[7] < 2 * MIB, sizes


def warm(installation: Installation, raw: Socket, worker: WorkerProcess) -> None:
    """Let the worker take the memory that it needs for its first tasks."""
    for content in (b"\xc1", body(no_such=1), bytes(2 * MIB)):
        raw.publish("", "queue_a", content, task_fields("echo"))
        installation.vhost.read_dead("queue_a")
    assert worker.is_alive
