"""python -m tests.exercises: the exercises. With a number: show its task, and check it on a broker of its own.

--hint gives the first hint, --hint 2 the first two. --broker takes a RabbitMQ version in Docker; without it, the
rabbitmq-server of this machine is used if there is one. Exit 1 until the exercise is solved.
"""

from __future__ import annotations

import argparse
import sys

from tests.exercises.exercise import Exercise, exercises
from tests.lessons.kit import Broken, Claim
from tests.lessons.page import answer
from tests.lessons.private import NAMES, private_lesson
from tests.support.workers import ROOT


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.exercises", description=__doc__)
    parser.add_argument("number", type=int, nargs="?", help="of the exercise; without it they are listed")
    parser.add_argument("--hint", type=int, nargs="?", const=1, default=0, help="show HINT hints; check nothing")
    parser.add_argument("--broker", choices=NAMES, help="the version to check on")
    arguments = parser.parse_args()
    found = {one.number: one for one in exercises()}
    if arguments.number is None:
        for number, one in found.items():
            print(f"{number:3}  {one.title}")
        return 0
    if arguments.number not in found:
        parser.error(f"there is no exercise {arguments.number}, but 1 to {len(found)}")
    exercise = found[arguments.number]
    if arguments.hint:
        print("\n".join(exercise.hints[: arguments.hint]))
        return 0
    return _check(exercise, arguments.broker)


def _check(exercise: Exercise, name: str | None) -> int:
    print(f"{exercise.number}. {exercise.task}\n\nEdit {exercise.file.relative_to(ROOT)}.")
    with private_lesson(name, _show) as lesson:
        try:
            exercise.check(lesson, exercise.file)
        except Broken as error:
            print(f"\n{error}\nA hint: make exercise N={exercise.number} ARGS=--hint", file=sys.stderr)
            return 1
    print(f"\nSolved. Another way to write it: {exercise.solution.relative_to(ROOT)}")
    return 0


def _show(claim: Claim) -> None:
    print(f"{claim.number}. {claim.question} {answer(claim.answer)}")


if __name__ == "__main__":
    sys.exit(main())
