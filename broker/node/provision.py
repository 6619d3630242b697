"""Where ``make demo`` and ``make test`` get a broker from: what is there, else what may be installed.

``plan`` decides, from facts alone; the rest looks for the facts and does what was decided. Whatever is
installed is named on stderr together with the command that removes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import click

from broker.node import docker as node_docker
from broker.node import files as node_files
from broker.node.ready import NodeError
from protocol.errors import ExitCode

_OS_RELEASE = Path("/etc/os-release")
_DEBIAN_REMOVES = "apt-get autoremove --purge rabbitmq-server"
_BREW_REMOVES = "brew uninstall rabbitmq && brew autoremove"

# Runs as root, in one shell, so that the policy file goes away even if the process that asked has ended.
# A policy that was there before is respected and left alone. 101 means: do not start services.
_APT_INSTALL = """
set -e
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    printf '#!/bin/sh\\nexit 101\\n' >"$policy"
    chmod 755 "$policy"
fi
install() { apt-get install --yes --quiet --no-install-recommends rabbitmq-server >/dev/null; }
apt-cache show rabbitmq-server >/dev/null 2>&1 || apt-get update --quiet >/dev/null
install || { apt-get update --quiet >/dev/null && install; }
if command -v systemctl >/dev/null; then systemctl --quiet disable rabbitmq-server || true; fi
"""


class Step(StrEnum):
    """One way to a broker."""

    URL = "the broker in BROKER_URL"
    SERVER = "the rabbitmq-server of this machine"
    IMAGE = f"a container of {node_docker.IMAGE}"
    PULL = f"a container of {node_docker.IMAGE}, which is pulled now"
    APT = "Debian's package rabbitmq-server, which is installed now"
    BREW = "Homebrew's rabbitmq, which is installed now"


class Need(StrEnum):
    """What the broker is for, and so which ones count."""

    ANY = "any"
    #: One that may be killed and filled: not the one in BROKER_URL.
    PRIVATE = "private"
    #: A private one that is no container.
    SERVER = "server"


@dataclass(frozen=True)
class Facts:
    """What this machine offers."""

    url: bool = False
    server: bool = False
    docker: bool = False
    image: bool = False
    apt: bool = False
    root: bool = False
    sudo: bool = False
    brew: bool = False


def plan(facts: Facts, need: Need = Need.ANY) -> tuple[Step, ...]:
    """The ways to try, best first; none: a person has to install something.

    What is there comes before what is fetched, and ends the list.
    """
    containers = facts.docker and need is not Need.SERVER
    at_hand = {
        Step.URL: facts.url and need is Need.ANY,
        Step.SERVER: facts.server,
        Step.IMAGE: containers and facts.image,
    }
    to_fetch = {
        Step.PULL: containers,
        Step.APT: facts.apt and (facts.root or facts.sudo),
        Step.BREW: facts.brew and not facts.root,
    }
    sure = [step for step, possible in at_hand.items() if possible]
    return tuple(sure[:1] or [step for step, possible in to_fetch.items() if possible])


def gather() -> Facts:
    """Look at this machine. Asks Docker and sudo only if no broker is at hand, since they can be slow."""
    url = bool(os.environ.get("BROKER_URL"))
    server = node_files.find_server() is not None and node_files.find_epmd() is not None
    if server:
        return Facts(url=url, server=True)
    docker = node_docker.engine_answers()
    root = os.geteuid() == 0
    return Facts(
        url=url,
        docker=docker,
        image=docker and node_docker.has_image(),
        apt=shutil.which("apt-get") is not None and _is_debian(),
        root=root,
        sudo=not root and shutil.which("sudo") is not None and _succeeds("sudo", "-n", "true"),
        brew=shutil.which("brew") is not None,
    )


def carry_out(step: Step) -> bool:
    """Do what the step needs; whether there is a broker now."""
    click.echo(f"broker: {step}", err=True)
    actions: dict[Step, Callable[[], bool]] = {Step.PULL: _pull, Step.APT: _apt, Step.BREW: _brew}
    return actions[step]() if step in actions else True


@click.command()
@click.option(
    "--need",
    type=click.Choice(list(Need), case_sensitive=False),
    default=Need.ANY,
    show_default=True,
    help="private: a broker that tests may kill, so BROKER_URL does not count. server: nor does Docker.",
)
def provision(need: Need) -> None:
    """See to it that a broker can be had: BROKER_URL, rabbitmq-server, Docker, or an installation.

    Exit 0: it can. Exit 69: it cannot, and stderr says what to install.
    """
    try:
        if any(carry_out(step) for step in plan(gather(), need)):
            return
    except KeyboardInterrupt:
        raise SystemExit(ExitCode.INTERRUPTED) from None
    click.echo(
        "no broker can be had here. Install one of these, then try again:\n"
        "  Debian, Ubuntu   sudo apt-get install rabbitmq-server\n"
        "  macOS            brew install rabbitmq\n"
        "  anywhere         Docker, with its engine running\n"
        "or name a running RabbitMQ in BROKER_URL (amqp://USER:PASSWORD@HOST:5672/)",
        err=True,
    )
    raise SystemExit(ExitCode.UNAVAILABLE)


def _pull() -> bool:
    click.echo("  to remove it: docker image rm " + node_docker.IMAGE, err=True)
    try:
        node_docker.pull_if_missing()
    except NodeError as error:
        click.echo(f"  {error}", err=True)
        return False
    return True


def _apt() -> bool:
    sudo = "" if os.geteuid() == 0 else "sudo "
    click.echo(f"  its service is neither started nor enabled; to remove it: {sudo}{_DEBIAN_REMOVES}", err=True)
    return _installs(*sudo.split(), *(("-n",) if sudo else ()), "sh", "-c", _APT_INSTALL)


def _brew() -> bool:
    click.echo(f"  its service is not started; to remove it: {_BREW_REMOVES}", err=True)
    return _installs("brew", "install", "rabbitmq")


def _installs(*command: str) -> bool:
    """Run it with its output on stderr; whether a server is here afterwards."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2)
    try:
        process.wait()
    except KeyboardInterrupt:
        # It got the Ctrl-C too and puts everything back; killed, it could not.
        process.wait()
        raise
    return process.returncode == 0 and node_files.find_server() is not None


def _is_debian() -> bool:
    try:
        lines = _OS_RELEASE.read_text().splitlines()
    except OSError:
        return False
    named = {word for line in lines if line.startswith(("ID=", "ID_LIKE=")) for word in _words(line)}
    return not named.isdisjoint({"debian", "ubuntu"})


def _words(line: str) -> list[str]:
    return line.partition("=")[2].strip("'\"").split()


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    provision()
