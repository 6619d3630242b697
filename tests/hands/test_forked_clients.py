"""Dispatchers as web servers and pools of processes use them: opened before a fork, not opened, closed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping

from tests.integration.test_links import url_at
from tests.support.installation import Installation
from tests.support.processes import is_running
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.support.workers import ROOT

_WITHIN_S = 30.0

#: A server that loads its application, then forks (gunicorn --preload, uwsgi); and a pool of multiprocessing.
FORKED = """
import multiprocessing, os, sys, threading
from broker.config.loader import load
from dispatcher.blocking import BlockingDispatcher
from dispatcher.errors import NotOpen

dispatcher = BlockingDispatcher(load(None))

def ask(value):
    return dispatcher.call("echo", {"value": value}, timeout_s=10)

with dispatcher:
    ends = dispatcher.map("echo", [{"value": "mapped"}] * 100, window=2)
    print(next(ends).end.result)
    for number in range(3):
        if os.fork() == 0:
            with dispatcher:
                threads = [threading.Thread(target=ask, args=[number]) for _ in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                loops = [thread for thread in threading.enumerate() if thread.name == "dispatcher"]
                print("child", ask(number), len(loops), flush=True)
            try:
                ask(number)
            except NotOpen:
                os._exit(0)
    print([os.wait()[1] for _ in range(3)])
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(pool.map(ask, range(6)))
    print(sum(1 for _ in ends), ask("parent"))
"""


def test_forks_of_a_process_with_an_open_dispatcher_ask_by_connections_of_their_own(
    installation: Installation,
) -> None:
    installation.worker()
    broker = installation.vhost.broker
    with Proxy(broker.host, broker.port) as proxy:
        out = python(FORKED, {**installation.environment, "BROKER_URL": url_at(installation, proxy.port)})
        children = [f"child {number} 1" for number in range(3)]
        assert sorted(out) == sorted(["mapped", *children, "[0, 0, 0]", "[0, 1, 2, 3, 4, 5]", "99 parent"])
        # The parent's, one of each child, one or two of the pool (its first process may do all the work).
        assert proxy.accepted in (1 + 3 + 1, 1 + 3 + 2)


#: The same for an event loop: its dispatcher is opened anew by hand.
FORKED_LOOP = """
import asyncio, multiprocessing
from broker.config.loader import load
from dispatcher.client import Dispatcher
from dispatcher.errors import NotOpen

dispatcher = Dispatcher(load(None))

async def ask(who):
    print(who, await dispatcher.call("echo", {"value": 1}, timeout_s=10), flush=True)

async def ask_all(who):
    ways = [ask(who), dispatcher.submit("echo", mailbox="box"), anext(dispatcher.collect("box"))]
    for end in await asyncio.gather(*ways, return_exceptions=True):
        print(who, type(end).__name__, flush=True)

def child():
    asyncio.run(ask_all("child"))
    async def anew():
        async with dispatcher:
            await ask("child")
    asyncio.run(anew())

async def main():
    async with dispatcher:
        waits = asyncio.create_task(dispatcher.call("task_a", {"seconds": 1}))
        await asyncio.sleep(0.1)
        forked = multiprocessing.get_context("fork").Process(target=child)
        forked.start()
        await asyncio.to_thread(forked.join)
        print((await waits)["slept"], dispatcher.generation, forked.exitcode)
    await ask_all("closed")
    await dispatcher.open()
    await ask("again")

asyncio.run(ask_all("unopened"))
asyncio.run(main())
asyncio.run(ask_all("elsewhere"))
"""


def test_a_dispatcher_says_at_once_where_it_is_not_open_and_can_be_opened_there(
    installation: Installation,
) -> None:
    installation.worker()
    out = python(FORKED_LOOP, installation.environment)
    refused = [f"{who} NotOpen" for who in ("unopened", "child", "closed", "elsewhere") for _ in range(3)]
    assert sorted(out) == sorted([*refused, "child 1", "1 1 0", "again 1"])


OPEN = """
import os, sys, time
from broker.config.loader import load
from dispatcher.blocking import BlockingDispatcher
from dispatcher.errors import NoReply

dispatcher = BlockingDispatcher(load(None))
dispatcher.open()
print("open", flush=True)
sys.stdin.readline()
if (child := os.fork()) == 0:
    began_s = time.monotonic()
    try:
        dispatcher.call("echo", timeout_s=1)
    except NoReply:
        print(time.monotonic() - began_s < 3, flush=True)
    sys.stdin.readline()
    os._exit(0)
print(child, flush=True)
os.wait()
"""


def test_a_fork_that_cannot_connect_ends_its_call_in_time_and_does_not_keep_the_parents_connection_open(
    installation: Installation,
) -> None:
    broker = installation.vhost.broker
    with Proxy(broker.host, broker.port) as proxy, contextlib.ExitStack() as stack:
        environment = {**installation.environment, "BROKER_URL": url_at(installation, proxy.port)}
        parent = stack.enter_context(opened(OPEN, environment))
        assert said(parent) == "open"
        proxy.welcome("hang")
        answer(parent)
        child, in_time = sorted([said(parent), said(parent)])
        stack.callback(os.kill, int(child), signal.SIGKILL)
        assert in_time == "True"
        (link,) = [link for link in proxy.live if "dispatcher" in link.name]
        parent.kill()
        eventually(lambda: not link.is_open, "the end of the parent's connection", 5)
        assert is_running(int(child))


def opened(code: str, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def answer(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def python(code: str, environment: Mapping[str, str]) -> list[str]:
    """The lines that it prints. It has to end well, and on standard error there is nothing."""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()
