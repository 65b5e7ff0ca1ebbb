"""What nearly every event is: a ping of content that plays on. What all rules make of it, in one step.

No rule is here. Where these conditions hold, the rules of the other files say only this of a ping: main content
played from the event before up to this one, at the rate in force. Asking all of them takes twice as long.
"""

from schemas.vocabulary import EVENT_TYPES
from sessions.bitrate import measure
from sessions.event import Event, read_object
from sessions.played import add_range
from sessions.silence import AT_END_S
from sessions.speed import FITS, RATE_OBSERVATION_MS
from sessions.state import CONTENT, FAR_FUTURE, FAR_PAST, PLAYHEAD_S_END, State

# Up to here, a move that fits the rate differs by less than 2 s or a twentieth from what the rate makes due.
MS_MAX, RATE_MAX = 60_000, 1.5
PING = next(row for row in EVENT_TYPES.values() if row.only_reports)


def plays_on(state: State, event: Event) -> bool:
    """Take a ping of main content if content plays on; return whether it does."""
    now, received, head, was = event.order_ms, event.received_ms, event.playhead_s, state.head
    ms, moved_s, rate, tracking = now - state.now_ms, head - was, state.rate, event.tracking_session_id
    due_s = rate * ms / 1000
    if (
        not 0.0 < was < head < PLAYHEAD_S_END
        or head >= state.end_s - AT_END_S
        or not RATE_OBSERVATION_MS <= ms <= MS_MAX
        or rate > RATE_MAX
        or abs(moved_s - due_s) > FITS * due_s
        or now > state.until_ms
        or received < state.last_received_ms
        or event.flags
        or event.params is not None
        or event.custom_metadata is not None
        or (event.consent is not None and event.consent != state.consent)
        or (
            tracking is not None
            and (tracking != state.tracking_session_id or event.tracking_verified is not state.tracking_verified)
        )
        or (
            state.is_recorded
            and (
                state.rate_ms != state.now_ms or state.rate_head != was or state.rate_window or state.forward_rate
            )
        )
        or state.head_first < 0.0
        or state.ping_at_ms == FAR_PAST
        or state.span_is != CONTENT
        or state.run is not None
        or state.resumed_ms != FAR_FUTURE
        or state.start is None
    ):
        return False
    state.last_received_ms = state.last_moved_received_ms = received
    delay = received - now
    if delay < state.delay_min_ms:
        state.delay_min_ms = delay
    if delay > state.delay_max_ms:
        state.delay_max_ms = delay
    state.times[CONTENT] += ms
    if state.bitrate is not None:
        state.weight_ms += ms
        state.weighted += state.bitrate * ms
    if state.is_recorded:
        state.rate_ms, state.rate_head = now, head
        state.steady_ms += ms
        state.steady_s += moved_s
    state.now_ms = now
    state.head = state.head_last = head
    if was == state.range_to:
        state.range_to = head
    else:
        add_range(state, was, head)
    if head > state.head_max:
        state.head_max = head
    state.events += 1
    if event.qoe is not None and event.qoe != state.qoe:
        state.qoe = event.qoe
        measure(state, read_object(event.qoe))
    state.ping_before_ms, state.ping_ms, state.ping_at_ms = state.ping_ms, now - state.ping_at_ms, now
    return True
