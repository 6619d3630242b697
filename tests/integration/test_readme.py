"""The README is executed: each console block runs as it stands, and prints what it says it prints."""

from __future__ import annotations

import os
import re
import secrets
import socket
import subprocess
from pathlib import Path

import pytest

from protocol.errors import ErrorCode
from tests.integration.test_compose import COMPOSE_FILES
from tests.support.installation import Install
from tests.support.pages import PATH
from tests.support.workers import ROOT

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
#: What differs from run to run: numbers, ids, host names.
_VARIABLE = re.compile(r"[0-9a-f]{32}|\b[0-9a-f]{8}\b|\b[\w.-]+:\d+\b|\d+(\.\d+)?")
_WITHIN_S = 240


def commands_of(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def printed_by(block: str) -> list[str]:
    return [line for line in block.splitlines() if not line.startswith("$ ")]


def shape(line: str) -> str:
    """A line without what differs from run to run, and without its alignment."""
    return " ".join(_VARIABLE.sub("#", line).split())


def block_with(command: str) -> str:
    block: str
    [block] = [block for block in BLOCKS if any(line.startswith(command) for line in commands_of(block))]
    return block


def run_block(block: str, state: Path, **further: str) -> list[str]:
    """Run a block's commands in one shell; every line that it printed."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(("BROKER_URL", "GLASSRABBIT"))}
    environment = {
        **own,
        "PATH": PATH,
        "XDG_STATE_HOME": str(state),
        **further,
    }
    # What a block leaves running, and if it is because one of its commands failed, ends with it.
    begin = "set -euo pipefail; set -m; trap 'kill $(jobs -p) 2> /dev/null || true' EXIT"
    script = "\n".join([begin, *commands_of(block)])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_WITHIN_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.splitlines()


def assert_printed(block: str, printed: list[str]) -> None:
    shapes = {shape(line) for line in printed}
    missing = [line for line in printed_by(block) if shape(line) not in shapes]
    assert missing == [], "\n".join(printed)


@pytest.mark.timeout(_WITHIN_S)
def test_make_demo_prints_what_the_readme_shows(tmp_path: Path) -> None:
    block = block_with("make demo")

    assert_printed(block, run_block(block, tmp_path))


@pytest.mark.timeout(_WITHIN_S)
def test_the_commands_by_hand_do_what_the_readme_shows(tmp_path: Path) -> None:
    block = block_with("export BROKER_URL")

    assert_printed(block, run_block(block, tmp_path))


@pytest.mark.containers
@pytest.mark.timeout(600)
def test_the_commands_with_docker_work(tmp_path: Path) -> None:
    block = block_with("docker compose up")
    ports = {"GLASSRABBIT_AMQP_PORT": str(free_port()), "GLASSRABBIT_MANAGEMENT_PORT": str(free_port())}
    project = f"readme-{secrets.token_hex(4)}"

    try:
        # An image of its own: the usual one may be of another day.
        own = {"COMPOSE_PROJECT_NAME": project, "COMPOSE_FILE": COMPOSE_FILES, "GLASSRABBIT_IMAGE": project}
        printed = run_block(block, tmp_path, **own, **ports)
    finally:
        subprocess.run(["docker", "compose", "-p", project, "down", "--volumes"], cwd=ROOT, check=True)
        subprocess.run(["docker", "image", "rm", project], check=False)

    assert any("2 of 2 done" in line for line in printed), "\n".join(printed)
    assert sum(" attempt 1 done in " in line for line in printed) == 2, "\n".join(printed)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("page", ["README.md", "docs/operations.md", "compose.yaml"])
def test_where_operators_commands_run_beside_compose_is_said(page: str) -> None:
    """The host has neither the configuration nor the login."""
    assert "docker compose exec worker-a glassrabbit status" in (ROOT / page).read_text()


def test_every_make_target_of_the_readme_is_there() -> None:
    targets = set(re.findall(r"`make ([\w-]+)`", README))
    assert targets == {"demo", "exercise", "lesson", "test", "test-quick", "test-long"}
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_the_handler_of_the_readme_does_what_its_comments_say(install: Install) -> None:
    [source] = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    installation = install(tasks={"orders.pack": {"queue": "queue_a", "handler": "shop:pack"}})
    (installation.folder / "shop.py").write_text(source)
    installation.worker()
    caller = installation.caller()

    packed, refused = caller.asking("orders.pack", {"order": 1}), caller.asking("orders.pack", {"order": -1})

    reply = packed.result(30)
    assert (reply.result, reply.run.attempts) == ({"packed": 1}, 2)
    failure = refused.result(30).failure
    assert failure is not None
    assert (failure.code, failure.text) == (ErrorCode.REJECTED, "no such order")
