"""``python -m broker declare``, ``diff`` and ``show``: what is there, what should be, argument by argument."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.support.administrator import limit_length
from tests.support.brokers import free_port
from tests.support.commands import Ended, command
from tests.support.installation import Install, Installation
from tests.support.vhost import Vhost
from tests.support.waiting import eventually

#: With the mailbox.
DECLARED = "declared 26 exchanges, 27 queues, "


def broker_command(installation: Installation, *words: str) -> Ended:
    return command(installation.environment, "broker", *words)


def with_management(install: Install, vhost: Vhost, **changes: Any) -> Installation:
    url = {"management_url": vhost.broker.management.url}
    return install(**{**changes, "broker": {**url, **changes.get("broker", {})}})


def listing(vhost: Vhost) -> dict[str, list[str]]:
    """Everything that is declared, without what changes by itself."""
    api = vhost.broker.management
    keys = ("name", "type", "arguments", "source", "destination", "routing_key")
    return {
        what: sorted(str([one.get(key) for key in keys]) for one in api.get(what, vhost.name))
        for what in ("exchanges", "queues", "bindings")
    }


@pytest.mark.every_broker
def test_declaring_twice_changes_nothing_and_leaves_no_differences(install: Install, vhost: Vhost) -> None:
    installation = with_management(install, vhost, mailboxes=["box"])
    before = broker_command(installation, "diff")
    assert before.code == 1
    assert "exchange tasks: missing on the broker" in before.out
    assert "queue mailbox.box: missing on the broker" in before.out
    first = broker_command(installation, "declare")
    assert (first.code, first.err) == (0, "")
    assert first.out.startswith(DECLARED)
    there = listing(vhost)
    assert broker_command(installation, "declare").out == first.out
    assert listing(vhost) == there
    same = broker_command(installation, "diff")
    assert (same.code, same.out, same.err) == (0, "no differences\n", "")


def test_a_dry_run_says_what_would_be_made_and_changes_nothing(install: Install, vhost: Vhost) -> None:
    installation = with_management(install, vhost)
    there = listing(vhost)
    ended = broker_command(installation, "declare", "--dry-run", "--mailbox", "box")
    assert ended.code == 0
    assert "queue queue_a: missing on the broker" in ended.out
    assert "queue mailbox.box: missing on the broker" in ended.out
    assert listing(vhost) == there
    installation.declare()
    there = listing(vhost)
    assert "nothing to do" in broker_command(installation, "declare", "--dry-run").out
    assert listing(vhost) == there


@pytest.mark.every_broker(long=True)
def test_drift_is_reported_argument_by_argument_and_never_as_a_raw_406(install: Install, vhost: Vhost) -> None:
    install().declare()
    with vhost.channel() as channel:
        channel.queue_delete("queue_b")
        channel.queue_declare("queue_b", durable=True, arguments={"x-queue-type": "quorum", "x-max-length": 5})
        channel.exchange_delete("tasks.dead")
        channel.exchange_declare("tasks.dead", "fanout", durable=True)
    installation = with_management(install, vhost, queues={"queue_a": {"delivery_limit": 7}})
    diff = broker_command(installation, "diff")
    assert diff.code == 1
    for line in (
        "exchange tasks.dead: type is fanout, should be direct",
        "queue queue_a: x-delivery-limit is 50, should be 7",
        "queue queue_b: x-dead-letter-exchange is not set, should be tasks.killed",
        "queue queue_b: x-max-length is 5, should be not set",
    ):
        assert line in diff.out.splitlines()
    declare = broker_command(installation, "declare")
    assert declare.code == 78
    assert re.search(
        r"queue queue_a: x-delivery-limit is '?50'?.* on the broker, '?7'?.* in the config", declare.err
    )
    assert "exchange tasks.dead: type is" in declare.err
    assert "queue queue_b: " in declare.err
    for ended in (diff, declare):
        assert "PRECONDITION" not in ended.out + ended.err
        assert "406" not in ended.out + ended.err
        assert "Traceback" not in ended.err


@pytest.mark.every_broker(long=True)
def test_a_task_that_moved_leaves_bindings_that_diff_finds_and_prune_removes(
    install: Install, vhost: Vhost
) -> None:
    install().declare()
    moved = {"note": {"queue": "queue_b", "handler": "tests.support.handlers:note"}}
    installation = with_management(install, vhost, tasks=moved)
    diff = broker_command(installation, "diff")
    assert diff.code == 1
    assert "binding tasks → queue_a (note): on the broker, not in the configuration" in diff.out.splitlines()
    assert "binding tasks → queue_b (note): missing on the broker" in diff.out.splitlines()
    pruned = broker_command(installation, "declare", "--prune")
    assert pruned.code == 0
    assert "unbound tasks → queue_a (note)" in pruned.out.splitlines()
    assert pruned.out.count("unbound") == 2
    assert broker_command(installation, "diff").code == 0
    assert "unbound" not in broker_command(installation, "declare", "--prune").out
    caller = installation.caller()
    caller.submit("note")
    caller.submit("note", delay_s=0.1)
    assert len(vhost.messages("queue_b", 2)) == 2
    assert vhost.ready("queue_a") == 0


def test_a_policy_that_bounds_a_work_queue_is_found(install: Install, vhost: Vhost) -> None:
    installation = with_management(install, vhost)
    installation.declare()
    limit_length(vhost, "queue_a", 5)

    def queue_a_is_bounded() -> bool:
        listed = vhost.broker.management.queue(vhost.name, "queue_a")
        return "max-length" in (listed.get("effective_policy_definition") or {})

    eventually(queue_a_is_bounded, "the policy to be listed", 15)
    diff = broker_command(installation, "diff")
    assert (diff.code, diff.out) == (1, "queue queue_a: policy max-length is 5, should be not set\n")


@pytest.mark.every_broker(long=True)
def test_without_the_management_api_the_broker_itself_is_asked(install: Install, vhost: Vhost) -> None:
    nowhere = {"management_url": f"http://127.0.0.1:{free_port()}"}
    installation = install(broker=nowhere)
    ended = broker_command(installation, "diff")
    assert ended.code == 1
    assert "queue queue_a: missing on the broker" in ended.out.splitlines()
    assert not vhost.exists("queue_a")
    installation.declare()
    ended = broker_command(installation, "diff")
    assert (ended.code, ended.out) == (0, "no differences\n")
    assert "cannot be reached" in ended.err
    assert "Bindings were not compared" in ended.err
    changed = install(broker=nowhere, queues={"queue_a": {"delivery_limit": 7}})
    ended = broker_command(changed, "diff")
    assert ended.code == 1
    assert ended.out.startswith("queue queue_a: x-delivery-limit is ")
    assert "PRECONDITION" not in ended.out
    assert broker_command(changed, "declare", "--prune").code == 69


def test_after_a_task_has_moved_declare_says_that_it_still_goes_to_its_old_queue_too(
    install: Install, vhost: Vhost
) -> None:
    api = {"management_url": vhost.broker.management.url}
    install(broker=api).declare()
    moved = install(broker=api, tasks={"note": {"queue": "queue_b"}})
    ended = broker_command(moved, "declare")
    assert ended.code == 0
    assert (
        "note: the configuration has no binding tasks → queue_a (note): what is sent goes there, too." in ended.err
    )
    assert "Unbind it with --prune." in ended.err
    assert "unbound tasks → queue_a (note)" in broker_command(moved, "declare", "--prune").out
    assert broker_command(moved, "declare").err == ""


def test_show_asks_no_broker_and_prints_each_thing_once(install: Install) -> None:
    installation = install(mailboxes=["box"])
    environment = {**installation.environment, "BROKER_URL": f"amqp://a:b@127.0.0.1:{free_port()}/"}
    ended = command(environment, "broker", "show", "-o", "json")
    shown = json.loads(ended.out)
    assert (ended.code, ended.err, shown["schema"]) == (0, "", 1)
    names = [one["name"] for one in shown["queues"]]
    assert len(set(names)) == len(names)
    assert {"queue_a", "queue_a.dead", "tasks.lost", "tasks.obituaries", "mailbox.box"} <= set(names)
    queue_a = next(one for one in shown["queues"] if one["name"] == "queue_a")
    assert queue_a["arguments"]["x-delivery-limit"] == 50
    table = command(environment, "broker", "show")
    assert table.code == 0
    assert all(name in table.out for name in names)
    assert not re.search(r"\x1b|…", table.out)


def test_the_mermaid_flowchart_names_every_node_that_it_draws_an_arrow_to(installation: Installation) -> None:
    ended = broker_command(installation, "show", "-o", "mermaid")
    head, *lines = ended.out.splitlines()
    assert (ended.code, head) == (0, "flowchart LR")
    node = re.compile(r"    (\w+)(\(\[[\w.]+\]\)|\[\([\w.]+\)\]|\[/[\w .:]+/\])")
    arrow = re.compile(r"    (\w+) (-->|-- [\w.]+ -->|-\. [\w-]+ \.->) (\w+)")
    nodes = {found[1] for line in lines if (found := node.fullmatch(line))}
    arrows = [found for line in lines if (found := arrow.fullmatch(line))]
    assert len(nodes) + len(arrows) == len(lines)
    assert {end for found in arrows for end in (found[1], found[3])} <= nodes
    assert "    exchange_tasks -- note --> queue_queue__a" in lines
