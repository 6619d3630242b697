"""Workers as containers of Docker Compose: which service works for a queue, and what docker is asked to do.

docker itself finds the project: by the current folder, COMPOSE_FILE and COMPOSE_PROJECT_NAME, as always.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.config.settings import Settings
from broker.errors import ConfigError
from protocol.errors import GlassrabbitError

#: For an answer of docker; for containers that are made, maybe with their image.
ASK_S = 30.0
MAKE_S = 600.0
#: For docker to say that what was given its time to stop has stopped.
_AFTER_STOP_S = 30.0
#: What docker gives a container whose service says nothing.
_DEFAULT_STOP_S = 10.0
_GRACE = "GLASSRABBIT__WORKER__GRACE_S"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)")
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_NO_PLUGIN = "Install Docker's plugin for compose, until `docker compose version` answers."
#: A piece of what docker says → what to do.
_ADVICE = (
    ("connect to the Docker daemon", "Start Docker, or have DOCKER_HOST say where it is."),
    ("permission denied", "Use a user who may command Docker, such as one of the group docker."),
    (
        "no configuration file provided",
        "Run this in the folder of compose.yaml, or name the file in COMPOSE_FILE.",
    ),
    ("unknown command", _NO_PLUGIN),
    ("is not a docker command", _NO_PLUGIN),
    ("unknown flag", _NO_PLUGIN),
    ("unknown shorthand flag", _NO_PLUGIN),
)


class DockerError(GlassrabbitError):
    """docker did not do what it was asked. What it began stays as it is."""

    retryable = True
    outcome_known = False


@dataclass(frozen=True, slots=True)
class Service:
    """A service whose containers work for one queue. They get ``stop_s`` to finish what runs."""

    name: str
    stop_s: float


@dataclass(frozen=True, slots=True)
class Project:
    """A compose project, and the service of each queue that was asked for."""

    name: str
    services: Mapping[str, Service]

    async def containers(self) -> dict[str, list[str]]:
        """Ids of what runs for each queue, the newest first. Raises ``DockerError``."""
        label = "label=com.docker.compose"
        listed = await docker(
            "ps", "--no-trunc", "--filter", f"{label}.project={self.name}", "--filter", f"{label}.oneoff=False",
            "--format", '{{.ID}} {{.Label "com.docker.compose.service"}}',
        )  # fmt: skip
        pairs = [line.split(maxsplit=1) for line in listed.splitlines()]
        return {
            queue: [pair[0] for pair in pairs if pair[1:] == [service.name]]
            for queue, service in self.services.items()
        }

    def words(self, counts: Mapping[str, int]) -> list[str]:
        """The command, after ``docker``, by which each queue has its count of containers. The others are left
        alone."""
        names = {self.services[queue].name: count for queue, count in counts.items()}
        scales = [word for name, count in names.items() for word in ("--scale", f"{name}={count}")]
        return ["compose", "up", "--detach", "--no-recreate", "--no-deps", *scales, *names]

    async def scale(self, counts: Mapping[str, int]) -> None:
        """Make or remove containers; which ones go is up to compose. Raises ``DockerError``."""
        stop_s = max(self.services[queue].stop_s for queue in counts)
        await docker(*self.words(counts), within_s=MAKE_S + stop_s)

    async def remove(self, queue: str, containers: Sequence[str]) -> None:
        """Let containers finish what runs, all at once, and remove them. Raises ``DockerError``."""
        # Without --time docker takes what compose gave the container: stop_grace_period.
        await docker("stop", *containers, within_s=self.services[queue].stop_s + _AFTER_STOP_S)
        await docker("rm", *containers)


async def project_of(settings: Settings, queues: Sequence[str]) -> Project:
    """Ask docker for the project. Raises ``DockerError``, and what ``services_of`` raises."""
    printed = await docker("compose", "config", "--format", "json")
    try:
        listed = json.loads(printed)
        name, services = str(listed["name"]), dict(listed["services"])
    except (ValueError, KeyError, TypeError) as error:
        raise DockerError(
            "`docker compose config --format json` names no project. Use Docker Compose 2 or later."
        ) from error
    return Project(name, services_of(services, settings, queues))


def services_of(
    listed: Mapping[str, Mapping[str, Any]], settings: Settings, queues: Sequence[str]
) -> dict[str, Service]:
    """The service of each queue: the one whose command runs ``worker QUEUE``.

    Raises ``ConfigError`` if there is none or several, if it has other queues too, or if it would be killed.
    """
    consumed = {name: _consumed(service.get("command"), settings) for name, service in listed.items()}
    found, problems = {}, []
    for queue in queues:
        names = [name for name, named in consumed.items() if queue in named]
        if len(names) == 1:
            (name,) = names
            found[queue] = Service(name, duration_s(listed[name].get("stop_grace_period")))
            problems += _problems(name, queue, consumed[name], listed[name], found[queue].stop_s, settings)
        elif names:
            problems.append(
                f"queue {queue!r} is consumed by several services of compose: {', '.join(names)}. "
                f"Scale one by hand: docker compose up --detach --no-recreate --scale {names[0]}=N {names[0]}"
            )
        else:
            problems.append(
                f"no service of compose consumes queue {queue!r}. Add one with `command: [worker, {queue}]`, "
                f"or have COMPOSE_FILE or COMPOSE_PROFILES name the one that does."
            )
    if problems:
        raise ConfigError(problems)
    return found


def _problems(
    name: str, queue: str, queues: Sequence[str], service: Mapping[str, Any], stop_s: float, settings: Settings
) -> list[str]:
    problems = []
    if len(queues) > 1:
        problems.append(
            f"service {name!r} consumes {' and '.join(queues)}: {queue!r} cannot be scaled alone. "
            f"Give each queue a service of its own."
        )
    grace_s = _grace_s(service.get("environment"), settings)
    if stop_s <= grace_s:
        problems.append(
            f"service {name!r} has {stop_s:g} s to stop (stop_grace_period), and its worker takes up to "
            f"{grace_s:g} s (worker.grace_s): it would be killed. Set `stop_grace_period: {grace_s + 15:g}s`."
        )
    return problems


def _consumed(command: object, settings: Settings) -> list[str]:
    """The queues in a command like ``worker --concurrency 4 queue_a``, or ``python -m worker queue_a``."""
    words = [str(word) for word in command] if isinstance(command, list) else []
    after = words[words.index("worker") + 1 :] if "worker" in words else []
    return [word for word in dict.fromkeys(after) if word in settings.queues]


def _grace_s(environment: object, settings: Settings) -> float:
    given = environment.get(_GRACE) if isinstance(environment, Mapping) else None
    try:
        return float(given) if given else settings.worker.grace_s
    except ValueError:
        return settings.worker.grace_s  # its worker will say what is wrong with it


def duration_s(text: object) -> float:
    """Seconds of a duration as docker writes it, like ``1m30s``."""
    parts = _DURATION.findall(text) if isinstance(text, str) else []
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts) if parts else _DEFAULT_STOP_S


async def docker(*words: str, within_s: float = ASK_S) -> str:
    """What ``docker WORDS`` prints. Raises ``DockerError``. If it is cancelled, docker ends, too."""
    try:
        # A group of its own: Ctrl-C is for us, and docker has a child that must not outlive it.
        process = await asyncio.create_subprocess_exec(
            "docker",
            *words,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            process_group=0,
        )
    except OSError as error:
        raise DockerError(
            f"docker cannot be started: {error}. Install Docker, or use `python -m worker up`, which needs none."
        ) from error
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise DockerError(
            f"`docker {' '.join(words)}` did not end within {within_s:g} s. See `docker info`, then try again."
        ) from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode:
        raise DockerError(problem(words, err.decode("utf-8", "replace"), process.returncode))
    return out.decode("utf-8", "replace")


def problem(words: Sequence[str], said: str, code: int) -> str:
    """What docker said last, and what to do."""
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), f"exit code {code}")
    sentence = last if last.endswith((".", "?", "!")) else f"{last}."
    for piece, advice in _ADVICE:
        if piece in said:
            return f"docker: {sentence} {advice}"
    return f"`docker {' '.join(words)}` failed: {sentence} Run it by hand to see all that it says."
