"""The systems that are compared, each with an honest configuration that is printed beside its figures."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.peers.load import BACKOFF_S, KINDS, MAX_ATTEMPTS
from tests.support.peers import PYTHON

CONCURRENCY = 2

_HERE = "tests.chaos.peers"


@dataclass(frozen=True, slots=True)
class System:
    """``{rate}``, ``{seconds}`` and ``{seed}`` of the requester's command are filled in when it is started."""

    name: str
    #: In words, for the table.
    configuration: str
    worker: tuple[str, ...]
    requester: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)


_ASK = ("--rate", "{rate}", "--seconds", "{seconds}", "--seed", "{seed}")


def systems() -> list[System]:
    celery_worker = (
        PYTHON,
        *("-m", "celery", "-A", f"{_HERE}.celery_app", "worker"),
        *("-c", str(CONCURRENCY), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
    )
    celery_requester = (PYTHON, "-m", f"{_HERE}.celery_requester", *_ASK)
    return [
        System(
            "Glassrabbit",
            "as it comes, process executor",
            (sys.executable, "-m", "worker", "queue_a"),
            (sys.executable, "-m", "tests.chaos.requester", "--name", "peer", "--mode", "nobody", *_ASK),
        ),
        System("Celery, as it comes", "prefork", celery_worker, celery_requester, {"PEER_CELERY": "defaults"}),
        System(
            "Celery, made safe",
            "prefork, task_acks_late, task_reject_on_worker_lost, confirm_publish, quorum queues",
            celery_worker,
            celery_requester,
            {"PEER_CELERY": "safe"},
        ),
        System(
            "Dramatiq",
            "confirm_delivery=True",
            (PYTHON, "-m", "dramatiq", f"{_HERE}.dramatiq_app", "-p", "1", "-t", str(CONCURRENCY)),
            (PYTHON, "-m", f"{_HERE}.dramatiq_requester", *_ASK),
        ),
    ]


def our_configuration() -> dict[str, Any]:
    """The tasks of the comparison in one queue, and the retries that the others have as well."""
    return {
        "broker": {"heartbeat_s": 10},
        "queues": {"queue_a": {}},
        "tasks": {
            f"chaos.{kind}": {"queue": "queue_a", "handler": f"tests.chaos.handlers:{kind}"} for kind in KINDS
        },
        "defaults": {"retry": {"max_retries": MAX_ATTEMPTS - 1, "backoff_s": list(BACKOFF_S), "jitter": 0.1}},
        "worker": {"concurrency": CONCURRENCY},
        "workload": [{"task": "chaos.ok", "count": 1}],
    }
