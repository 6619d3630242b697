"""What programs import from ``dispatcher`` and ``worker``."""

from __future__ import annotations

import subprocess
import sys

import pytest

import dispatcher
import dispatcher.public
import worker


@pytest.mark.parametrize("name", dispatcher.__all__)
def test_every_public_name_of_the_dispatcher_is_there(name: str) -> None:
    assert getattr(dispatcher, name) is getattr(dispatcher.public, name)


@pytest.mark.parametrize("name", worker.__all__)
def test_every_public_name_of_the_worker_is_there(name: str) -> None:
    assert getattr(worker, name) is not None


def test_another_name_is_an_attribute_error_as_for_any_module() -> None:
    with pytest.raises(AttributeError, match="module 'dispatcher' has no attribute 'Dispatchr'"):
        dispatcher.Dispatchr  # type: ignore[attr-defined]  # noqa: B018
    assert not hasattr(dispatcher, "requests")


def test_to_import_the_packages_imports_nothing_heavy() -> None:
    code = (
        "import sys, dispatcher, worker; print(*{'pika', 'pydantic', 'asyncio', 'click', 'yaml'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
