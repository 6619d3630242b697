"""What every section of the configuration is: frozen, strict about its keys, silent about what was given."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator


def without_empty(model: type[BaseModel], value: object) -> object:
    """``value`` without the keys that have nothing behind them; nothing at all is an empty section."""
    if not isinstance(value, dict):
        return {} if value is None else value
    known = {field.alias or name for name, field in model.model_fields.items()}
    return {key: item for key, item in value.items() if item is not None or key not in known}


def _secret(value: object) -> object:
    """Refused without what was given."""
    if not isinstance(value, str | SecretStr):
        raise ValueError("this is not text. Put quotes around it.")
    return value


Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]


class Section(BaseModel):
    """Frozen; a key that it does not know is an error; its errors do not repeat what was given (URLs)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _complete(cls, value: object) -> object:
        return without_empty(cls, value)
