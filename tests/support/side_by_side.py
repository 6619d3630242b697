"""Cases of one test that mostly wait, run at the same time: each in a thread, on a vhost of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.support.brokers import Broker
from tests.support.distant import Distant
from tests.support.installation import Installation
from tests.support.proxy import Proxy
from tests.support.vhost import vhost_of


def side_by_side(cases: Mapping[str, Callable[[], None]]) -> None:
    """Run all to their end. Raises an ``ExceptionGroup`` of what failed, each with a note of its case."""
    with ThreadPoolExecutor(len(cases)) as threads:
        ends = {name: threads.submit(case).exception for name, case in cases.items()}
    failures = []
    for name, end in ends.items():
        if (failure := end()) is not None:
            failure.add_note(f"case: {name}")
            failures.append(failure)
    if failures:
        raise BaseExceptionGroup(f"{len(failures)} of {len(cases)} cases failed", failures)


@contextlib.contextmanager
def installed(broker: Broker, folder: Path, /, **changes: Any) -> Iterator[Installation]:
    """An installation in a folder of its own that is not there yet, on a vhost of its own."""
    folder.mkdir()
    with (
        vhost_of(broker, "test") as vhost,
        contextlib.closing(Installation(vhost, folder, changes)) as installation,
    ):
        yield installation


@contextlib.contextmanager
def proxied(installation: Installation) -> Iterator[Distant]:
    """Its workers and its dispatchers each get a network of their own to the broker."""
    broker = installation.vhost.broker
    with (
        Proxy(broker.host, broker.port) as workers,
        Proxy(broker.host, broker.port) as dispatchers,
        contextlib.closing(Distant(installation, workers, dispatchers)) as site,
    ):
        yield site
