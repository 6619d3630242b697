"""The doctor's checks of what carries a task to a worker, and its result back. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from broker.doctor.verdict import Facts, Point, Probe, State, Verdict, unseen
from broker.status.workers import HALF, WorkerStatus, steered, table, workers_of
from protocol.delay import LEVELS
from protocol.names import LOST, OBITUARIES, dead_queue

#: Differences that a verdict names.
_NAMED = 3
#: What a line takes in within so long may be on its way, burst by burst.
_PASSING_S = 1.0
#: The API hears of a connection some seconds after it was opened.
YOUNG_S = 10
_LINE = re.compile(
    r"tasks\.delay\.|exchange tasks\.(due|lost)|binding tasks\.due |queue (?!tasks\.obituaries).*max-length"
)
_RESULTS = re.compile(r"exchange replies|binding replies |mailbox\.|tasks\.obituaries")
_DECLARE = (
    "Run `python -m broker declare`; a queue whose arguments differ has to be emptied and deleted first, and "
    "`declare --prune` unbinds what is stale."
)


def _differing(facts: Facts, belongs: Callable[[str], bool]) -> list[str] | None:
    if facts.differences is None:
        return None
    return [text for text in map(str, facts.differences) if belongs(text)]


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return "; ".join(texts[:_NAMED]) + more


def check_topology(facts: Facts) -> Verdict:
    why = "A task goes where the broker's bindings send it, and is kept as its queue's arguments say."
    found = _differing(facts, lambda text: not _LINE.search(text) and not _RESULTS.search(text))
    return _compared("topology", found, Point.TASKS, why, "as configured")


def check_delay_line(facts: Facts) -> Verdict:
    why = "Retries and delayed tasks travel it. 32 messages that its end cannot hand over stop it for all."
    found = _differing(facts, lambda text: bool(_LINE.search(text)))
    whole = f"{LEVELS} levels, and back to a queue for {len(facts.settings.tasks)} tasks"
    if facts.api is None:
        whole = f"{LEVELS} levels; bindings were not seen"
    return _compared("delay line", found, Point.TASKS, why, whole)


def check_dead_lettering(facts: Facts) -> Verdict:
    """Of a busy line a look always sees some: as many as it takes in within ``_PASSING_S`` are no fault."""
    why = "What its next queue does not take waits for minutes, and 32 of these stop a delay level for all."
    if facts.api is None or facts.stuck is None:
        fix = "The management API says it at two looks; give the second one time: --timeout 20."
        return unseen("dead lettering", why, fix, Point.TASKS)
    rates = [
        table(table(one, "message_stats"), "publish_in_details").get("rate")
        for one in facts.api.exchanges
        if str(one.get("name")).startswith("tasks.delay.")
    ]
    passing = _PASSING_S * sum(rate for rate in rates if isinstance(rate, int | float))
    stuck = [f"{name}: {count:,}" for name, count in facts.stuck.items() if count > passing]
    return Verdict(
        check="dead lettering",
        point=Point.TASKS,
        state=State.FAILED if stuck else State.OK,
        measured=f"does not move on from {_some(stuck)}" if stuck else "no queue stands still",
        why=why,
        fix="See topology and leaders, and whether the next queue is full. Each is sent again after "
        "dead_letter_worker_publisher_confirm_timeout, 180 s by default."
        if stuck
        else "",
    )


def check_results(facts: Facts) -> Verdict:
    why = "Without its mailbox a result becomes a dead letter; without obituaries nobody hears of a buried task."
    found = _differing(facts, lambda text: bool(_RESULTS.search(text)) and not _LINE.search(text))
    boxes = ", ".join(facts.settings.mailboxes) or "none"
    return _compared("replies", found, Point.RESULTS, why, f"mailboxes: {boxes}; obituaries are kept")


def _compared(check: str, found: list[str] | None, point: Point, why: str, same: str) -> Verdict:
    if found is None:
        return unseen(
            check, why, "It is compared with what the management API lists, or by a user who may declare.", point
        )
    fix = _DECLARE
    if any(": policy " in text for text in found):
        fix = (
            "Clear the policy (`rabbitmqctl list_policies`, `list_operator_policies`, `clear_policy`); raise "
            f"first a limit that was reached, or RabbitMQ 3.10 goes on refusing. {fix}"
        )
    return Verdict(
        check=check,
        point=point,
        state=State.FAILED if found else State.OK,
        measured=_some(found) if found else same,
        why=why,
        fix=fix if found else "",
    )


def check_workers(facts: Facts) -> Verdict:
    why = "Tasks are done by workers alone; each of them has two connections, and consumes its queues on one."
    count = _worker_count(facts)
    if count is None:
        return unseen("workers", why, "They are counted once the broker lets this user in.", Point.WORKER)
    half = [name for name, worker in _known_workers(facts).items() if worker.state == HALF]
    if half:
        state, measured = State.FAILED, f"connected with one connection of two: {', '.join(half)}"
        fix = "Look into its log: it says why the other connection fails. Then restart it."
    elif count == 0:
        state, measured = State.FAILED, "none"
        fix = f"Start one: `python -m worker {' '.join(facts.settings.queues)}`. If it runs, see its log."
    else:
        state, measured, fix = State.OK, str(count), ""
    return Verdict(check="workers", point=Point.WORKER, state=state, measured=measured, why=why, fix=fix)


def _worker_count(facts: Facts) -> int | None:
    """Every worker consumes the obituaries."""
    return facts.inspected[OBITUARIES][1] if OBITUARIES in facts.inspected else None


def _known_workers(facts: Facts) -> dict[str, WorkerStatus]:
    """Workers that the API knows, by host and process; of a young one it may not have heard everything yet."""
    if facts.api is None or facts.api.clock is None:
        return {}
    workers = workers_of(facts.api.consumers, facts.api.connections, (), facts.api.clock.theirs_s)
    return {
        f"{worker.host}:{worker.pid}": worker
        for worker in workers
        if worker.connected_s is not None and worker.connected_s > YOUNG_S
    }


def check_consumers(facts: Facts) -> Verdict:
    why = "A queue that nobody consumes keeps its tasks until somebody does."
    seen = {name: facts.inspected[name] for name in facts.settings.queues if name in facts.inspected}
    if not seen:
        return unseen("consumers", why, "They are counted once the queues are there and may be seen.", Point.TASKS)
    paused = facts.paused or {}
    idle = [name for name, (_, count) in seen.items() if not (count or name in paused)]
    without = [f"{name}: none, and {seen[name][0]:,} waiting" for name in idle]
    return Verdict(
        check="consumers",
        point=Point.TASKS,
        state=State.FAILED if without else State.OK,
        measured="; ".join(
            without
            or [f"{name}: paused" if name in paused else f"{name}: {count}" for name, (_, count) in seen.items()]
        ),
        why=why,
        fix=f"Start a worker: `python -m worker {' '.join(idle)}`." if idle else "",
    )


def check_steering(facts: Facts) -> Verdict:
    """Of an installation with a control stream. What is paused is no fault: somebody wanted it."""
    why = "A worker that does not read the control stream obeys no pause and no cancel."
    if facts.paused is None:
        return unseen("steering", why, facts.control_problem, Point.TASKS)
    known = set() if facts.api is None else steered(facts.api.connections)
    astray = [name for name in _known_workers(facts) if name not in known]
    words = [f"{queue} is paused by {by}" for queue, by in facts.paused.items()]
    if astray:
        words.insert(0, f"not steered: {_some(astray)}")
        fix = "Set control.enabled for all workers, and see the log of those that are not steered."
    else:
        fix = "Have its tasks taken again: `python -m broker resume QUEUE`." if facts.paused else ""
    return Verdict(
        check="steering",
        point=Point.TASKS,
        state=State.FAILED if astray else State.UNKNOWN if facts.paused else State.OK,
        measured="; ".join(words) or "nothing is paused",
        why=why,
        fix=fix,
    )


def check_letters(facts: Facts) -> Verdict:
    why = "They are tasks that ended without success. A person decides what becomes of them."
    kept = [*map(dead_queue, facts.settings.queues), LOST]
    seen = {name: facts.inspected[name][0] for name in kept if name in facts.inspected}
    if not seen:
        return unseen(
            "dead letters", why, "They are counted once the queues are there and may be seen.", Point.TASKS
        )
    found = [f"{name}: {count:,}" for name, count in seen.items() if count]
    return Verdict(
        check="dead letters",
        point=Point.TASKS,
        state=State.UNKNOWN if found else State.OK,
        measured=", ".join(found) or "none",
        why=why,
        fix="See them with `python -m broker dead list`, and put them back with `dead replay`." if found else "",
    )


def check_probe(probe: Probe) -> Verdict:
    """A task was sent, and this became of it."""
    returned = probe.end in ("done", "failed")
    fixes = {
        "unroutable": "Run `python -m broker declare`, or name a task of the configuration.",
        "refused": "See alarms, permissions and topology.",
        "waiting": "See workers and consumers: nobody took it.",
        "taken": "See the worker's log, and its right to write amq.default; or give the probe more time.",
    }
    points = {"waiting": Point.TASKS, "unroutable": Point.TASKS, "refused": Point.TASKS, "taken": Point.RESULTS}
    return Verdict(
        check="probe",
        point=points.get(probe.end, Point.RESULTS),
        state=State.OK if returned else State.FAILED,
        measured=f"{probe.task}: {probe.end} after {probe.took_ms} ms{': ' if probe.text else ''}{probe.text}",
        why="Only a task that comes back shows that all of it works.",
        fix=fixes.get(probe.end, ""),
    )
