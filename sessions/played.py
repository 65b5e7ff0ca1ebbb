"""Which ranges of the content a session played, and how often each: joined where they are too many.

* `ranges_joined`: of more than 256 ranges (`RANGES_MAX`) the two neighbours that cost least are made one, again
  and again, until 192 are left: the cost is the gap between them, and the length of the shorter where they were
  played differently often; the one has the passes that come nearest to the sum of what was played.
  `unique_played_s` leaves the gaps out; `played_error_s`, the sum of the gaps, is how far it may be wrong.
"""

from typing import Any

from sessions.facts import PlayedInterval
from sessions.ranges import clip, count_passes, join_nearest
from sessions.state import INFINITE, State

RANGES_MAX = 256
RANGES_KEPT = 192


def add_range(state: State, low: float, high: float) -> None:
    """Note that this range was played once more; most begin where the last one ended."""
    if low >= high:
        return
    state.has_moved = True
    if low == state.range_to:
        state.range_to = high
        return
    if state.range_from < state.range_to:
        state.ranges = (*state.ranges, (state.range_from, state.range_to, 1))
        if len(state.ranges) > RANGES_MAX:
            _join(state)
    state.range_from, state.range_to = low, high


def _join(state: State) -> None:
    ranges = count_passes(state.ranges)
    while len(ranges) > RANGES_KEPT:
        ranges, gap_s = join_nearest(ranges)
        state.joined += 1
        state.filled_s += gap_s
    state.ranges = tuple(ranges)


def facts_of_played(state: State) -> dict[str, Any]:
    """Return what was played, by the names of `SessionFacts`."""
    played = state.ranges
    if state.range_from < state.range_to:
        played = (*played, (state.range_from, state.range_to, 1))
    ranges = clip(count_passes(played), None if state.end_s == INFINITE else state.end_s)
    return {
        "unique_played_s": max(0.0, sum(high - low for low, high, _ in ranges) - state.filled_s),
        "played_error_s": state.filled_s,
        "played_intervals": [PlayedInterval(*counted) for counted in ranges],
    }
