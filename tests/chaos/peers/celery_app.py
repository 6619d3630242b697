"""The tasks as Celery's: as it comes, or with everything switched on that keeps tasks."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from tests.chaos.peers.load import BACKOFF_S, KINDS, MAX_ATTEMPTS, ToldToFail, perform

#: Celery's own words for "never lose a task".
SAFE = {
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_default_queue_type": "quorum",
    "worker_detect_quorum_queues": True,
    "broker_transport_options": {"confirm_publish": True},
}

app = Celery("peer", broker=os.environ["BROKER_URL"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
if os.environ["PEER_CELERY"] == "safe":
    app.conf.update(SAFE)


def _make(kind: str) -> None:
    def run(self: Any, **arguments: Any) -> None:
        attempt = self.request.retries + 1
        try:
            perform(kind, self.request.id, attempt, os.getppid(), arguments)
        except ToldToFail as error:
            raise self.retry(countdown=BACKOFF_S[attempt - 1], max_retries=MAX_ATTEMPTS - 1, exc=error) from error

    app.task(run, name=f"chaos.{kind}", bind=True)


for _kind in KINDS:
    _make(_kind)
