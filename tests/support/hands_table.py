"""How each command is run, what it needs, and what standard output then holds: ``COMMANDS``."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from protocol.names import new_id
from tests.support.brokers import free_port
from tests.support.by_hand import post, reply
from tests.support.commands import command
from tests.support.hands import Hand
from tests.support.installation import Installation
from tests.support.letters import bury, dead_task
from tests.support.steering import name_of
from tests.support.vhost import body

#: Of two locales the first has neither character, and of one the second.
TEXT = "é🐇"
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

#: Raises if standard output does not hold what it should.
Data = Callable[[str], None]


class Place:
    """An installation with a worker, and what commands find there."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.run = str(installation.folder / "run.json")
        installation.declare()
        installation.worker()
        #: It may be drained: nothing here goes to its queue.
        self.spare = installation.worker("queue_b")
        made = command(
            installation.environment, "dispatcher", "load", "-n", "5", "--task", "echo", "--out", self.run
        )
        assert made.code == 0, made.err

    #: What an installation has for it, as changes of the configuration.
    @staticmethod
    def changes(management_url: str) -> dict[str, object]:
        return {
            "broker": {"management_url": management_url},
            "queues": {"queue_s": {}, "queue_z": {}},
            "tasks": {
                "served": {"queue": "queue_s", "handler": "tests.support.handlers:echo"},
                "sleepy": {"queue": "queue_z", "handler": "tests.support.handlers:echo"},
            },
            "workload": [{"task": "echo", "count": 2, "arguments": {"value": TEXT}}],
            "mailboxes": ["box"],
            "control": {"enabled": True},
            "worker": {"http": {"enabled": False}},
        }

    def letter(self) -> dict[str, str]:
        """The id of a new dead letter of ``queue_z``, which nobody serves."""
        [task_id] = bury(self.installation.settings, [dead_task("sleepy", packed=body(value=TEXT))], "queue_z")
        return {"id": task_id}

    def mail(self) -> dict[str, str]:
        task_id = new_id()
        post(self.installation.vhost, "box", task_id, reply(task_id, TEXT))
        return {}

    def port(self) -> dict[str, str]:
        return {"port": str(free_port())}

    def worker(self) -> dict[str, str]:
        return {"worker": name_of(self.spare)}

    def file(self) -> dict[str, str]:
        return {"run": self.run}


def _nothing(_place: Place) -> dict[str, str]:
    return {}


def no_data(out: str) -> None:
    assert out == ""


def text(*parts: str) -> Data:
    def check(out: str) -> None:
        for part in parts:
            assert part in _COLOURS.sub("", out), (part, out)

    return check


def json_text(*parts: str) -> Data:
    """One JSON value, in which these are found when its characters are not escaped."""

    def check(out: str) -> None:
        text(*parts)(json.dumps(json.loads(out), ensure_ascii=False))

    return check


def json_lines(count: int, *parts: str) -> Data:
    def check(out: str) -> None:
        lines = out.splitlines()
        assert len(lines) == count
        for line in lines:
            json_text(*parts)(line)

    return check


@dataclass(frozen=True)
class Entry:
    """One way to run a command. ``words`` come behind its name; what ``prepare`` returns fills their braces."""

    words: str
    data: Data
    prepare: Callable[[Place], Mapping[str, str]] = _nothing
    stdin: bytes = b""
    codes: tuple[int, ...] = (0,)
    #: It runs until it is told to stop. True once that may be done.
    is_there: Callable[[Place, Mapping[str, str], Hand], bool] | None = None
    stop: signal.Signals = signal.SIGTERM
    #: It starts a broker, many workers or containers: only in the long tier, and there not under all conditions.
    is_heavy: bool = False
    needs_engine: bool = False
    #: Runs of it get in each other's way.
    is_alone: bool = False

    @property
    def has_data(self) -> bool:
        return self.data is not no_data


def _serves(place: Place, _given: Mapping[str, str], _hand: Hand) -> bool:
    return place.installation.vhost.consumers("queue_s") > 0


def _listens(_place: Place, given: Mapping[str, str], _hand: Hand) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(given["port"]))) == 0


_LINES = "".join(f'{{"value": "{TEXT}{number}"}}\n' for number in range(3)).encode()

COMMANDS: dict[str, Entry] = {
    "broker declare": Entry("", text("declared ")),
    "broker show": Entry("-o json", json_text("queue_z.dead")),
    "broker diff": Entry("", text("no differences")),
    "broker completion": Entry("bash", text("_glassrabbit()")),
    "broker status": Entry("-o json", json_text("queue_z.dead")),
    # Tasks wait in a queue without a worker: it may say so.
    "broker doctor": Entry("", text("reachable", "checks"), codes=(0, 1)),
    "broker config show": Entry("-o jsonl", text("workload[0].arguments")),
    "broker config validate": Entry("", text("ok: ")),
    "broker config schema": Entry("", json_text("$schema")),
    "broker dead list": Entry("-o jsonl --id {id}", json_lines(1, "by hand"), Place.letter, is_alone=True),
    "broker dead show": Entry("-o json --id {id}", json_text(TEXT), Place.letter, is_alone=True),
    "broker dead export": Entry("--id {id}", json_lines(1, TEXT), Place.letter, is_alone=True),
    "broker dead replay": Entry("queue_z --id {id}", text("queue_z"), Place.letter, is_alone=True),
    "broker dead purge": Entry("queue_z --id {id} --yes", text("queue_z"), Place.letter, is_alone=True),
    "broker pause": Entry("queue_a", text("paused"), is_alone=True),
    "broker resume": Entry("queue_a", text("not paused"), is_alone=True),
    "broker running": Entry("-o json", json_text()),
    "broker watch": Entry("0123456789abcdef0123456789abcdef --timeout 1 -o jsonl", no_data, codes=(75,)),
    "broker cancel": Entry("0123456789abcdef0123456789abcdef", text("record")),
    "broker drain": Entry("{worker} -o json", json_text("drain"), Place.worker),
    "broker log-level": Entry("{worker} debug -o json", json_text("debug"), Place.worker),
    "broker peek": Entry("queue_z -o json", json_text()),
    "broker purge": Entry("tasks.lost --yes", text("tasks.lost")),
    "broker move": Entry("queue_s queue_z --dry-run -o json", json_text('"moved": 0')),
    "broker up": Entry("", text("amqp://"), is_heavy=True, is_there=lambda *here: b"amqp" in here[-1].out),
    "broker down": Entry("", no_data, is_alone=True),
    "broker wire": Entry(
        "--listen {port}", no_data, Place.port, is_there=_listens, stop=signal.SIGINT, codes=(130,)
    ),
    "dispatcher": Entry("-o json", json_text(TEXT)),
    "dispatcher call": Entry(f"echo -a value={TEXT}", json_text(TEXT)),
    "dispatcher map": Entry("echo", json_lines(3, TEXT), stdin=_LINES),
    "dispatcher submit": Entry("sleepy -o json", json_text('"id"')),
    "dispatcher collect": Entry("box -n 1 --timeout 20", json_lines(1, TEXT), Place.mail),
    "dispatcher demo": Entry("", text("queue_a.dead"), is_heavy=True),
    "dispatcher load": Entry("-n 20 --task echo -o json", json_text('"done": 20')),
    "dispatcher load compare": Entry("{run} {run}", text("median"), Place.file),
    "dispatcher load ab": Entry("--task sleepy -n 20 --rounds 6", text("interval"), is_heavy=True),
    "worker": Entry("queue_s", no_data, is_there=_serves, is_alone=True),
    "worker up": Entry("queue_s=1", no_data, is_there=_serves, is_alone=True),
    "worker scale": Entry("queue_a=1 --dry-run", text("docker"), is_heavy=True, needs_engine=True),
    "worker autoscale": Entry("queue_s --once -o json", json_text('"queue": "queue_s"')),
}


def is_over(pid: int) -> bool:
    """Whether nothing is left of the session that this process led."""
    return not any(session == pid for session in _sessions())


def _sessions() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found.append(int(stat.read_text().rpartition(")")[2].split()[3]))
        except OSError:
            continue
    return found
