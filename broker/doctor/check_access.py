"""The doctor's checks of the way to the broker: does it answer, let us in, and let us do our work. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broker.doctor.verdict import Facts, Point, Rights, State, Verdict, unseen
from protocol.names import DEAD, OBITUARIES, REPLIES, TASKS

#: How the exchange without a name is called here.
DEFAULT_EXCHANGE = "(default)"


def check_reachable(facts: Facts) -> Verdict:
    answers = [one for one in facts.reached if one.problem is None or one.refused]
    silent = [one for one in facts.reached if one not in answers]
    measured = ", ".join(f"{one.where} in {one.took_ms} ms" for one in answers)
    state, fix = State.OK, ""
    if silent:
        state = State.UNKNOWN if answers else State.FAILED
        fix = " ".join(one.problem or "" for one in silent)
        here = f"{measured}; " if measured else ""
        measured = f"{here}{len(silent)} of {len(facts.reached)} endpoints do not answer"
    return Verdict(
        check="reachable",
        point=Point.BROKER,
        state=state,
        measured=measured,
        why="Without a broker nothing is sent, done or answered.",
        fix=fix,
    )


def check_login(facts: Facts) -> Verdict:
    refused = [one for one in facts.reached if one.refused]
    state = State.OK if facts.is_open else State.FAILED if refused else State.UNKNOWN
    endpoint = facts.settings.broker.endpoints[0]
    return Verdict(
        check="login",
        point=Point.WORKER,
        state=state,
        measured=f"user {endpoint.username}, virtual host {endpoint.vhost}" if facts.is_open else "not let in",
        why="Dispatchers and workers use this login and this virtual host.",
        fix="" if facts.is_open else " ".join(one.problem or "" for one in refused) or "See reachable.",
    )


def check_permissions(facts: Facts) -> Verdict:
    why = "Without a right the broker closes the channel (403), and a worker keeps its task for ever."
    if facts.rights is None:
        return unseen("permissions", why, "They are tried once the broker lets this user in and takes publishes.")
    lacks = list(_lacks(facts.rights, direct=facts.settings.replies == "direct"))
    untried = [name for name, may in facts.rights.write.items() if may is None]
    if untried and not lacks:
        return unseen("permissions", why, f"{', '.join(untried)}: not there, so not tried. See topology.")
    granted = [f"write {name}" for name, may in facts.rights.write.items() if may]
    granted += [f"read {name}" for name, may in facts.rights.read.items() if may]
    return Verdict(
        check="permissions",
        point=Point.TASKS,
        state=State.FAILED if lacks else State.OK,
        measured=f"may not {'; may not '.join(lacks)}" if lacks else ", ".join(granted),
        why=why,
        fix=_grant(facts) if lacks else "",
    )


def _lacks(rights: Rights, *, direct: bool) -> Iterable[str]:
    """What is missing for the role that the rights look like.

    A dispatcher writes to ``tasks``; a worker reads queues, and writes to ``tasks.dead`` and ``replies``.
    """
    line = [name for name in rights.write if name.startswith("tasks.delay.")]
    dispatches = rights.write.get(TASKS)
    works = any(rights.read.values()) or rights.write.get(DEAD) or rights.write.get(REPLIES)
    wanted = [*line, DEAD, REPLIES, *([DEFAULT_EXCHANGE] if direct else [])] if works else line
    if not dispatches and not works:
        if None in (*rights.write.values(), *rights.read.values()):
            return
        yield f"write {TASKS} (as a dispatcher)"
        yield "read any work queue (as a worker)"
        return
    yield from (f"write {name}" for name in wanted if rights.write.get(name) is False)
    queues = {name: may for name, may in rights.read.items() if name != OBITUARIES}
    if works and rights.read.get(OBITUARIES) is False:
        yield f"read {OBITUARIES}"
    if works and queues and all(may is False for may in queues.values()):
        yield f"read {', '.join(queues)}"


def _grant(facts: Facts) -> str:
    endpoint = facts.settings.broker.endpoints[0]
    return (
        f"Grant it: `rabbitmqctl set_permissions -p {endpoint.vhost} {endpoint.username} CONFIGURE WRITE READ`. A "
        "worker reads its queues and tasks.obituaries, and writes tasks.delay.*, tasks.dead, replies and "
        "amq.default; a dispatcher writes tasks and tasks.delay.*."
    )
