"""python -m tests.spike [--over local|compose] [--tasks N] [--out FOLDER]; with --draw only the pictures, anew.

Writes spike-OVER.json and its picture, those of docs/workers.md unless a folder is given. Exit 1 if something is
wrong with the run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from broker.node.local import private_node
from tests.integration.test_compose import Project
from tests.spike.picture import draw, title
from tests.spike.run import Plan, Site, spike, text, wrong
from tests.spike.sites import compose, local, override
from tests.support.workers import ROOT


@contextmanager
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


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.spike")
    parser.add_argument("--over", choices=["local", "compose"], default="local")
    parser.add_argument("--tasks", type=int, default=Plan().tasks)
    parser.add_argument("--out", type=Path, default=ROOT / "docs")
    parser.add_argument("--draw", action="store_true")
    options = parser.parse_args()
    path = options.out / f"spike-{options.over}.json"
    if not options.draw:
        with tempfile.TemporaryDirectory() as folder, _site(options.over, Path(folder)) as site:
            run = spike(site, Plan(tasks=options.tasks))
        path.write_text(json.dumps(run) + "\n")
    run = json.loads(path.read_text())
    draw(run, path.with_suffix(".svg"))
    print(title(run))
    for decision in run["decisions"]:
        print(text(decision))
    problems = wrong(run)
    for problem in problems:
        print(f"wrong: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    raise SystemExit(main())
