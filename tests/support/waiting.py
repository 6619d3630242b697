"""Waiting, always with a deadline. It is of the kit (``glassrabbit_testing``), which waits in the same way."""

from __future__ import annotations

from glassrabbit_testing.waiting import eventually, insist, patiently, run

__all__ = ["eventually", "insist", "patiently", "run"]
