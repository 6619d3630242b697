"""Where handlers are imported from: the configuration's folder, then the current one, behind all that is ours."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from pathlib import Path

from broker.config.settings import Settings
from broker.console.start import PACKAGES, ROOT

log = logging.getLogger("glassrabbit.worker")


def handler_folders(settings: Settings) -> list[str]:
    """Both folders, absolute."""
    folders = ([] if settings.path is None else [settings.path.parent]) + [Path.cwd()]
    return list(dict.fromkeys(str(folder.resolve()) for folder in folders))


def add_to_path(folders: Iterable[str]) -> None:
    """Python looks into them last, so that a ``queue.py`` of a user takes nothing away from Python or from us."""
    sys.path += [folder for folder in folders if folder not in sys.path]


def warn_of_clashes(folders: Iterable[str]) -> None:
    """Log what handlers cannot import there, because it has the name of one of our packages."""
    for folder in map(Path, folders):
        for name in PACKAGES if folder != Path(ROOT) else ():
            if (found := _module(folder, name)) is not None:
                log.warning(
                    "handlers cannot import %s: the name %s belongs to Glassrabbit. Rename it.", found, name
                )


def _module(folder: Path, name: str) -> Path | None:
    file, package = folder / f"{name}.py", folder / name
    if file.exists():
        return file
    return package if next(package.glob("*.py"), None) else None
