"""One password, one run in which everything goes wrong, and nothing that anybody may see holds the password.

Where it must be: the environment of the process that connects, and its memory. Where it must not be: any output,
log, title, dead letter, reply, what the broker shows of a connection, and any process that does not connect.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.administrator import close_connections, shown_connections
from tests.support.commands import Running, command
from tests.support.hostile_bodies import ALL
from tests.support.hostile_memory import family
from tests.support.hostile_socket import Socket, task_fields
from tests.support.installation import Install, Installation
from tests.support.vhost import Vhost
from tests.support.workers import ROOT, WorkerProcess

HANDLERS = "tests.support.hostile_handlers"
EVERYTHING = {"configure": ".*", "write": ".*", "read": ".*"}


class Canary:
    """A user whose password must show nowhere, and all that was seen."""

    def __init__(self, vhost: Vhost) -> None:
        self._vhost = vhost
        self.name = f"canary-{vhost.name}"
        #: Of letters and digits, so that percent-encoding leaves it as it is; around it what has to be encoded.
        self.core = f"canary{secrets.token_hex(8)}"
        self.password = f"ü/{self.core}@:%"
        self.seen: dict[str, bytes] = {}

    def url(self, vhost: str | None = None, password: str | None = None, port: int | None = None) -> str:
        login = f"{self.name}:{quote(password or self.password, safe='')}"
        broker = self._vhost.broker
        return f"amqp://{login}@{broker.host}:{port or broker.port}/{vhost or self._vhost.name}"

    def see(self, what: str, shown: str | bytes) -> None:
        self.seen[what] = shown if isinstance(shown, bytes) else shown.encode()

    def run(self, environment: dict[str, str], line: str, code: int) -> None:
        """A command, which must end with this code; its output is seen."""
        module, *words = line.split()
        ended = command(environment, module, *words)
        assert ended.code == code, (line, ended)
        self.see(f"{line} ({len(self.seen)})", ended.out + ended.err)

    def run_all(self, *runs: tuple[dict[str, str], str, int]) -> None:
        """Several side by side, since most of them wait."""
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(self.run, *one) for one in runs]:
                done.result()

    def see_titles(self, pid: int) -> None:
        for one in family(pid):
            proc = Path("/proc", str(one))
            self.see(f"title of {one}", proc.joinpath("cmdline").read_bytes() + proc.joinpath("comm").read_bytes())

    def is_in_none(self) -> bool:
        """Of at least so much was seen, nothing holds it."""
        print(f"{sum(map(len, self.seen.values()))} bytes of {len(self.seen)} outputs")
        assert [what for what, shown in self.seen.items() if self.core.encode() in shown] == []
        return True


@pytest.fixture
def canary(vhost: Vhost) -> Iterator[Canary]:
    canary, management = Canary(vhost), vhost.broker.management
    management.add_user(canary.name, canary.password, vhost.name, EVERYTHING)
    yield canary
    management.remove_user(canary.name)


@pytest.fixture
def installation(install: Install) -> Installation:
    return install(
        tasks={
            name: {"queue": "queue_a", "handler": f"{HANDLERS}:{name}", "retry": {"max_retries": 0}}
            for name in ("environment", "own_memory", "raise_text")
        },
        workload=[{"task": "raise_text", "arguments": {"text": "x"}}],
    )


def test_a_worker_and_a_dispatcher_on_their_worst_day_show_it_to_nobody(
    installation: Installation, canary: Canary, raw: Socket
) -> None:
    vhost = installation.vhost
    environment = {**installation.environment, "BROKER_URL": canary.url()}
    worker, machine = _verbose_worker(installation, canary), _verbose_worker(installation, canary, "json")
    for _, content in ALL.values():
        raw.send_message("", "queue_a", content, task_fields("echo"))
    raw.wait()
    with Running(environment, "dispatcher", "map", "crash", "--timeout", "20") as mapping:
        mapping.write("{}\nno json\n[]\n")
        canary.see_titles(worker.pid)
        canary.see_titles(mapping.pid)
        mapping.end_input()
        ended = mapping.wait()
        canary.see("map", ended.out + ended.err)
    canary.run_all(
        (environment, "dispatcher call raise_text -a text=boom -o json", 1),
        (environment, "dispatcher call no_such", 4),
        (environment, "dispatcher", 1),
        (environment, "broker diff", 0),
        (environment, "broker show -o json", 0),
        (environment, "broker config show --origin", 0),
        (environment, "broker config show --origin -o json", 0),
        (environment, "broker config validate", 0),
        (environment, "dispatcher --log-format json call no_such", 4),
    )
    letters = vhost.read_dead("queue_a", len(ALL) + 3, within_s=40)
    canary.see("letters", repr([(letter.properties.__dict__, letter.body) for letter in letters]))
    connections = shown_connections(vhost, " consume", " publish")
    canary.see("what the broker shows of connections", json.dumps(connections))
    vhost.broker.management.request("PUT", "users", canary.name, body={"password": "another", "tags": ""})
    close_connections(vhost)
    for one in (worker, machine):
        one.wait_for("refused the login")
    refused = ("dispatcher call echo", "dispatcher collect box", "broker declare", "broker dead list")
    canary.run_all(*((environment, line, 69) for line in refused))
    for one in (worker, machine):
        one.sigterm()
        one.wait()
        canary.see(f"log of worker {one.pid}", one.log)
    assert canary.is_in_none()


def _verbose_worker(installation: Installation, canary: Canary, log_format: str = "text") -> WorkerProcess:
    """A worker that says all that it can, and all that asyncio and Python can say of it."""
    options = ("--verbose", "--log-format", log_format)
    worker = installation.worker(
        *options, "queue_a", ready=False, BROKER_URL=canary.url(), PYTHONASYNCIODEBUG="1", PYTHONDEVMODE="1"
    )
    worker.wait_for("ready: ")
    return worker


def test_no_error_of_a_wrong_url_login_vhost_or_host_shows_it(installation: Installation, canary: Canary) -> None:
    own, core = installation.environment, canary.core
    down = [
        canary.url("no-such-vhost"),
        canary.url(port=1),
        canary.url(password=f"{canary.password}x"),
        f"amqp://u:{core}@no-such-host.invalid/v",
        canary.url().replace("amqp://", "amqps://"),
    ]
    wrong = [
        f"{canary.url()}?ssl_options={{'password': '{core}'}}",
        f"{canary.url()}?heartbeat={core}",
        canary.url().replace("amqp://", "http://"),
        f"amqp://u:{core}",
        f"amqp://u:a/{core}@h/",
        core,
        f"{canary.url()},,{core}",
    ]
    files = [
        f"broker: {{url: {canary.url()}, hearbeat_s: 3}}",
        f"broker: {{management_url: 'http://u:{core}@h:15672'}}",
        f"broker:\n  url: [{canary.url()}\nqueues: {{",
        f"broker: {{tls: {canary.url()}}}",
    ]
    paths = [installation.folder / f"{number}.yml" for number in range(len(files))]
    for path, text in zip(paths, files, strict=True):
        path.write_text(text)
    canary.run_all(
        *(({**own, "BROKER_URL": url}, "dispatcher call echo --timeout 5", 69) for url in down),
        *(({**own, "BROKER_URL": url}, "dispatcher call echo", 78) for url in wrong),
        *(({**own, f"GLASSRABBIT__BROKER__{key}": canary.url()}, "worker queue_a", 78) for key in ("URLS", "TLS")),
        *(
            (own, f"worker queue_a --config {installation.folder}/{number}.yml", 78)
            for number in range(len(files))
        ),
    )
    assert canary.is_in_none()


def test_help_and_usage_show_nothing_of_the_environment(installation: Installation, canary: Canary) -> None:
    environment = {**installation.environment, "BROKER_URL": canary.url()}
    commands = {
        "worker": ("",),
        "broker": (
            "",
            "config show",
            "config validate",
            "declare",
            "show",
            "diff",
            "up",
            "down",
            "dead list",
            "dead replay",
        ),
        "dispatcher": ("", "call", "map", "submit", "collect", "demo"),
    }
    canary.run_all(
        *((environment, f"{module} {words} --help", 0) for module, all_ in commands.items() for words in all_),
        *((environment, f"{module} --no-such-option", 2) for module in commands),
    )
    assert canary.is_in_none()


#: A program of a user's that logs all that anybody says, and whose dispatcher is refused.
PROGRAM = """
import asyncio, logging, os, sys, traceback
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from broker.config.loader import load
from dispatcher.client import Dispatcher

async def main():
    settings = load()
    print(settings, repr(settings.broker), settings.model_dump(), settings.broker.endpoints)
    try:
        async with Dispatcher(settings) as dispatcher:
            print(vars(dispatcher), vars(dispatcher._asking))
            await dispatcher.call("echo", timeout_s=0.3)
    except Exception as error:
        traceback.print_exc(file=sys.stdout)
        while error is not None:
            print(repr(error), vars(error))
            error = error.__cause__ or error.__context__

asyncio.run(main(), debug=True)
"""


def test_a_program_that_logs_everything_at_debug_level_shows_it_nowhere(
    installation: Installation, canary: Canary
) -> None:
    installation.declare()
    for url in (canary.url(), canary.url(password=f"{canary.password}x")):
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-c", PROGRAM],
            cwd=ROOT,
            env={**installation.environment, "BROKER_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=True,
        )
        assert b"DEBUG" in done.stdout
        canary.see(f"program {url}".replace(canary.core, ""), done.stdout)
    assert canary.is_in_none()


def test_a_handler_finds_it_neither_in_its_environment_nor_in_its_memory(
    installation: Installation, canary: Canary
) -> None:
    """A handler and what it starts need no broker; its process is the one that dumps core."""
    worker = installation.worker(BROKER_URL=canary.url())
    caller = installation.caller()
    found = caller.ask("environment").result
    assert "GLASSRABBIT_CONFIG" in found
    half = len(canary.core) // 2
    in_memory = caller.ask("own_memory", {"needle": f"{canary.core[:half]}|{canary.core[half:]}"}).result
    assert (canary.core in json.dumps(found), in_memory) == (False, 0)
    assert worker.is_alive
