"""What a person sees and a pipe gets, whatever the standard streams of a command are."""

from __future__ import annotations

import json

from tests.support.hands import Out, Streams, hand
from tests.support.installation import Installation


def test_a_thousand_results_come_out_of_a_pipe_while_a_terminal_shows_how_many_there_are(
    installation: Installation,
) -> None:
    """``seq 1000 | sed 's/.*/{"value": &}/' | python -m dispatcher map echo | wc -l``"""
    installation.worker()
    lines = "".join(f'{{"value": {number}}}\n' for number in range(1000)).encode()
    words = ["-m", "dispatcher", "map", "echo"]
    ended = hand(words, installation.environment, Streams(stderr=Out.TERMINAL), stdin=lines)
    assert ended.code == 0
    results = [json.loads(line)["result"] for line in ended.out.splitlines()]
    assert sorted(results) == list(range(1000))
    assert "tasks" in ended.err
    assert "/" in ended.err
