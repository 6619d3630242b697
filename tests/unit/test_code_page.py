"""docs/code.md: the folders say what it says of them, and what decides a question is there."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "code.md").read_text("utf-8")
FOLDERS = re.findall(r"^\| `(\w+(?:/\w+)*)` \| (.+) \|$", PAGE, re.MULTILINE)
DECIDED = re.findall(r"^\| (.+) \| `([\w/]+\.py)` `([\w.]+)` \|$", PAGE, re.MULTILINE)


def packages() -> Iterator[str]:
    for top in ("protocol", "broker", "worker", "dispatcher"):
        yield from (file.parent.relative_to(ROOT).as_posix() for file in (ROOT / top).rglob("__init__.py"))


def test_every_folder_is_on_the_page() -> None:
    assert {folder for folder, _ in FOLDERS} == set(packages())


@pytest.mark.parametrize(("folder", "promise"), FOLDERS)
def test_a_folder_says_at_its_top_what_the_page_says_of_it(folder: str, promise: str) -> None:
    tree = ast.parse((ROOT / folder / "__init__.py").read_text("utf-8"))
    said = " ".join((ast.get_docstring(tree) or "").replace("``", "`").split())
    assert said.startswith(promise.rstrip(".").split(". ")[0]), said


def test_the_fifteen_questions_are_answered() -> None:
    assert len(DECIDED) >= 15


@pytest.mark.parametrize(("question", "file", "name"), DECIDED)
def test_what_decides_a_question_is_there(question: str, file: str, name: str) -> None:
    found: object = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    for part in name.split("."):
        found = getattr(found, part)
    assert found is not None
