"""python -m tests.lessons: the lessons. With a number: run that one, narrated, on a broker of its own.

--predict asks before each claim and keeps score. --broker takes a RabbitMQ version in Docker; without
it, the rabbitmq-server of this machine is used if there is one. Exit 1 if a claim does not hold.
"""

from __future__ import annotations

import argparse
import sys

from tests.lessons.kit import Broken, Claim, Lesson
from tests.lessons.page import Plan, answer, lines, picture, plans
from tests.lessons.private import NAMES, private_lesson


class Narrator:
    """Shows each step when its claim is made, and asks first if somebody wants to predict."""

    def __init__(self, plan: Plan, *, predict: bool) -> None:
        self._steps = plan.steps()
        self._predict = predict
        self.right = 0
        self.lesson: Lesson | None = None

    def __call__(self, claim: Claim) -> None:
        assert self.lesson is not None
        if code := self._steps[claim.number - 1]:
            print("\n" + "\n".join(f"    {line}" for line in code.splitlines()))
        print(f"\n{claim.number}. {claim.question}")
        shown = answer(claim.answer).strip("`")
        if self._predict:
            guess = input("   your answer: ").strip()
            is_right = _alike(guess) == _alike(shown)
            self.right += is_right
            print("   right" if is_right else f"   not so, but {shown}")
        else:
            print(f"   {shown}")
        passed = [event for event in self.lesson.recording.events() if event.step == claim.number]
        for line in lines(passed) if passed else ():
            print(f"   │ {line}")


def _alike(text: str) -> str:
    """Without quotes, case and spaces, which nobody should lose a point for."""
    kept = "".join(one for one in text.lower() if one.isalnum() or one in "-.")
    return kept.removeprefix("b") if text.startswith(("b'", 'b"')) else kept


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.lessons", description=__doc__)
    parser.add_argument("number", type=int, nargs="?", help="of the lesson; without it they are listed")
    parser.add_argument("--predict", action="store_true", help="ask what will come back, and keep score")
    parser.add_argument("--broker", choices=NAMES, help="the version to run on")
    arguments = parser.parse_args()
    found = {plan.number: plan for plan in plans()}
    if arguments.number is None:
        for number, plan in found.items():
            print(f"{number:3}  {plan.question}")
        return 0
    if arguments.number not in found:
        parser.error(f"there is no lesson {arguments.number}, but 1 to {len(found)}")
    return _run(found[arguments.number], arguments.broker, predict=arguments.predict)


def _run(plan: Plan, name: str | None, *, predict: bool) -> int:
    print(f"{plan.number}. {plan.question}\n\n{plan.explanation if not predict else 'Predict, then look.'}")
    narrator = Narrator(plan, predict=predict)
    with private_lesson(name, narrator, plan.nodes) as lesson:
        narrator.lesson = lesson
        try:
            plan.run(lesson)
        except Broken as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        print("\n" + "\n".join(picture(lesson.recording.events())))
    if predict:
        print(f"\n{narrator.right} of {len(lesson.claims)} predicted")
    print(f"\nThe line that matters: change {plan.mutant.line} to {plan.mutant.instead}, and claim"
          f" {plan.mutant.breaks} breaks. Next: make lesson N={int(plan.next.split('_')[1])}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
