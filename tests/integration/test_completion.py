"""Shell completion as bash asks for it, with nothing but a configuration."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import command
from tests.support.workers import ROOT, environment

CONFIG = """\
queues: {mail: {}, mail_bulk: {}, reports: {}}
tasks:
  mail.send: {queue: mail, handler: "m:f"}
  mail.sort: {queue: mail, handler: "m:f"}
  report: {queue: reports, handler: "m:f"}
mailboxes: [answers]
"""

#: Calls the function that bash calls at Tab, with what bash knows then.
TAB = """
source <("$0" -m broker completion bash)
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_glassrabbit "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "own config.yml"
    path.write_text(CONFIG)
    return path


def tab(words: list[str], config: Path, cwd: Path = ROOT) -> list[str]:
    """What bash offers for the last of these words."""
    done = subprocess.run(
        ["bash", "-uc", TAB, sys.executable, *words],
        cwd=cwd,
        env={**environment(config, "amqp://broker.invalid"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("worker ma", ["mail", "mail_bulk"]),
        ("worker mail reports --concurrency 3 ''", ["mail_bulk"]),
        ("worker --conc", ["--concurrency"]),
        ("worker --log-format ''", ["text", "json"]),
        ("worker --log-format = j", ["json"]),
        ("dispatcher call mail.", ["mail.send", "mail.sort"]),
        ("dispatcher call -a times = 3 re", ["report"]),
        ("dispatcher submit report --mailbox ''", ["answers"]),
        ("dispatcher collect ''", ["answers"]),
        ("dispatcher c", ["call", "collect"]),
        ("broker dead list --queue mail --queue mail_", ["mail_bulk"]),
        ("broker dead replay --task rep", ["report"]),
        ("broker config ''", ["schema", "show", "validate"]),
        ("broker completion ''", ["bash", "zsh", "fish"]),
    ],
)
def test_bash_completes_commands_options_and_names(line: str, offered: list[str], config: Path) -> None:
    assert tab([sys.executable, "-X", "dev", "-m", *shlex.split(line)], config) == offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("worker ma", ["mail", "mail_bulk"]),
        ("call mail.", ["mail.send", "mail.sort"]),
        ("dispatcher call mail.", ["mail.send", "mail.sort"]),
        ("doc", ["doctor"]),
        ("completion ''", ["bash", "zsh", "fish"]),
    ],
)
def test_bash_completes_the_installed_command(line: str, offered: list[str], config: Path) -> None:
    assert tab([str(Path(sys.executable).with_name("glassrabbit")), *shlex.split(line)], config) == offered


def test_the_configuration_on_the_line_is_the_one_that_is_asked(config: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yml"
    other.write_text("queues: {other: {}}")
    assert tab([sys.executable, "-m", "worker", "-c", str(other), ""], config) == ["other"]
    assert tab([sys.executable, "-m", "worker", "-c", f"'{config}'", ""], other) == [
        "mail",
        "mail_bulk",
        "reports",
    ]
    assert tab([sys.executable, "-m", "worker", "--config", str(other)[:-2]], config) == [str(other)]
    other.write_text("queues: wrong")
    assert tab([sys.executable, "-m", "worker", ""], other) == []


def test_every_other_use_of_python_is_left_alone(config: Path) -> None:
    for words in (["-m", "json.tool", ""], ["script.py", "wor"], ["-m", "wor"], [""]):
        assert tab([sys.executable, *words], config) == []


def test_tab_never_starts_the_worker_of_another_project(config: Path, tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    started = tmp_path / "started"
    for name in ("__init__", "__main__"):
        (tmp_path / "worker" / f"{name}.py").write_text(f"open({str(started)!r}, 'a').write({name!r})")
    assert tab([sys.executable, "-m", "worker", "ma"], config, cwd=tmp_path) == []
    assert started.read_text() == "__init__"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_scripts_of_the_other_shells_ask_in_the_same_way(shell: str, config: Path) -> None:
    script = command(environment(config, "amqp://h"), "broker", "completion", shell)
    assert script.code == 0
    assert '-m "$module.completion"' in script.out or "-m $module.completion" in script.out
    for package in ("broker", "worker", "dispatcher"):
        answer = command(environment(config, "amqp://h"), f"{package}.completion", "--he")
        assert answer.out.startswith("plain\t--help\t")
