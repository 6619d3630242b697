"""How a process of ours starts: with our own four packages, whatever the working directory or PYTHONPATH holds.

``python -m worker`` runs the first ``worker`` that Python finds, which may be a user's ``worker.py``. The
installed command ``glassrabbit`` and each process that we start ourselves take the packages that this file is in.
Imports nothing more by itself: a child of a worker starts here, too, and has no use for a command line.
"""

from __future__ import annotations

import sys
from importlib import import_module
from os.path import abspath, dirname
from typing import Any

PACKAGES = ("protocol", "broker", "worker", "dispatcher")
#: What starts here beside the command line. Their ``main`` takes the words after the name.
_CHILDREN = ("worker.execution.child_main", "worker.execution.zygote_main")
PROCESSES = (*_CHILDREN, "broker.commands.node", "broker.completion")
#: The folder of the four packages.
ROOT = dirname(dirname(dirname(abspath(__file__))))


def command(*words: str) -> list[str]:
    """The command line of ``glassrabbit WORDS``, or of one of ``PROCESSES``, for a process of its own."""
    # -P: neither this file's folder nor the current one is a place to import from.
    return [sys.executable, "-P", abspath(__file__), *words]


def entry(module: str) -> Any:
    """The ``main`` of a module of ours."""
    return import_module(module).main


def main() -> None:
    """Run what the command line names."""
    # Python looks a name up once: what is bound here stays ours, wherever handlers are looked for later.
    sys.path.insert(0, ROOT)
    for package in PACKAGES:
        import_module(package)
    sys.path.remove(ROOT)
    name, words = "".join(sys.argv[1:2]), sys.argv[2:]
    if name in _CHILDREN:
        entry(name)(words)
        return
    from broker.console.options import enter

    if name in PROCESSES:
        enter(entry(name), words)
    enter(entry("broker.commands.glassrabbit"), prog_name="glassrabbit")


if __name__ == "__main__":
    main()
