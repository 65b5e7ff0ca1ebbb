"""What a session does after its last event, and how often it pings: from both follows whether it is watched now.

* The ping interval is the longer of the last two from one ping to the next: an early ping, as after a seek, does
  not make the next one late. Unknown before the second ping.
* An open ad has its length as the player said it: some players send no pings in ads.

Whoever is watching is heard from again within three of these intervals; the rule is in `lake/sql/watching.sql`.
"""

from typing import Any

from sessions.event import Event
from sessions.spans import DOING
from sessions.state import FAR_PAST, State


def note_ping(state: State, event: Event) -> None:
    """Take a ping."""
    if state.ping_at_ms != FAR_PAST:
        state.ping_before_ms, state.ping_ms = state.ping_ms, event.order_ms - state.ping_at_ms
    state.ping_at_ms = event.order_ms


def facts_of_pings(state: State) -> dict[str, Any]:
    """Return what the session does and how often it pings, by the names of `SessionFacts`."""
    longer_ms = max(state.ping_ms, state.ping_before_ms)
    return {
        "last_doing": "idle" if state.end_ms is not None else DOING[state.doing],
        "ping_interval_s": longer_ms / 1000 if longer_ms > 0 else None,
        "open_ad_length_s": state.ad.length_s if state.ad is not None else None,
    }
