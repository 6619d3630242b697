"""Values that msgpack does not know: what goes in their place, and where in a value is what nothing does for."""

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass, field, make_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.codec import EncodedTooLarge, Encoder, NotEncodable, decode, encode
from protocol.limits import DEFAULT_LIMITS, Limits
from tests.contract.vectors import Numpy, same


@dataclass
class Row:
    id: int
    price: Any = None
    tags: list[Any] = field(default_factory=list)


class Colour(Enum):
    RED = "red"
    NESTED = Decimal("0.5")


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    A = "a"


class Nat(datetime):
    """A date that is none, as pandas has it."""

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = datetime.__hash__


Point = namedtuple("Point", "x y")

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(st.characters(codec="utf-8"))
#: A value, and what a receiver gets.
pairs = st.recursive(
    scalars.map(lambda one: (one, one))
    | st.datetimes(timezones=st.none() | st.just(UTC)).map(lambda one: (one, one.isoformat()))
    | st.decimals().map(lambda one: (one, str(one)))
    | st.uuids().map(lambda one: (one, str(one)))
    | st.sampled_from([(Colour.RED, "red"), (Colour.NESTED, "0.5"), (Number.ONE, 1), (Word.A, "a")]),
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda two: ([a for a, _ in two], [b for _, b in two]))
        | st.lists(inner, max_size=4).map(lambda two: (tuple(a for a, _ in two), [b for _, b in two]))
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=4).map(
            lambda two: ({key: a for key, (a, _) in two.items()}, {key: b for key, (_, b) in two.items()})
        )
        | inner.map(lambda two: (Row(1, two[0]), {"id": 1, "price": two[1], "tags": []}))
    ),
    max_leaves=12,
)


@given(pairs)
def test_whatever_is_where_a_receiver_gets_the_same_plain_data(pair: tuple[Any, Any]) -> None:
    value, expected = pair
    assert same(decode(encode(value, DEFAULT_LIMITS), DEFAULT_LIMITS), expected)
    arguments = Encoder(DEFAULT_LIMITS).arguments({"a": value})
    assert same(decode(arguments, DEFAULT_LIMITS), {"a": expected})


def test_a_set_whose_members_cannot_be_compared_goes_in_any_order() -> None:
    assert set(decode(encode({1, "a", None}, DEFAULT_LIMITS), DEFAULT_LIMITS)) == {1, "a", None}


def test_texts_and_numbers_of_an_enumeration_may_be_keys() -> None:
    assert decode(encode({Word.A: Point(Number.ONE, 2)}, DEFAULT_LIMITS), DEFAULT_LIMITS) == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"rows": [1, 2, 3, {"price": 1j}]}, 'result["rows"][3]["price"]: complex cannot be carried. Allowed are'),
        (Row(1, tags=[(Decimal(1), {"a": object()})]), 'result["tags"][0][1]["a"]: object cannot be carried'),
        ([date(2026, 11, 30), Nat.now(UTC)], "result[1]: tests.unit.protocol.test_values.Nat cannot be carried"),
        ({"a": {UUID(int=1): 2}}, 'result["a"]: a key of type uuid.UUID; keys are str'),
        ({"a": {7: "secret"}}, 'result["a"]: a key of type int; keys are str'),
        ({"a": ["secret\ud800"]}, 'result["a"][0]: a surrogate that UTF-8 cannot carry'),
        ({"a\udce9": object()}, "result: a surrogate that UTF-8 cannot carry"),
        ([Decimal(1), 2**64], "result[1]: an int of more than 64 bits"),
        (Row, "result: type cannot be carried"),
        ((one for one in "secret"), "result: generator cannot be carried"),
        ([{"k" * 10_000: 1j}], f'result[0]["{"k" * 50}"]: complex cannot be carried'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_carried_is_named_by_its_place(value: Any, text: str) -> None:
    with pytest.raises(NotEncodable) as refusal:
        encode(value, DEFAULT_LIMITS, "result")
    assert str(refusal.value).startswith(text)
    assert "secret" not in str(refusal.value)
    with pytest.raises(NotEncodable) as refusal:
        Encoder(DEFAULT_LIMITS).arguments({"given": value})
    assert str(refusal.value).startswith(text.replace("result", 'arguments["given"]', 1))


def test_however_long_keys_and_names_are_the_text_is_bounded() -> None:
    value: Any = make_dataclass("X" * 5000, ["a"])
    for _ in range(30):
        value = {"ä\n" * 1000: value}
    with pytest.raises(NotEncodable) as refusal:
        encode(value, DEFAULT_LIMITS)
    assert len(str(refusal.value).encode()) < 700
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize(
    "value",
    [
        Row(1, Row(2, Row(3, Row(4, Row(5))))),
        [Decimal(1), *range(50)],
        {*range(50)},
        Decimal("1" * 300),
    ],
    ids=["depth", "values", "a set", "bytes"],
)
def test_what_goes_in_its_place_is_held_to_the_limits(value: Any) -> None:
    with pytest.raises(EncodedTooLarge):
        encode(value, Limits(body_bytes=256, depth=4, nodes=40))


@pytest.mark.parametrize("kind", ["m", "M", "c", "O", "V"])
def test_of_numpy_only_numbers_are_carried(kind: str) -> None:
    scalar = Numpy(1)
    scalar.dtype = SimpleNamespace(kind=kind)
    with pytest.raises(NotEncodable, match="cannot be carried"):
        encode(scalar, DEFAULT_LIMITS)


def test_an_array_of_numpy_is_not_taken_for_its_only_number() -> None:
    array = Numpy(1)
    array.shape = (1,)  # type: ignore[assignment]
    with pytest.raises(NotEncodable, match="cannot be carried"):
        encode(array, DEFAULT_LIMITS)


def test_a_duration_is_in_seconds() -> None:
    assert same(decode(encode(timedelta(minutes=2), DEFAULT_LIMITS), DEFAULT_LIMITS), 120.0)
