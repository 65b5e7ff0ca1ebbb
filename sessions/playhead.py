"""What the playhead says: played intervals, seeks, slips, stalls, gaps of main content, progress.

* Gap: playing main content, a longer silence than `gap_ms` is no gap where the playhead moved on as the clock did
  (within 2 s or a twentieth); of live content, whose playhead is the clock, it always is.
* Stall: 3 observations of one playhead in a row while main content plays; events less than 500 ms after an
  observation are none. The stall begins with the first of them, and ends when the playhead moves or the player's
  state changes. A chapter's border makes the observation begin again. Standing at or past the end of recorded
  content is idle.
* Played intervals: neighbouring events while main content plays, whose playhead moved forward and by no more than
  the clock, within 2 s. Other moves are seeks: those, and moves of more than 2 s in a pause or while buffering,
  once main content has played: before that, players send 0 until they know where they begin.
  A single playhead that is unknown, or fits neither neighbour, is a slip: what was played goes on over it, it is
  not two seeks, and no progress. Nor is a move at the last event a seek.
  Playing faster than the clock cannot be told from seeking.
* Playheads below 0 are unknown positions; those past the end of recorded content are taken for the end. Live
  playheads are seconds of the day, and wrap at midnight.
* Progress (10, 25, 50, 75, 95 % of the length): the farthest playhead while main content played or began to;
  None for live content and where the length is unknown.
"""

from typing import Any

from sessions.facts import PlayedInterval
from sessions.ranges import clip, count_passes
from sessions.state import CONTENT, GAP, IDLE, STALL, State

TOLERANCE_S = 2.0
OBSERVATION_MS = 500
OBSERVATIONS_OF_STALL = 3
DAY_S = 86_400.0
RANGES_MAX = 128
MARKERS_PCT = (95, 75, 50, 25, 10)


def play_content(state: State, now: int, head: float) -> None:
    """Count the time up to this event, with the player in main content, and see what the playhead did."""
    silent = now - state.now_ms
    was = state.head
    if silent > state.gap_ms and not _is_borne_out(state, silent, head):
        state.times[GAP] += silent
        forget_standing(state)
    elif head == was:
        if head >= 0.0:
            _stand(state, now, silent)
        else:
            state.times[CONTENT] += silent
    else:
        state.times[CONTENT] += silent
        if state.observations:
            forget_standing(state)
        if 0.0 <= was < head <= was + silent / 1000 + TOLERANCE_S:
            if was == state.range_to:
                state.range_to = head
            else:
                _begin_range(state, was, head)
        else:
            jump(state, now, head, silent / 1000)
    if head > state.head_max:
        if state.head_first < 0.0:
            state.head_first = head
        state.head_max = head


def _is_borne_out(state: State, silent_ms: int, head: float) -> bool:
    """Return whether the playhead shows that content played through a long silence."""
    if head < 0.0 or state.head < 0.0 or (state.start is not None and state.start.is_live):
        return False
    ahead_s = head - state.head - silent_ms / 1000
    return -max(TOLERANCE_S, silent_ms / 20_000) <= ahead_s <= TOLERANCE_S


def _stand(state: State, now: int, silent: int) -> None:
    """The playhead stood still: content, until enough events say that it is a stall."""
    if state.observations >= OBSERVATIONS_OF_STALL:
        state.times[_standing_is(state)] += silent
        return
    if not state.observations:
        state.observations, state.observed_ms = 1, state.now_ms
    state.times[CONTENT] += silent
    state.standing_ms += silent
    if now - state.observed_ms >= OBSERVATION_MS:
        state.observations += 1
        state.observed_ms = now
        if state.observations == OBSERVATIONS_OF_STALL:
            _find_stall(state)


def _standing_is(state: State) -> int:
    end_s = state.start.end_s if state.start is not None else None
    return STALL if end_s is None or state.head < end_s else IDLE


def _find_stall(state: State) -> None:
    kind = _standing_is(state)
    state.stalls += kind == STALL
    state.times[CONTENT] -= state.standing_ms
    state.times[kind] += state.standing_ms
    state.bitrate_base_ms -= state.bitrate_standing_ms
    state.weight_ms -= state.standing_weight_ms
    state.weighted -= state.standing_weighted
    _forget_run(state)


def forget_standing(state: State) -> None:
    """Begin to observe again whether the playhead stands: what was content stays content."""
    state.observations = 0
    _forget_run(state)


def _forget_run(state: State) -> None:
    state.standing_ms = state.bitrate_standing_ms = state.standing_weight_ms = 0
    state.standing_weighted = 0.0


def jump(state: State, now: int, head: float, advance_s: float) -> None:
    """The playhead moved otherwise than by playing for `advance_s`: over midnight, by a seek, by a slip."""
    was = state.head
    if head < 0.0 or was < 0.0:
        if head >= 0.0:
            _bridge(state, head, advance_s)
        elif was >= 0.0:
            _note_slip(state, advance_s)
        return
    moved, allowed_s = head - was, advance_s
    if state.start is not None and state.start.is_live:
        allowed_s = (now - state.now_ms) / 1000
        if moved < -DAY_S / 2:
            moved += DAY_S
            if state.doing == CONTENT and 0.0 < moved <= allowed_s + TOLERANCE_S:
                _begin_range(state, was, DAY_S)
                _begin_range(state, 0.0, head)
    if -TOLERANCE_S <= moved <= allowed_s + TOLERANCE_S:
        return
    if _bridge(state, head, advance_s):
        state.seeks -= 1
        return
    state.seeks += 1
    _note_slip(state, advance_s)


def _note_slip(state: State, advance_s: float) -> None:
    """This event's playhead may be a slip, or is unknown: keep what the next one may go on from."""
    state.slip_head, state.slip_advance_s, state.slip_events = state.head, advance_s, state.events + 1
    state.slip_head_max = state.head_max


def _bridge(state: State, head: float, advance_s: float) -> bool:
    """Go on from before the last event, if that fits; then its playhead was a slip, and is no progress."""
    due_s = state.slip_advance_s + advance_s
    if state.slip_events != state.events or abs(head - state.slip_head - due_s) > TOLERANCE_S:
        return False
    state.head_max = state.slip_head_max
    if due_s and head > state.slip_head:
        _begin_range(state, state.slip_head, head)
    return True


def _begin_range(state: State, low: float, high: float) -> None:
    if low == state.range_to:
        state.range_to = high
        return
    if state.range_from < state.range_to:
        if len(state.ranges) >= RANGES_MAX and not state.are_ranges_full:
            state.ranges = tuple(count_passes(state.ranges))
            state.are_ranges_full = len(state.ranges) >= RANGES_MAX
        if state.are_ranges_full:
            state.is_capped = True
        else:
            state.ranges = (*state.ranges, (state.range_from, state.range_to, 1))
    state.range_from, state.range_to = low, high


def _progress_pct(state: State, end_s: float | None) -> int | None:
    if end_s is None:
        return None
    for marker in MARKERS_PCT:
        if state.head_max * 100 >= marker * end_s:
            return marker
    return 0


def _within(playhead_s: float, end_s: float | None) -> float | None:
    if playhead_s < 0.0:
        return None
    return playhead_s if end_s is None else min(playhead_s, end_s)


def facts_of_playhead(state: State, end_s: float | None) -> dict[str, Any]:
    """Return what the playhead tells, by the names of `SessionFacts`; `end_s` is the end of recorded content."""
    played = state.ranges
    if state.range_from < state.range_to:
        played = (*played, (state.range_from, state.range_to, 1))
    ranges = clip(count_passes(played), end_s)
    return {
        "stalls": state.stalls,
        "seeks": state.seeks - (state.slip_events == state.events and state.head >= 0.0),
        "progress_pct": _progress_pct(state, end_s),
        "first_playhead_s": _within(state.head_first, end_s),
        "last_playhead_s": _within(state.head_last, end_s),
        "unique_played_s": sum(high - low for low, high, _ in ranges),
        "played_intervals": [PlayedInterval(*counted) for counted in ranges],
    }
