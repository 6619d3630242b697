"""One running broker of a name for all test processes of a user: of one session, of several, of several checkouts.
A process that must have one alone gets it the same way, so that it never outlives the process.

A keeper (a process of its own: ``python -m glassrabbit_testing.shared NAME``) starts the broker and stops it when
its last user is gone. It is built on locks of files, which the kernel releases when a process dies: a killed user
no longer counts, and what a killed keeper left behind is removed by the next one.

- ``NAME.users`` is locked, shared, by each process that uses the broker. The keeper gets it once there is none.
- ``NAME.keeper`` is locked by the keeper for its life.
- ``NAME.start`` is locked while a user looks for a keeper or starts one.
- ``NAME.json`` says where the broker is. It is there from its readiness until the keeper gives it up.

``TEST_BROKERS_KEEP_S`` in the environment of the session that starts a broker keeps it for that long after its
last user, ready for the next session.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from glassrabbit_testing.waiting import eventually

#: Where this package and its neighbours are imported from, in a checkout and installed.
_HERE = Path(__file__).parents[1]
#: From nothing to a broker that is ready, on a loaded machine.
_START_S = 240.0
_LOOK_S = 1.0
#: Between the name of a broker and the process that has it alone.
_ALONE = "-alone-"


class NoBroker(Exception):
    """The keeper could not start its broker."""


@dataclass(frozen=True)
class Running:
    """Where a shared broker is."""

    keeper: int
    how: str
    version: str
    port: int
    management_port: int
    #: Its container; None for a rabbitmq-server of this machine.
    container: str | None
    #: For ``rabbitmqctl`` of this machine.
    environment: dict[str, str]


def folder() -> Path:
    """For the files of this user alone."""
    made = Path(tempfile.gettempdir()) / f"glassrabbit-tests-{os.getuid()}"
    made.mkdir(mode=0o700, exist_ok=True)
    assert made.stat().st_uid == os.getuid(), f"{made} belongs to somebody else"
    return made


def container_name(name: str) -> str:
    """Of the container that all who have this folder share."""
    return f"{folder().name}-{zlib.crc32(os.fsencode(folder())):08x}-{name}"


class Use:
    """The use of a broker by this process, until ``end`` or its death. ``alone``: by nobody else."""

    def __init__(self, name: str, *, alone: bool = False) -> None:
        name = f"{name}{_ALONE}{os.getpid()}" if alone else name
        self._file = opened(name, "users")
        fcntl.flock(self._file, fcntl.LOCK_SH)
        with locked(name, "start"):
            self.running = _found(name) or _start(name)

    def end(self) -> None:
        self._file.close()


def _found(name: str) -> Running | None:
    """The broker of a keeper that lives. One that gives its broker up, or whose broker was removed by somebody
    else, is waited for."""
    state = _state(name)
    if state.exists() and not is_free(name):
        found = json.loads(state.read_text())
        if "problem" not in found:
            running = Running(**found)
            if _listens(running.port):
                return running
            with contextlib.suppress(ProcessLookupError):
                os.kill(running.keeper, signal.SIGTERM)
    with locked(name, "keeper"):
        state.unlink(missing_ok=True)
    return None


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _start(name: str) -> Running:
    log = folder() / f"{name}.log"
    # By a shell that ends at once, so that the keeper is nobody's child and outlives this process.
    command = ["sh", "-c", 'exec "$@" </dev/null >"$0" 2>&1 &', str(log), sys.executable, "-m", __name__, name]
    subprocess.run(command, cwd=_HERE, check=True, start_new_session=True)
    state = _state(name)
    eventually(state.exists, f"a shared broker {name} (see {log})", _START_S)
    found = json.loads(state.read_text())
    if "problem" in found:
        state.unlink()
        raise NoBroker(f"{name}: {found['problem']} (see {log})")
    return Running(**found)


def keep(name: str) -> None:
    """Be the keeper, until nobody uses the broker."""
    from glassrabbit_testing.nodes import new_broker

    version, _, owner = name.partition(_ALONE)
    keep_s = 0.0 if owner else float(os.environ.get("TEST_BROKERS_KEEP_S", "0"))
    with locked(name, "keeper"):
        broker = new_broker(version, container_name(name))
        try:
            try:
                broker.start()
                _write(name, asdict(broker.running()))
                with _unused(name, keep_s):
                    _state(name).unlink()
            finally:
                _state(name).unlink(missing_ok=True)
                broker.stop()
        except Exception as error:
            _write(name, {"problem": f"{type(error).__name__}: {error}"})
            raise
    if owner:
        remove(name)


@contextlib.contextmanager
def _unused(name: str, for_s: float) -> Iterator[None]:
    """Once nobody has used the broker for so long. Nobody begins to within the block."""
    with opened(name, "users") as users:
        while True:
            fcntl.flock(users, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_UN)
            until = time.monotonic() + for_s
            while is_unused := _locks(users):
                if time.monotonic() >= until:
                    break
                fcntl.flock(users, fcntl.LOCK_UN)
                time.sleep(_LOOK_S)
            if is_unused:
                yield
                return


def is_free(name: str, what: str = "keeper") -> bool:
    """Whether nobody has a lock; by default: no keeper lives."""
    with opened(name, what) as file:
        return _locks(file)


def _locks(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def locked(name: str, what: str) -> Iterator[None]:
    with opened(name, what) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def opened(name: str, what: str) -> IO[str]:
    return (folder() / f"{name}.{what}").open("a")


def remove(name: str) -> None:
    """All its files: nobody may use them any more."""
    for file in folder().glob(f"{name}.*"):
        file.unlink()


def _state(name: str) -> Path:
    return folder() / f"{name}.json"


def _write(name: str, content: object) -> None:
    """Whole or not at all."""
    new = folder() / f"{name}.new"
    new.write_text(json.dumps(content))
    new.chmod(0o600)
    new.replace(_state(name))


if __name__ == "__main__":
    # Ends as an exception does, so that the broker is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    keep(sys.argv[1])
