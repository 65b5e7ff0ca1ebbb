"""What the player reports that it does, and for how long: moves, durations, startup, completion, errors.

The time between two neighbouring events belongs to what the player did in between, so these durations are
disjoint, and what follows the last event is not counted. What it did is what it claims:

    join     before main content first played, outside of ad breaks, neither paused nor buffering
    content  main content playing
    ad       an ad of an ad break playing: from its start, with or without a play event
    outside  an ad outside of a break, where main content is at join or content (`ads.py`)
    pause    paused, in main content or in an ad break
    buffer   from the start of buffering to the next play or pause, in main content or in an ad break
    idle     nothing that counts: an ad break between its ads, and what follows completion without a play

unless silence or evidence says otherwise (`silence.py`, `evidence.py`):

    stall    main content playing as the player reports, while the playhead does not move
    gap      unknown

    join + content + ad + outside + pause + buffer + stall + gap + idle = last event - start

(Events before sessionStart belong to the session, and to the sum; the time that leads from them up to sessionStart
does not.) media time = content + ad + outside. Startup is join + main buffering until the first play of main
content; ads, pauses, and the time between ads are no startup. Rebuffering is main buffering after that.

* `startup_unknown`: startup is null where an interval of join or main buffering before the first play was unknown,
  and where the playhead tells when content started, and no play (`play_unsaid`). Rebuffering is what came after it
  all the same.
* Pauses and buffers are counted when they begin; a second pause in a pause adds nothing.
* Play, pause and buffering inside an ad break concern the ads, but for a pause in the very millisecond that the
  break starts: players so pause main content for it, and by rank it comes after the break's start. And but for a
  play after the ads of a break that was never closed (`ads.py`).
* Seek-caused buffering: a buffering of main content that begins after main content started, at most 2,000 ms
  (`SEEK_MS`) after an event to which the playhead jumped, or at such an event, or during which (its end included)
  it jumps. A jump is one that `playhead.py` finds, also if it turns out to be a slip, a reset or explained by a
  rate; not if an unsaid play takes it back. Its buffering, from its beginning, is counted in `seek_buffers` and
  `seek_buffer_time_s` besides; both are parts of `rebuffers` and `rebuffer_time_s`.
* A session failed if an error was the last thing that happened: no play after it, no move of the playhead (a reset
  to 0 does not count), no completion.
"""

from typing import Any

from msgspec.structs import replace

from sessions.event import Event, read_object
from sessions.evidence import observe_from_here, spilled_ms
from sessions.facts import PlaybackError
from sessions.params import read_error
from sessions.speed import begin_speed
from sessions.state import (
    AD,
    AD_BUFFER,
    AD_OVER,
    AD_PAUSE,
    AFTER_ERROR,
    AT_END,
    AT_ZERO,
    BUFFER,
    CONTENT,
    FAR_FUTURE,
    GAP,
    IDLE,
    JOIN,
    NEVER_MOVED,
    OUTSIDE,
    PAUSE,
    STALL,
    STILL,
    UNBORNE,
    State,
    with_entry,
)

SEEK_MS = 2_000
OVER_MS = 1_000


def move(state: State, to: int) -> None:
    """Take a play, a pause or a start of buffering, of main content or of the ads."""
    of_ads = _concerns_ads(state, to)
    if of_ads:
        was, state.break_player = state.break_player, to
        state.resumed_ms = FAR_FUTURE
        if was == to == CONTENT and _are_ads_over(state):
            state.resumed_ms, state.resumed_head = state.now_ms, state.head
            state.resumed_spilled_ms = spilled_ms(state)
            state.resumed_weight_ms, state.resumed_weighted = 0, 0.0
    else:
        if to != BUFFER:
            leave_buffering(state)
        was, state.main = state.main, to
    if to == CONTENT:
        if state.error_plays == state.plays and state.doing == CONTENT:
            state.run = state.short = None
        state.plays += 1
        if not of_ads:
            play_main(state)
    elif to != was:
        if to == PAUSE:
            state.pauses += 1
        else:
            state.buffers += 1
            if state.is_started and not of_ads:
                _begin_rebuffering(state)
    settle(state)


def _begin_rebuffering(state: State) -> None:
    state.rebuffers += 1
    state.rebuffer_base_ms = state.times[BUFFER]
    if state.now_ms - state.sought_ms <= SEEK_MS:
        state.is_buffer_sought = True
        state.seek_buffers += 1


def leave_buffering(state: State) -> None:
    """End the buffering of main content, if it buffers."""
    state.seek_buffer_ms = _seek_buffer_ms(state)
    state.is_buffer_sought = False
    state.rebuffer_base_ms = -1


def _seek_buffer_ms(state: State) -> int:
    open_ms = state.times[BUFFER] - state.rebuffer_base_ms if state.is_buffer_sought else 0
    return state.seek_buffer_ms + open_ms


def _concerns_ads(state: State, to: int) -> bool:
    """Return whether a move is one of the break's player."""
    if state.ad_break is None:
        return False
    return to != PAUSE or state.now_ms != state.ad_break.started_ms


def _are_ads_over(state: State) -> bool:
    """Return whether the ad that is open has played to its end, or the one before it in the break has ended."""
    if state.ad is None:
        return state.ads_started > state.break_base_ads
    played_ms = state.times[AD] - state.ad_base_ms
    return bool(state.ad.length_s) and played_ms >= (state.ad.length_s or 0.0) * 1000 - OVER_MS


def play_main(state: State) -> None:
    """Start main content, or go on with it: a play has come."""
    if not state.is_started:
        state.is_started = True
        state.startup_buffer_ms = state.times[BUFFER]
        state.startup_ms = state.times[JOIN] + state.times[BUFFER]
    if state.head_first < 0.0:
        state.head_first = state.head
    if state.head > state.head_max:
        state.head_max = state.head


def settle(state: State) -> None:
    """Work out what the player does now, from main content, the break and the ad."""
    doing = state.main
    if state.in_break:
        if state.break_player == CONTENT:
            doing = IDLE if state.ad is None else AD
        else:
            doing = AD_PAUSE if state.break_player == PAUSE else AD_BUFFER
    elif state.is_ad_outside and doing in (JOIN, CONTENT):
        doing = OUTSIDE
    if doing != state.doing or doing == OUTSIDE:
        state.doing = doing
        observe_from_here(state)
        begin_speed(state, state.now_ms, state.head)


def complete(state: State, event: Event) -> None:
    """Note that content was played to its end."""
    state.is_completed = True
    leave_buffering(state)
    state.main = IDLE
    settle(state)


def fail(state: State, event: Event) -> None:
    """Note an error."""
    error_id, source = read_error(read_object(event.params), read_object(event.qoe))
    state.errors += 1
    state.errors_before_start += not state.is_started
    state.error_plays, state.error_head, state.error_events = state.plays, state.head, state.events
    if state.doing == CONTENT:
        state.run = state.short = None
    found = PlaybackError(
        at_ms=event.order_ms,
        playhead_s=None if state.head < 0.0 else state.head,
        error_id=error_id,
        source=source,
        is_before_start=not state.is_started,
    )
    state.playback_errors = with_entry(state, state.playback_errors, found)


def _is_failed(state: State) -> bool:
    """Return whether an error was the last thing that happened: no play since, no move, no completion."""
    if state.error_plays != state.plays or state.is_completed:
        return False
    is_reset = state.reset_head > 0.0
    last = state.reset_head if is_reset and state.head == 0.0 else state.head
    is_error_after = is_reset and state.error_head == 0.0 and state.error_events >= state.reset_events
    return (state.reset_head if is_error_after else state.error_head) == last


def content_ms(state: State) -> int:
    """Return how long main content has played, as far as is known now."""
    return state.times[CONTENT] + (0 if state.has_moved else state.times[STILL])


def facts_of_player(state: State, offset_ms: int) -> dict[str, Any]:
    """Return what is known of the player, by the names of `SessionFacts`; moments are corrected by `offset_ms`."""
    times = state.times
    unknown_ms = times[GAP] + times[AD_OVER] + times[UNBORNE]
    stall_ms = times[STALL]
    if state.has_moved:
        stall_ms += times[NEVER_MOVED] + times[STILL]
    else:
        unknown_ms += times[NEVER_MOVED]
    played_ms = content_ms(state) + times[AD] + times[OUTSIDE]
    is_startup_known = state.is_started and not state.is_startup_unknown
    return {
        "is_started": state.is_started,
        "is_completed": state.is_completed,
        "is_failed": _is_failed(state),
        "startup_s": state.startup_ms / 1000 if is_startup_known else None,
        "join_s": times[JOIN] / 1000,
        "content_time_s": content_ms(state) / 1000,
        "ad_time_s": times[AD] / 1000,
        "ad_time_outside_breaks_s": times[OUTSIDE] / 1000,
        "media_time_s": played_ms / 1000,
        "pause_time_s": (times[PAUSE] + times[AD_PAUSE]) / 1000,
        "buffer_time_s": (times[BUFFER] + times[AD_BUFFER]) / 1000,
        "rebuffer_time_s": (times[BUFFER] - state.startup_buffer_ms) / 1000 if state.is_started else 0.0,
        "seek_buffer_time_s": _seek_buffer_ms(state) / 1000,
        "stall_time_s": stall_ms / 1000,
        "gap_s": unknown_ms / 1000,
        "idle_s": (times[IDLE] + times[AT_END] + times[AFTER_ERROR] + times[AT_ZERO]) / 1000,
        "pauses": state.pauses,
        "buffers": state.buffers,
        "rebuffers": state.rebuffers,
        "seek_buffers": state.seek_buffers,
        "errors": state.errors,
        "errors_before_start": state.errors_before_start,
        "playback_errors": [replace(error, at_ms=error.at_ms + offset_ms) for error in state.playback_errors],
    }
