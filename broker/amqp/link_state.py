"""The life of a link to the broker: which state follows on which event. All transitions stand here.

This file knows neither pika nor time; ``broker.amqp.link`` obeys it. A pair that the table does not name cannot
happen, and asking for it is a programming error.

::

    idle ──start──▶ connecting ──connected──▶ setting_up ──ready──▶ open ◀──blocked/unblocked──▶ blocked
                      ▲    │ failed               │ lost              │ lost                        │ lost
                      │    ▼                      ▼                   ▼                             ▼
                      └──retry── waiting ◀────────┴───────────────────┴─────────────────────────────┘
    every state ──stop──▶ closed
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    IDLE = "idle"
    CONNECTING = "connecting"
    #: The connection is open; channels, qos and consumers are being made.
    SETTING_UP = "setting_up"
    OPEN = "open"
    #: Open, but the broker reads nothing that we publish (memory or disk alarm).
    BLOCKED = "blocked"
    WAITING = "waiting"
    CLOSED = "closed"


class Event(StrEnum):
    START = "start"
    CONNECTED = "connected"
    READY = "ready"
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"
    FAILED = "failed"
    LOST = "lost"
    RETRY = "retry"
    STOP = "stop"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.IDLE, Event.START): State.CONNECTING,
    (State.CONNECTING, Event.CONNECTED): State.SETTING_UP,
    (State.CONNECTING, Event.FAILED): State.WAITING,
    (State.SETTING_UP, Event.READY): State.OPEN,
    (State.SETTING_UP, Event.LOST): State.WAITING,
    (State.OPEN, Event.BLOCKED): State.BLOCKED,
    (State.OPEN, Event.LOST): State.WAITING,
    (State.BLOCKED, Event.UNBLOCKED): State.OPEN,
    (State.BLOCKED, Event.LOST): State.WAITING,
    (State.WAITING, Event.RETRY): State.CONNECTING,
} | {(state, Event.STOP): State.CLOSED for state in State}


class IllegalTransition(AssertionError):
    """The caller reported an event that its state does not allow."""


def after(state: State, event: Event) -> State:
    """The state that follows; raises ``IllegalTransition`` where the table has none."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"{event} in state {state}") from None
