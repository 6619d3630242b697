"""How busy the machine is. It is of the kit (``glassrabbit_testing``), whose waits are as patient."""

from __future__ import annotations

from glassrabbit_testing.slowness import in_time, limits, slowness

__all__ = ["in_time", "limits", "slowness"]
