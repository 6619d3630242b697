"""Scaling containers: by hand, by what a queue needs, and what a load test says before and after."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_compose import Project
from tests.integration.test_readme import assert_printed, run_block
from tests.support.commands import Ended, Running, command
from tests.support.pages import block_with, section
from tests.support.spike import SMALL, Plan, Site, compose, override, spike, wrong
from tests.support.waiting import eventually

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

#: docker on a busy machine.
WITHIN_S = 120.0


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Path]]:
    project, folder = Project(), tmp_path_factory.mktemp("spike")
    override(project, folder)
    Site("compose", {}, folder, "").prepare(SMALL)
    try:
        project.up("worker-a")
        yield project, folder
    finally:
        project.remove()


@pytest.fixture
def site(project: tuple[Project, Path]) -> Site:
    return compose(*project)


def scale(site: Site, *words: str) -> Ended:
    ended = command(site.environment, "worker", "scale", *words, within_s=WITHIN_S)
    assert ended.code == 0, ended.err
    return ended


def test_more_containers_come_beside_those_there_are_and_fewer_finish_what_they_run(
    project: tuple[Project, Path], site: Site
) -> None:
    compose_project, folder = project
    (first,), broker = compose_project.containers("worker-a"), compose_project.containers("rabbitmq")
    (said,) = scale(site, "queue_a=2", "--dry-run", "-o", "json").objects
    assert said["queues"] == {"queue_a": {"service": "worker-a", "before": 1, "wanted": 2, "after": 1}}
    assert compose_project.containers("worker-a") == [first]

    assert scale(site, "queue_a=2").out == "queue_a 1→2: service worker-a\n"
    both = compose_project.containers("worker-a")
    assert (first in both, len(both)) == (True, 2)
    assert compose_project.containers("rabbitmq") == broker

    def logged(text: str) -> int:
        return compose_project.compose("logs", "worker-a").count(text)

    eventually(lambda: logged(" ready: ") == 2, "two workers", WITHIN_S)
    # As long as the way out: each is held until both have been told.
    arguments = json.dumps({"journal": site.journal, "seconds": 3})
    with Running(site.environment, "dispatcher", "map", "nap") as asking:
        asking.write(f"{arguments}\n" * 4)
        asking.end_input()
        journal = folder / "journal"
        eventually(lambda: len(journal.read_text().split()) == 4, "four tasks that run", WITHIN_S)
        assert scale(site, "queue_a=0").out == "queue_a 2→0: service worker-a\n"
        replies = [json.loads(line) for line in asking.lines(4)]
    assert [reply["attempts"] for reply in replies] == [1] * 4
    assert {reply["worker"].split(":")[0] for reply in replies} == {one[:12] for one in both}
    assert len(journal.read_text().split()) == 4
    scale(site, "queue_a=1")


def test_containers_follow_a_spike_up_and_down_lose_nothing_and_one_stays(
    project: tuple[Project, Path], site: Site
) -> None:
    assert wrong(spike(site, SMALL)) == []
    assert len(project[0].containers("worker-a")) == 1


@pytest.mark.long
def test_containers_follow_a_large_spike(site: Site) -> None:
    assert wrong(spike(site, Plan())) == []


def test_a_queue_without_a_service_is_reported_before_anything_is_done(site: Site) -> None:
    configuration = json.loads((site.folder / "config.yml").read_text())
    other = site.folder / "other.yml"
    other.write_text(json.dumps({**configuration, "queues": {"queue_a": {}, "queue_c": {}}}))
    for words in (("scale", "queue_c=2"), ("autoscale", "queue_c", "--over", "compose")):
        ended = command(site.environment, "worker", *words, "--config", str(other))
        assert (ended.code, ended.out) == (78, "")
        assert "no service of compose consumes queue 'queue_c'" in ended.err


def test_the_load_before_and_after_is_as_the_page_shows(site: Site, tmp_path: Path) -> None:
    block = block_with(section("docs/workers.md", "Containers"), "console", "load compare")
    scale(site, "queue_a=1")
    small = re.sub(r" --plot \S+", "", block.replace("-n 1000", "-n 60").replace("task_a", "nap"))
    small = small.replace("-a seconds=0.05", f"-a seconds=0.05 -a journal={site.journal}")
    environment = {key: value for key, value in site.environment.items() if key != "PATH"}
    printed = run_block(small, tmp_path, **environment)
    shown = [line for line in block.splitlines() if line.startswith(("docker ", "queue_a "))]
    assert_printed("\n".join(shown), printed)
    spread = [line.split() for line in printed if re.fullmatch(r" +[0-9a-f]{12}:\d+ +\d+ +\d+ *", line)]
    assert len(spread) > 1, printed
    assert [sum(int(row[column]) for row in spread) for column in (1, 2)] == [60, 60]

    once = block_with(section("docs/workers.md", "As many as are needed"), "console", "--over compose")
    (said,) = run_block(once, tmp_path, **environment)
    assert " queue_a 3: ready 0, unacked " in said
