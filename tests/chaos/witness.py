"""What passes between workers or requesters and the broker, watched while it passes."""

from __future__ import annotations

from tests.chaos.reading import Held
from tests.chaos.records import Ledger, Rule, Violation
from tests.support.ack_auditor import UNWRITTEN, Judge
from tests.support.answered import Answered
from tests.support.frames import Event
from tests.support.link import Link


class Witness:
    """Of workers: writes down whatever breaks the promises about acks, letters and prefetch. ``take`` is for one
    proxy's thread."""

    def __init__(self, ledger: Ledger, prefetch: int) -> None:
        """``prefetch``: what a consumer of a work queue was promised to hold at most."""
        self._ledger = ledger
        self._prefetch = prefetch
        self._judge = Judge()
        self._held = Held()
        self._ended: set[int] = set()

    @property
    def held(self) -> int:
        """Deliveries that are not settled now."""
        return self._held.now

    def take(self, event: Event, _link: Link) -> None:
        known = len(self._judge.violations)
        self._judge.take(event)
        # What still arrives on a connection that its client has ended is held by nobody.
        if event.kind == "end":
            self._ended.add(event.connection)
        if event.kind == "end" or event.connection not in self._ended:
            self._held.take(event)
        for text in self._judge.violations[known:]:
            self._ledger.write(Violation(rule=_rule(text), text=text))

    def sum_up(self, queues: list[str]) -> None:
        for queue in queues:
            if (most := self._held.most[queue]) > self._prefetch:
                text = f"a consumer of {queue} held {most}, promised {self._prefetch}"
                self._ledger.write(Violation(rule="prefetch", text=text))


class AnswerWitness:
    """Of requesters: writes down what is published again although its end is known. ``take`` is for one proxy's
    thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._answered = Answered()

    def take(self, event: Event, _link: Link) -> None:
        known = len(self._answered.violations)
        self._answered.take(event)
        for text in self._answered.violations[known:]:
            self._ledger.write(Violation(rule="answered", text=text))


def _rule(text: str) -> Rule:
    if UNWRITTEN in text:
        return "letter_first"
    return "prefetch" if " unacked, prefetch " in text else "ack"
