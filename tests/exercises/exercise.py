"""An exercise: a file with a task, one function that is to be written, and a check that runs on a broker."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.lessons.kit import Lesson
from tests.lessons.page import load

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Unsolved:
    """The claim that fails as long as nobody has solved an exercise, and what is seen instead."""

    claim: int
    saw: object


@dataclass(frozen=True)
class Exercise:
    file: Path
    module: ModuleType

    @property
    def number(self) -> int:
        return int(self.file.stem.split("_")[1])

    @property
    def title(self) -> str:
        return self._text.partition("\n")[0].rstrip(".")

    @property
    def task(self) -> str:
        return self._text.partition("\nHints:\n")[0].strip()

    @property
    def hints(self) -> list[str]:
        return self._text.partition("\nHints:\n- ")[2].split("\n- ")

    @property
    def solution(self) -> Path:
        return FOLDER / "solutions" / self.file.name

    @property
    def unsolved(self) -> Unsolved:
        found = self.module.UNSOLVED
        assert isinstance(found, Unsolved)
        return found

    @property
    def _text(self) -> str:
        return inspect.cleandoc(self.module.__doc__ or "")

    def check(self, lesson: Lesson, file: Path) -> None:
        """Raise ``Broken`` unless the function in ``file`` does what the exercise asks of its first one."""
        functions = [one for one in vars(self.module).values() if inspect.isfunction(one)]
        own = next(one.__name__ for one in functions if one.__module__ == self.file.stem)
        self.module.check(lesson, getattr(load(file).module, own))


def exercises() -> list[Exercise]:
    files = sorted(FOLDER.glob("exercise_[0-9][0-9]_*.py"))
    return [Exercise(file, load(file).module) for file in files]
