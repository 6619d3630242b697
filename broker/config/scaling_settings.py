"""How many workers a queue gets: KEDA's names for what KEDA has, HPA's for the rest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from broker.config.section import Number, Section

Count = Annotated[int, Field(strict=True, ge=0, le=1000)]


class FallbackSettings(Section):
    """After ``failure_threshold`` looks without numbers there are ``replicas`` workers; null: as many as now."""

    failure_threshold: Annotated[int, Field(strict=True, ge=1, le=1000)] = 3
    replicas: Count | None = None


class ScalingSettings(Section):
    """``value`` is seconds until a queue is empty (ExpectedQueueConsumptionTime), or tasks of one worker."""

    mode: Literal["ExpectedQueueConsumptionTime", "QueueLength"] = "ExpectedQueueConsumptionTime"
    value: Number = Field(default=10.0, ge=0.1, le=1_000_000)
    min_replica_count: Count = 1
    max_replica_count: Annotated[int, Field(strict=True, ge=1, le=1000)] = 10
    polling_interval_s: Number = Field(default=5.0, ge=0.1, le=3600)
    tolerance: Number = Field(default=0.1, ge=0, le=1)
    stabilization_window_s: Number = Field(default=60.0, ge=0, le=86_400)
    fallback: FallbackSettings = Field(default_factory=FallbackSettings)

    @model_validator(mode="after")
    def _has_room(self) -> ScalingSettings:
        if self.min_replica_count > self.max_replica_count:
            raise ValueError(
                f"min_replica_count {self.min_replica_count} is more than max_replica_count "
                f"{self.max_replica_count}. Lower the first, or raise the second."
            )
        return self
