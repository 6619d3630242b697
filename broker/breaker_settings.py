"""When a circuit breaker opens, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from broker.section import Section

Seconds = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0.1, le=86_400)]


class BreakerSettings(Section):
    """It opens once ``failure_share`` of the runs of the last ``window_s`` failed, of at least ``min_runs``; after
    ``open_s`` one task is tried."""

    failure_share: Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0, le=1)] = 0.5
    min_runs: Annotated[int, Field(strict=True, ge=1, le=1000)] = 10
    window_s: Seconds = 10.0
    open_s: Seconds = 5.0
