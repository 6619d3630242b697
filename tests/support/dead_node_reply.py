"""A reply whose address is on a node that has died meanwhile."""

from __future__ import annotations

from tests.support.acked import acked
from tests.support.spread import Spread, merged_logs
from tests.support.waiting import eventually


def answer_a_dead_node(spread: Spread) -> tuple[int, int]:
    """The node of a dispatcher dies while its task runs, and the reply is sent before the dispatcher asks again.

    It gets the reply then, and nothing runs twice. How often the broker closed a connection over the reply, and
    how often the worker gave one up.
    """
    *others, home = spread.cluster.members
    worker, neighbour = spread.worker(*others), spread.caller(*others)
    *elsewhere, _home = spread.dispatchers
    for proxy in elsewhere:
        proxy.welcome("refuse")
    caller = spread.caller()
    journal, gate = spread.installation.journal(), spread.installation.gate()
    arguments = {"gate": str(gate), "journal": str(journal)}
    orphan = caller.asking("hold", arguments, timeout_s=90)
    (task_id,) = {entry["id"] for entry in journal.wait(1)}
    neighbours = neighbour.asking("hold", arguments, timeout_s=90)
    journal.wait(2)
    spread.cluster.lose(home)
    gate.touch()
    assert neighbours.result(30).result == 1
    eventually(lambda: is_acked(spread, task_id), "the ack of the task", 30)
    assert not orphan.done()
    for proxy in elsewhere:
        proxy.admit()
    assert orphan.result(30).result == 1
    assert spread.finish(worker) == 0
    closes = [event for proxy in spread.workers for event in proxy.events("close", by="broker", code=541)]
    dropped = worker.lines("the reply was dropped")
    print(f"closed by 541: {len(closes)}, replies dropped: {len(dropped)}, runs {len(journal.entries)}")
    assert sorted(journal.ids) == sorted({task_id, neighbours.result().id})
    return len(closes), len(dropped)


def is_acked(spread: Spread, task_id: str) -> bool:
    return any(delivery.id == task_id for delivery in acked(merged_logs(spread.workers)))
