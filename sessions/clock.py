"""By how much a player's clock is off.

Arrival - timestamp is the offset plus a delay that is never negative, so the smallest of all events is the best
estimate. Where events of 10 s and more arrived within less than half of their own time, they were uploaded
afterwards, as events of downloaded content are: late arrivals say nothing of the clock. But nothing arrives before
it happened, so a clock that is ahead is put back there too, and the offset is the smallest of all, or 0.

The timestamps are those by the session's first clock where it was set (`clock_steps.py`).
"""

from sessions.state import State

UPLOAD_MS_MIN = 10_000


def clock_offset_ms(state: State, last_ms: int, *, is_downloaded: bool) -> int:
    """Return what to add to the player's timestamps; `last_ms` is the last of them."""
    span_ms = last_ms - state.first_ms
    is_uploaded = span_ms >= UPLOAD_MS_MIN and 2 * (state.last_received_ms - state.first_received_ms) < span_ms
    return min(0, state.delay_min_ms) if is_uploaded or is_downloaded else state.delay_min_ms
