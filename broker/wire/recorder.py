"""What the proxy hands over, to lines, to a capture file and to a summary of each connection."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from broker.wire import text
from broker.wire.conversation import Conversation
from broker.wire.frames import Frame
from broker.wire.pcap import Capture


class Recorder:
    """``frame`` for each frame that passed."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        filters: Sequence[str] = (),
        with_bytes: bool = False,
        as_json: bool = False,
        capture: Capture | None = None,
    ) -> None:
        """``write`` takes one line. ``filters``: patterns of methods or kinds of frames, like ``basic.*``; empty:
        all but heartbeats. What is filtered out is captured and counted all the same."""
        self._write = write
        self._filters = filters
        self._with_bytes = with_bytes
        self._as_json = as_json
        self._capture = capture
        self.conversations: dict[int, Conversation] = {}

    def frame(self, frame: Frame, connection: int, by_client: bool) -> None:
        now_s = time.time()
        conversation = self.conversations.setdefault(connection, Conversation())
        refers_to = conversation.note(frame, by_client=by_client, at_s=now_s)
        if self._capture is not None:
            self._capture.add(connection, frame.raw, by_client=by_client, at_s=now_s)
        if not self._is_wanted(frame):
            return
        at = datetime.fromtimestamp(now_s, UTC).astimezone()
        if self._as_json:
            found = text.to_map(frame, connection=connection, by_client=by_client, at=at, refers_to=refers_to)
            self._write(json.dumps(found))
            return
        self._write(text.line(frame, connection=connection, by_client=by_client, at=at, refers_to=refers_to))
        if self._with_bytes:
            for one in text.dump(frame):
                self._write(one)

    def _is_wanted(self, frame: Frame) -> bool:
        if not self._filters:
            return frame.kind != "heartbeat"
        return any(fnmatchcase(frame.method or frame.kind, pattern) for pattern in self._filters)
