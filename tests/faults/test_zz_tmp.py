"""Three nodes, of which some die, are renewed, or are cut off: what was accepted is done, and work goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from broker.errors import Refused
from dispatcher.errors import NoReply
from tests.support.brokers import DEFAULT
from tests.support.caller import Caller
from tests.support.cluster import Cluster
from tests.support.journal import Journal
from tests.support.orphan import answer_a_dead_node
from tests.support.spread import Spread, installed, longest_gap, running
from tests.support.waiting import eventually

#: For work to go on after a node is gone.
GAP_S = 15.0
#: The same for a node that falls silent: its peers notice after 5 to 7 s, and it notices by itself.
SILENT_GAP_S = 25.0
#: How long a majority is away.
AWAY_S = 10.0
IMPATIENT_S = 3.0
TASKS = 5

pytestmark = [pytest.mark.containers, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(DEFAULT) as cluster:
        yield cluster


@pytest.fixture
def spread(cluster: Cluster, tmp_path: Path) -> Iterator[Spread]:
    with installed(cluster, tmp_path) as spread:
        yield spread


def submitting(caller: Caller, journal: Journal, number: int, timeout_s: float) -> Future[str]:
    """Its id, once it is accepted."""
    arguments = {"journal": str(journal), "number": number}
    return caller.start(caller.dispatcher.submit("note", arguments, mailbox="box", timeout_s=timeout_s))


@pytest.mark.parametrize("n",range(6))
@pytest.mark.long
def test_without_a_majority_nobody_is_told_accepted_and_all_resolves_when_it_is_back(spread: Spread, n) -> None:
    """The node that is left keeps its clients (RabbitMQ's default) and can promise them nothing."""
    cluster, vhost = spread.cluster, spread.vhost
    last, *lost = cluster.members
    last.ctl("eval", "application:set_env(rabbit, cluster_partition_handling, ignore).")
    worker, caller, journal = spread.worker(), spread.caller(), spread.installation.journal()
    load = spread.load(caller)
    load.progress(since_s=time.monotonic())
    cluster.lose(*lost)
    lost_s = time.monotonic()
    eventually(lambda: spread.clients_of(last), "a client on the node that is left", GAP_S)

    impatient = [submitting(caller, journal, number, IMPATIENT_S) for number in range(TASKS)]
    patient = [submitting(caller, journal, TASKS + number, 60.0) for number in range(TASKS)]
    errors = [future.exception(IMPATIENT_S + 2) for future in impatient]
    eventually(lambda: time.monotonic() - lost_s > AWAY_S, "the end of the absence", AWAY_S)
    confirms = [
        event for proxy in spread.dispatchers for event in proxy.events("confirm") if event.at > lost_s + 1
    ]
    assert not confirms
    assert not [future for future in patient if future.done() and not future.exception()]
    assert not [at for at in load.times if at > lost_s + 1]

    for member in lost:
        member.revive()
    back_s = time.monotonic()
    cluster.await_whole()
    whole_s = time.monotonic() - back_s
    load.progress(since_s=back_s, within_s=GAP_S)
    ends = [future.exception(60) for future in patient]
    load.wait()
    from tests.support.quiet import until_quiet
    def show():
        print({q: vhost.ready(q) for q in ("queue_a","tasks.obituaries",*[f"tasks.delay.0{i}" for i in range(6)]) if vhost.ready(q)})
        for w in ("list_queues name messages_ready messages_unacknowledged consumers leader","list_consumers"):
            out=cluster.ctl("--quiet",w.split()[0],"--vhost",vhost.name,*w.split()[1:])
            print("\n".join(l for l in out.splitlines() if "queue_a" in l or "obit" in l or ("delay.0" in l and "\t0\t0\t" not in l)))
    until_quiet(vhost,"queue_a",within_s=40)
    show()
    worker.sigterm(); worker.wait(15)
    print("stopped"); show()
    left=sum(vhost.ready(q) for q in ("queue_a","tasks.obituaries"))
    if left: print(worker.log); print([ (l.properties.headers, l.properties.message_id) for l in vhost.messages("queue_a", vhost.ready("queue_a"))]); print(caller.dispatcher.generation)
    assert not left
    verdict = spread.verdict(load)
    ran = {entry["number"] for entry in journal.entries if "number" in entry}
    accepted = {TASKS + number for number, end in enumerate(ends) if end is None}
    refused = {TASKS + number for number, end in enumerate(ends) if isinstance(end, Refused)}
    refused |= {number for number, error in enumerate(errors) if isinstance(error, Refused)}
    print(
        f"whole after {whole_s:.1f} s; accepted {len(accepted)}, refused {len(refused)}, "
        f"unknown {2 * TASKS - len(accepted) - len(refused)}; ran {len(ran)}, gap {longest_gap(load):.1f} s"
    )
    verdict.check()
    assert {type(error) for error in errors} <= {NoReply, Refused}
    assert {type(end) for end in ends} <= {type(None), Refused}
    assert accepted <= ran
    assert not refused & ran
    assert len({letter.properties.correlation_id for letter in vhost.messages("mailbox.box", len(accepted))})


