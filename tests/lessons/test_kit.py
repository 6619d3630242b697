"""Each lesson is short, numbers its claims, has a mutant that breaks one, and points at what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from broker.wire.frames import Frame
from tests.lessons.kit import Broken, ByVersion, lesson_on
from tests.lessons.page import PAGES, Plan, is_claim, load, plans
from tests.lessons.private import vhost_for
from tests.lessons.recording import Recording
from tests.support.brokers import Broker
from tests.support.vhost import Vhost
from tests.support.workers import ROOT

PLANS = plans()
LONGEST = 15

every_lesson = pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.file.stem)


@every_lesson
def test_the_experiment_is_at_most_fifteen_lines(plan: Plan) -> None:
    code = [line for step in plan.steps() for line in step.splitlines()]
    typed = [line for line in code if line.strip() and not line.strip().startswith("#")]
    # What the kit starts, stops and records is not the experiment.
    assert len([line for line in typed if "lesson." not in line]) <= LONGEST


@every_lesson
def test_claims_are_numbered_from_one_on(plan: Plan) -> None:
    calls = [
        one for one in ast.walk(ast.parse(plan.file.read_text())) if isinstance(one, ast.stmt) and is_claim(one)
    ]
    numbers = [ast.literal_eval(one.value.args[0]) for one in calls]  # type: ignore[attr-defined]
    assert numbers == list(range(1, len(plan.steps()) + 1))
    assert set(plan.differs) <= set(numbers)


@every_lesson
def test_the_mutant_changes_one_line_of_the_experiment(plan: Plan) -> None:
    assert sum(plan.mutant.line in line for step in plan.steps() for line in step.splitlines()) == 1
    assert 1 <= plan.mutant.breaks <= len(plan.steps())


@every_lesson
def test_the_next_lesson_exists(plan: Plan) -> None:
    assert plan.next in {other.file.stem for other in PLANS}


@every_lesson
def test_what_a_lesson_says_of_our_code_is_there(plan: Plan) -> None:
    """A link names a file, and its text something that this file has."""
    links = re.findall(r"\[`([\w.]+)`\]\(\.\./\.\./([\w/.]+)\)", plan.explanation)
    assert links
    for name, file in links:
        assert name.split(".")[-1] in (ROOT / file).read_text(), f"{file} has no {name}"


@pytest.mark.long
@every_lesson
@pytest.mark.own_broker
def test_the_mutant_breaks_the_claim_that_it_names(plan: Plan, broker: Broker, tmp_path: Path) -> None:
    source, mutant = plan.file.read_text(), plan.mutant
    head, body = source.split("\ndef test_", 1)
    changed = tmp_path / plan.file.name
    changed.write_text(f"{head}\ndef test_{body.replace(mutant.line, mutant.instead, 1)}")
    place = vhost_for(plan.nodes, broker.name, lambda: broker, "mutant")
    with place as vhost, lesson_on(vhost) as lesson, pytest.raises(Broken) as broken:
        load(changed).run(lesson)
    assert broken.value.number == mutant.breaks


def test_there_is_a_page_for_each_lesson_and_no_other() -> None:
    assert {page.name for page in PAGES.glob("[0-9]*.md")} == {plan.page.name for plan in PLANS}


def test_an_answer_is_that_of_the_newest_version_that_is_not_newer() -> None:
    answers = ByVersion({"3.10": 1, "4.0": 2, "4.3": 3})
    assert [answers.at(version) for version in ("3.10.8", "3.13.7", "4.0.5", "4.2.1", "4.3.6", "5.0.0")] == [
        1,
        1,
        2,
        2,
        3,
        3,
    ]


def test_a_claim_that_does_not_hold_says_which(vhost: Vhost) -> None:
    with lesson_on(vhost) as lesson, pytest.raises(Broken, match=r"^claim 1, how many\? Expected 1, saw 2$"):
        lesson.claim(1, "how many?", 2, 1)


def test_an_ack_without_an_answer_is_in_the_step_in_which_it_was_sent(vhost: Vhost) -> None:
    with lesson_on(vhost) as lesson:
        channel = lesson.channel("worker")
        channel.queue_declare("queue_a", exclusive=True)
        channel.basic_publish("", "queue_a", b"1")
        method, _, _ = next(channel.consume("queue_a", inactivity_timeout=10))
        channel.basic_ack(method.delivery_tag)
        lesson.claim(1, "?", True, True)
        assert [event.method for event in lesson.recording.events() if event.step == 1][-1] == "basic.ack"


def test_what_comes_unasked_waits_for_the_next_event_of_its_client() -> None:
    def order(*frames: tuple[str, bool, str]) -> list[str]:
        recording = Recording()
        for client, by_client, method in frames:
            recording.frame(Frame(kind="method", channel=1, method=method), client, by_client)
        return [f"{event.client} {event.method}" for event in recording.events()]

    publish, confirm = ("a", True, "basic.publish"), ("a", False, "basic.ack")
    deliver, ack = ("b", False, "basic.deliver"), ("b", True, "basic.ack")
    expected = ["a basic.publish", "a basic.ack", "b basic.deliver", "b basic.ack"]
    assert order(publish, confirm, deliver, ack) == order(publish, deliver, confirm, ack) == expected


def test_a_killed_client_is_gone_for_the_broker(vhost: Vhost) -> None:
    with lesson_on(vhost) as lesson:
        channel = lesson.channel("worker")
        channel.queue_declare("queue_a", durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_consume("queue_a", lambda *_: None)
        assert lesson.wait(lambda: vhost.consumers("queue_a") == 1)
        lesson.kill("worker")
        assert lesson.wait(lambda: vhost.consumers("queue_a") == 0)
