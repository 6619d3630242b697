"""Every command under every condition that its standard streams and its locale can be in.

The rows are made from the click trees: a command without an entry in the table fails, and so does an entry without
a command. The standard tier takes so many rows of each command that every two conditions meet somewhere, and each
condition meets each command; the long tier takes all of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.brokers import Broker
from tests.support.hands import Ended, Hand, In, Locale, Out, Streams
from tests.support.hands_table import COMMANDS, Entry, Place, is_over
from tests.support.hands_tree import commands, pairwise
from tests.support.installation import Installation
from tests.support.vhost import vhost_of
from tests.support.waiting import eventually

WITHIN_S = 60.0
#: What is started at the same time.
SIDE_BY_SIDE = 3
STDOUT = (Out.PIPE, Out.TERMINAL, Out.CLOSED, Out.FULL, Out.BROKEN)
STDERR = (Out.PIPE, Out.TERMINAL, Out.CLOSED, Out.FULL, Out.UNREAD)
LIGHT = [name for name, entry in COMMANDS.items() if not entry.is_heavy]
HEAVY = [
    pytest.param(name, marks=pytest.mark.containers if entry.needs_engine else ())
    for name, entry in COMMANDS.items()
    if entry.is_heavy
]


def streams_of(stdin: str, stdout: str, stderr: str, locale: str) -> Streams:
    return Streams(In(stdin), Out(stdout), Out(stderr), Locale(locale))


SOME = {
    name: [streams_of(*rest) for _, rest in rows]
    for name, rows in itertools.groupby(
        sorted((name, rest) for name, *rest in pairwise([LIGHT, list(In), STDOUT, STDERR, list(Locale)])),
        key=lambda row: row[0],
    )
}


def all_of(entry: Entry) -> list[Streams]:
    """What a command does not read makes no difference to it: then only one standard input after the other."""
    rows = list(itertools.product(STDOUT, STDERR, Locale))
    if entry.stdin:
        return [Streams(stdin, *row) for stdin in In for row in rows]
    return [Streams(stdin, *row) for stdin, row in zip(itertools.cycle(In), rows, strict=False)]


@pytest.fixture(scope="module")
def place(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with vhost_of(broker, "hands") as vhost:
        changes = Place.changes(broker.management.url)
        installation = Installation(vhost, tmp_path_factory.mktemp("hands"), changes)
        try:
            yield Place(installation)
        finally:
            installation.close()


def run(name: str, place: Place, streams: Streams) -> Ended:
    """Run a command to its end; if it stays, stop it as soon as it is there."""
    entry = COMMANDS[name]
    given = entry.prepare(place)
    words = ["-m", *name.split(), *entry.words.format_map(given).split()]
    environment = {**place.installation.environment, "XDG_STATE_HOME": str(place.installation.folder)}
    with Hand(words, environment, streams, stdin=entry.stdin) as hand:
        is_there = entry.is_there
        if is_there is not None and (can_write(streams) or not entry.has_data):
            eventually(lambda: is_there(place, given, hand), f"{name}, ready", WITHIN_S)
            hand.signal(entry.stop)
        ended = hand.wait(WITHIN_S)
        eventually(lambda: is_over(hand.pid), f"the end of all that {name} has started")
    return ended


def can_write(streams: Streams) -> bool:
    return streams.stdout in (Out.PIPE, Out.TERMINAL)


def judge(name: str, streams: Streams, ended: Ended) -> None:
    """What holds whatever the command and the condition."""
    entry = COMMANDS[name]
    for accident in ("Traceback", "Exception ignored", "Fatal Python error"):
        assert accident not in ended.err
    is_read = entry.stdin and streams.stdin is In.CLOSED
    if entry.has_data and (is_read or not can_write(streams)):
        assert ended.code == 1
        if streams.stderr in (Out.PIPE, Out.TERMINAL) and streams.stdout is not Out.BROKEN:
            assert "error: standard " in ended.err
        return
    assert ended.code in entry.codes, ended.err
    if can_write(streams):
        entry.data(ended.out.decode("utf-8" if streams.locale is Locale.UTF8 else "ascii"))


def faults(name: str, place: Place, rows: list[Streams]) -> list[str]:
    """Of each row that is not as it should be: which, and why."""

    def fault(streams: Streams) -> str | None:
        try:
            judge(name, streams, run(name, place, streams))
        except (AssertionError, ValueError) as problem:
            return f"{name} {streams}: {type(problem).__name__}: {problem}"
        return None

    with ThreadPoolExecutor(1 if COMMANDS[name].is_alone else SIDE_BY_SIDE) as pool:
        return [problem for problem in pool.map(fault, rows) if problem is not None]


def test_every_command_has_an_entry_in_the_table() -> None:
    assert sorted(COMMANDS) == sorted(commands())


@pytest.mark.parametrize("name", LIGHT)
def test_a_command_does_the_same_whatever_its_streams_are_and_says_what_it_cannot_write(
    name: str, place: Place
) -> None:
    assert faults(name, place, SOME[name]) == []


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", LIGHT)
def test_a_command_does_the_same_under_all_conditions(name: str, place: Place) -> None:
    assert faults(name, place, all_of(COMMANDS[name])) == []


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", HEAVY)
def test_what_starts_much_does_the_same_whatever_its_streams_are(name: str, place: Place) -> None:
    rows = [streams_of(*row) for row in pairwise([list(In), STDOUT, STDERR, list(Locale)])]
    assert faults(name, place, rows[:: 4 if COMMANDS[name].needs_engine else 2]) == []
