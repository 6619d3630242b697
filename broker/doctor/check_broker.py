"""The doctor's checks of the broker itself: what it is, and whether it is well. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from broker.config.holding import version_of
from broker.doctor.verdict import Facts, Point, State, Verdict, unseen
from broker.management import SEES_ALL, Clock
from broker.status.summary import some
from broker.status.workers import Listed, table, whole

#: The oldest RabbitMQ that this was tried on.
OLDEST = (3, 10)
#: The first that keeps for 60 s what the clients of a lost node hold.
KEEPS = (4, 3)
#: A worker buries a task that it gets more than 2 s after its expiry.
LARGEST_SKEW_S = 2.0
#: Parts of the memory limit, and multiples of the disk limit, that should be left.
FULL = 0.8
DISKS = 2
#: RabbitMQ's own limit of 50 MB is passed in a moment.
LEAST_DISK = 512 * 1024 * 1024


def check_version(facts: Facts) -> Verdict:
    why = "Quorum queues, their delivery limit and at-least-once dead-lettering are what keeps tasks."
    version = version_of(facts.version)
    if version is None:
        return unseen("version", why, "The broker says it once it lets this user in.")
    old = version < OLDEST
    flags = facts.api.feature_flags if facts.api else ()
    off = [str(one.get("name")) for one in flags if one.get("state") == "disabled" and _stable(one)]
    broken = old or "quorum_queue" in off
    fix = "Use RabbitMQ 3.10 or later." if old else "Run `rabbitmqctl enable_feature_flag all`." if off else ""
    return Verdict(
        check="version",
        point=Point.BROKER,
        state=State.FAILED if broken else State.UNKNOWN if off else State.OK,
        measured=f"RabbitMQ {facts.version}" + (f", switched off: {', '.join(off)}" if off else ""),
        why=why,
        fix=fix,
    )


def _stable(flag: Listed) -> bool:
    return flag.get("stability") in ("stable", "required")


def check_management(facts: Facts) -> Verdict:
    api = facts.api
    state, fix = State.OK, ""
    if api is None:
        state, measured, fix = State.UNKNOWN, "not seen", facts.api_problem
    else:
        measured = f"answers user {api.user} with the tags {', '.join(sorted(api.tags)) or 'none'}"
        if not api.tags & SEES_ALL:
            state, fix = State.UNKNOWN, f"Give {api.user} the tag `monitoring` to see nodes and all workers."
        elif api.overview.get("disable_stats") is True:
            state, measured = State.UNKNOWN, f"{measured}, and collects no numbers"
            fix = "Remove management.disable_stats, and permit the feature management_metrics_collection."
    return Verdict(
        check="management API",
        point=Point.BROKER,
        state=state,
        measured=measured,
        why="Only it shows bindings, unacked tasks, workers, memory and disk.",
        fix=fix,
    )


def check_leaders(facts: Facts) -> Verdict:
    why = "A quorum queue without a leader takes no task and hands none out; its nodes elect one by majority."
    if not facts.inspected and not facts.silent:
        return unseen("leaders", why, "They are asked once the queues are there and may be seen.")
    return Verdict(
        check="leaders",
        point=Point.BROKER,
        state=State.FAILED if facts.silent else State.OK,
        measured=f"none answers for {some(facts.silent)}" if facts.silent else f"of {len(facts.inspected)} queues",
        why=why,
        fix="Start the nodes that are down: `rabbitmqctl cluster_status` names them." if facts.silent else "",
    )


def check_alarms(facts: Facts) -> Verdict:
    why = "Under an alarm the broker reads no publish: nothing is sent, and no worker can answer."
    nodes = facts.api.nodes if facts.api else ()
    raised = [f"{what} on {node.get('name')}" for node in nodes for what in _alarms(node)]
    if facts.blocked and not raised:
        raised = ["the broker blocks publishes"]
    seen = bool(nodes) or facts.rights is not None
    return Verdict(
        check="alarms",
        point=Point.BROKER,
        state=State.FAILED if raised else State.OK if seen else State.UNKNOWN,
        measured=", ".join(raised) or ("none" if seen else "not seen"),
        why=why,
        fix="Free memory or disk there, or raise its limit (vm_memory_high_watermark, disk_free_limit)."
        if raised
        else ("" if seen else "See the management API."),
    )


def _alarms(node: Listed) -> Iterable[str]:
    if node.get("mem_alarm") is True:
        yield "memory alarm"
    if node.get("disk_free_alarm") is True:
        yield "disk alarm"


def check_headroom(facts: Facts) -> Verdict:
    why = "At the limit of memory or disk an alarm stops everything that publishes."
    nodes = facts.api.nodes if facts.api else ()
    if not nodes:
        return unseen("memory and disk", why, "The management API shows them to a user with the tag `monitoring`.")
    short = [text for node in nodes for text in _short(node)]
    return Verdict(
        check="memory and disk",
        point=Point.BROKER,
        state=State.FAILED if short else State.OK,
        measured=", ".join(short or [_room(node) for node in nodes]),
        why=why,
        fix="Give the node more memory or disk, or purge what nobody needs (`python -m broker dead purge`)."
        if short
        else "",
    )


def _short(node: Listed) -> Iterable[str]:
    used, limit = whole(node.get("mem_used")), whole(node.get("mem_limit"))
    if used is not None and limit and used > FULL * limit:
        yield f"{node.get('name')} uses {used / limit:.0%} of its memory limit"
    free, least = whole(node.get("disk_free")), whole(node.get("disk_free_limit"))
    if free is not None and least is not None and free < max(DISKS * least, LEAST_DISK):
        yield f"{node.get('name')} has {_size(free)} of disk left; the alarm comes at {_size(least)}"


def _room(node: Listed) -> str:
    used, limit = whole(node.get("mem_used")) or 0, whole(node.get("mem_limit")) or 0
    share = f"{used / limit:.0%} of {_size(limit)} memory used" if limit else "memory without a limit"
    return f"{node.get('name')}: {share}, {_size(whole(node.get('disk_free')) or 0)} disk free"


def _size(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB" if count >= 1024**3 else f"{count / 1024**2:.0f} MiB"


def check_lost_nodes(facts: Facts) -> Verdict:
    """RabbitMQ 4.3 keeps for the clients of a lost node what they held; only then it looks at policies."""
    why = "A task that a worker of a lost node holds is done by another after so long."
    version = version_of(facts.version)
    if version is None or facts.api is None:
        return unseen("lost nodes", why, "The management API lists policies and the nodes of queues.")
    nodes = {node for one in facts.api.counts for node in one.get("members") or ()}
    late = [
        name
        for one in facts.api.counts
        if (name := str(one.get("name"))) in facts.settings.queues and not _gives_back(one)
    ]
    fix = ""
    if version < KEEPS:
        measured = "what they held is delivered elsewhere at once"
    elif len(nodes) < 2:
        measured = "one node"
    elif late:
        measured = f"what they held of {some(late)} waits 60 s, unless the nodes are configured otherwise"
        fix = "Set the policy consumer-disconnected-timeout to 5000 (docs/operations.md)."
    else:
        measured = "what they held is delivered elsewhere as policies say"
    return Verdict(
        check="lost nodes",
        point=Point.TASKS,
        state=State.UNKNOWN if fix else State.OK,
        measured=measured,
        why=why,
        fix=fix,
    )


def _gives_back(queue: Listed) -> bool:
    key = "consumer-disconnected-timeout"
    return key in table(queue, "effective_policy_definition") or f"x-{key}" in table(queue, "arguments")


def check_crash(facts: Facts) -> Verdict:
    why = "A crash of the broker makes single delayed tasks late by up to twice that."
    if facts.resends_after_s is None:
        return unseen(
            "after a crash",
            why,
            "The broker reports dead_letter_worker_publisher_confirm_timeout to nobody. It is 180 s unless each "
            "node was given less: docs/operations.md says how.",
        )
    return Verdict(
        check="after a crash",
        point=Point.BROKER,
        state=State.OK,
        measured=f"what it kept from its next queue is sent again after {facts.resends_after_s:g} s",
        why=why,
    )


def check_clocks(facts: Facts) -> Verdict:
    why = "Expiry and waiting times compare clocks of dispatchers and workers; the broker's stands in for them."
    clock = facts.api.clock if facts.api else None
    if clock is None:
        return unseen("clocks", why, "The management API has the broker's time.")
    skew_s = skew(clock)
    wrong = abs(skew_s) > LARGEST_SKEW_S
    return Verdict(
        check="clocks",
        point=Point.TASKS,
        state=State.FAILED if wrong else State.OK,
        measured=f"{abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the broker's"
        if wrong
        else f"{abs(skew_s):.1f} s apart from the broker's",
        why=why,
        fix="Let both machines follow the same time servers (`chronyc tracking`, `timedatectl`)." if wrong else "",
    )


def skew(clock: Clock) -> float:
    """How far our clock is ahead of the broker's, at least; below 0: behind. The broker gives whole seconds."""
    if clock.before_s > clock.theirs_s + 1:
        return clock.before_s - clock.theirs_s - 1
    return min(0.0, clock.after_s - clock.theirs_s)
