"""Bodies against the codec: refused with a code, in little memory and time, or read as exactly what they say."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import decode, decode_arguments, encode
from protocol.errors import Malformed
from protocol.limits import DEFAULT_LIMITS
from protocol.reply import Reply, read_replies
from tests.contract.vectors import octets, same, section, title
from tests.support import hostile_bodies
from tests.support.hostile_bodies import ALL, BUILT, SCANNED, SOUND, of
from tests.support.hostile_memory import MIB
from tests.support.replies import replies_in
from tests.support.workers import ROOT
from tests.unit.protocol.test_codec import reference, values

#: What tracing itself and an exception with its text may take.
SLACK = 64 * 1024
#: What the values of a sound body may take: its 100,000 nodes, none of which needs more than this.
NODE = 160
#: Seconds of processor time; a body of the largest size takes a tenth of it on a slow machine.
WITHIN_S = 2.0

#: Bodies of tasks and replies that are in order, of every type and of many lengths.
VECTORS = [
    pytest.param(octets(vector["body"]), id=f"{kind}: {title(vector)}")
    for kind in ("bodies", "tasks", "replies")
    for vector in section(kind)
    if len(octets(vector["body"])) <= 300
]


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(Malformed) as raised:
        read()
    return raised.value.code


def peak(read: Callable[[], object]) -> int:
    """Bytes that reading takes at most."""
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ALL)
def test_a_hostile_body_is_refused_with_its_code(name: str) -> None:
    code, body = ALL[name]
    assert refusal(lambda: decode_arguments(body, DEFAULT_LIMITS)) == code


@pytest.mark.parametrize("name", SCANNED)
def test_refusing_takes_less_than_ten_times_the_body_and_no_time(name: str) -> None:
    code, body = SCANNED[name]
    started_s = time.process_time()
    assert refusal(lambda: decode_arguments(body, DEFAULT_LIMITS)) == code
    assert time.process_time() - started_s < WITHIN_S
    assert peak(lambda: refusal(lambda: decode_arguments(body, DEFAULT_LIMITS))) < 10 * len(body) + SLACK


@pytest.mark.parametrize("name", BUILT)
def test_refusing_text_or_keys_takes_no_more_than_as_many_sound_values_would(name: str) -> None:
    _, body = BUILT[name]
    taken = peak(lambda: refusal(lambda: decode_arguments(body, DEFAULT_LIMITS)))
    assert taken < min(10 * len(body), MIB) + NODE * DEFAULT_LIMITS.nodes


@pytest.mark.parametrize("name", SOUND)
def test_an_odd_value_that_is_sound_arrives_as_it_was_sent(name: str) -> None:
    body = hostile_bodies.packed(SOUND[name])
    assert same(decode_arguments(body, DEFAULT_LIMITS), {"value": SOUND[name]})


def flipped(raw: bytes) -> Iterator[bytes]:
    """Every text that differs in one bit."""
    for at in range(len(raw)):
        for bit in range(8):
            yield raw[:at] + bytes((raw[at] ^ 1 << bit,)) + raw[at + 1 :]


def is_refused_or_equal(body: bytes) -> bool:
    """Whether a body was refused. Otherwise its value is what msgpack, with the stricter rules on top, reads."""
    try:
        value = decode(body, DEFAULT_LIMITS)
    except Malformed:
        with pytest.raises((ValueError, TypeError, msgpack.exceptions.UnpackException)):
            reference(body)
        return True
    assert same(value, reference(body))
    assert same(decode(encode(value, DEFAULT_LIMITS), DEFAULT_LIMITS), value)
    return False


@pytest.mark.parametrize("body", VECTORS)
def test_a_body_that_is_cut_anywhere_or_goes_on_is_refused(body: bytes) -> None:
    for size in range(len(body)):
        refusal(lambda: decode(body[:size], DEFAULT_LIMITS))  # noqa: B023 - read at once
    for more in (b"\x00", b"\xc0", b"\xc1", body):
        refusal(lambda: decode(body + more, DEFAULT_LIMITS))  # noqa: B023 - read at once


@pytest.mark.parametrize("body", VECTORS)
def test_a_body_with_any_bit_flipped_is_refused_or_read_as_what_it_says(body: bytes) -> None:
    outcomes = [is_refused_or_equal(other) for other in flipped(body)]
    assert len(outcomes) == 8 * len(body)


@given(values, st.data())
def test_any_body_cut_or_with_a_bit_flipped_is_refused_or_read_as_what_it_says(value: Any, data: Any) -> None:
    body = encode(value, DEFAULT_LIMITS)
    refusal(lambda: decode(body[: data.draw(st.integers(0, len(body) - 1))], DEFAULT_LIMITS))
    at, bit = data.draw(st.integers(0, len(body) - 1)), data.draw(st.integers(0, 7))
    is_refused_or_equal(body[:at] + bytes((body[at] ^ 1 << bit,)) + body[at + 1 :])


@pytest.mark.parametrize("vector", section("replies"), ids=title)
def test_a_reply_with_any_bit_flipped_is_refused_or_is_a_reply_that_can_be_written_again(vector: Any) -> None:
    for other in flipped(octets(vector["body"])):
        replies = [reply for reply in read_replies(other, DEFAULT_LIMITS) if isinstance(reply, Reply)]
        written = msgpack.packb([reply.to_map() for reply in replies])
        again = replies_in(written)
        assert same([shown(reply) for reply in again], [shown(reply) for reply in replies])


def shown(reply: Reply) -> dict[str, Any]:
    return reply.to_map()


def test_a_body_of_40000_unique_keys_leaves_nothing_behind_however_many_come() -> None:
    """msgpack makes each key a text that the interpreter keeps one copy of, for as long as it is used."""
    program = """
from protocol.codec import decode_arguments
from protocol.limits import DEFAULT_LIMITS
from tests.support.hostile_bodies import unique_keys
from tests.support.hostile_memory import resident
import os
for salt in range(40):
    decode_arguments(unique_keys(40_000, salt), DEFAULT_LIMITS)
    if salt == 9:
        before = resident(os.getpid())
print(resident(os.getpid()) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=60, text=True
    )
    assert int(done.stdout) < 2 * MIB


def test_time_grows_with_the_body_and_no_faster() -> None:
    """Twice as many keys take about twice as long."""

    def cost_s(count: int) -> float:
        body = hostile_bodies.unique_keys(count)
        costs = []
        for _ in range(5):
            started_s = time.process_time()
            decode(body, DEFAULT_LIMITS)
            costs.append(time.process_time() - started_s)
        return min(costs)

    assert cost_s(40_000) < 10 * cost_s(10_000)


def test_the_deepest_body_of_all_is_read_and_one_deeper_is_not() -> None:
    depth = DEFAULT_LIMITS.depth
    decode_arguments(of(b"\x91" * (depth - 1) + b"\x01"), DEFAULT_LIMITS)
    assert refusal(lambda: decode_arguments(of(b"\x91" * depth + b"\x01"), DEFAULT_LIMITS)) == "too_large"
