"""Workers that are stopped in good order under load, and a dispatcher that is killed while it waits."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.support.commands import Running, command
from tests.support.distant import Distant
from tests.support.idle import finish
from tests.support.installation import Install

STOPS = 3
PREFETCH = 4
#: Stopping takes what runs (20 ms) and the end of two connections.
STOP_S = 10.0
INPUTS = 1000
WINDOW = 50
#: Lines of output at which the dispatcher is killed.
TOLD = 300


@pytest.mark.timeout(120)
def test_workers_that_are_stopped_under_load_finish_what_runs_and_nothing_runs_twice(
    distant: Callable[..., Distant],
) -> None:
    site = distant(queues={"queue_a": {"prefetch": PREFETCH}})
    workers = [site.worker(), site.worker()]
    load = site.load(site.caller(), seconds=0.02, fails_every=10)
    took_s = []
    for _ in range(STOPS):
        load.progress(since_s=time.monotonic())
        leaving = workers.pop(0)
        stopped_s = time.monotonic()
        leaving.sigterm()
        assert leaving.wait(STOP_S) == 0, leaving.log
        took_s.append(time.monotonic() - stopped_s)
        workers.append(site.worker())
    verdict = site.verdict(load, *workers)
    print("stops", [f"{seconds:.2f} s" for seconds in took_s])
    verdict.check()
    assert verdict.duplicated == 0
    # What was prefetched and had not started was given back.
    assert verdict.delivered_again <= STOPS * PREFETCH
    assert verdict.connections == 2 * (2 + STOPS) + 1


@pytest.mark.every_broker(long=True)
@pytest.mark.timeout(90)
def test_replies_to_a_dispatcher_that_was_killed_cost_nothing_and_its_successor_does_the_rest(
    install: Install,
) -> None:
    """What was asked and not printed is asked again, with new ids: at most a window of tasks runs twice."""
    installation = install(queues={"queue_a": {"prefetch": PREFETCH}})
    worker, vhost, journal = installation.worker(), installation.vhost, installation.journal()
    line = json.dumps({"journal": str(journal)}) + "\n"
    words = ("map", "note", "--window", str(WINDOW))
    with Running(installation.environment, "dispatcher", *words) as first:
        first.write(line * INPUTS)
        first.lines(TOLD)
        first.sigkill()
        said = [json.loads(one)["line"] for one in first.wait().out.splitlines() if one.endswith("}")]
    rest = command(installation.environment, "dispatcher", *words, stdin=line * (INPUTS - len(said)), within_s=60)
    stuck = finish(vhost, worker)

    starts = Counter(journal.ids)
    again = sum(starts.values()) - INPUTS
    print(f"{len(said)} ended, then {len(rest.objects)}; {again} asked again had run; stuck {stuck}")
    assert rest.code == 0, rest.err
    assert {one["result"] for one in rest.objects} == {1}
    assert len(set(said)) + len(rest.objects) == INPUTS
    assert (set(starts.values()), stuck, vhost.ready("queue_a.dead")) == ({1}, 0, 0)
    # One more than the window: the one that is being printed has made room already.
    assert 0 <= again <= WINDOW + 1
    assert not worker.lines("link down")
