"""The first command on a bare machine: Debian, make, python3-venv, and nothing of ours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.workers import ROOT

_WITHIN_S = 280
#: A machine that trusts an authority of its own says so to pip here; its containers have to trust it as well.
_AUTHORITY = os.environ.get("PIP_CERT", "")


class Machine:
    """A container that stands for a machine with a checkout at ``/home/newcomer/glassrabbit``."""

    def __init__(self) -> None:
        trust = ["-v", f"{_AUTHORITY}:/authority.pem:ro", "-e", "PIP_CERT=/authority.pem"] if _AUTHORITY else []
        self._name = docker("run", "-d", "--init", *trust, "debian:trixie-slim", "sleep", str(_WITHIN_S)).strip()
        self.sh("apt-get update -qq && apt-get install -y -qq --no-install-recommends make python3-venv")
        self.sh("useradd --create-home newcomer")
        files = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        archive = subprocess.run(
            ["tar", "c", "--null", "--files-from", "-"], cwd=ROOT, check=True, input=files, stdout=subprocess.PIPE
        ).stdout
        unpack = "mkdir glassrabbit && tar x -C glassrabbit && chown -R newcomer: glassrabbit"
        command = ["docker", "exec", "-i", "-w", "/home/newcomer", self._name, "sh", "-c", unpack]
        subprocess.run(command, check=True, input=archive)

    def sh(self, script: str, user: str = "root", folder: str = "/") -> str:
        """What a script prints, both ways; raises if it fails."""
        return docker("exec", "-u", user, "-w", folder, self._name, "sh", "-c", f"({script}) 2>&1")

    def make_demo(self, user: str) -> tuple[int, str]:
        """Its exit code and what it prints."""
        done = subprocess.run(
            ["docker", "exec", "-u", user, "-w", "/home/newcomer/glassrabbit", self._name, "make", "demo"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def remove(self) -> None:
        docker("rm", "-f", self._name)


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    yield machine
    machine.remove()


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.containers
@pytest.mark.timeout(_WITHIN_S)
def test_make_demo_works_on_a_bare_machine_or_says_what_is_missing(machine: Machine) -> None:
    code, printed = machine.make_demo("newcomer")
    assert code != 0, printed
    assert "apt-get install rabbitmq-server" in printed, printed

    code, printed = machine.make_demo("root")
    assert code == 0, printed
    assert "apt-get autoremove --purge rabbitmq-server" in printed, "how to remove what it installed"
    assert "10 of 10 done" in printed
    assert "done at attempt 3" in printed
    assert "retries_exhausted" in printed
    assert "everything is stopped and removed" in printed
    assert [line for line in machine.sh("cat /proc/[0-9]*/comm").split() if line in ("beam.smp", "epmd")] == []
    assert machine.sh("ls /tmp").split() == []
