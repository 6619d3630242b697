"""Where a worker serves its health and its numbers, and who may ask."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from broker.config.section import Section

#: Workers of one machine take one port after the other, up to this number; then any that is free.
PORTS = 10
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")


def _address(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise ValueError("this is not an IP address. Write one, like 127.0.0.1 or 0.0.0.0.") from None


def _token(value: object) -> object:
    """Without what was given: it is, or nearly is, a secret."""
    if isinstance(value, SecretStr):
        return value
    if not isinstance(value, str):
        raise ValueError("a token is text. Put quotes around it.")
    if not _TOKEN.fullmatch(value):
        raise ValueError("this is no token. Use 16 to 256 letters, digits and any of . _ ~ + / = -")
    return value


class HttpSettings(Section):
    """The token is asked of everybody; ``open_probes``: but for ``/livez`` and ``/readyz``."""

    enabled: Annotated[bool, Field(strict=True)] = True
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 9870
    bind: Annotated[str, Field(strict=True), AfterValidator(_address)] = "127.0.0.1"
    token: Annotated[SecretStr, BeforeValidator(_token)] | None = None
    open_probes: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _is_safe(self) -> HttpSettings:
        if self.token is None and not ipaddress.ip_address(self.bind).is_loopback:
            raise ValueError(
                f"bind {self.bind} can be reached from other machines. Set token as well, or bind to 127.0.0.1."
            )
        return self


def ports(first: int) -> Iterator[int]:
    """The ports that a worker tries, in order, before any that is free."""
    if first:
        yield from range(first, min(first + PORTS, 65536))
