"""The services of a Compose project that work on a queue, and the command that changes how many. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from broker.errors import ConfigError

#: The words before the options of all that ``scale`` calls.
COMPOSE = ("docker", "compose")


def service_of(project: Mapping[str, Any], queue: str) -> str:
    """The one service that works on this queue and on no other, from ``docker compose config``.

    Raises ``ConfigError`` if there is none, or more than one.
    """
    services = project.get("services")
    found = [
        str(name)
        for name, service in (services.items() if isinstance(services, Mapping) else ())
        if isinstance(service, Mapping) and service.get("command") == ["worker", queue]
    ]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} services ({', '.join(found)})" if found else "no service"
    raise ConfigError([f'{what} in compose.yaml with the command ["worker", "{queue}"]. Have exactly one.'])


def running(listed: str) -> Counter[str]:
    """Containers of each service, from ``docker compose ps --format json``: a list, or an object a line."""
    text = listed.strip()
    found = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    return Counter(str(one.get("Service")) for one in found if one.get("State") == "running")


def command(wanted: Mapping[str, int]) -> list[str]:
    """What brings each service to so many containers, and leaves alone those that run."""
    scales = [word for service, count in wanted.items() for word in ("--scale", f"{service}={count}")]
    return [*COMPOSE, "up", "--detach", "--no-recreate", *scales, *wanted]
