"""Logging of the commands: one event, one line, on standard error, for people or for machines (``log_format``)."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from broker.console import log_format
from broker.console.escaping import plain
from broker.console.log_throttle import Flood, Kind

if TYPE_CHECKING:
    from broker.console.log_json import Fields

#: Of one message, a traceback included; the rest is cut.
LONGEST = 16_000
_ROOT = "glassrabbit"
_OURS = f"{_ROOT}."
#: All of these come, since they were asked for; what handlers and libraries log is theirs, and comes, too.
TASKS = f"{_OURS}tasks"
NAMES = (_ROOT, TASKS, *(_OURS + name for name in ("broker", "dispatcher", "handler", "pool", "worker")))
#: Of a line as text. ``about``: who says it, of which task, if it is not we.
SHAPE = "%(asctime)s %(levelname)-7s %(about)s%(message)s"


class Steadfast(logging.Logger):
    """A logger of ours, which a module of handlers does not silence: Django's ``dictConfig`` disables every logger
    that is there already."""

    disabled = property(lambda _: False, lambda _, __: None)

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - logging's name
        """``logging.disable`` is for the others."""
        return level >= self.getEffectiveLevel()


class Escaping(logging.Formatter):
    """What comes from outside can neither move the cursor nor forge a line: continuation lines are indented."""

    def __init__(self, shape: str = SHAPE, times: str | None = None, fields: Fields = dict) -> None:
        super().__init__(shape, times)
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        about, fields = "", self._fields()
        if not f"{record.name}.".startswith(_OURS):
            about = f"task {fields['task_id']} ({fields['task']}) " if "task_id" in fields else ""
            about += f"{record.name}: "
        record.about = about
        text = super().format(record)
        cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"
        return "\n  ".join(plain(line) for line in cut.split("\n"))


class Bounded(logging.StreamHandler[TextIO]):
    """Writes the first lines of one kind (logger, level, format) in a while, and then how many it left out."""

    def __init__(self, stream: TextIO, flood: Flood | None = None) -> None:
        super().__init__(stream)
        self._flood = flood or Flood()
        #: Of each kind one that was left out.
        self._examples: dict[Kind, logging.LogRecord] = {}
        self._timer: threading.Timer | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Called by ``handle``, which holds the lock."""
        now_s = time.monotonic()
        self._report(now_s)
        kind = Kind(record.name, record.levelno, str(record.msg))
        is_counted = record.name.startswith(_OURS) and record.name != TASKS
        if not is_counted or self._flood.admits(kind, now_s):
            super().emit(record)
            return
        self._examples[kind] = record
        if self._timer is None:
            # If nothing else is logged meanwhile.
            self._timer = threading.Timer(self._flood.window_s, self._on_time)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Report what was left out so far, too."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._report_at(float("inf"))
        super().close()

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """A record whose values do not fit its format is named in a line. A stream that takes none is let be."""
        shape = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        text = f"a line cannot be written ({type(sys.exception()).__name__}): {shape}"
        with contextlib.suppress(OSError, ValueError):
            self.stream.write(self.format(_record(record.name, logging.ERROR, "%s", text)) + self.terminator)

    def _on_time(self) -> None:
        self._timer = None
        self._report_at(time.monotonic())

    def _report_at(self, now_s: float) -> None:
        self.acquire()
        try:
            self._report(now_s)
        finally:
            self.release()

    def _report(self, now_s: float) -> None:
        for kind, left_out in self._flood.ended(now_s):
            record = _record(
                kind.logger,
                kind.level,
                "%d more within %g s are left out like: %s",
                left_out,
                self._flood.window_s,
                _message(self._examples.pop(kind)),
            )
            # Not about the task that happens to run here now.
            vars(record).update(left_out=left_out, task_id=None, task=None, queue=None, attempt=None)
            super().emit(record)


def configure(*, verbose: bool = False, fields: Fields = dict) -> None:
    """Log to standard error and nowhere else. ``fields``: what is known of all that is logged here and now.

    pika's own lines are left out: the link says what matters, once.
    """
    handler, level = Bounded(sys.stderr), logging.DEBUG if verbose else logging.INFO
    if log_format.is_json():
        from broker.console.log_json import JsonLines

        handler.setFormatter(JsonLines(fields))
        logging.captureWarnings(True)
        sys.excepthook = _uncaught
    else:
        handler.setFormatter(Escaping(SHAPE, "%H:%M:%S", fields))
    logging.basicConfig(handlers=[handler], force=True)
    for logger in map(logging.getLogger, NAMES):
        logger.__class__ = Steadfast
    # Not by the root, whose handlers are replaced where logging is configured.
    ours = logging.getLogger(NAMES[0])
    ours.handlers, ours.propagate = [handler], False
    set_level(level)
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


def set_level(level: int) -> None:
    """Of what is logged here, by us and by others."""
    logging.getLogger().setLevel(level)
    logging.getLogger(_ROOT).setLevel(level)


def log_error(text: str) -> None:
    """What ends a command, as a line of the log."""
    if not logging.getLogger().handlers:
        configure()
    logging.getLogger(_ROOT).error("%s", text)


def _uncaught(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    logging.getLogger(_ROOT).critical("not caught", exc_info=(kind, error, traceback))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return str(record.msg)


def _record(name: str, level: int, text: str, *values: Any) -> logging.LogRecord:
    return logging.LogRecord(name, level, "", 0, text, values, None)
