from __future__ import annotations

from typing import Any

import pytest

from protocol.errors import ErrorCode
from tests.contract.checks import CHECKS
from tests.contract.vectors import VECTORS, section, title

CASES = [pytest.param(kind, vector, id=f"{kind}: {title(vector)}") for kind in CHECKS for vector in section(kind)]


@pytest.mark.parametrize(("kind", "vector"), CASES)
def test_this_implementation_agrees_with(kind: str, vector: Any) -> None:
    CHECKS[kind](vector)


def test_every_section_of_the_vectors_is_checked() -> None:
    assert set(VECTORS) - {"about"} == set(CHECKS)


def test_every_vector_has_a_name_of_its_own_in_its_section() -> None:
    for kind in CHECKS:
        names = [title(vector) for vector in section(kind)]
        assert len(set(names)) == len(names), kind


@pytest.mark.parametrize("code", ErrorCode)
def test_every_error_code_occurs_in_a_reply_and_in_a_dead_letter(code: ErrorCode) -> None:
    assert code in {
        vector["reply"]["failure"]["code"] for vector in section("replies") if vector["reply"]["failure"]
    }
    # Of what was cancelled there is no letter.
    letters = {vector["why"]["code"] for vector in section("letters")}
    assert code in letters or code is ErrorCode.CANCELLED


@pytest.mark.parametrize(
    "code",
    [
        "undecodable",
        "too_large",
        "bad_properties",
        "unsupported_version",
        "bad_reply_to",
        "unknown_task",
        "wrong_queue",
    ],
)
def test_every_code_of_a_refusal_has_a_message_that_is_refused_with_it(code: str) -> None:
    kinds = ("bodies_refused", "tasks_refused")
    assert code in {vector["code"] for kind in kinds for vector in section(kind)}
