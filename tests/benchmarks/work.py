"""What all contestants have in common. Every process of the benchmark imports it, the peers' as well."""

from __future__ import annotations

#: Length of the argument: a string.
SIZE = 150
DATA = "x" * SIZE
#: What one round trip carries there; back comes null.
ARGUMENTS = {"data": DATA}
#: Messages that a worker may hold.
PREFETCH = 200
#: A requester's answers begin with this; whatever else it prints is its log.
ANSWER = "answer "
#: It may say how far it has come with this and a number.
PASSED = "passed "
#: How often it does.
PASSED_EACH = 50_000
