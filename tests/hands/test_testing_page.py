"""docs/testing.md is a project whose tests pass: its files are written as they stand, the package is installed."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hands.test_names import own_environment
from tests.integration.test_readme import assert_printed
from tests.support import peers
from tests.support.brokers import Broker
from tests.support.workers import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text()
FILES = dict(re.findall(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
#: Need packages that we do not depend on.
PEERS = {"test_aio_pika.py", "test_celery.py"}
WRONG = "test_wrong.py"

#: Runs pytest with these words in a folder with the files of the page; what it prints.
Run = Callable[..., str]


@pytest.fixture
def run(bin_of: Path, broker: Broker, tmp_path: Path) -> Run:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)

    def run(*words: str, **further: str) -> str:
        command = [str(bin_of / "python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rabbit", broker.name]
        environment = own_environment(**further)
        done = subprocess.run(
            [*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200
        )
        return done.stdout + done.stderr

    return run


def usual() -> list[str]:
    return sorted(name for name in FILES if name.startswith("test_") and name not in {*PEERS, WRONG})


def test_the_page_has_no_block_that_is_not_run() -> None:
    assert len(re.findall(r"^```\w", PAGE, re.MULTILINE)) == len(FILES) + 1
    assert set(FILES) == {*usual(), *PEERS, WRONG, "config.yml", "shop.py"}


def test_its_tests_pass(run: Run) -> None:
    printed = run("-W", "error", "-m", "not own_rabbit", *usual())
    assert re.search(r"^12 passed, 3 deselected", printed, re.MULTILINE), printed


def test_what_goes_wrong_is_printed_as_the_page_shows(run: Run) -> None:
    [block] = re.findall(r"^```console\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert_printed(block, run(WRONG).splitlines())


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.every_broker(long=True)
def test_its_tests_with_a_broker_of_their_own_pass(run: Run) -> None:
    printed = run("-W", "error", *usual())
    assert re.search(r"^15 passed", printed, re.MULTILINE), printed


@pytest.mark.long
@pytest.mark.timeout(900)
def test_aio_pika_and_celery_get_their_virtual_host_and_its_faults(run: Run) -> None:
    peers.prepare()
    prefix = str(peers.PEERS)
    theirs = sysconfig.get_path("purelib", vars={"base": prefix, "platbase": prefix})
    printed = run(*sorted(PEERS), PYTHONPATH=theirs)
    assert re.search(r"^2 passed", printed, re.MULTILINE), printed
