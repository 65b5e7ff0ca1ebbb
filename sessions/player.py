"""What the player does, and how long: moves, durations, startup, completion, errors.

The time between two neighbouring events belongs to what the player did in between, so these durations are
disjoint, and what follows the last event is not counted:

    join     before main content first played, outside of ad breaks, neither paused nor buffering
    content  main content playing
    ad       an ad of an ad break playing: from its start, with or without a play event
    pause    paused, in main content or in an ad break
    buffer   from the start of buffering to the next play or pause, in main content or in an ad break
    stall    main content playing, but over at least 3 events in a row the playhead stood (`playhead.py`)
    gap      unknown: main content or an ad was playing, and no event came for longer than `gap_ms`
    idle     nothing that counts: an ad break between its ads, and what follows completion without a play

    join + content + ad + pause + buffer + stall + gap + idle = last event - start

(Events before sessionStart belong to the session, and to the sum; the time that leads from them up to sessionStart
does not.) media time = content + ad. Startup is join + main buffering until the first play of main content; ads,
pauses, and the time between ads are no startup. Rebuffering is main buffering after that.

* Pauses and buffers are counted when they begin; a second pause in a pause adds nothing.
* Play, pause and buffering inside an ad break concern the ads, but for a pause in the very millisecond that the
  break starts: players so pause main content for it, and by rank it comes after the break's start.
* A session failed if an error was the last thing that happened: no play after it, no move of the playhead, no
  completion.
"""

from typing import Any

from msgspec.structs import replace

from sessions.event import Event, read_object
from sessions.facts import PlaybackError
from sessions.params import read_error
from sessions.playhead import forget_standing
from sessions.state import (
    AD,
    AD_BUFFER,
    AD_PAUSE,
    BUFFER,
    CONTENT,
    GAP,
    IDLE,
    JOIN,
    PAUSE,
    STALL,
    State,
    with_entry,
)


def move(state: State, to: int) -> None:
    """Take a play, a pause or a start of buffering, of main content or of the ads."""
    of_ads = _concerns_ads(state, to)
    if of_ads:
        was, state.break_player = state.break_player, to
    else:
        was, state.main = state.main, to
    if to == CONTENT:
        state.plays += 1
        if not of_ads:
            _play_main(state)
    elif to != was:
        if to == PAUSE:
            state.pauses += 1
        else:
            state.buffers += 1
            state.rebuffers += state.is_started and not of_ads
    settle(state)


def _concerns_ads(state: State, to: int) -> bool:
    """Return whether a move is one of the break's player."""
    if state.ad_break is None:
        return False
    return to != PAUSE or state.now_ms != state.ad_break.started_ms


def _play_main(state: State) -> None:
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
    if doing != state.doing:
        state.doing = doing
        forget_standing(state)


def complete(state: State, event: Event) -> None:
    """Note that content was played to its end."""
    state.is_completed = True
    state.main = IDLE
    settle(state)


def fail(state: State, event: Event) -> None:
    """Note an error."""
    error_id, source = read_error(read_object(event.params), read_object(event.qoe))
    state.errors += 1
    state.errors_before_start += not state.is_started
    state.error_plays, state.error_head = state.plays, state.head
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
    return state.error_plays == state.plays and state.error_head == state.head and not state.is_completed


def facts_of_player(state: State, offset_ms: int) -> dict[str, Any]:
    """Return what is known of the player, by the names of `SessionFacts`; moments are corrected by `offset_ms`."""
    times = state.times
    return {
        "is_started": state.is_started,
        "is_completed": state.is_completed,
        "is_failed": _is_failed(state),
        "startup_s": state.startup_ms / 1000 if state.is_started else None,
        "join_s": times[JOIN] / 1000,
        "content_time_s": times[CONTENT] / 1000,
        "ad_time_s": times[AD] / 1000,
        "media_time_s": (times[CONTENT] + times[AD]) / 1000,
        "pause_time_s": (times[PAUSE] + times[AD_PAUSE]) / 1000,
        "buffer_time_s": (times[BUFFER] + times[AD_BUFFER]) / 1000,
        "rebuffer_time_s": (times[BUFFER] - state.startup_buffer_ms) / 1000 if state.is_started else 0.0,
        "stall_time_s": times[STALL] / 1000,
        "gap_s": times[GAP] / 1000,
        "idle_s": times[IDLE] / 1000,
        "pauses": state.pauses,
        "buffers": state.buffers,
        "rebuffers": state.rebuffers,
        "errors": state.errors,
        "errors_before_start": state.errors_before_start,
        "playback_errors": [replace(error, at_ms=error.at_ms + offset_ms) for error in state.playback_errors],
    }
