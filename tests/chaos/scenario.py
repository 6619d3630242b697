"""What happens on a stage while there is load: each reveals some of the planted bugs, and harms nobody without."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from broker.node.files import HAND_ON_AGAIN_MS
from protocol.names import DEAD
from tests.chaos import conditions, installation
from tests.chaos.checker import Verdict
from tests.chaos.mutants import Scenario
from tests.chaos.records import Asked, Ended, Finished, Record, Started, Told
from tests.chaos.stage import LAST_WORDS_S, PREFETCH, QUEUES, RATE, Stage
from tests.support.brokers import Broker
from tests.support.cluster import Cluster
from tests.support.link import CLEAR, SILENT
from tests.support.waiting import eventually
from worker.failpoint import VARIABLE

#: So many tasks are asked for, some of every kind; and where fewer requesters ask.
LOAD = 230
LEAST: Mapping[Scenario, int] = {
    "hostile": 150,
    "crash_after_reply": 80,
    "batches": 150,
    "no_worker": 1,
    "acks_lost": 30,
    "queues_bounded": 60,
    "disk_alarm": 30,
    "majority_lost": 120,
}
#: So long must the load go on after a fault for the checker to see that nothing recovers.
SECONDS_TO_RECOVER = installation.RECOVERY_S + 2
#: The load flows: so many tasks have finished.
WARM = 20
WARM_S = 40.0
LOAD_S = 60.0
TIMES = 3
SHORT_S = 2.0
#: More than a start, ``SHORT_S`` of load, the longest delay, and ``SHORT_S`` again for the last call.
PATIENCE_S = 15.0


def play(scenario: Scenario, broker: Broker, folder: Path, bug: str | None = None) -> Verdict:
    """Play a scenario, with a bug or without, and judge it."""
    with Stage(broker, folder, bug) as stage:
        stage.collector()
        SCENARIOS[scenario](stage)
        eventually(lambda: stage.count(Asked) >= LEAST.get(scenario, LOAD), "load", LOAD_S)
        return stage.verdict()


def nothing(stage: Stage) -> None:
    stage.two_workers()
    stage.requesters()


def hostile(stage: Stage) -> None:
    stage.two_workers()
    stage.requester("direct")
    stage.hostile_publisher(RATE)


def worker_killed(stage: Stage) -> None:
    first, second = stage.two_workers()
    stage.requesters()
    warm(stage)
    for worker in (first, second):
        running(stage)
        with stage.incidents.incident("worker killed", ("workers",), (worker.pid,)):
            worker.send(signal.SIGKILL)
            stage.wait_ready(stage.worker())


def crash_after_reply(stage: Stage) -> None:
    """One worker after the other ends when a reply to the mailbox has been confirmed, its task not yet acked."""
    doom = {VARIABLE: "after_reply_confirm:5"}
    doomed, _other = stage.worker(**doom), stage.worker()
    for worker in stage.workers:
        stage.wait_ready(worker)
    stage.requester("mailbox")
    for further in (doom, {}):
        assert doomed.wait(WARM_S) is not None, f"{doomed.name} did not come to its failpoint"
        with stage.incidents.incident("worker died", ("workers",), (doomed.pid,)):
            doomed = stage.worker(**further)
            stage.wait_ready(doomed)


def workers_cut_off(stage: Stage) -> None:
    stage.two_workers()
    stage.requesters()
    warm(stage)
    running(stage)
    with stage.incidents.incident("resets", ("workers",)):
        for _ in range(TIMES):
            stage.workers_network.reset()
            more(stage, WARM, Asked)
    time.sleep(SECONDS_TO_RECOVER)


def requesters_cut_off(stage: Stage) -> None:
    """First what they say is lost with the connection, then what they are told."""
    stage.two_workers()
    stage.requesters()
    warm(stage)
    network = stage.requesters_network
    for to_broker, to_client in ((SILENT, CLEAR), (CLEAR, SILENT)):
        with stage.incidents.incident("silence", ("requesters",)):
            network.spoil(to_broker=to_broker, to_client=to_client)
            more(stage, WARM, Asked)
            network.cut()
            # The one that makes direct calls is back: the next silence has to meet what it says.
            more(stage, TIMES, Ended, answer="done")


def batches(stage: Stage) -> None:
    """Whatever may goes in batches. Those that the workers hold when all of them die come again."""
    workers = stage.two_workers()
    stage.requester("direct", rate=2 * RATE, batched=1.0)
    warm(stage)
    running(stage, 1)
    with stage.incidents.incident("worker killed", ("workers",), tuple(worker.pid for worker in workers)):
        for worker in workers:
            worker.send(signal.SIGKILL)
        stage.two_workers()


def queue_deleted(stage: Stage) -> None:
    """All work queues, while they are empty; and made again at once."""
    stage.two_workers()
    first = stage.requester("direct", SHORT_S)
    assert first.wait(LAST_WORDS_S) is not None, "the first load did not end"
    with stage.incidents.incident("queue deleted", ("workers",)):
        with stage.vhost.channel() as channel:
            for queue in QUEUES:
                channel.queue_delete(queue)
        stage.declare()
        stage.requesters(seed=2)
        eventually(lambda: stage.count(Told, answer="accepted") > WARM, "more load", WARM_S)
    time.sleep(SECONDS_TO_RECOVER)


def hop_unbound(stage: Stage) -> None:
    """Where letters go: those that come meanwhile wait."""
    stage.two_workers()
    stage.requesters()
    warm(stage)
    with stage.incidents.incident("letters unbound", ("workers",)), stage.vhost.channel() as channel:
        channel.queue_unbind("queue_a.dead", "tasks.dead", "queue_a")
        more(stage, TIMES, Finished, ending="rejected")
        channel.queue_bind("queue_a.dead", "tasks.dead", "queue_a")


def acks_lost(stage: Stage) -> None:
    """One worker, whose acks are lost with their connection: what it has done comes to it again."""
    stage.wait_ready(stage.worker())
    # It is given no more than its prefetch while it is not heard, and must not have ended all of that before.
    stage.requester("direct", kinds=["slow"], most=3 * PREFETCH)
    for _ in range(TIMES):
        more(stage, 2 * PREFETCH, Finished)
        running(stage, 1)
        with stage.incidents.incident("silence", ("workers",)):
            stage.workers_network.spoil(to_broker=SILENT, names="consume")
            more(stage, 1, Finished)
            stage.workers_network.cut()
    more(stage, 2 * PREFETCH, Finished)


def right_taken(stage: Stage) -> None:
    """Nobody may write letters any more; those that come meanwhile wait."""
    stage.two_workers()
    stage.requesters()
    warm(stage)
    with stage.incidents.incident("right taken", ("network",)), conditions.without_right(stage.vhost, DEAD):
        more(stage, TIMES, Finished, ending="rejected")
    # What waits is tried again after as long as it has waited.
    more(stage, WARM, Finished)


def queues_bounded(stage: Stage) -> None:
    """The queue that gets all tasks, and the one of its letters, take hardly anything."""
    stage.two_workers()
    stage.requesters()
    warm(stage)
    bounded = conditions.policy(stage.vhost, r"^queue_a(\.dead)?$", conditions.BOUNDED)
    with stage.incidents.incident("queues bounded", ("workers",)), bounded:
        more(stage, TIMES, Finished, ending="rejected")
        more(stage, 2 * WARM, Asked)
    handed_on(stage)


def disk_alarm(stage: Stage) -> None:
    """The broker reads nothing from who has published. It says so after the first publish, and a worker that has
    only slow tasks has not ended another one by then."""
    stage.two_workers()
    stage.requester("direct", kinds=["slow"])
    stage.requester("mailbox", kinds=["slow"], rate=1)
    more(stage, 2 * TIMES, Finished)
    holds(stage, 2 * PREFETCH)
    with stage.incidents.incident("disk alarm", ("network",)), conditions.disk_alarm(stage.vhost.broker):
        more(stage, TIMES, Finished)
    more(stage, 2 * TIMES, Finished)


def majority_lost(stage: Stage) -> None:
    """Two of three nodes are killed, for longer than the delay line waits before it hands on once more."""
    cluster = stage.vhost.broker
    assert isinstance(cluster, Cluster)
    stage.two_workers()
    stage.requesters()
    warm(stage)
    with stage.incidents.incident("majority lost", ("broker",)), conditions.without_majority(cluster):
        time.sleep(HAND_ON_AGAIN_MS / 1000)
    more(stage, WARM, Finished)
    handed_on(stage)


def worker_replaced(stage: Stage) -> None:
    """A rolling restart: one is told to end while something waits in it, and another one takes its place."""
    workers = list(stage.two_workers())
    stage.requesters()
    warm(stage)
    for worker in workers:
        holds(stage, 4)
        with stage.incidents.incident("worker told to end", (), (worker.pid,)):
            worker.send(signal.SIGTERM)
            assert worker.wait(LAST_WORDS_S) is not None, f"{worker.name} was told to end, and did not"
            stage.wait_ready(stage.worker())


def no_worker(stage: Stage) -> None:
    """Those that there were are dead for longer than any call waits."""
    workers = stage.two_workers()
    with stage.incidents.incident("worker killed", ("workers",), tuple(worker.pid for worker in workers)):
        for worker in workers:
            worker.send(signal.SIGKILL)
        # Unless its calls never end it is over by then.
        stage.requester("direct", SHORT_S, within_s=SHORT_S).wait(PATIENCE_S)
        stage.two_workers()


def warm(stage: Stage) -> None:
    eventually(lambda: stage.count(Finished) >= WARM, "load", WARM_S)


def more(stage: Stage, number: int, kind: type[Record], **fields: str) -> None:
    """Wait until there are so many further records of a kind."""
    least = stage.count(kind, **fields) + number
    eventually(lambda: stage.count(kind, **fields) >= least, f"{number} more {kind.__name__}", WARM_S)


def handed_on(stage: Stage) -> None:
    """Ask no more, and let what the delay line holds come through: that is counted nowhere, and is handed on again
    after so long at most."""
    stage.ask_no_more()
    time.sleep(2 * HAND_ON_AGAIN_MS / 1000)


def running(stage: Stage, number: int = 2) -> None:
    """Wait until so many tasks are running."""
    eventually(lambda: stage.count(Started) - stage.count(Finished) >= number, f"{number} tasks at a time", WARM_S)


def holds(stage: Stage, number: int) -> None:
    """Wait until the workers hold so many deliveries."""
    eventually(lambda: stage.witness.held >= number, f"{number} deliveries held", WARM_S)


SCENARIOS: Mapping[Scenario, Callable[[Stage], None]] = {
    "nothing": nothing,
    "hostile": hostile,
    "worker_killed": worker_killed,
    "crash_after_reply": crash_after_reply,
    "workers_cut_off": workers_cut_off,
    "requesters_cut_off": requesters_cut_off,
    "batches": batches,
    "queue_deleted": queue_deleted,
    "hop_unbound": hop_unbound,
    "acks_lost": acks_lost,
    "right_taken": right_taken,
    "queues_bounded": queues_bounded,
    "disk_alarm": disk_alarm,
    "majority_lost": majority_lost,
    "worker_replaced": worker_replaced,
    "no_worker": no_worker,
}
