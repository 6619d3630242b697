"""docs/questions.md: sixty questions, each answered, and what its commands print is what the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.test_readme import assert_printed, run_block
from tests.support.vhost import Vhost
from tests.support.workers import ROOT

PAGE = (ROOT / "docs" / "questions.md").read_text()
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ANSWERS = re.findall(r"^### (\d+)\. (.+?)\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
_END = "the end of a block"


def test_each_of_the_sixty_questions_is_answered_in_two_to_five_sentences() -> None:
    assert [int(number) for number, _, _ in ANSWERS] == [*range(1, 15), *range(13, 59)]
    for number, _, answer in ANSWERS:
        text = re.sub(r"\(\S+\)|`[^`]+`", "", BLOCK.sub("", answer))
        assert 2 <= len(re.findall(r"[.?](?=\s)|:(?=\s*$)", text)) <= 5, number


def test_what_has_no_command_has_a_link_to_a_file_that_is_there() -> None:
    assert len(BLOCK.findall(PAGE)) >= 45
    for number, _, answer in ANSWERS:
        assert BLOCK.search(answer) or "](" in answer, number
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


def assert_printed_by(vhost: Vhost, state: Path, page: str) -> list[str]:
    """Run all blocks of a page in one shell, which starts the workers once; what it printed."""
    blocks = BLOCK.findall(page)
    own = {"BROKER_URL": vhost.url, "GLASSRABBIT__BROKER__MANAGEMENT_URL": vhost.broker.management.url}
    printed = rest = run_block("".join(f"{block}$ echo {_END}\n" for block in blocks), state, **own)
    for block in blocks:
        end = rest.index(_END)
        assert_printed(block, rest[:end])
        rest = rest[end + 1 :]
    return printed


def test_the_commands_of_the_first_half_print_what_the_page_shows(vhost: Vhost, tmp_path: Path) -> None:
    assert_printed_by(vhost, tmp_path, PAGE.partition("\n## Code, ")[0])


@pytest.mark.long
@pytest.mark.timeout(300)
def test_all_commands_print_what_the_page_shows(vhost: Vhost, tmp_path: Path) -> None:
    printed = assert_printed_by(vhost, tmp_path, PAGE)
    *_, in_sequence_s, together_s = (float(line.split()[2]) for line in printed if "wall time  " in line)
    assert together_s < in_sequence_s
