"""docs/reliability.md names what there is, and the README's promises point at proofs that exist."""

from __future__ import annotations

import re

from tests.chaos.checker import INVARIANTS
from tests.chaos.mutants import MUTANTS
from tests.support.workers import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_invariant_of_the_checker_is_explained() -> None:
    assert re.findall(r"^\| `(\w+)` \| [^|`]*\|$", PAGE, re.MULTILINE) == list(INVARIANTS)


def test_every_planted_bug_is_listed_with_what_catches_it() -> None:
    listed = {
        name: set(re.findall(r"`(\w+)`", caught))
        for name, caught in re.findall(r"^\| `(\w+)` \| \w+ \| ([^|]*) \|", PAGE, re.MULTILINE)
    }
    assert listed == {mutant.name: set(mutant.caught_by) for mutant in MUTANTS}


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert [link for link in links if not link.startswith("https://") and not (ROOT / link).exists()] == []
