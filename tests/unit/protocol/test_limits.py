from __future__ import annotations

from dataclasses import asdict

from hypothesis import given
from hypothesis import strategies as st

from protocol.limits import DEFAULT_LIMITS, Limits, cut


@given(st.text(st.characters()), st.integers(16, 200))
def test_a_cut_text_is_utf8_and_within_the_limit(text: str, limit: int) -> None:
    short = cut(text, limit)
    assert len(short.encode("utf-8")) <= limit


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(16, 200))
def test_a_text_that_fits_stays_as_it_is_and_another_keeps_its_beginning(text: str, limit: int) -> None:
    short = cut(text, limit)
    if len(text.encode("utf-8")) <= limit:
        assert short == text
    else:
        assert short.endswith("…")
        assert text.startswith(short[:-1])


def test_what_utf8_cannot_carry_is_escaped() -> None:
    assert cut("a\ud800b", 100) == "a\\ud800b"


@given(
    st.builds(Limits, body_bytes=st.integers(1024, 2**27), depth=st.integers(1, 100), nodes=st.integers(1, 10**7))
)
def test_a_reply_may_wrap_a_result_of_the_full_size(limits: Limits) -> None:
    wider = limits.for_reply
    assert wider.body_bytes > limits.body_bytes
    assert wider.depth == limits.depth + 1
    assert wider.nodes > limits.nodes + 12


def test_the_defaults_are_those_of_the_specification() -> None:
    assert asdict(DEFAULT_LIMITS) == {
        "body_bytes": 1_048_576,
        "header_bytes": 32_768,
        "depth": 32,
        "nodes": 100_000,
        "error_text_bytes": 1024,
        "history_entries": 10,
        "batch_tasks": 1000,
    }
