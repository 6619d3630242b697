"""What is to be printed or sent later: first in, first out, in constant memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import msgpack

#: Bytes that are kept in memory before a file is made.
_MEMORY = 8 * 1024 * 1024
_LONGEST = 2**31 - 1


class Spool:
    """Records of plain values. Beyond 8 MiB they are in a file without a name, which only this process can read.

    Letters are held only while they are read; whatever takes time (a pager, the broker's confirms) comes after.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_MEMORY)  # noqa: SIM115 - lives as long as we do
        self.records = 0

    def put(self, record: object) -> None:
        """Raises ``OSError`` when the disk is full."""
        self._file.write(msgpack.packb(record))
        self.records += 1

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        yield from msgpack.Unpacker(self._file, max_buffer_size=_LONGEST)

    def close(self) -> None:
        self._file.close()
