"""The side that asks: ``Dispatcher`` for asyncio, ``BlockingDispatcher`` for everything else.

What a program may import from here is ``__all__``; ``docs/python.md`` shows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

# ruff: noqa: F403, F405 - each name stands once here, and once where it comes from
__all__ = [
    "AccessRefused", "BadRequest", "BlockingDispatcher", "CallError", "ConfigError", "ConnectionLost",
    "Dispatcher", "GlassrabbitError", "NoMailbox", "NoReply", "NotEncodable", "NotOpen", "Overdue", "Refused",
    "Reply", "ReplyUnreadable", "Settings", "TaskFailed", "TooLarge", "TopologyDrift", "UnknownTask",
    "Unreachable", "Unsendable", "load",
]  # fmt: skip

if TYPE_CHECKING:
    from dispatcher.public import *
else:

    def __getattr__(name: str) -> object:
        # Not before it is asked for: --help of the command line needs none of it.
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        import dispatcher.public

        return getattr(dispatcher.public, name)
