"""Asks Celery for the tasks of the load. Accepted is what ``apply_async`` returns for."""

from __future__ import annotations

from kombu.exceptions import OperationalError

from tests.chaos.peers.celery_app import app
from tests.chaos.peers.load import ask_all
from tests.chaos.workload import Request


def send(request: Request) -> str:
    sent = app.send_task(request.task, kwargs=request.arguments, countdown=request.delay_s or None)
    return str(sent.id)


if __name__ == "__main__":
    ask_all(send, (OperationalError, OSError))
