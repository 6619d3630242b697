"""The tables and the picture of docs/performance.md, from a run.

python -m tests.benchmarks.page [bench.json] takes the figures of that run into docs/performance.json, without its
samples, and makes the page and docs/performance.svg anew. The text of the page is written by hand, and stays.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from pydantic import TypeAdapter

from tests.benchmarks.figures import SCHEMA, Figures
from tests.benchmarks.picture import draw
from tests.benchmarks.processes import ROOT
from tests.benchmarks.tables import TABLES, bottleneck

DOCS = ROOT / "docs"
PAGE, FIGURES, PICTURE = "performance.md", "performance.json", "performance.svg"

_BLOCK = re.compile(r"<!-- table: ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)
_BOTTLENECK = "bottleneck"


def read(path: Path) -> Figures:
    """The figures of a run, from the file that it wrote or from ours. Raises ``SystemExit`` for another schema."""
    values = json.loads(path.read_text())
    if values.get("schema") != SCHEMA:
        raise SystemExit(f"{path} is not of this version: measure again with `make bench`")
    return TypeAdapter(Figures).validate_python(values)


def filled(text: str, figures: Figures) -> str:
    """The page with its tables made anew from figures."""
    return _BLOCK.sub(lambda found: f"<!-- table: {found[1]} -->\n{_block(found[1], figures)}<!-- end -->", text)


def _block(name: str, figures: Figures) -> str:
    if name == _BOTTLENECK:
        return (
            "".join(f"- {line}\n" for line in bottleneck(figures)) or "The broker held nobody back in this run.\n"
        )
    head, rows = TABLES[name](figures)
    if not rows:
        return "*Not measured in this run.*\n"
    lines = [head, ("---", *["---:"] * (len(head) - 1)), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main(source: Path, docs: Path = DOCS) -> None:
    """Write all three. Raises ``SystemExit`` without matplotlib, and then nothing is written."""
    figures = read(source)
    try:
        draw(figures, docs / PICTURE)
    except ModuleNotFoundError as error:
        raise SystemExit(f"{error}: the picture needs it; .venv/bin/pip install -e '.[plot]'") from error
    values = json.loads(source.read_text())
    values.pop("raw", None)
    (docs / FIGURES).write_text(json.dumps(values, indent=1) + "\n")
    (docs / PAGE).write_text(filled((docs / PAGE).read_text(), figures))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "bench.json"))
