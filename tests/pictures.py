"""The pictures of docs/operations.md: what commands print to a terminal, from a run; and those of docs/workers.md.

python -m tests.pictures makes docs/status.svg, docs/doctor.svg and docs/dead-letter.svg, on a private broker;
with ``spike local`` or ``spike compose`` the data and the picture of that spike, and exit 1 if something is wrong
with the run; with ``--draw`` the picture alone, from the data that are there.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from broker.node.local import private_node
from dispatcher.commands.demo import CONFIG
from tests.integration.test_compose import Project
from tests.support import spike_picture
from tests.support.spike import Plan, Site, compose, local, override, spike, text, wrong
from tests.support.waiting import eventually
from tests.support.workers import ROOT

#: Picture → the command that it is of, and the columns of its terminal.
PICTURES = {
    "status": ("broker status", 130),
    "doctor": ("broker doctor", 110),
    "dead-letter": ("broker dead show queue_a", 120),
}
#: What happened before: tasks that were done, one that failed for good, one that nobody takes.
BEFORE = (
    ("map task_a", '{}\n{"fail_times": 1}\n{}\n', 0),
    ("call task_a -a fail_times=9", "", 1),
    ("submit task_b", "", 0),
    ("submit task_a --delay 600", "", 0),
)
_WITHIN_S = 60
#: The fonts would be fetched from elsewhere: a reader's own will do.
_FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*|<!--.*?-->\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def draw(into: Path, broker: Mapping[str, str]) -> None:
    """Make all pictures, with what an installation without anything declared becomes in a few seconds."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yml"
        config.write_text(CONFIG)
        environment = {**os.environ, **broker, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment.pop("NO_COLOR", None)
        _run("broker declare", config, environment)
        with _worker(config, environment):
            for command, lines, code in BEFORE:
                _run(f"dispatcher {command}", config, environment, lines, code)
            # The numbers of a broker's API are some seconds late.
            eventually(lambda: _is_known(config, environment), "a status with all numbers", _WITHIN_S)
            for name, (command, columns) in PICTURES.items():
                printed = _on_terminal(command, config, {**environment, "COLUMNS": str(columns)})
                (into / f"{name}.svg").write_text(picture(f"python -m {command}", printed, columns))


def _is_known(config: Path, environment: Mapping[str, str]) -> bool:
    status = json.loads(_run("broker status -o json", config, environment))
    queues = (*status["queues"], *status["mailboxes"], status["obituaries"])
    return bool(status["workers"]) and all(queue["unacked"] is not None for queue in queues)


def picture(title: str, printed: str, columns: int) -> str:
    """The SVG of a terminal with this output."""
    console = Console(
        record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(Text.from_ansi(printed), soft_wrap=True)
    svg = console.export_svg(title=title, code_format=_FORMAT, unique_id="terminal")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def _words(command: str, config: Path) -> list[str]:
    return [sys.executable, "-m", *command.split(), "--config", str(config)]


def _run(command: str, config: Path, environment: Mapping[str, str], lines: str = "", code: int = 0) -> str:
    done = subprocess.run(
        _words(command, config),
        cwd=ROOT,
        env=environment,
        input=lines,
        capture_output=True,
        text=True,
        timeout=_WITHIN_S,
    )
    assert done.returncode == code, done.stderr
    return done.stdout


@contextlib.contextmanager
def _worker(config: Path, environment: Mapping[str, str]) -> Iterator[None]:
    worker = subprocess.Popen(
        _words("worker queue_a", config), cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    with worker:
        try:
            assert worker.stderr is not None
            assert any("ready: " in line for line in worker.stderr), "the worker ended before it was ready"
            yield
        finally:
            worker.terminate()


def _on_terminal(command: str, config: Path, environment: Mapping[str, str]) -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        _words(command, config), cwd=ROOT, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = b""
    # A terminal whose last writer has gone is an error on Linux, and an end elsewhere.
    with process, contextlib.suppress(OSError), open(ours, "rb", buffering=0) as terminal:
        while piece := terminal.read(4096):
            printed += piece
    return printed.decode().replace("\r\n", "\n")


@contextlib.contextmanager
def _site(over: str, folder: Path) -> Iterator[Site]:
    if over == "local":
        with private_node() as node:
            yield local(folder, node.info.url, node.info.management_url or "")
        return
    project = Project()
    override(project, folder)
    try:
        Site(over, {}, folder, "").prepare(Plan())
        project.up("worker-a")
        yield compose(project, folder)
    finally:
        project.remove()


def draw_spike(over: str, *, again: bool) -> int:
    """Run a spike (unless it is only drawn ``again``), draw it and print its decisions; 1 if it went wrong."""
    path = ROOT / "docs" / f"spike-{over}.json"
    if not again:
        with tempfile.TemporaryDirectory() as folder, _site(over, Path(folder)) as site:
            path.write_text(json.dumps(spike(site, Plan())) + "\n")
    run = json.loads(path.read_text())
    spike_picture.draw(run, path.with_suffix(".svg"))
    print(spike_picture.title(run), *map(text, run["decisions"]), sep="\n")
    problems = wrong(run)
    for problem in problems:
        print(f"wrong: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["spike"]:
        raise SystemExit(draw_spike(sys.argv[2], again="--draw" in sys.argv))
    with private_node() as node:
        api = {"GLASSRABBIT__BROKER__MANAGEMENT_URL": node.info.management_url or ""}
        draw(ROOT / "docs", {"BROKER_URL": node.info.url, **api})
