"""A short campaign: mixed load, overlapping faults, and a checker that knows nothing of our code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos import records, rig
from tests.chaos.checker import check
from tests.chaos.records import FaultHealed
from tests.support.brokers import Broker

#: Two faults of workers and networks, then one of the broker.
SEED = 1
SECONDS = 75.0


@pytest.mark.timeout(400)
def test_a_short_campaign_keeps_every_promise(broker: Broker, tmp_path: Path) -> None:
    campaign = rig.Campaign(seconds=SECONDS, seed=SEED, rate=20, within_s=45)
    rig.play(campaign, broker, tmp_path, print)
    written = records.read(tmp_path / "ledger")
    verdict = check(written)
    assert (verdict.state, verdict.text, verdict.broken) == ("pass", "", {})
    planned = [fault for episode in campaign.episodes() for fault in episode.faults]
    assert records.count(written, FaultHealed) >= len(planned) > 1
    assert verdict.counts.accepted > SECONDS * campaign.rate / 2
