"""Whether workers can be steered while they run, and for how long it is kept what was said."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from broker.config.section import Section

_Flag = Annotated[bool, Field(strict=True)]
_Whole = Annotated[int, Field(strict=True)]


class ControlSettings(Section):
    """The control stream. ``required``: a worker takes no task before it has read it."""

    enabled: _Flag = False
    required: _Flag = False
    retention_s: _Whole = Field(default=48 * 3600, ge=2, le=10_000_000)
    retention_bytes: _Whole = Field(default=16 * 1_048_576, ge=16_384, le=2**31)
