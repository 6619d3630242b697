"""Which nodes' requesters are answered directly: names of nodes are learned, and not without end.

A direct reply address names the node that its requester is connected to. A worker cannot distinguish an invented
name from that of a node it has not met, and a broker pays for each invented one that is answered: 4.0 never
forgets it, 3.10 closes the connection (541).

The broker itself vouches for the name of its cluster, which is that of its first node unless somebody changed it.
Any other is learned when it comes first, and known from then on; there is room for 64 of them, and for one more
every ten minutes. So a requester on a known node is answered, whatever strangers send.
"""

from __future__ import annotations

from protocol.reply_address import node_part

MOST = 64
REFILL_S = 600.0
#: What a name uses up over which the broker closed the connection.
PENALTY = 16


class Nodes:
    """Node parts of addresses (``reply@123``). Times are seconds of one clock."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._penalised: set[str] = set()
        self._room = float(MOST)
        self._counted_s: float | None = None

    def admits(self, node: str, cluster: str, now_s: float) -> bool:
        """Whether requesters on this node are answered. ``cluster`` is the broker's name for itself."""
        if node in self._known or node == node_part(cluster):
            return True
        since_s = now_s if self._counted_s is None else self._counted_s
        self._room = min(MOST, self._room + (now_s - since_s) / REFILL_S)
        self._counted_s = now_s
        if self._room < 1:
            return False
        self._room -= 1
        self._known.add(node)
        return True

    def penalise(self, node: str) -> None:
        """The broker closed the connection over an address of this node: be slower to learn others."""
        if node not in self._penalised:
            self._penalised.add(node)
            self._room -= PENALTY - 1
