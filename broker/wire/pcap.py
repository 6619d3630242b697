"""Frames as a capture file that Wireshark opens: each frame in TCP segments between two made-up addresses.

The format is libpcap's classic one, link type 101: raw IP
(https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-03.html). Checksums are left out, which readers take for
offloaded.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType

_FILE_HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)
_LINK = struct.Struct("<IIII")
_IP = struct.Struct(">BBHHHBBH4s4s")
_TCP = struct.Struct(">HHIIBBHHH")
_SEGMENT_BYTES = 16_384
_BROKER = bytes((127, 0, 0, 1))
_BROKER_PORT = 5672
_FIRST_CLIENT_PORT = 40_000
_SYN, _ACK, _PUSH = 0x02, 0x10, 0x08


class Capture:
    """``with Capture(path) as capture``: ``add`` what passed, in order. Raises ``OSError``."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        #: Next sequence number of client and broker, by connection.
        self._next: dict[int, dict[bool, int]] = {}

    def __enter__(self) -> Capture:
        self._file.write(_FILE_HEAD)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, connection: int, raw: bytes, *, by_client: bool, at_s: float) -> None:
        """Bytes of one frame. ``at_s``: seconds since 1970."""
        if connection not in self._next:
            self._next[connection] = {True: 0, False: 0}
            self._packet(connection, b"", True, at_s, _SYN)
            self._packet(connection, b"", False, at_s, _SYN | _ACK)
        for start in range(0, len(raw), _SEGMENT_BYTES):
            self._packet(connection, raw[start : start + _SEGMENT_BYTES], by_client, at_s, _PUSH | _ACK)
        self._file.flush()

    def _packet(self, connection: int, data: bytes, by_client: bool, at_s: float, flags: int) -> None:
        numbers = self._next[connection]
        client = _FIRST_CLIENT_PORT + connection % 20_000, bytes((127, 0, 0, 2))
        broker = _BROKER_PORT, _BROKER
        (source, source_ip), (target, target_ip) = (client, broker) if by_client else (broker, client)
        acked = numbers[not by_client] if flags & _ACK else 0
        tcp = _TCP.pack(source, target, numbers[by_client], acked, 5 << 4, flags, 0xFFFF, 0, 0) + data
        ip = _IP.pack(0x45, 0, _IP.size + len(tcp), 0, 0, 64, 6, 0, source_ip, target_ip)
        seconds = int(at_s)
        size = len(ip) + len(tcp)
        self._file.write(_LINK.pack(seconds, int((at_s - seconds) * 1_000_000), size, size) + ip + tcp)
        numbers[by_client] = (numbers[by_client] + len(data) + (flags & _SYN > 0)) % (1 << 32)
