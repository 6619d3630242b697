"""The picture of a spike: what waits, how many work, how long it takes. Needs the extra ``plot``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_OURS, _OTHER = "#b5522b", "#8a9ba8"
#: Seeds the ids inside the file, so that the same run makes the same picture.
_SALT = "glassrabbit"


def title(run: Mapping[str, Any]) -> str:
    plan = run["plan"]
    where = {"local": "local workers", "compose": "containers of Docker Compose"}[run["over"]]
    most = max(one["after"] for one in run["decisions"])
    return (
        f"{plan['tasks']:,} tasks of {plan['seconds'] * 1000:.0f} ms on {where}: 1 to {most} and back; "
        f"{run['sent']:,} sent, {run['lost']} lost, {run['twice']} run twice"
    )


def draw(run: Mapping[str, Any], path: Path) -> None:
    """Write an SVG whose words are text. Raises ``ModuleNotFoundError`` without matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    at, ready, workers, median, p95 = zip(*run["samples"], strict=True)
    style: Any = {"svg.fonttype": "none", "svg.hashsalt": _SALT, "font.family": "sans-serif", "font.size": 9}
    with mpl.rc_context(style):
        drawing, (first, second, third) = plt.subplots(3, 1, figsize=(9, 6), sharex=True, layout="constrained")
        drawing.suptitle(title(run), x=0.01, ha="left", fontsize=10)
        first.fill_between(at, ready, color=_OTHER, alpha=0.4)
        first.plot(at, ready, color=_OTHER)
        first.set_title("tasks that wait", loc="left", fontsize=9)
        changes = _changes(run)
        second.step(*changes, where="post", color=_OTHER, label="decided")
        second.step(at, workers, where="post", color=_OURS, label="at work")
        second.set_title("workers", loc="left", fontsize=9)
        for values, colour, label in ((p95, _OTHER, "p95"), (median, _OURS, "median")):
            known = [(when, value / 1000) for when, value in zip(at, values, strict=True) if value is not None]
            third.plot(*zip(*known, strict=True), color=colour, label=label)
        third.set_title("latency, s, of what was answered in each half second", loc="left", fontsize=9)
        third.set_yscale("log")
        third.yaxis.set_major_formatter("{x:g}")
        third.set_xlabel("seconds")
        for axes in (second, third):
            axes.legend(frameon=False, fontsize=8)
        for axes in (first, second, third):
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
        for axes in (first, second):
            axes.set_ylim(0, None)
        drawing.savefig(path, metadata={"Date": None})
        plt.close(drawing)


def _changes(run: Mapping[str, Any]) -> tuple[list[float], list[int]]:
    from datetime import datetime

    end_s = run["samples"][-1][0]
    changes = [one for one in run["decisions"] if one["before"] != one["after"]]
    points = [
        (datetime.fromisoformat(one["time"]).timestamp() - run["started_at"], one["after"]) for one in changes
    ]
    points = [(0.0, 1), *((at, after) for at, after in points if at >= 0), (end_s, points[-1][1])]
    return [at for at, _ in points], [after for _, after in points]
