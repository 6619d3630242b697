"""A lesson's file read as text, and its page: the question, each step with what passed, the differences, the
mutant.

A page holds nothing but the lesson's own words and what a run showed.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tests.lessons.kit import BROKER, ByVersion, Claim, Lesson, Mutant, version_numbers
from tests.lessons.recording import Event
from tests.support.workers import ROOT

FOLDER = Path(__file__).parent
PAGES = ROOT / "docs" / "lessons"
_WIDE = 14
_ABOUT = (
    "Below is what a run on RabbitMQ 4.0 showed; ids and times are masked, and answers that say no more than ok"
    " are left out."
)


@dataclass(frozen=True)
class Plan:
    """What a lesson says before it runs."""

    file: Path
    module: ModuleType

    @property
    def number(self) -> int:
        return int(self.file.stem.split("_")[1])

    @property
    def page(self) -> Path:
        slug = self.file.stem.split("_", 2)[2].replace("_", "-")
        return PAGES / f"{self.number:02}-{slug}.md"

    @property
    def question(self) -> str:
        return _documented(self.module).splitlines()[0]

    @property
    def explanation(self) -> str:
        """The docstring without its first line: Markdown."""
        return _documented(self.module).split("\n", 1)[1].strip()

    @property
    def mutant(self) -> Mutant:
        found = self.module.MUTANT
        assert isinstance(found, Mutant)
        return found

    @property
    def nodes(self) -> int:
        """How many it needs: a cluster, if more than one."""
        return int(getattr(self.module, "NODES", 1))

    @property
    def next(self) -> str:
        return str(self.module.NEXT)

    @property
    def differs(self) -> dict[int, ByVersion]:
        return dict(self.module.DIFFERS)

    @property
    def run(self) -> Callable[[Lesson], None]:
        (found,) = [value for name, value in vars(self.module).items() if name.startswith("test_")]
        assert callable(found)
        return found  # type: ignore[no-any-return]

    def steps(self) -> list[str]:
        """The code before each claim."""
        source = self.file.read_text()
        lines = source.splitlines()
        (body,) = [one.body for one in ast.parse(source).body if isinstance(one, ast.FunctionDef)]
        found, start = [], body[0].lineno
        for statement in body:
            if is_claim(statement):
                found.append(_dedented(lines[start - 1 : statement.lineno - 1]))
                start = (statement.end_lineno or 0) + 1
        return found


def plans() -> list[Plan]:
    return [load(file) for file in sorted(FOLDER.glob("test_[0-9][0-9]_*.py"))]


def load(file: Path) -> Plan:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Plan(file, module)


def is_claim(statement: ast.stmt) -> bool:
    """Whether a statement of a lesson is ``lesson.claim(…)``."""
    return isinstance(statement, ast.Expr) and ast.unparse(statement).startswith("lesson.claim(")


def render(plan: Plan, claims: Sequence[Claim], events: Sequence[Event]) -> str:
    """The page after a run."""
    file = plan.file.relative_to(ROOT).as_posix()
    clients = _clients(events)
    parts = [
        f"# {plan.number}. {plan.question}",
        plan.explanation,
        f"Run it: `make lesson N={plan.number}` ([the file](../../{file})). {_ABOUT}",
        "## The experiment",
    ]
    for code, claim in zip(plan.steps(), claims, strict=True):
        passed = [event for event in events if event.step == claim.number]
        parts += [f"```python\n{code}\n```"] if code else []
        parts += ["```text\n" + "\n".join(lines(passed)) + "\n```"] if passed else []
        parts.append(f"**{claim.number}. {claim.question}** {answer(claim.answer)}")
    parts += ["## Who sent what to whom", "```mermaid\n" + "\n".join(_mermaid(clients, events)) + "\n```"]
    if plan.differs:
        parts += ["## By version", "\n".join(_table(plan, claims))]
    mutant = plan.mutant
    parts += [
        "## The line that matters",
        f"Change `{mutant.line}` to `{mutant.instead}`, and claim {mutant.breaks} does not hold any more.",
        f"Next: {_next(plan)}",
    ]
    return "\n\n".join(parts) + "\n"


def answer(value: object) -> str:
    return f"`{value!r}`" if not isinstance(value, str) else value


def lines(events: Sequence[Event]) -> Iterator[str]:
    """The frames of a step, one a line."""
    wide = max(len(event.client) for event in events)
    for event in events:
        arrow = "→ broker" if event.by_client else "← broker"
        yield f"{event.client:<{wide}} {arrow if event.method else '✂'} {event.text}"


def picture(events: Sequence[Event]) -> Iterator[str]:
    """Lanes for a terminal: the broker on the left, each client beside it."""
    clients = _clients(events)
    yield "broker".ljust(_WIDE) + "".join(client.ljust(_WIDE) for client in clients)
    for event in events:
        lane = 0 if event.client == BROKER else (clients.index(event.client) + 1) * _WIDE
        row = [" "] * (len(clients) * _WIDE + 1)
        for at in range(0, len(row), _WIDE):
            row[at] = "│"
        if event.method:
            row[1:lane] = "─" * (lane - 1)
            row[1 if event.by_client else lane - 1] = "◀" if event.by_client else "▶"
        else:
            row[lane] = "✂"
        yield f"{''.join(row)}  {event.gist[:70]}"


def _clients(events: Sequence[Event]) -> list[str]:
    return list(dict.fromkeys(event.client for event in events if event.client != BROKER))


def _mermaid(clients: Sequence[str], events: Sequence[Event]) -> Iterator[str]:
    """What came unasked has an open arrow."""
    names = {client: f"c{number}" for number, client in enumerate(clients)} | {BROKER: BROKER}
    yield "sequenceDiagram"
    yield from (f"    participant {names[client]} as {client}" for client in clients)
    yield f"    participant {BROKER}"
    for event in events:
        name, text = names[event.client], _plain(event.gist)
        if not event.method:
            yield f"    Note over {name}: {text}"
        elif event.by_client:
            yield f"    {name}->>broker: {text}"
        else:
            yield f"    broker{'-)' if event.is_unasked else '-->>'}{name}: {text}"


def _plain(text: str) -> str:
    """Short, and without what mermaid reads as its own."""
    short = text if len(text) <= 60 else text[:59] + "…"
    return re.sub(r"[;#{}<>]", lambda found: f"#{ord(found[0])};", short)


def _table(plan: Plan, claims: Sequence[Claim]) -> Iterator[str]:
    questions = {claim.number: claim.question for claim in claims}
    versions = sorted(
        {name for by in plan.differs.values() for name in by},
        key=version_numbers,
    )
    yield f"| claim | {' | '.join(f'from {name}' for name in versions)} |"
    yield "| --- |" + " --- |" * len(versions)
    for number, by in sorted(plan.differs.items()):
        answers = " | ".join(answer(by.at(name)) for name in versions)
        yield f"| {number}. {questions[number]} | {answers} |"


def _next(plan: Plan) -> str:
    """A link to the next lesson by its number."""
    (found,) = [other for other in plans() if other.file.stem == plan.next]
    return f"[{found.number}. {found.question}]({found.page.name})"


def _documented(module: ModuleType) -> str:
    assert module.__doc__, f"{module.__name__} has no docstring"
    return module.__doc__.strip()


def _dedented(code: Sequence[str]) -> str:
    """At the left margin a function has two empty lines around it, as the format of all code here asks."""
    text = "\n".join(line.removeprefix("    ") for line in code).strip("\n")
    text = re.sub(r"\n\n(?=def )", "\n\n\n", text)
    return re.sub(r"(\n +return .*)\n\n(?=\S)", r"\1\n\n\n", text)
