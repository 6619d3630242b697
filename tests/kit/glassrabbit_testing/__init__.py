"""The testing kit: ``pip install "glassrabbit[testing]"`` gives pytest the fixtures ``rabbit``, ``rabbit_vhost``
and ``glass``. Nothing is started, and nothing heavy imported, before a test uses one of them. See docs/testing.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glassrabbit_testing.glass import Glass as Glass
    from glassrabbit_testing.rabbit import Rabbit as Rabbit
    from glassrabbit_testing.vhost import RabbitVhost as RabbitVhost

__all__ = ["Glass", "Rabbit", "RabbitVhost"]


def __getattr__(name: str) -> object:
    """The types of the fixtures, for annotations; imported when they are asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = "vhost" if name == "RabbitVhost" else name.lower()
    return getattr(import_module(f"{__name__}.{module}"), name)
