"""Built, installed into an environment of its own, and used in an empty folder."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

from broker.console.start import PACKAGES
from tests.hands.test_names import own_environment
from tests.support.hands import Hand
from tests.support.vhost import Vhost
from tests.support.wheel import installed, pythons, run

KIT = "glassrabbit_testing"
#: A program of somebody who installed the package, and whether its author has mistaken a name or a type.
TYPED = """\
from dispatcher import BlockingDispatcher, Dispatcher, NoReply, TaskFailed, load
from worker import Current, Reject, Retry, current

with BlockingDispatcher(load()) as dispatcher:
    name: str = dispatcher.submit("noop")
attempt: int = current().attempt
"""


def test_the_wheel_holds_the_four_typed_packages_and_the_kit_for_tests(archives: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(archives[1]) as wheel:
        names = wheel.namelist()
        [information] = {name.split("/")[0] for name in names} - {*PACKAGES, KIT}
        metadata = message_from_string(wheel.read(f"{information}/METADATA").decode())
        commands = wheel.read(f"{information}/entry_points.txt").decode()
    assert {f"{package}/py.typed" for package in (*PACKAGES, KIT)} <= set(names)
    assert [name for name in names if "__pycache__" in name] == []
    assert f"{information}/licenses/LICENSE" in names
    assert "glassrabbit = broker.console.start:main" in commands
    assert {"Name", "Version", "Summary", "License-Expression", "Keywords", "Requires-Python"} <= set(metadata)
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.14"} <= set(metadata.get_all("Classifier", []))
    assert str(metadata.get_payload()).startswith("# Glassrabbit")


def test_the_sdist_holds_what_the_tests_need(archives: tuple[Path, Path]) -> None:
    with tarfile.open(archives[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", "config.yml", "Makefile", "docs/workers.md"} <= names
    assert {"tests/conftest.py", "tests/contract/vectors.json", "docker/Dockerfile"} <= names


def test_an_empty_folder_is_enough_to_have_tasks_done(bin_of: Path, vhost: Vhost, tmp_path: Path) -> None:
    use(bin_of, vhost, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", pythons())
def test_each_python_of_this_machine_installs_it_and_has_tasks_done(
    version: str, archives: tuple[Path, Path], vhost: Vhost, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    use(installed(archives[1], tmp_path / "environment", pythons()[version], borrow=False), vhost, empty)


def use(bin_of: Path, vhost: Vhost, folder: Path) -> None:
    """Declare, work and call in this folder, with every warning of Python an error."""
    environment = own_environment(BROKER_URL=vhost.url, PYTHONWARNINGS="error")
    glassrabbit = str(bin_of / "glassrabbit")
    imported = run(str(bin_of / "python"), "-c", "import worker; print(worker.__file__)", cwd=folder)
    assert Path(imported).is_relative_to(bin_of.parent)
    for words in (["declare"], ["diff"]):
        with Hand([glassrabbit, *words], environment, cwd=folder, interpreter=()) as running:
            assert running.wait().code == 0
    with Hand([glassrabbit, "worker", "queue_a"], environment, cwd=folder, interpreter=()) as worker:
        worker.said(" ready: ")
        words = ["call", "task_a", "-a", "seconds=0"]
        with Hand([glassrabbit, *words], environment, cwd=folder, interpreter=()) as running:
            called = running.wait()
        assert called.code == 0, called.err
        assert called.err.count(f"no config.yml in {folder}: going by the built-in example") == 1
        assert json.loads(called.out)["attempt"] == 1


@pytest.mark.long
def test_a_type_checker_sees_the_public_names_and_their_types(bin_of: Path, tmp_path: Path) -> None:
    def checked(source: str) -> str:
        (tmp_path / "program.py").write_text(source)
        words = ["-m", "mypy", "--strict", f"--python-executable={bin_of / 'python'}", "program.py"]
        return subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True).stdout

    assert checked(TYPED) == "Success: no issues found in 1 source file\n"
    wrong = checked(TYPED.replace("NoReply", "NoReplies").replace("attempt: int", "attempt: str"))
    assert 'Module "dispatcher" has no attribute "NoReplies"' in wrong
    assert 'expression has type "int", variable has type "str"' in wrong
