from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.amqp import link_state as lifecycle
from broker.amqp.link_state import TRANSITIONS, Event, IllegalTransition, State, after

DIAGRAM = (lifecycle.__doc__ or "").partition("::")[2]


def reachable(start: State) -> set[State]:
    seen, new = {start}, {start}
    while new:
        new = {to for (state, _), to in TRANSITIONS.items() if state in new} - seen
        seen |= new
    return seen


@pytest.mark.parametrize("state", State)
def test_the_diagram_names_every_state(state: State) -> None:
    assert re.search(rf"\b{state.value}\b", DIAGRAM)


@pytest.mark.parametrize("event", Event)
def test_the_diagram_names_every_event(event: Event) -> None:
    assert re.search(rf"\b{event.value}\b", DIAGRAM)


def test_the_diagram_names_nothing_else() -> None:
    known = {item.value for item in (*State, *Event)} | {"every", "state"}
    assert set(re.findall(r"[a-z_]+", DIAGRAM)) <= known


def test_the_arrows_along_the_top_of_the_diagram_are_transitions() -> None:
    top = next(line for line in DIAGRAM.splitlines() if "start" in line).partition("◀")[0]
    parts = re.findall(r"[a-z_]+", top)
    for state, event, to in zip(parts[::2], parts[1::2], parts[2::2], strict=False):
        assert after(State(state), Event(event)) is State(to)


@pytest.mark.parametrize(
    ("state", "event", "to"),
    [
        (State.CONNECTING, Event.FAILED, State.WAITING),
        (State.SETTING_UP, Event.LOST, State.WAITING),
        (State.OPEN, Event.LOST, State.WAITING),
        (State.BLOCKED, Event.LOST, State.WAITING),
        (State.WAITING, Event.RETRY, State.CONNECTING),
        (State.OPEN, Event.BLOCKED, State.BLOCKED),
        (State.BLOCKED, Event.UNBLOCKED, State.OPEN),
    ],
)
def test_the_other_arrows_of_the_diagram_are_transitions(state: State, event: Event, to: State) -> None:
    assert after(state, event) is to


def test_the_table_has_the_diagram_s_ten_arrows_and_a_stop_for_every_state() -> None:
    assert len([event for _, event in TRANSITIONS if event is not Event.STOP]) == 10
    assert all(after(state, Event.STOP) is State.CLOSED for state in State)


@pytest.mark.parametrize("state", State)
def test_every_state_is_reached_from_idle_and_reaches_closed(state: State) -> None:
    assert state in reachable(State.IDLE)
    assert State.CLOSED in reachable(state)


def test_nothing_leaves_closed() -> None:
    assert reachable(State.CLOSED) == {State.CLOSED}


@given(st.sampled_from(State), st.sampled_from(Event))
def test_every_other_pair_is_a_programming_error(state: State, event: Event) -> None:
    if (state, event) in TRANSITIONS:
        assert after(state, event) in State
    else:
        with pytest.raises(IllegalTransition, match=rf"{event} in state {state}"):
            after(state, event)
