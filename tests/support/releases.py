"""Two releases beside each other: today's, and the one that every addition is held against.

The older one is taken out of the history into a folder, from which its commands and workers run.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.commands import Ended, Running, command
from tests.support.installation import Installation
from tests.support.place import YESTERDAY
from tests.support.vhost import Letter
from tests.support.workers import ROOT, WorkerProcess

#: What today's release publishes or declares and yesterday's does not → what yesterday's makes of it.
#:
#: The tests fail over what is missing here, and over what is here and is not so. Of messages it is their kind and
#: one of ``parts`` (``retry: header replay (int)``), else a line of ``broker diff`` (``queue x: missing on the
#: broker``).
ADDED: Mapping[str, str] = {
    "exchange control: missing on the broker": "nothing",
    "exchange control.markers: missing on the broker": "nothing",
    "queue tasks.control: missing on the broker": "nothing: its workers cannot be steered",
    "binding control → tasks.control (tasks.control): missing on the broker": "nothing",
    "binding control.markers → tasks.control (tasks.control): missing on the broker": "nothing",
    "replayed task: header replayed_at (long)": "passed over, and missing on its retries: a cancel from before "
    "the replay may end one",
}
#: What has to be asked for.
SWITCHED_ON: Mapping[str, str] = {"GLASSRABBIT__CONTROL__ENABLED": "true"}

_HANDLERS = Path("tests/support/handlers.py")


@dataclass(frozen=True)
class Release:
    """One version of the code. Handlers are the user's: the same file for all."""

    name: str
    folder: Path
    #: Settings, as environment variables.
    settings: Mapping[str, str]

    def worker(self, installation: Installation, *queues: str) -> WorkerProcess:
        return installation.worker_of(self.folder, *queues, **self.settings)

    def run(self, installation: Installation, line: str, stdin: str = "", code: int = 0) -> Ended:
        """Run ``python -m LINE`` to its end, which has to come with this exit code."""
        ended = self._command(installation, line.split(), stdin)
        assert ended.code == code, f"{line} of {self.name}: {ended}"
        return ended

    def collected(self, installation: Installation, count: int) -> list[dict[str, Any]]:
        """So many replies out of the mailbox ``results``, failures as well."""
        words = ["collect", "results", "-n", str(count), "--timeout", "20"]
        return self._command(installation, ["dispatcher", *words]).objects

    def _command(self, installation: Installation, words: Sequence[str], stdin: str = "") -> Ended:
        environment = {**installation.environment, **self.settings}
        return command(environment, *words, stdin=stdin, cwd=self.folder)

    def running(self, installation: Installation, line: str) -> Running:
        return Running({**installation.environment, **self.settings}, *line.split(), cwd=self.folder)


TODAY = Release("today", ROOT, SWITCHED_ON)


def yesterday(folder: Path) -> Release:
    """Take it out of the history, into a folder that is empty."""
    archive = subprocess.run(["git", "archive", YESTERDAY], cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "x"], cwd=folder, check=True, input=archive)
    # A namespace package: what is installed would come before it, whichever folder Python is started in.
    (folder / "broker" / "__init__.py").touch()
    shutil.copy(ROOT / _HANDLERS, folder / _HANDLERS)
    return Release("yesterday", folder, {})


def parts(letter: Letter) -> set[str]:
    """What a message is made of: its properties, its headers with their types, the keys of its body."""
    properties = {f"property {name}" for name, value in vars(letter.properties).items() if value is not None}
    headers = {f"header {name} ({type(value).__name__})" for name, value in letter.headers.items()}
    keys = {f"key {name}" for name in letter.value} if isinstance(letter.value, dict) else set()
    return properties | headers | keys
