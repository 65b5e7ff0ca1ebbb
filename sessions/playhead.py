"""What the playhead says: played intervals, seeks, slips, loops, progress.

Rates, silence, freezes and ranges have files of their own (`speed.py`, `silence.py`, `evidence.py`, `played.py`).
The tolerance is 2 s or a twentieth of the interval, whichever is more. What follows is of intervals that claim
main content, or are main content during an ad outside of a break, and are not over their limit, or are known all
the same.

* Played intervals: neighbouring events whose playhead moved forward and by no more than max(1, rate) x seconds and
  the tolerance. Also what a steady rate found afterwards to be played, and the run of an unsaid play.
* Loops: recorded content of known length, the playhead went back, and `wrapped = playhead + length - was` differs
  from rate x seconds by no more than the tolerance: played from `was` to the end and from 0 on; counted in
  `loops`, flag `looped`. Two wraps between two events are not recognized.
* Jumps: other moves, but for moves back by no more than 2 s. Also, once main content has started, moves in a pause
  or in buffering of main content (not over its limit) by more than 2 s either way; of live content, forward by
  more than the seconds that passed and the tolerance. A jump is a seek, unless it is a slip, or an unsaid play, a
  steady rate or fast forward explains it, or it is at the last event, or it is the reset below. In intervals that
  claim anything else there are no jumps.
* A single playhead that is unknown, or fits neither neighbour, is a slip: the event after it has the playhead of
  the event before it and what was due, within 2 s; due is rate x seconds of those of the two intervals that this
  is of, and nothing in a pause or in buffering. What was played goes on over it, it is not two seeks, and no
  progress. Where a steady rate is found at the event after it, that is the rate of what is due there.
* `playhead_reset`: recorded content; the last events that know a playhead all say exactly 0, and the one before
  them is above 0, whatever is claimed. Players do so when they are torn down. `last_playhead_s` is the one before,
  and that jump is no seek (and no loop).
* Playheads below 0 are unknown positions; those past the end of recorded content are taken for the end. Live
  playheads are seconds of the day, and wrap at midnight.
* Progress (10, 25, 50, 75, 95 % of the length): the farthest playhead while main content played or began to; None
  for live content and where the length is unknown.
"""

from typing import Any

from sessions.evidence import count_freeze
from sessions.played import add_range
from sessions.silence import (
    AT_END_S,
    CONTENT_MS,
    SILENT_MS,
    TOLERANCE_S,
    borne_out_ms,
    is_known,
    played_to_end_ms,
    tolerance_s,
)
from sessions.spans import count, count_content, count_rest, end_span
from sessions.speed import FORWARD, begin_speed, keep_odd, observe_speed
from sessions.state import (
    AT_END,
    BUFFER,
    CONTENT,
    GAP,
    INFINITE,
    OUTSIDE,
    UNBORNE,
    Odd,
    Short,
    SpeedObservation,
    State,
)

DAY_S = 86_400.0
MARKERS_PCT = (95, 75, 50, 25, 10)


def play_content(state: State, now: int, head: float) -> None:
    """Count the time up to this event, with the player in main content, and see what the playhead did."""
    ms, was = now - state.now_ms, state.head
    if ms > CONTENT_MS and not state.only_claims:
        if is_known(state, ms, head):
            follow(state, now, head, ms)
        else:
            count(state, GAP, ms)
        state.run = None
        begin_speed(state, now, head)
    elif head < 0.0 or was < 0.0:
        state.run = None
        count_content(state, ms)
        if head != was:
            jump(state, now, head, state.rate * ms / 1000, 0.0)
        begin_speed(state, now, head)
    elif not state.is_recorded:
        follow(state, now, head, ms)
    else:
        seen = observe_speed(state, now, head)
        kept = count_freeze(state, now, ms) if head == was else _move(state, now, head, ms, seen)
        if kept is None:
            begin_speed(state, now, head)
        elif seen is not None and seen is not FORWARD:
            keep_odd(state, seen, kept)
    if head > state.head_max:
        make_progress(state, head)


def make_progress(state: State, head: float) -> None:
    """Note the farthest playhead so far of main content."""
    if state.head_first < 0.0:
        state.head_first = head
    state.head_max = head


def follow(state: State, now: int, head: float, ms: int) -> None:
    """Count an interval as main content, and take what the playhead, which is known, did for played or a jump."""
    count_content(state, ms)
    was = state.head
    if head == was:
        return
    if _is_played(state, head, ms):
        add_range(state, was, head)
    else:
        _leap(state, now, head, ms)


def _is_played(state: State, head: float, ms: int) -> bool:
    return 0.0 < head - state.head <= _allowed_s(state, ms)


def _allowed_s(state: State, ms: int) -> float:
    rate = state.rate
    return (rate if rate > 1.0 else 1.0) * ms / 1000 + tolerance_s(ms)


def _leap(state: State, now: int, head: float, ms: int) -> bool:
    """The playhead wrapped, or went elsewhere otherwise than by playing; return whether it jumped."""
    was = state.head
    if _wraps(state, head, ms):
        add_range(state, was, state.end_s)
        add_range(state, 0.0, head)
        state.loops += 1
        state.loop_events = state.events + 1
        jumped = False
    else:
        jumped = jump(state, now, head, state.rate * ms / 1000, _allowed_s(state, ms))
        if not jumped:
            return False
    end_span(state, now, was)
    return jumped


def _wraps(state: State, head: float, ms: int) -> bool:
    if head >= state.head or state.end_s == INFINITE or not state.is_recorded:
        return False
    wrapped_s = head + state.end_s - state.head
    return abs(wrapped_s - state.rate * ms / 1000) <= tolerance_s(ms)


def _move(state: State, now: int, head: float, ms: int, seen: SpeedObservation | None) -> Odd | None:
    """Count the time up to this event, in which the playhead moved; return what of it the rate may explain.

    None: it is no observation of the speed.
    """
    was, seeks = state.head, state.seeks
    played_ms, rest = ms, UNBORNE
    is_played = _is_played(state, head, ms)
    if state.run is not None and state.run.counts_as >= 0:
        rest = state.run.counts_as
        played_ms = _end_freeze(state, head, ms, is_played=is_played)
    elif was < state.end_s - AT_END_S <= head:
        played_ms, rest = _count_to_end(state, head, ms), AT_END
    elif was < head and (head - was) / state.rate < ms / 1000 - TOLERANCE_S:
        played_ms = _count_short(state, head, ms)
    else:
        count_content(state, ms)
    state.run = None
    jumped = False
    if is_played:
        add_range(state, was, head)
    elif seen is FORWARD:
        end_span(state, now, was)
    else:
        jumped = _leap(state, now, head, ms)
    if state.seeks < seeks or (played_ms < ms and rest != UNBORNE):
        return None
    return Odd((was, head) if jumped else None, ms - played_ms)


def _end_freeze(state: State, head: float, ms: int, *, is_played: bool) -> int:
    """Count an interval in which a freeze ended: its beginning, which is not borne out, belongs to the freeze."""
    assert state.run is not None
    played_ms = borne_out_ms(state, head - state.head, ms) if is_played else ms
    if played_ms == ms:
        count_content(state, ms)
    else:
        count(state, state.run.counts_as, ms - played_ms)
        count_rest(state, CONTENT, played_ms, state.now_ms + ms - played_ms, state.head)
    return played_ms


def _count_to_end(state: State, head: float, ms: int) -> int:
    """Count an interval in which recorded content reached its end; return how much of it was played."""
    played_ms = played_to_end_ms(state, head, ms)
    count_content(state, played_ms)
    if played_ms < ms:
        count_rest(state, AT_END, ms - played_ms, state.now_ms + played_ms, head)
    return played_ms


def _count_short(state: State, head: float, ms: int) -> int:
    """Count an interval in which the playhead moved less than the clock; return how much is content for now."""
    played_ms = borne_out_ms(state, head - state.head, ms)
    if played_ms < ms:
        is_unborne = ms >= SILENT_MS
        state.short = Short(state.events + 1, ms - played_ms, is_unborne, state.bitrate)
        if is_unborne:
            count_content(state, played_ms)
            count_rest(state, UNBORNE, ms - played_ms, state.now_ms + played_ms, head)
            return played_ms
    count_content(state, ms)
    return ms


def jump(state: State, now: int, head: float, due_s: float, allowed_s: float) -> bool:
    """The playhead moved, or is unknown: over midnight, by a seek, by a slip; return whether it is a seek so far.

    Playing would have moved it by `due_s`, and may have by `allowed_s`.
    """
    was = state.head
    if head < 0.0 or was < 0.0:
        if head >= 0.0:
            _bridge(state, head, due_s)
        else:
            note_slip(state, due_s)
        return False
    moved = head - was
    if moved < -DAY_S / 2 and state.start is not None and state.start.is_live:
        moved += DAY_S
        if state.doing in (CONTENT, OUTSIDE) and 0.0 < moved <= allowed_s:
            add_range(state, was, DAY_S)
            add_range(state, 0.0, head)
    if -TOLERANCE_S <= moved <= allowed_s:
        return False
    state.sought_ms = now
    if state.doing == BUFFER and state.rebuffer_base_ms >= 0 and not state.is_buffer_sought:
        state.is_buffer_sought = True
        state.seek_buffers += 1
    if _bridge(state, head, due_s):
        state.seeks -= 1
        return False
    state.seeks += 1
    note_slip(state, due_s)
    return True


def jump_waiting(state: State, now: int, head: float) -> None:
    """The playhead is another than before, in a pause or in buffering."""
    allowed_s = TOLERANCE_S
    if state.start is not None and state.start.is_live:
        ms = now - state.now_ms
        allowed_s = ms / 1000 + tolerance_s(ms)
    jump(state, now, head, 0.0, allowed_s)


def note_slip(state: State, due_s: float) -> None:
    """This event's playhead may be a slip, or is unknown: keep what the next one may go on from."""
    state.slip_head, state.slip_due_s, state.slip_events = state.head, due_s, state.events + 1
    state.slip_head_max = state.head_max


def _bridge(state: State, head: float, due_s: float) -> bool:
    """Go on from before the last event, if that fits; then its playhead was a slip, and is no progress."""
    due_s += state.slip_due_s
    if state.slip_events != state.events or abs(head - state.slip_head - due_s) > TOLERANCE_S:
        return False
    state.head_max = state.slip_head_max
    if due_s:
        add_range(state, state.slip_head, head)
    return True


def take_head(state: State, head: float) -> None:
    """Take the playhead of an event as the last one known, or as a reset of a player that is torn down."""
    if head > 0.0:
        state.reset_head = -1.0
    elif head == 0.0 and state.head_last > 0.0 and state.is_recorded:
        state.reset_head, state.reset_events = state.head_last, state.events
        state.is_reset_sought = state.slip_events == state.events
        state.is_reset_loop = state.loop_events == state.events
    if head >= 0.0:
        state.head_last = head


def _progress_pct(state: State) -> int | None:
    if state.end_s == INFINITE:
        return None
    for marker in MARKERS_PCT:
        if state.head_max * 100 >= marker * state.end_s:
            return marker
    return 0


def facts_of_playhead(state: State) -> dict[str, Any]:
    """Return what the playhead tells, by the names of `SessionFacts`."""
    is_reset = state.reset_head > 0.0
    is_last_a_seek = state.slip_events == state.events and state.head >= 0.0
    last = state.reset_head if is_reset else state.head_last
    return {
        "stalls": state.stalls + (state.freezes_never_moved if state.has_moved else 0),
        "seeks": state.seeks - (state.is_reset_sought if is_reset else is_last_a_seek),
        "loops": loops(state),
        "progress_pct": _progress_pct(state),
        "first_playhead_s": None if state.head_first < 0.0 else min(state.head_first, state.end_s),
        "last_playhead_s": None if last < 0.0 else min(last, state.end_s),
    }


def loops(state: State) -> int:
    """Return how often content began again; the reset of a player that was torn down is no loop."""
    return state.loops - (state.reset_head > 0.0 and state.is_reset_loop)
