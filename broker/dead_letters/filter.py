"""Which dead letters are meant: the filters of ``python -m broker dead``. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from broker.dead_letters.queue import Letter, ids_of, read_letter
from protocol.errors import Malformed
from protocol.limits import DEFAULT_LIMITS, Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A letter is meant if it passes every filter that is given; a filter with several values is passed by any."""

    reasons: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    #: Contained in the text or the error of the end, whatever the case.
    error: str = ""
    #: It died then or later, epoch milliseconds; a letter that does not say when does not pass.
    since_ms: int = 0
    #: It was sent earlier, epoch milliseconds; a message that does not say when does not pass. 0: whenever.
    before_ms: int = 0

    def passes(self, letter: Letter, limits: Limits) -> bool:
        return (
            (not self.reasons or letter.reason.code in self.reasons)
            and (not self.tasks or letter.task in self.tasks)
            and (not self.ids or not {*self.ids}.isdisjoint(ids_of(letter, limits)))
            and letter.died_ms >= self.since_ms
            and (not self.before_ms or 0 < letter.sent_ms < self.before_ms)
            and (not self.error or self._has_error(letter, limits))
        )

    def _has_error(self, letter: Letter, limits: Limits) -> bool:
        wanted = self.error.casefold()
        return any(wanted in text.casefold() for text in (letter.reason.text, *_last_error(letter, limits)))


def _last_error(letter: Letter, limits: Limits) -> tuple[str, ...]:
    try:
        history = read_letter(letter, limits).history
    except Malformed:
        return ()
    return (history[-1].error, history[-1].text) if history else ()


@dataclass(slots=True, kw_only=True)
class Chosen:
    """The letters of one run of a command: those that pass, until there are ``limit`` of them; it counts."""

    filter: Filter = field(default_factory=Filter)
    limit: int | None = None
    limits: Limits = DEFAULT_LIMITS
    #: Letters that passed, those beyond the limit included.
    passed: int = 0

    def __call__(self, letter: Letter) -> bool:
        if not self.filter.passes(letter, self.limits):
            return False
        self.passed += 1
        return self.limit is None or self.passed <= self.limit

    def again(self, limit: int) -> Chosen:
        """These filters for another look, with a limit of its own."""
        return replace(self, limit=limit, passed=0)

    @property
    def beyond(self) -> int:
        return 0 if self.limit is None else max(0, self.passed - self.limit)
