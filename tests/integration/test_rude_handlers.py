"""Whatever a handler does costs its own task: the worker, its links and its neighbours do not notice."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from protocol.reply import Reply
from tests.support.caller import Caller
from tests.support.installation import Install, Installation
from tests.support.rude_handlers import ERRORS, GARBAGE, TEXTS

#: Executor → how the names of its handlers end.
FLAVOURS = {"process": ("", "_async"), "thread": ("", "_async"), "async": ("_async",)}
CONCURRENCY = 2
#: The next task may take so long.
NEXT_S = 5.0


def rude(
    install: Install, kind: str, *handlers: str, concurrency: int = CONCURRENCY, retries: int = 0
) -> Installation:
    """One with a task of that executor for each of these handlers."""
    tasks = {
        name: {"queue": "queue_a", "handler": f"tests.support.rude_handlers:{name}", "executor": kind}
        for name in (*handlers, *(f"process{flavour}" for flavour in FLAVOURS[kind]))
    }
    retry = {"max_retries": retries, "backoff_s": [0.1]}
    return install(tasks=tasks, defaults={"retry": retry}, worker={"concurrency": concurrency})


def processes_of(caller: Caller, kind: str) -> set[int]:
    """In which handlers run."""
    asked = [caller.asking(f"process{FLAVOURS[kind][-1]}", timeout_s=NEXT_S) for _ in range(CONCURRENCY)]
    return {asking.result().result for asking in asked}


def code(reply: Reply) -> str:
    assert reply.failure is not None, reply
    return reply.failure.code


@pytest.mark.parametrize("kind", FLAVOURS)
def test_whatever_is_raised_is_one_dead_letter_with_a_bounded_text(install: Install, kind: str) -> None:
    installation = rude(install, kind, *(f"raise_it{flavour}" for flavour in FLAVOURS[kind]))
    worker, caller = installation.worker(), installation.caller()
    connections, processes = installation.vhost.connection_names(), processes_of(caller, kind)

    raised = list(product(FLAVOURS[kind], ERRORS, TEXTS))
    asked = []
    for number, (flavour, error, text) in enumerate(raised):
        asked.append(caller.asking(f"raise_it{flavour}", {"error": error, "text": text}))
        asked.append(caller.asking("echo", {"value": number}))
    ends = [asking.result(30) for asking in asked]

    for (_, error, text), end in zip(raised, ends[::2], strict=True):
        assert code(end) == "retries_exhausted"
        assert end.failure is not None
        assert len(end.failure.text.encode()) <= 1024
        assert len(end.failure.type.encode()) <= 255
        if text != "long name":
            assert end.failure.type == error
        if text == "surrogate":
            assert end.failure.text == "caf\\udce9"
    assert [end.result for end in ends[1::2]] == list(range(len(raised)))
    letters = installation.vhost.read_dead("queue_a", len(raised))
    assert {letter.properties.message_id for letter in letters} == {end.id for end in ends[::2]}
    assert installation.vhost.ready("queue_a.dead") == 0
    assert processes_of(caller, kind) == processes
    assert installation.vhost.connection_names() == connections
    assert not worker.lines("link down")
    assert not worker.lines("CRITICAL")
    worker.sigterm()
    assert worker.wait() == 0


Asked = tuple[str, dict[str, Any], object]
#: What may be asked of any executor: handler, arguments, and the result or the code that it ends with.
ODD: list[Asked] = [
    ("fork", {}, ["the parent", 0]),
    ("fork", {"leave": True}, ["the parent", 0]),
    ("ask_for_decimals", {}, 2),
    ("ask_oddly", {}, 2),
    ("ask_for_nonsense", {}, "retries_exhausted"),
    ("raise_unreadable", {}, "retries_exhausted"),
    ("return_a_trap", {}, "retries_exhausted"),
    ("remember", {}, None),
    ("remember", {}, None),
]
#: The same of those on an event loop, where each comes twice.
ON_A_LOOP: list[Asked] = [
    ("use_a_client", {}, "ping\n"),
    ("leave_behind", {}, "left"),
    ("stop_the_loop", {}, "stopped"),
    ("cancel_itself", {}, "cancelled"),
]
ON_A_LOOP_OF_ITS_OWN: list[Asked] = [("lend_its_loop", {}, "lent"), ("close_the_loop", {}, "closed")]


@pytest.mark.parametrize("kind", FLAVOURS)
def test_whatever_a_handler_does_the_next_one_is_run_by_the_same_process(install: Install, kind: str) -> None:
    asked = [(f"{name}{flavour}", given, end) for flavour in FLAVOURS[kind] for name, given, end in ODD]
    if kind != "async":
        asked += ON_A_LOOP + ON_A_LOOP_OF_ITS_OWN
    asked += [*ON_A_LOOP, *ON_A_LOOP]
    installation = rude(install, kind, *{name for name, _, _ in asked}, concurrency=1, retries=1)
    worker, caller = installation.worker(), installation.caller()
    connections, processes = installation.vhost.connection_names(), processes_of(caller, kind)
    for name, arguments, expected in asked:
        reply = caller.ask(name, arguments, timeout_s=NEXT_S)
        assert (reply.result if reply.failure is None else reply.failure.code) == expected, name
    assert processes_of(caller, kind) == processes
    assert installation.vhost.connection_names() == connections
    worker.sigterm()
    assert worker.wait() == 0
    assert not worker.lines("destroyed but it is pending")


@pytest.mark.parametrize("kind", FLAVOURS)
def test_a_handler_that_configures_logging_does_not_silence_its_worker(install: Install, kind: str) -> None:
    flavour = FLAVOURS[kind][-1]
    installation = rude(install, kind, f"silence{flavour}", f"raise_it{flavour}", concurrency=1)
    worker, caller = installation.worker(), installation.caller()
    assert caller.ask(f"silence{flavour}").failure is None
    raised = caller.ask(f"raise_it{flavour}", {"error": "Own", "text": "short"})
    worker.wait_for(f"task {raised.id} (raise_it{flavour}) attempt 1 raised")
    worker.wait_for(f"task {raised.id} (raise_it{flavour}) is dead: retries_exhausted (Own: no)")
    worker.sigterm()
    assert worker.wait() == 0
    assert worker.lines("stopped: ")


def test_garbage_on_the_socket_of_a_child_costs_that_child(install: Install) -> None:
    installation = rude(install, "process", "write_garbage", concurrency=1)
    worker, caller = installation.worker(), installation.caller()
    connections = installation.vhost.connection_names()
    for what in GARBAGE:
        wrote = caller.asking("write_garbage", {"what": what})
        neighbours = [caller.asking("echo", {"value": number}) for number in range(3)]
        reply = wrote.result(20)
        assert code(reply) == "worker_lost", what
        assert reply.failure is not None
        assert "wrote to a socket" in reply.failure.text
        assert [neighbour.result(NEXT_S).result for neighbour in neighbours] == [0, 1, 2]
    assert installation.vhost.connection_names() == connections
    assert not worker.lines("link down")
    worker.sigterm()
    assert worker.wait() == 0
