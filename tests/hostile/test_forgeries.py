"""Headers and properties that have a meaning to the broker, forged: no copy that a worker makes carries them."""

from __future__ import annotations

import pika
import pytest

from protocol.names import DEAD, delay_level, new_id
from tests.support.hostile_properties import table
from tests.support.hostile_socket import Socket, field, long, short, task_fields
from tests.support.installation import Install, Installation
from tests.support.vhost import Letter, body, task
from tests.support.waiting import eventually

VICTIM = "victim"
DEATH = {"queue": "queue_a", "reason": "delivery_limit", "count": 7, "exchange": "tasks", "routing-keys": ["fail"]}
FORGED = {
    "v": 1,
    "CC": [VICTIM],
    "BCC": [VICTIM],
    "x-death": [DEATH, {**DEATH, "queue": delay_level(0), "reason": "expired"}],
    "x-first-death-queue": "queue_a",
    "x-first-death-reason": "expired",
    "x-first-death-exchange": "tasks",
    "x-last-death-queue": "queue_a",
    "x-delivery-count": 10**6,
    "x-acquired-count": 10**6,
    "x-opt-delivery-count": 10**6,
    "reason": "done",
    "text": "forged",
    "queue": "queue_b",
    "worker": "forged:1",
    "died": 1,
    "mine": "y" * 60_000,
}
#: What a letter of a task that failed twice carries: what the protocol names, and nothing else.
LETTER = {"v", "attempt", "history", "reason", "text", "queue", "worker", "died"}


def bind_victim(installation: Installation) -> None:
    """A queue that whatever a worker publishes reaches, if only it says so."""
    with installation.vhost.channel() as channel:
        channel.queue_declare(VICTIM, durable=True)
        for exchange in (DEAD, "tasks.due", *(delay_level(level) for level in range(20))):
            channel.queue_bind(VICTIM, exchange, VICTIM)


@pytest.mark.every_broker(long=True)
def test_nothing_forged_reaches_a_copy_or_changes_how_often_a_task_is_tried(install: Install) -> None:
    installation = install(defaults={"retry": {"max_retries": 2, "backoff_s": [0.1]}})
    worker, vhost, journal = installation.worker(), installation.vhost, installation.journal()
    bind_victim(installation)
    forged = task("fail", headers=FORGED, priority=255, expiration="60000", delivery_mode=1, cluster_id="c")
    vhost.publish("tasks", "fail", body(journal=str(journal)), forged)

    letter = vhost.read_dead("queue_a")[0]
    assert (letter.reason.code, letter.reason.queue) == ("retries_exhausted", "queue_a")
    assert letter.headers["text"] != "forged"
    assert set(letter.headers) == LETTER
    assert [entry["attempt"] for entry in journal.entries] == [1, 2, 3]
    properties = letter.properties
    assert properties.delivery_mode == 2
    assert (properties.priority, properties.expiration, properties.cluster_id) == (None, None, None)
    assert vhost.ready(VICTIM) == 0
    assert not worker.lines("link down")


def test_nothing_forged_reaches_the_letter_of_a_message_that_is_refused(installation: Installation) -> None:
    installation.worker()
    vhost = installation.vhost
    bind_victim(installation)
    vhost.publish("tasks", "echo", b"\xc1", task("echo", headers=FORGED))
    vhost.publish("tasks", "echo", body(), task("echo", headers={**FORGED, "v": 2}))
    letters = vhost.read_dead("queue_a", 2)
    assert {(letter.reason.code, letter.reason.queue) for letter in letters} == {
        ("undecodable", "queue_a"),
        ("unsupported_version", "queue_a"),
    }
    for letter in letters:
        assert not {key for key in letter.headers if key.upper() in ("CC", "BCC") or key.startswith("x-")}
        assert letter.headers["worker"] != "forged:1"
        assert letter.headers["died"] > 1
    assert vhost.ready(VICTIM) == 0


@pytest.mark.every_broker
def test_a_forged_death_does_not_hide_the_broker_s_own_verdict(installation: Installation) -> None:
    """The caller of a task that expired is told that, whatever its publisher wrote of other deaths."""
    installation.declare()
    vhost = installation.vhost
    deaths = [{**DEATH, "reason": "rejected"}]
    forged = task("note", headers={"v": 1, "x-death": deaths}, expiration="100")
    vhost.publish("tasks", "note", body(), forged)
    letter = vhost.read_dead("queue_a")[0]
    assert letter.reason.code == "expired"


def test_a_forged_attempt_does_not_buy_more_of_them(installation: Installation) -> None:
    installation.worker()
    vhost, journal = installation.vhost, installation.journal()
    for attempt in (4, 5, 1_000_000):
        forged = task("fail", headers={"v": 1, "attempt": attempt})
        vhost.publish("tasks", "fail", body(journal=str(journal), times=attempt), forged)
        assert vhost.read_dead("queue_a")[0].reason.code == "retries_exhausted"
    assert len(journal.entries) == 3


def test_a_true_user_id_is_no_reason_for_the_broker_to_refuse_a_copy(install: Install) -> None:
    """It refuses what names another user than the one that publishes, which a copy always would."""
    installation = install(defaults={"retry": {"max_retries": 1, "backoff_s": [0.1]}})
    vhost, name = installation.vhost, f"stranger-{installation.vhost.name}"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    worker = installation.worker()
    vhost.broker.management.add_user(name, "secret", vhost.name, everything)
    try:
        with Socket(vhost, user=name, password="secret") as raw:
            for task_name in ("fail", "no_such_task"):
                fields = task_fields(task_name, user_id=short(name))
                raw.publish("", "queue_a", body(), fields)
            letters = vhost.read_dead("queue_a", 2)
    finally:
        vhost.broker.management.remove_user(name)
    assert {letter.properties.user_id for letter in letters} == {None}
    assert {letter.reason.code for letter in letters} == {"retries_exhausted", "unknown_task"}
    assert not worker.lines("link down")


def test_a_copy_of_the_largest_headers_of_all_is_as_small_as_any(install: Install, raw: Socket) -> None:
    """A copy that took all of them along would be larger than a frame, and end the connection."""
    installation = install(defaults={"retry": {"max_retries": 1, "backoff_s": [0.1]}})
    worker, vhost = installation.worker(), installation.vhost
    connections = vhost.connection_names()
    change = table(field("foreign", b"S", long(b"x" * 130_500)))
    raw.publish("tasks", "fail", body(), task_fields("fail", **change))
    raw.publish("tasks", "fail", b"\xc1", task_fields("fail", **change))
    letters = vhost.read_dead("queue_a", 2)
    assert sorted(letter.reason.code for letter in letters) == ["retries_exhausted", "undecodable"]
    assert all(_header_bytes(letter) < 5_000 for letter in letters)
    assert vhost.connection_names() == connections
    assert not worker.lines("link down")


def test_the_longest_history_and_trace_that_may_come_make_no_copy_over_the_limit(install: Install) -> None:
    installation = install(defaults={"retry": {"max_retries": 99, "backoff_s": [0.1]}})
    installation.worker()
    vhost = installation.vhost
    text = "\U0001f600" * 256
    history = [{"attempt": n, "error": "E" * 255, "text": text, "worker": "w" * 255} for n in range(1, 11)]
    headers = {"v": 1, "attempt": 100, "history": history, "traceparent": text * 4, "tracestate": text * 4}
    vhost.publish("tasks", "fail", body(), task("fail", headers=headers))
    letter = vhost.read_dead("queue_a")[0]
    assert letter.reason.code == "retries_exhausted"
    assert _header_bytes(letter) <= installation.settings.limits.messages.header_bytes


def _header_bytes(letter: Letter) -> int:
    return len(b"".join(pika.BasicProperties(headers=letter.headers).encode()))


def test_a_task_with_the_id_of_another_is_no_way_to_its_result(installation: Installation) -> None:
    """A worker that finished a task answers whoever asks again by the same id, which is 128 random bits."""
    installation.worker()
    caller, vhost = installation.caller(), installation.vhost
    secret = caller.ask("echo", {"value": "secret"})
    for guess in (new_id(), secret.id.upper(), secret.id[:-1], f"{secret.id}0"):
        vhost.publish("tasks", "note", body(), task("note", task_id=guess, reply_to="mailbox.box"))
    eventually(lambda: vhost.ready("queue_a") == 0, "the end of the tasks")
    letters = vhost.read_dead("queue_a", 4)
    assert b"secret" not in b"".join(letter.body for letter in letters)
