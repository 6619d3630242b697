"""An exercise is checked in a vhost of its own."""

from __future__ import annotations

from tests.integration.conftest import broker, vhost

__all__ = ["broker", "vhost"]
