"""Where one user's detached broker is noted, and what is noted of it."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from broker.config.endpoint import Endpoint


def state_folder() -> Path:
    """The folder, which need not be there. Raises ``RuntimeError`` for a user without a home."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base, "glassrabbit")


def state_file() -> Path:
    """Noted as JSON: pid, url and management_url."""
    return state_folder() / "node.json"


def detached_management_url(endpoint: Endpoint) -> str | None:
    """Where the management API of the detached broker is, if this is an endpoint of that."""
    with suppress(OSError, RuntimeError, ValueError, KeyError, TypeError):
        state = json.loads(state_file().read_text())
        noted = urlsplit(str(state["url"]))
        if (noted.hostname, noted.port) == (endpoint.host, endpoint.port):
            return str(state["management_url"])
    return None
