"""The picture of a run: rates at full load, and latencies at rest. Needs the extra ``plot``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figures

_OURS, _OTHERS = "#b5522b", "#8a9ba8"
_OUR_NAMES = ("thread", "async", "process", "batch 50", "batch auto")
#: Seeds the ids inside the file, so that the same figures make the same picture.
_SALT = "glassrabbit"


def draw(figures: Figures, path: Path) -> None:
    """Write an SVG whose words are text, so that it can be searched and read aloud."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    style: Any = {"svg.fonttype": "none", "svg.hashsalt": _SALT, "font.family": "sans-serif", "font.size": 9}
    with mpl.rc_context(style):
        rates = sorted((one.tasks_per_s.median, one.contestant) for one in figures.rates)
        rests = sorted(((one.p50_ms, one.contestant) for one in figures.rests), reverse=True)
        drawing, (left, right) = plt.subplots(1, 2, figsize=(9, 0.6 + 0.3 * len(rates)), layout="constrained")
        _bars(left, rates, "tasks a second, at full load", "{:,.0f}")
        left.set_xscale("log")
        _bars(right, rests, "milliseconds of a call, at rest (p50)", "{:.2f}")
        drawing.savefig(path, metadata={"Date": None})
        plt.close(drawing)


def _bars(axes: Any, values: Sequence[tuple[float, str]], title: str, shown: str) -> None:
    names = [name for _, name in values]
    bars = axes.barh(
        names,
        [value for value, _ in values],
        color=[_OURS if name in _OUR_NAMES else _OTHERS for name in names],
    )
    axes.bar_label(bars, [shown.format(value) for value, _ in values], padding=3)
    axes.set_title(title, loc="left", fontsize=9)
    axes.margins(x=0.2)
    axes.spines[["top", "right"]].set_visible(False)
