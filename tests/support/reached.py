"""A command of ours that notes which functions it reaches: ``python -m tests.support.reached FILE MODULE``."""

from __future__ import annotations

import runpy
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from tests.support.workers import ROOT

PACKAGES = tuple(f"{ROOT / package}/" for package in ("protocol", "broker", "worker", "dispatcher"))


def main(out: Path, module: str, *words: str) -> None:
    """Run the module as ``python -m`` does, and write ``FILE FUNCTION`` for each function that it reached."""
    reached: set[str] = set()

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGES):
            reached.add(f"{Path(code.co_filename).relative_to(ROOT)} {code.co_qualname}")

    sys.argv = [module, *words]
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        sys.setprofile(None)
        out.write_text("\n".join(sorted(reached)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
