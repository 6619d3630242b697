"""The package as somebody installs it: built from this checkout, in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.support.workers import ROOT

#: The versions that the package is for.
VERSIONS = ("3.11", "3.12", "3.13", "3.14")
_WITHIN_S = 300


def built(into: Path) -> tuple[Path, Path]:
    """The sdist of this checkout, and the wheel of that sdist. Asks no package index."""
    # The files alone that git has, or would take: what a build leaves behind in this folder is none of them.
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).exists():
            (into / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, into / "source" / name)
    _hatchling("sdist", into / "source", into)
    [sdist] = into.glob("*.tar.gz")
    shutil.unpack_archive(sdist, into, filter="data")
    _hatchling("wheel", into / sdist.name.removesuffix(".tar.gz"), into)
    [wheel] = into.glob("*.whl")
    return sdist, wheel


def installed(wheel: Path, folder: Path, python: str = sys.executable, *, borrow: bool) -> Path:
    """The ``bin`` of a new environment with the wheel and what it depends on.

    ``borrow``: the dependencies are those of this very environment; else pip gets them from the index.
    """
    run(python, "-m", "venv", *(["--without-pip"] if borrow else []), str(folder))
    own = str(folder / "bin" / "python")
    if borrow:
        ours = sysconfig.get_path("purelib")
        theirs = run(own, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
        # As a line of a .pth file it is looked at after the wheel, and without the .pth files that are in it.
        Path(theirs, "borrowed.pth").write_text(ours)
        run(
            sys.executable,
            "-m",
            "pip",
            "--python",
            own,
            "install",
            "--quiet",
            "--no-index",
            "--no-deps",
            str(wheel),
        )
    else:
        run(own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
    return folder / "bin"


def pythons() -> dict[str, str]:
    """An interpreter of each version that this machine has, with what makes an environment."""
    return {version: path for version in VERSIONS if (path := _python(version)) is not None}


def _python(version: str) -> str | None:
    managed = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    if managed:
        return str(managed[-1])
    found = shutil.which(f"python{version}")
    # A shim stands for a version that may not be there; Debian's own may come without venv.
    usable = found and not subprocess.run([found, "-c", "import ensurepip"], capture_output=True).returncode
    return found if usable else None


def run(*words: str, cwd: Path = ROOT) -> str:
    """What a command prints; an assertion with all that it said if it fails."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(words, cwd=cwd, env=own, capture_output=True, text=True, timeout=_WITHIN_S)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def _hatchling(target: str, source: Path, into: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(into), cwd=source)
