"""docs/python.md is a project: its files are written as they stand, and each does what the page says."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

import dispatcher
from protocol.errors import GlassrabbitError
from tests.hands.test_names import GLASSRABBIT, own_environment
from tests.integration.test_readme import assert_printed, run_block
from tests.support.hands import Hand
from tests.support.vhost import Vhost
from tests.support.workers import ROOT

PAGE = (ROOT / "docs" / "python.md").read_text()
FILES = dict(re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
_ROW = re.compile(r"^\| `(\w+)` \| .+? \| (yes|no) \| (yes|no) \|", re.MULTILINE)


class Project:
    """The files of the page in a folder, and a broker for them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.environment = own_environment(BROKER_URL=url, PYTHONWARNINGS="error")
        for name, text in FILES.items():
            (folder / name).write_text(text)

    def python(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def worker(self) -> Iterator[Hand]:
        with Hand([GLASSRABBIT, "declare"], self.environment, cwd=self.folder, interpreter=()) as declare:
            assert declare.wait().code == 0
        words = [GLASSRABBIT, "worker", "orders"]
        with Hand(words, self.environment, cwd=self.folder, interpreter=()) as worker:
            worker.said(" ready: ")
            yield worker


@pytest.fixture
def project(vhost: Vhost, tmp_path: Path) -> Project:
    return Project(tmp_path, vhost.url)


def test_the_page_has_no_block_that_is_not_run() -> None:
    assert set(FILES) == {
        "config.yml", "shop.py", "script.py", "asynchronous.py", "asgi.py", "wsgi.py", "test_shop.py", "relay.py"
    }  # fmt: skip
    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == len(FILES) + 1


def test_the_commands_print_what_the_page_shows(project: Project, tmp_path: Path) -> None:
    [block] = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    own = {"BROKER_URL": project.environment["BROKER_URL"], "GLASSRABBIT_CONFIG": str(tmp_path / "config.yml")}
    assert_printed(block, run_block(block + "$ kill %1; wait\n", tmp_path, **own))


def test_scripts_get_their_results(project: Project) -> None:
    with project.worker():
        called, rejected, asked, *mapped, collected = project.python("script.py").splitlines()
        assert called == "{'packed': 13, 'price': '9.90', 'day': '2026-11-30'}"
        assert (rejected, asked, collected) == ("rejected no such order", "2 1", "4")
        assert sorted(mapped) == ["1 0", "2 1", "3 2"]
        assert project.python("asynchronous.py") == "[0, 1, 2]\n"


def test_an_asgi_application_has_its_dispatcher_for_its_lifespan(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("BROKER_URL", project.environment["BROKER_URL"])
    names: dict[str, object] = {}
    exec(FILES["asgi.py"], names)  # noqa: S102
    app = SimpleNamespace(state=SimpleNamespace())

    async def serve() -> str:
        async with names["lifespan"](app):  # type: ignore[operator]
            answer: str = await names["pack"](app, 5)  # type: ignore[operator]
            return answer

    with project.worker():
        assert json.loads(asyncio.run(serve()))["packed"] == 5


def test_a_wsgi_application_answers_in_the_process_that_loaded_it_and_in_its_forks(project: Project) -> None:
    (project.folder / "serve.py").write_text(
        "import os, wsgi\n"
        "say = lambda status, _: print(status)\n"
        "answer = lambda order: wsgi.application({'QUERY_STRING': order}, say)[0].decode()\n"
        "print(answer('1'), flush=True)\n"
        "if (child := os.fork()) == 0:\n"
        "    print(answer('2'), flush=True)\n"
        "    os._exit(0)\n"
        "assert os.waitpid(child, 0)[1] == 0\n"
        "print(answer('3'))\n"
    )
    with project.worker():
        lines = project.python("-W", "ignore::DeprecationWarning", "serve.py").splitlines()
    assert lines[::2] == ["200 OK"] * 3
    assert [json.loads(line)["packed"] for line in lines[1::2]] == [1, 2, 3]


def test_the_tests_of_a_handler_need_no_broker(project: Project) -> None:
    project.environment["BROKER_URL"] = "amqp://127.0.0.1:1/"
    assert "3 passed" in project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py")


def test_a_handler_sends_tasks_if_it_is_given_the_url_and_else_learns_why_not(project: Project) -> None:
    code = (
        "from dispatcher import BlockingDispatcher, load\n"
        "with BlockingDispatcher(load()) as d:\n"
        "    reply = d.ask('orders.split', {'orders': [1, 2]}, timeout_s=20)\n"
        "    print(len(reply.result) if reply.failure is None else reply.failure.text)\n"
        "    print(sorted(one.result['packed'] for one in d.collect('packed', count=2, timeout_s=20)))\n"
    )
    with project.worker():
        assert project.python("-c", code).splitlines() == ["2", "[1, 2]"]
    withheld = FILES["config.yml"].replace("handlers_get_login: true, ", "")
    (project.folder / "config.yml").write_text(withheld + "defaults: {retry: {max_retries: 0}}\n")
    with project.worker():
        assert project.python("-c", code.rpartition("    print(sorted")[0]) == (
            "BROKER_URL is kept from handlers. Set worker.handlers_get_login: true for those that send tasks.\n"
        )


def test_the_table_of_exceptions_names_all_of_them_and_what_it_says_of_each_holds() -> None:
    rows = {name: (again == "yes", known == "yes") for name, again, known in _ROW.findall(PAGE)}
    bases = {"GlassrabbitError", "CallError"}
    errors = {
        name: kind
        for name in dispatcher.__all__
        if isinstance(kind := getattr(dispatcher, name), type) and issubclass(kind, GlassrabbitError)
    }
    assert set(rows) == set(errors) - bases
    for name, said in rows.items():
        assert said == (errors[name].retryable, errors[name].outcome_known), name
