"""Steps for people and for programs. Nothing that came over the wire can move a cursor or begin a line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from broker.console.escaping import plain
from broker.watch.life import Source, Step


def line(step: Step) -> str:
    """``12:00:00.000 5bab3ee9 delivered queue_a → vm:4711: tag 1 [worker]``, in the time of this place."""
    at = f"{_time(step.at).astimezone():%H:%M:%S.%f}"[:-3] if step.at else "unknown     "
    ids = step.ids[0][:8] + (f" +{len(step.ids) - 1}" if len(step.ids) > 1 else "")
    way = step.start if step.start == step.end else f"{step.start} → {step.end}"
    return plain(f"{at} {ids} {step.name:<11} {way}{': ' if step.text else ''}{step.text} [{step.source}]")


def to_map(step: Step) -> dict[str, object]:
    """The same as data."""
    return {
        "at": _time(step.at).isoformat(timespec="milliseconds") if step.at else None,
        "ids": list(step.ids),
        "step": step.name,
        "source": step.source.value,
        "from": step.start,
        "to": step.end,
        "text": step.text or None,
    }


def to_mermaid(steps: Sequence[Step]) -> str:
    """A sequence (https://mermaid.js.org/syntax/sequenceDiagram.html). What is unknown has an open arrow."""
    names: dict[str, str] = {}
    for name in [name for step in steps for name in (step.start, step.end)]:
        names.setdefault(name, f"p{len(names)}")
    ids = list(dict.fromkeys(one for step in steps for one in step.ids))
    lines = ["sequenceDiagram", *(f"    participant {key} as {_inert(name)}" for name, key in names.items())]
    for step in steps:
        which = f" ({', '.join(one[:8] for one in step.ids)})" if len(ids) > 1 else ""
        text = f"{step.name}{which}{': ' if step.text else ''}{_inert(step.text)}"
        if step.start == step.end:
            lines.append(f"    Note over {names[step.start]}: {text}")
        else:
            arrow = "--)" if step.source is Source.UNKNOWN else "->>"
            lines.append(f"    {names[step.start]}{arrow}{names[step.end]}: {text}")
    return "\n".join(lines)


def _inert(text: str) -> str:
    """Without what means something to Mermaid."""
    return "".join(f"#{ord(char)};" if char in "#;<>" else char for char in plain(text))


def _time(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
