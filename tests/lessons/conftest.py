"""Each lesson runs in a vhost of its own, and must show what its page shows."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.integration.conftest import broker
from tests.lessons.kit import Lesson, lesson_on
from tests.lessons.page import load, render
from tests.lessons.private import vhost_for
from tests.support.brokers import DEFAULT, Broker
from tests.support.vhost import Vhost

__all__ = ["broker", "lesson", "vhost"]


@pytest.hookimpl(tryfirst=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A lesson runs on each RabbitMQ version, on all but one in the long tier."""
    if metafunc.module.__name__.rpartition(".")[2][5:7].isdigit():
        metafunc.definition.add_marker(pytest.mark.every_broker(long=True))
        if hasattr(metafunc.module, "NODES"):
            metafunc.definition.add_marker(pytest.mark.long)


@pytest.fixture
def vhost(broker: Broker, request: pytest.FixtureRequest) -> Iterator[Vhost]:
    """A vhost of its own, of a cluster for a lesson that has NODES."""
    with vhost_for(getattr(request.module, "NODES", 1), broker.name, lambda: broker, "test") as vhost:
        yield vhost


@pytest.fixture
def lesson(vhost: Vhost, request: pytest.FixtureRequest) -> Iterator[Lesson]:
    """A run of the lesson in this file. After it, on the broker of the pages, its page must be the one checked in;
    with LESSON_PAGES=write it is written anew."""
    with lesson_on(vhost) as lesson:
        yield lesson
    plan = load(request.path)
    if vhost.broker.name != DEFAULT or len(lesson.claims) != len(plan.steps()):
        return
    page = render(plan, lesson.claims, lesson.recording.events())
    if os.environ.get("LESSON_PAGES") == "write":
        plan.page.write_text(page)
    shown = plan.page.read_text() if plan.page.is_file() else ""
    assert shown == page, f"a run shows something else than {plan.page.name}; LESSON_PAGES=write writes it anew"
