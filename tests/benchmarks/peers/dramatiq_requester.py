"""A requester on Dramatiq."""

from __future__ import annotations

from tests.benchmarks.blocking_requester import serve
from tests.benchmarks.peers.dramatiq_app import noop
from tests.benchmarks.peers.one_way import OneWay
from tests.benchmarks.work import DATA

if __name__ == "__main__":
    serve(OneWay(lambda: noop.send(DATA)))
