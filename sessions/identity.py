"""Whose session it is, and whether that may be kept.

* A denial of consent counts wherever it is among the events, and whether or not its event takes effect: what
  identifies a person is left out of the facts then.
* `tracking_changed`: of the tracking sessions that its counted events name, a session has the one that was named
  first by arrival, one that Playhead issued before any other; the others take no effect.
"""

from typing import Any

from sessions.client import facts_of_client
from sessions.event import Event
from sessions.params import Start
from sessions.state import State

DENIED = "denied"  # consent of an event; one such event makes it the consent of its session, whenever it came


def name_tracking(state: State, event: Event, tracking: str) -> None:
    """Keep the tracking session that was named first by arrival, one that Playhead issued before any other."""
    is_other = state.tracking_session_id is not None and tracking != state.tracking_session_id
    state.has_tracking_changed = state.has_tracking_changed or is_other
    is_better = event.tracking_verified > state.tracking_verified or (
        event.tracking_verified == state.tracking_verified and event.received_ms < state.tracking_received_ms
    )
    if state.tracking_session_id is None or is_better:
        state.tracking_session_id, state.tracking_verified = tracking, event.tracking_verified
        state.tracking_received_ms = event.received_ms


def facts_of_identity(state: State, start: Start) -> dict[str, Any]:
    """Return whose session it is, by the names of `SessionFacts`; nothing of it if consent was denied."""
    is_denied = state.consent == DENIED
    return {
        "user_id": None if is_denied else start.user_id,
        "user_id_source": None if is_denied else start.user_id_source,
        "user_id_auth_state": None if is_denied else start.user_id_auth_state,
        "device_id": None if is_denied else start.device_id,
        "device_id_source": None if is_denied else start.device_id_source,
        "tracking_session_id": None if is_denied else state.tracking_session_id,
        "tracking_verified": state.tracking_verified and not is_denied,
        **facts_of_client(start.client, denied=is_denied),
    }
