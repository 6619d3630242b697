"""The broker, vhost and installation of the integration tests; and the package as it is installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import broker, caller, install, installation, settings, vhost
from tests.support.wheel import built, installed

__all__ = ["broker", "caller", "install", "installation", "settings", "vhost"]


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return built(tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def bin_of(archives: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of an environment are that has the wheel, and no checkout."""
    return installed(archives[1], tmp_path_factory.mktemp("environment"), borrow=True)
