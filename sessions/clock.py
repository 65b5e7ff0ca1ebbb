"""By how much a player's clock is off.

Arrival - timestamp is the offset plus a delay that is never negative, so the smallest of all events is the best
estimate. Where events of 10 s and more arrived within less than half of their own time, they were uploaded
afterwards: that says nothing of the clock, and the offset is 0, as it is for downloaded content.
"""

from sessions.state import State

UPLOAD_MS_MIN = 10_000


def clock_offset_ms(state: State, last_ms: int) -> int:
    """Return what to add to the player's timestamps; `last_ms` is the last of them."""
    span_ms = last_ms - state.first_ms
    if span_ms >= UPLOAD_MS_MIN and 2 * (state.last_received_ms - state.first_received_ms) < span_ms:
        return 0
    return state.delay_min_ms
