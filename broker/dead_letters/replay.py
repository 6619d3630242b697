"""Putting dead letters back to work: what a replayed task is. How it gets there is in ``transfer``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from broker.console.arguments import pairs_of, read_json
from broker.dead_letters.queue import Letter, read_letter
from protocol.codec import NotEncodable, decode_arguments, encode
from protocol.dead_letter import Reason
from protocol.limits import Limits
from protocol.names import DEAD
from protocol.properties import bad
from protocol.task import Attempt, Task

NO_REPLY = "reply: its address was no mailbox, and died with the requester's connection"
NO_EXPIRY = "expiry: it had passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """Other arguments: ``instead`` of all of a letter's, then single ones ``changed`` or added."""

    instead: Mapping[str, Any] | None = None
    changed: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.instead is not None or bool(self.changed)


def edit_of(pairs: Sequence[str], text: str | None, limits: Limits) -> Edit:
    """An edit from ``--edit KEY=VALUE`` (a VALUE that is JSON is read as such) and ``--edit-json OBJECT``.

    Raises ``ValueError``.
    """
    instead, changed = None if text is None else _object(text), pairs_of(pairs, "--edit")
    try:
        encode({**(instead or {}), **changed}, limits, "arguments")
    except NotEncodable as error:
        raise ValueError(str(error)) from error
    return Edit(instead=instead, changed=changed)


def _object(text: str) -> dict[str, Any]:
    try:
        value = read_json(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError('--edit-json must be an object, like {"n": 1}.')
    return value


def replayed(letter: Letter, limits: Limits, now_ms: int, edit: Edit) -> tuple[Task, list[str]]:
    """The task as it is to run again, and what it goes without. Raises ``Malformed`` and ``NotEncodable``.

    Attempts start at 1 and ``replay`` rises by 1, so that no worker takes it for one that it has finished. Id,
    arguments, mailbox and history stay; a death that is not in the history yet is added to it.
    """
    task = read_letter(letter, limits)
    without = [NO_REPLY] if letter.properties.reply_to and task.reply_to is None else []
    if task.expires_at and task.expires_at <= now_ms:
        task = replace(task, expires_at=0)
        without.append(NO_EXPIRY)
    if letter.exchange != DEAD or not task.history:
        task = replace(task, history=task.history_with(_death(task, letter.reason, letter.died_ms), limits))
    if edit:
        task = replace(task, body=_edited(task, limits, edit))
    return replace(task, attempt=1, replay=task.replay + 1, replayed_at=now_ms, resent=0), without


def _death(task: Task, verdict: Reason, died_ms: int) -> Attempt:
    return Attempt(
        attempt=task.attempt, error=verdict.code, text=verdict.text, worker="", started_ms=died_ms, ran_ms=0
    )


def _edited(task: Task, limits: Limits, edit: Edit) -> bytes:
    if task.batch:
        raise bad("a batch has the arguments of many tasks: it cannot be edited")
    arguments = decode_arguments(task.body, limits) if edit.instead is None else edit.instead
    return encode({**arguments, **edit.changed}, limits, "arguments")
