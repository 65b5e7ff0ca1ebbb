"""Player states, such as full screen: how often each began, and how long it was on.

* A start is counted when the state begins; a second start of a state that is on adds nothing, nor does an end of
  one that is off.
* Names in any case are one state: `fullScreen` is `fullscreen`.
* The first 10 states that a session names are kept.
"""

from typing import Any

from sessions.event import Event, read_object
from sessions.facts import PlayerState
from sessions.params import names, state_name
from sessions.state import OpenState, State

STATES_MAX = 10


def change_state(state: State, event: Event) -> None:
    """Start or end the player state that the event names."""
    name = state_name(read_object(event.params).get("media.state.name"))
    if event.type.state == "start":
        _start_state(state, name)
    else:
        _end_state(state, name)


def update_states(state: State, event: Event) -> None:
    """End and start the player states that the event lists."""
    params = read_object(event.params)
    for name in names(params.get("statesEnd")):
        _end_state(state, name)
    for name in names(params.get("statesStart")):
        _start_state(state, name)


def end_states(state: State) -> None:
    """End all player states, as the session ends."""
    for name in state.states:
        _end_state(state, name)


def _start_state(state: State, name: str | None) -> None:
    known = _find_state(state, name)
    if name is not None and known is not None and known.since_ms is None:
        _set_state(state, name, OpenState(known.starts + 1, known.time_ms, state.now_ms))
        at_once = sum(other.since_ms is not None for other in state.states.values())
        state.concurrent_states_max = max(state.concurrent_states_max, at_once)


def _end_state(state: State, name: str | None) -> None:
    known = _find_state(state, name)
    if name is not None and known is not None and known.since_ms is not None:
        _set_state(state, name, OpenState(known.starts, known.time_ms + state.now_ms - known.since_ms))


def _find_state(state: State, name: str | None) -> OpenState | None:
    """Return a player state so far; None where it is one too many."""
    if name is None:
        return None
    if name not in state.states:
        if len(state.states) >= STATES_MAX:
            state.is_capped = True
            return None
        _set_state(state, name, OpenState())
    return state.states[name]


def _set_state(state: State, name: str, to: OpenState) -> None:
    state.states = {**state.states, name: to}


def _player_state(name: str, known: OpenState, now_ms: int) -> PlayerState:
    open_ms = 0 if known.since_ms is None else now_ms - known.since_ms
    return PlayerState(name, known.starts, (known.time_ms + open_ms) / 1000, known.since_ms is not None)


def facts_of_states(state: State) -> dict[str, Any]:
    """Return what is known of player states, by the names of `SessionFacts`."""
    return {
        "states": len(state.states),
        "concurrent_states_max": state.concurrent_states_max,
        "player_states": [_player_state(name, known, state.now_ms) for name, known in state.states.items()],
    }
