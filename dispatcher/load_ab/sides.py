"""The two configurations of ``load ab``: the one that is there, with settings over it.

A setting travels as a variable of the environment, so that it is read and checked as any other, and the workers of
a side read what its dispatcher reads.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from broker.commands.config_rows import rows
from broker.config.loader import load
from broker.config.settings import Settings
from broker.config.yaml_document import Loc, dotted
from broker.errors import ConfigError
from broker.topology.model import topology_of
from dispatcher.errors import CallError
from dispatcher.load_ab.verdict import SideName
from protocol.errors import ExitCode

#: What a side cannot have for itself, or would not go by.
_OTHERS = ("broker", "workload", "scaling", "mailboxes", "replies")
#: Short for the prefetch of every queue of the test.
_PREFETCH = "worker.prefetch"
#: Of an attempt, that can be configured.
_LEAST_TIMEOUT_S = 0.1


class BadSetting(CallError):
    """A side cannot have this setting. Nothing was started or sent."""

    exit_code = ExitCode.USAGE


@dataclass(frozen=True, slots=True)
class Side:
    """One configuration, and the environment in which a worker has it."""

    name: SideName
    settings: Settings
    environ: Mapping[str, str]
    #: What it has of its own, key by key, as ``config show`` prints it.
    own: Mapping[str, str]

    @property
    def text(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.own.items()) or "as configured"


def patient(base: Settings, environ: Mapping[str, str], timeout_s: float) -> dict[str, str]:
    """``environ``, but no attempt takes longer than anybody waits for it, which is ``timeout_s``.

    The broker takes back what a worker holds for half an hour: with the usual timeout of an attempt, 300 s, few
    tasks may be prefetched, and load tests are about more.
    """
    variable = _variable(("defaults", "timeout_s"))
    around = {key: value for key, value in environ.items() if key.upper() != variable}
    return {**around, variable: f"{min(base.defaults.timeout_s, max(timeout_s, _LEAST_TIMEOUT_S)):g}"}


def side_of(
    name: SideName,
    texts: Sequence[str],
    queues: Sequence[str],
    config: str | None,
    environ: Mapping[str, str],
) -> Side:
    """What ``config`` and ``environ`` give, with each ``KEY=VALUE`` over it. Raises ``BadSetting``."""
    base = load(config, environ)
    option = f"--{name.lower()}"
    known = [row.key for row in rows(base, {}) if not row.key.startswith(_OTHERS)]
    given: dict[str, str] = {}
    for text in texts:
        for key, value in _settings(option, text, queues):
            if key in given:
                raise BadSetting(f"{option} {text}: {key} is given twice. Leave one of them out.")
            if key not in known:
                raise BadSetting(f"{option} {text}: {_no_key(key, known)}")
            given[key] = value
    variables = {_variable(_loc(key, base)): key for key in given}
    # A variable that is there counts whatever its case: ours must be alone.
    around = {key: value for key, value in environ.items() if key.upper().replace(".", "_") not in variables}
    own = {**around, **{variable: given[key] for variable, key in variables.items()}}
    try:
        settings = load(config, own)
    except ConfigError as error:
        raise BadSetting("\n".join(_reworded(problem, option, variables) for problem in error.problems)) from error
    shown = {row.key: row.text for row in rows(settings, {})}
    side = Side(name, settings, own, {key: shown[key] for key in given})
    if topology_of(settings) != topology_of(base):
        raise BadSetting(
            f"{option} {side.text}: both sides share the queues and bindings that are declared on the broker, and "
            "this would change them. Leave out delivery_limit of a queue and queue of a task."
        )
    return side


def _settings(option: str, text: str, queues: Sequence[str]) -> Iterator[tuple[str, str]]:
    key, _, value = text.partition("=")
    key, value = key.strip(), value.strip()
    if not key or not value:
        raise BadSetting(f"{option} {text}: no setting. Write KEY=VALUE, like worker.concurrency=4.")
    if key == _PREFETCH:
        yield from ((f"queues.{queue}.prefetch", value) for queue in queues)
    else:
        yield key, value


def _no_key(key: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(key, [*known, _PREFETCH], 1)
    cure = f"Did you mean {close[0]}?" if close else "`python -m broker config show` lists the keys."
    return f"there is no such setting, or a load test does not go by it. {cure}"


def _loc(key: str, base: Settings) -> Loc:
    """The place that a known key stands for: the name of a task may have dots itself."""
    heads = [("tasks", name) for name in base.tasks if key.startswith(dotted(("tasks", name)) + ".")]
    head = max(heads, key=lambda one: len(one[1]), default=())
    rest = key.removeprefix(dotted(head) + ".") if head else key
    return (*head, *rest.split("."))


def _variable(loc: Loc) -> str:
    return "GLASSRABBIT__" + "__".join(map(str, loc)).replace(".", "_").upper()


def _reworded(problem: str, option: str, variables: Mapping[str, str]) -> str:
    """A problem of a variable as one of the option."""
    for variable, key in variables.items():
        for start in (f"{variable}: {key}: ", f"{variable}: "):
            if problem.startswith(start):
                return f"{option} {key}: {problem.removeprefix(start)}"
    return f"{option}: {problem}"
