"""The first commands on a bare machine: Debian, make, python3-venv, and nothing of ours.

It has neither curl nor IPv6 nor a Docker engine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.workers import ROOT

_DEMO_S, _TESTS_S = 280, 3600
_ROUNDS = 3
_CHECKOUT = "/home/newcomer/glassrabbit"
#: A machine that trusts an authority of its own says so to pip here; its containers have to trust it as well.
_AUTHORITY = os.environ.get("PIP_CERT", "")


class Machine:
    """A container that stands for a machine with a checkout in ``_CHECKOUT``."""

    def __init__(self, suite: str) -> None:
        options = ["-v", f"{_AUTHORITY}:/authority.pem:ro", "-e", "PIP_CERT=/authority.pem"] if _AUTHORITY else []
        if Path("/proc/sys/net/ipv6").exists():
            options += ["--sysctl", "net.ipv6.conf.all.disable_ipv6=1"]
        self._name = docker("run", "-d", "--init", *options, f"debian:{suite}-slim", "sleep", "1d").strip()
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

    def sh(self, script: str) -> str:
        """What root's script prints, both ways; raises if it fails."""
        return docker("exec", self._name, "sh", "-c", f"({script}) 2>&1")

    def keep_busy(self) -> None:
        """Have a process beside all others that only computes."""
        docker("exec", "-d", self._name, "sh", "-c", "while :; do :; done")

    def make(self, target: str, user: str = "root") -> tuple[int, str]:
        """Its exit code and what it prints."""
        done = subprocess.run(
            ["docker", "exec", "-u", user, "-w", _CHECKOUT, self._name, "make", target],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    def remove(self) -> None:
        docker("rm", "-f", "-v", self._name)


@pytest.fixture
def machine() -> Iterator[Callable[[str], Machine]]:
    """Makes machines."""
    made: list[Machine] = []

    def make(suite: str) -> Machine:
        made.append(Machine(suite))
        return made[-1]

    yield make
    for machine in made:
        machine.remove()


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.containers
@pytest.mark.timeout(_DEMO_S)
def test_make_demo_works_on_a_bare_machine_or_says_what_is_missing(machine: Callable[[str], Machine]) -> None:
    bare = machine("trixie")
    code, printed = bare.make("demo", "newcomer")
    assert code != 0, printed
    assert "apt-get install rabbitmq-server" in printed, printed

    code, printed = bare.make("demo")
    assert code == 0, printed
    assert "apt-get autoremove --purge rabbitmq-server" in printed, "how to remove what it installed"
    assert "10 of 10 done" in printed
    assert "done at attempt 3" in printed
    assert "retries_exhausted" in printed
    assert "everything is stopped and removed" in printed
    assert [line for line in bare.sh("cat /proc/[0-9]*/comm").split() if line in ("beam.smp", "epmd")] == []
    assert bare.sh("ls /tmp").split() == []


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.containers
@pytest.mark.timeout(_ROUNDS * (_DEMO_S + _TESTS_S))
@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_demo_and_tests_pass_again_and_again_beside_a_busy_process(
    suite: str, machine: Callable[[str], Machine]
) -> None:
    bare = machine(suite)
    bare.keep_busy()
    for _ in range(_ROUNDS):
        for target in ("demo", "test"):
            code, printed = bare.make(target)
            assert code == 0, printed[-20_000:]
        for need in ("engine", "IPv6", "promtool"):
            assert f"this place has no {need} " in printed, "what did not run is named"
