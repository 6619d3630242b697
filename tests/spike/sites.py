"""Where a spike can happen: workers of this machine on some broker, or the containers of a compose project."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.integration.test_compose import Project
from tests.spike.run import Site
from tests.support.workers import environment

_MOUNTED = "/spike"


def local(folder: Path, url: str, management_url: str) -> Site:
    own = environment(folder / "config.yml", url, GLASSRABBIT__BROKER__MANAGEMENT_URL=management_url)
    return Site("local", own, folder, str(folder / "journal"))


def override(project: Project, folder: Path) -> None:
    """Have ``worker-a`` take configuration and handlers from a folder. Before the project is up."""
    path = folder / "compose.override.json"
    service = {
        "environment": {"GLASSRABBIT_CONFIG": f"{_MOUNTED}/config.yml"},
        "volumes": [f"{folder}:{_MOUNTED}"],
    }
    path.write_text(json.dumps({"services": {"worker-a": service}}))
    project.environ["COMPOSE_FILE"] += os.pathsep + str(path)


def compose(project: Project, folder: Path) -> Site:
    """Of a project that is up, and has the override."""
    ports = [project.compose("port", "rabbitmq", port).strip() for port in ("5672", "15672")]
    own = environment(
        folder / "config.yml",
        f"amqp://guest:guest@{ports[0]}/",
        GLASSRABBIT__BROKER__MANAGEMENT_URL=f"http://{ports[1]}",
    )
    ours = {key: value for key, value in project.environ.items() if key.startswith(("COMPOSE_", "GLASSRABBIT_"))}
    # What compose.yaml is filled in with is not a setting of ours.
    return Site(
        "compose", {**own, **ours, "GLASSRABBIT_CONFIG": str(folder / "config.yml")}, folder, f"{_MOUNTED}/journal"
    )
