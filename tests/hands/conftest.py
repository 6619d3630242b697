"""The broker, vhost and installation of the integration tests."""

from __future__ import annotations

from tests.integration.conftest import broker, caller, install, installation, settings, vhost

__all__ = ["broker", "caller", "install", "installation", "settings", "vhost"]
