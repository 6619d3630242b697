"""Asks Dramatiq for the tasks of the load. Accepted is what ``send_with_options`` returns for."""

from __future__ import annotations

from dramatiq.errors import ConnectionError as DramatiqConnectionError

from tests.chaos.peers.dramatiq_app import actors
from tests.chaos.peers.load import ask_all
from tests.chaos.workload import Request


def send(request: Request) -> str:
    delay_ms = round(request.delay_s * 1000) or None
    message = actors[request.task].send_with_options(kwargs=request.arguments, delay=delay_ms)
    return str(message.message_id)


if __name__ == "__main__":
    ask_all(send, (DramatiqConnectionError, OSError))
