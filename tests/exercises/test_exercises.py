"""Each exercise fails for the reason that it states until it is solved, and its solution passes."""

from __future__ import annotations

import pytest

from tests.exercises.exercise import FOLDER, Exercise, exercises
from tests.lessons.kit import Broken, lesson_on
from tests.support.vhost import Vhost
from tests.support.workers import ROOT

EXERCISES = exercises()

every_exercise = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda exercise: exercise.file.stem)


@every_exercise
@pytest.mark.every_broker(long=True)
def test_unsolved_it_fails_by_the_claim_that_it_names(exercise: Exercise, vhost: Vhost) -> None:
    with lesson_on(vhost) as lesson, pytest.raises(Broken) as broken:
        exercise.check(lesson, exercise.file)
    assert (broken.value.number, lesson.claims[-1].answer) == (exercise.unsolved.claim, exercise.unsolved.saw)
    assert f"and claim {broken.value.number} fails" in " ".join(exercise.task.split())


@every_exercise
@pytest.mark.every_broker(long=True)
def test_its_solution_passes(exercise: Exercise, vhost: Vhost) -> None:
    with lesson_on(vhost) as lesson:
        exercise.check(lesson, exercise.solution)


@every_exercise
def test_its_solution_is_short_and_changes_one_function(exercise: Exercise) -> None:
    assert len(exercise.solution.read_text().splitlines()) <= 30
    assert exercise.hints


def test_the_page_lists_each_exercise_with_its_file() -> None:
    page = (ROOT / "docs" / "exercises.md").read_text()
    rows = [f"| {one.number} | [{one.title}](../{one.file.relative_to(ROOT)}) |" for one in EXERCISES]
    assert [row for row in rows if row not in page] == []
    assert {one.name for one in (FOLDER / "solutions").glob("*.py")} == {one.file.name for one in EXERCISES}
