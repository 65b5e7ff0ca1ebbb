"""Which rules decided anything of a session, as its `flags` name them; `rules.py` explains each."""

from sessions.oddities import flags_of_oddities
from sessions.playhead import loops
from sessions.state import (
    AD_OVER,
    AFTER_ERROR,
    AT_END,
    AT_ZERO,
    GAP,
    NEVER_MOVED,
    STALL,
    STILL,
    UNBORNE,
    State,
)


def flags_of(state: State) -> list[str]:
    """Return the names of the rules that decided anything, in the order of `rules.py`."""
    times = state.times
    decided = {
        "end_ignored": state.events_ignored,
        "over_limit": state.events_over_limit,
        "tracking_changed": state.has_tracking_changed,
        state.clock_flag: state.clock_flag,
        **dict.fromkeys(flags_of_oddities(state), True),
        "long_silence": times[GAP],
        "not_borne_out": times[UNBORNE],
        "steady_rate": state.has_steady_rate,
        "fast_forward": state.fast_forward_ms,
        "playhead_stood": times[STALL] or (state.has_moved and (times[NEVER_MOVED] or times[STILL])),
        "playhead_never_moved": times[NEVER_MOVED] and not state.has_moved,
        "stood_at_end": times[AT_END],
        "stood_after_error": times[AFTER_ERROR],
        "stood_at_zero": times[AT_ZERO],
        "play_unsaid": state.plays_unsaid,
        "break_unclosed": state.breaks_unclosed,
        "startup_unknown": state.is_started and state.is_startup_unknown,
        "ad_too_long": times[AD_OVER],
        "looped": loops(state),
        "playhead_reset": state.reset_head > 0.0,
        "ranges_joined": state.joined,
    }
    return [rule for rule, is_decided in decided.items() if is_decided]
