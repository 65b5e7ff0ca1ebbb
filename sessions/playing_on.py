"""What nearly every event is: a ping of content that plays on. What all rules make of it, in one step.

No rule is here. Where these conditions hold, the rules of the other files say only this of a ping: main content
played from the event before up to this one, at the rate in force. Asking all of them takes four times as long.
"""

from schemas.vocabulary import EVENT_TYPES
from sessions.bitrate import take_quality
from sessions.event import Event
from sessions.played import add_range
from sessions.silence import AT_END_S
from sessions.speed import FITS, RATE_OBSERVATION_MS
from sessions.state import CONTENT, FAR_FUTURE, PLAYHEAD_S_END, State

# Up to here, a move that fits the rate differs by less than 2 s or a twentieth from what the rate makes due.
MS_MAX, RATE_MAX = 60_000, 1.5
PING = next(row for row in EVENT_TYPES.values() if row.only_reports)


def may_play_on(state: State) -> bool:
    """Return whether the state after a ping is one in which the next ping may be taken in one step."""
    head = state.head
    return (
        state.doing == CONTENT
        and state.span_is == CONTENT
        and state.start is not None
        and state.run is None
        and head > 0.0
        and state.head_first >= 0.0
        and state.rate <= RATE_MAX
        and state.resumed_ms == FAR_FUTURE
        and (
            not state.is_recorded
            or (
                state.rate_head == head
                and state.rate_ms == state.now_ms
                and not state.rate_window
                and not state.forward_rate
            )
        )
    )


def plays_on(state: State, event: Event) -> bool:
    """Take an event if it is a ping of content that plays on; return whether it is. After `may_play_on`."""
    now, received, head, was = event.order_ms, event.received_ms, event.playhead_s, state.head
    ms, moved_s, tracking = now - state.now_ms, head - was, event.tracking_session_id
    due_s = state.rate * ms / 1000
    if (
        event.type is not PING
        or not RATE_OBSERVATION_MS <= ms <= MS_MAX
        or abs(moved_s - due_s) > FITS * due_s
        or head >= state.end_s - AT_END_S
        or head >= PLAYHEAD_S_END
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
        take_quality(state, event)
    state.ping_before_ms, state.ping_ms, state.ping_at_ms = state.ping_ms, now - state.ping_at_ms, now
    return True
