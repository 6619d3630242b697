"""In a folder with files named like our packages the installed command is still ours, and says what clashes."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from broker.__main__ import main as broker_cli
from broker.commands.glassrabbit import SHORT
from broker.console.start import PACKAGES
from dispatcher.__main__ import main as dispatcher_cli
from tests.support.hands import Ended, Hand
from tests.support.vhost import Vhost

GLASSRABBIT = str(Path(sys.executable).with_name("glassrabbit"))
CONFIG = """\
queues: {mail: {}}
tasks:
  mail.pack: {queue: mail, handler: "shop:pack"}
  mail.thread: {queue: mail, handler: "shop:pack", executor: thread}
  mail.async: {queue: mail, handler: "shop:pack_soon", executor: async}
worker: {http: {enabled: false}}
"""
#: ``queue`` is a module of Python's, which comes first; ``helpers`` is nobody else's.
SHOP = """\
import queue

import helpers
from worker import current


def pack():
    return {"queue": queue.__file__, "helpers": helpers.WHOSE, "attempt": current().attempt}


async def pack_soon():
    return pack()
"""
NOT_OURS = "raise SystemExit('a file of the user was run')\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project whose author chose the same names as we did, for files and for folders."""
    (tmp_path / "config.yml").write_text(CONFIG)
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "helpers.py").write_text("WHOSE = 'the user'\n")
    for name in ("worker", "dispatcher", "protocol", "queue"):
        (tmp_path / f"{name}.py").write_text(NOT_OURS)
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "__init__.py").write_text(NOT_OURS)
    (tmp_path / "broker" / "config.py").write_text(NOT_OURS)
    return tmp_path


def own_environment(**further: str) -> dict[str, str]:
    """Ours, without settings and paths of the developer's."""
    left_out = ("GLASSRABBIT", "BROKER_URL", "PYTHON")
    return {**{key: value for key, value in os.environ.items() if not key.startswith(left_out)}, **further}


def glassrabbit(folder: Path, environment: Mapping[str, str], *words: str) -> Ended:
    with Hand([GLASSRABBIT, *words], environment, cwd=folder, interpreter=()) as running:
        return running.wait()


def test_a_worker_and_its_handlers_get_our_packages_and_the_log_names_every_file_that_clashes(
    folder: Path, vhost: Vhost
) -> None:
    environment = own_environment(BROKER_URL=vhost.url)
    assert glassrabbit(folder, environment, "declare").code == 0
    with Hand([GLASSRABBIT, "worker", "mail"], environment, cwd=folder, interpreter=()) as worker:
        worker.said(" ready: ")
        for task in ("mail.pack", "mail.thread", "mail.async"):
            called = glassrabbit(folder, environment, "call", task)
            assert (called.code, called.err) == (0, "")
            answer = json.loads(called.out)
            assert (answer["helpers"], answer["attempt"]) == ("the user", 1)
            assert Path(answer["queue"]).parent == Path(os.__file__).parent
        said = worker.err
    for name, file in (("worker", "worker.py"), ("dispatcher", "dispatcher.py"), ("broker", "broker")):
        assert (
            f"handlers cannot import {folder / file}: the name {name} belongs to Glassrabbit. Rename it." in said
        )


def test_what_is_on_pythonpath_takes_none_of_our_names_either(folder: Path) -> None:
    (folder / "queue.py").unlink()  # PYTHONPATH comes before all that is Python's, and before our
    (folder / "broker" / "__init__.py").unlink()  # installed packages when the command itself is looked for
    shown = glassrabbit(folder, own_environment(PYTHONPATH=str(folder)), "worker", "nowhere")
    assert (shown.code, shown.out) == (78, b"")
    assert shown.err.splitlines()[-1] == "error: queue 'nowhere' is not in the configuration; it has mail."


def test_a_handler_in_a_file_that_is_named_like_us_is_refused_with_the_reason(folder: Path) -> None:
    (folder / "config.yml").write_text(CONFIG.replace('"shop:pack"}', '"worker:pack"}'))
    ended = glassrabbit(folder, own_environment(BROKER_URL="amqp://127.0.0.1:1/"), "worker", "mail")
    assert ended.code == 78
    assert "handler 'worker:pack' cannot be loaded: AttributeError" in ended.err
    assert "The name worker belongs to Glassrabbit: a module of yours needs another." in ended.err


def test_a_pool_starts_our_worker_and_not_the_file_of_that_name(folder: Path, vhost: Vhost) -> None:
    environment = own_environment(BROKER_URL=vhost.url)
    assert glassrabbit(folder, environment, "declare").code == 0
    with Hand([GLASSRABBIT, "worker", "up", "mail=1"], environment, cwd=folder, interpreter=()) as pool:
        pool.said(" ready: ")
        assert glassrabbit(folder, environment, "call", "mail.pack").code == 0
        # A pool that is killed leaves its workers, which lead groups of their own.
        pool.signal(signal.SIGTERM)
        assert pool.wait().code == 0


def test_every_command_stands_alone_but_for_those_of_worker_which_share_a_name() -> None:
    assert isinstance(broker_cli, click.Group)
    assert isinstance(dispatcher_cli, click.Group)
    assert set(SHORT) == set(PACKAGES) - {"protocol"}
    assert set(SHORT["broker"]) == set(broker_cli.commands)
    assert set(SHORT["dispatcher"]) == set(dispatcher_cli.commands)
    assert not set(SHORT["broker"]) & set(SHORT["dispatcher"])


@pytest.mark.parametrize("words", [["--help"], ["call", "-h"], ["worker", "up", "-h"], ["dead", "list", "-h"]])
def test_help_names_the_command_as_it_was_given(words: list[str], folder: Path) -> None:
    ended = glassrabbit(folder, own_environment(), *words)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.decode().startswith(" ".join(["Usage: glassrabbit", *words[:-1]]))


@pytest.mark.alone
@pytest.mark.parametrize("words", [[], ["worker"], ["dispatcher"], ["status"]])
def test_help_costs_less_than_a_fifth_of_a_second_of_processor_time(words: list[str], folder: Path) -> None:
    def cost_s() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert glassrabbit(folder, own_environment(), *words, "--help").code == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    costs = [cost_s() for _ in range(3)]
    assert min(costs) < 0.2, costs


@pytest.mark.parametrize("words", [[], ["worker"], ["dispatcher"], ["broker"]])
def test_the_version_is_that_of_the_package(words: list[str], folder: Path) -> None:
    ended = glassrabbit(folder, own_environment(), *words, "--version")
    assert (ended.code, ended.err) == (0, "")
    assert re.fullmatch(r"glassrabbit \d+\.\d+\.\d+\n", ended.out.decode())
