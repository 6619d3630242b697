"""Ledgers: what is written is what is read."""

from __future__ import annotations

import os
from pathlib import Path

from tests.chaos import records
from tests.chaos.records import Drained, FaultBegan, Ledger, LeftOver, Letter, Promise, Record


def test_records_are_read_as_they_were_written_oldest_first(tmp_path: Path) -> None:
    written: list[Record] = [
        Promise(
            at=1.0,
            system="s",
            max_attempts=4,
            backoff_s=(0.5, 1.0),
            prefetch=3,
            recovery_s=10.0,
            ack_loss_s=1.0,
            has_mailboxes=True,
        ),
        FaultBegan(at=2.0, number=1, fault="worker killed", touches=("workers",), pids=(7,), text="w1"),
        Letter(at=3.0, queue="q.dead", id="", key="", reason="undecodable", attempts=(), body="00"),
        # It has a field of the name that a line has for its kind.
        LeftOver(at=4.0, what="process", text="7 outlives all"),
        Drained(at=5.0, complete=True),
    ]
    first, second = Ledger(tmp_path, "one"), Ledger(tmp_path, "two")
    for number, record in enumerate(reversed(written)):
        (first, second)[number % 2].write(record)
    first.close()
    second.close()
    assert records.read(tmp_path) == written
    assert {path.name for path in tmp_path.iterdir()} == {f"{who}-{os.getpid()}.jsonl" for who in ("one", "two")}
