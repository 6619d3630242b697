"""Scaling by docker without docker: which service is meant, what is told to docker, and what if it fails."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.config.settings import Settings
from broker.errors import ConfigError
from tests.support.processes import is_running
from tests.support.waiting import eventually, run
from worker.scaling.compose import (
    DockerError,
    Project,
    Service,
    docker,
    duration_s,
    problem,
    project_of,
    services_of,
)
from worker.scaling.containers import Containers

SETTINGS = Settings.model_validate({"queues": {"queue_a": {}, "queue_b": {}}})
#: Stands for docker: keeps its containers in a file, and does as other files say.
DOCKER = f"""#!{sys.executable}
import json, pathlib, subprocess, sys, time
here, words = pathlib.Path(__file__).parent, sys.argv[1:]
with open(here / "calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
state = json.loads((here / "state").read_text())
if words[0] != "ps" and (here / "fails").exists():
    sys.exit((here / "fails").read_text())
if words[:2] == ["compose", "config"]:
    print((here / "config").read_text())
elif words[0] == "ps":
    print(*(" ".join(pair) for pair in state), sep="\\n")
elif words[:2] == ["compose", "up"]:
    while (here / "is_busy").exists():
        time.sleep(0.01)
    name, count = words[words.index("--scale") + 1].split("=")
    new = [[f"{{len(state) + n:012x}}" + 52 * "0", name] for n in range(int(count) - len(state))]
    (here / "state").write_text(json.dumps(new[::-1] + state))
elif words[0] == "rm":
    (here / "state").write_text(json.dumps([pair for pair in state if pair[0] not in words]))
elif words[0] == "hang":
    child = subprocess.Popen(["sleep", "60"])
    (here / "child").write_text(str(child.pid))
    child.wait()
"""


class Docker:
    """The folder of a program ``docker`` that does what files in it say."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "docker").write_text(DOCKER)
        (folder / "docker").chmod(0o755)
        (folder / "calls").touch()
        self.containers = [["b" * 64, "worker-a"], ["a" * 64, "worker-a"]]

    @property
    def containers(self) -> list[list[str]]:
        """Id and service, the newest first."""
        found: list[list[str]] = json.loads((self.folder / "state").read_text())
        return found

    @containers.setter
    def containers(self, pairs: list[list[str]]) -> None:
        (self.folder / "state").write_text(json.dumps(pairs))

    @property
    def changes(self) -> list[list[str]]:
        """Its commands that change something, so far."""
        calls = map(json.loads, (self.folder / "calls").read_text().splitlines())
        return [words for words in calls if words[0] != "ps"]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return Docker(tmp_path)


PROJECT = Project("shop", {"queue_a": Service("worker-a", 40.0)})


def scaled(engine: Docker, work: Callable[[Containers], Awaitable[None]]) -> None:
    """Do ``work`` with the containers there are, and wait until docker has done what follows."""

    async def change() -> None:
        containers = Containers(PROJECT, await PROJECT.containers())
        await work(containers)
        await containers.stop()

    run(change())


def worker(*words: str, **further: Any) -> dict[str, Any]:
    return {"command": list(words), "stop_grace_period": "40s", **further}


@pytest.mark.parametrize(
    "words",
    [
        ("worker", "queue_a"),
        ("python", "-m", "worker", "--concurrency", "4", "queue_a"),
        ("worker", "queue_a", "-v"),
    ],
)
def test_the_service_of_a_queue_is_the_one_whose_command_names_it(words: tuple[str, ...]) -> None:
    listed = {"rabbitmq": {"command": None}, "worker-a": worker(*words), "worker-b": worker("worker", "queue_b")}
    assert services_of(listed, SETTINGS, ["queue_a"]) == {"queue_a": Service("worker-a", 40.0)}


@pytest.mark.parametrize(
    ("listed", "said"),
    [
        ({"web": {"command": ["queue_a"]}}, "no service of compose consumes queue 'queue_a'. Add one"),
        ({"x": worker("worker", "queue_a"), "y": worker("worker", "queue_a")}, "several services of compose: "),
        ({"x": worker("worker", "queue_a", "queue_b")}, "'x' consumes queue_a and queue_b: "),
        ({"x": worker("worker", "queue_a", stop_grace_period="25s")}, "Set `stop_grace_period: 40s`."),
        ({"x": {"command": ["worker", "queue_a"]}}, "has 10 s to stop (stop_grace_period), and its worker "),
        (
            {"x": worker("worker", "queue_a", environment={"GLASSRABBIT__WORKER__GRACE_S": "50"})},
            "has 40 s to stop (stop_grace_period), and its worker takes up to 50 s",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_scaled_without_harm_is_refused(listed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        services_of(listed, SETTINGS, ["queue_a"])
    assert said in str(caught.value)


def test_a_duration_is_read_as_docker_writes_it() -> None:
    texts = ["40s", "1m30s", "1h0m0.5s", "500ms", None]
    assert [duration_s(text) for text in texts] == [40.0, 90.0, 3600.5, 0.5, 10.0]


@pytest.mark.parametrize(
    ("said", "reported"),
    [
        (
            "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?\n",
            "docker: Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running? Start D",
        ),
        (
            "docker: 'compose' is not a docker command.\nSee 'docker --help'\n",
            "Install Docker's plugin for compose",
        ),
        ("no configuration file provided: not found\n", "name the file in COMPOSE_FILE."),
        ("pulling\nno such image: x\n\n", "`docker compose up` failed: no such image: x. Run it by hand"),
        ("", "`docker compose up` failed: exit code 17. Run it"),
    ],
)
def test_what_docker_says_comes_with_what_to_do(said: str, reported: str) -> None:
    assert reported in problem(["compose", "up"], said, 17)


def test_without_docker_it_says_what_needs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DockerError, match=r"cannot be started: .*use `python -m worker up`"):
        run(docker("ps"))


def test_the_project_is_the_one_that_docker_sees(engine: Docker) -> None:
    (engine.folder / "config").write_text(
        json.dumps({"name": "shop", "services": {"worker-a": worker("worker", "queue_a")}})
    )
    assert run(project_of(SETTINGS, ["queue_a"])) == PROJECT
    (engine.folder / "config").write_text("services: {}")
    with pytest.raises(DockerError, match="Docker Compose 2"):
        run(project_of(SETTINGS, ["queue_a"]))


def test_a_docker_that_hangs_is_ended_with_all_that_it_started(engine: Docker) -> None:
    with pytest.raises(DockerError, match=r"did not end within 2 s"):
        run(docker("hang", within_s=2))
    child = int((engine.folder / "child").read_text())
    eventually(lambda: not is_running(child), "the end of docker's child")


def test_docker_does_one_thing_at_a_time_and_then_what_is_wanted_last(engine: Docker) -> None:
    busy = engine.folder / "is_busy"
    busy.touch()

    async def grow(containers: Containers) -> None:
        containers.want("queue_a", 3)
        await asyncio.to_thread(eventually, lambda: engine.changes, "docker's first command")
        for count in (4, 5, 6):
            containers.want("queue_a", count)
            await containers.refresh()
            assert containers.count("queue_a") == count
        assert len(engine.changes) == 1
        busy.unlink()

    scaled(engine, grow)
    assert [words[-2:] for words in engine.changes] == [["worker-a=3", "worker-a"], ["worker-a=6", "worker-a"]]
    assert {tuple(words[:5]) for words in engine.changes} == {
        ("compose", "up", "--detach", "--no-recreate", "--no-deps")
    }


def test_those_that_hold_least_go_the_newest_of_them_first(engine: Docker) -> None:
    engine.containers = [[letter * 64, "worker-a"] for letter in "edcba"] + [["f" * 64, "worker-b"]]
    held = {("e" * 12, 7): 4, ("a" * 12, 7): 1, ("c" * 12, 7): 1, ("elsewhere", 7): 9}

    async def shrink(containers: Containers) -> None:
        containers.want("queue_a", 2, held)

    scaled(engine, shrink)
    gone = [letter * 64 for letter in "dbc"]
    assert engine.changes == [["stop", *gone], ["rm", *gone]]


def test_a_command_that_fails_is_one_line_and_the_next_look_tries_again(
    engine: Docker, caplog: pytest.LogCaptureFixture
) -> None:
    fails = engine.folder / "fails"
    fails.write_text("no space left on device")

    async def try_twice(containers: Containers) -> None:
        containers.want("queue_a", 3)
        await containers.stop()
        assert containers.count("queue_a") == 2
        fails.unlink()
        containers.want("queue_a", 3)

    with caplog.at_level(logging.WARNING, "glassrabbit.pool"):
        scaled(engine, try_twice)
    (line,) = caplog.messages
    assert line.startswith("queue_a: `docker compose up ")
    assert "no space left on device. " in line
    assert len(engine.containers) == 3


def test_what_others_start_and_stop_is_seen_and_nothing_is_done_about_it(engine: Docker) -> None:
    async def look(containers: Containers) -> None:
        engine.containers = engine.containers[:1]
        await containers.refresh()
        assert containers.count("queue_a") == 1
        containers.want("queue_a", 1)

    scaled(engine, look)
    assert engine.changes == []


def test_sighup_names_the_command_that_renews_as_many_as_there_are(
    engine: Docker, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "glassrabbit.pool"):
        scaled(engine, lambda containers: containers.roll())
    (line,) = caplog.messages
    assert line.endswith("docker compose up --detach --force-recreate --no-deps --scale worker-a=2 worker-a")
    assert engine.changes == []
