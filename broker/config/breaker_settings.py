"""When a circuit breaker opens, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from broker.config.section import Number, Section


class BreakerSettings(Section):
    """It opens once ``failure_share`` of the latest ``runs`` failed; after ``open_s`` one task is tried."""

    failure_share: Number = Field(default=0.5, gt=0, le=1)
    runs: Annotated[int, Field(strict=True, ge=1, le=1000)] = 10
    open_s: Number = Field(default=5.0, ge=0.1, le=3600)
