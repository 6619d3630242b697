"""The side that does tasks. A handler imports at most these three names, and nothing heavy comes with them."""

from __future__ import annotations

from worker.context import Current, Reject, Retry, current

__all__ = ["Current", "Reject", "Retry", "current"]
