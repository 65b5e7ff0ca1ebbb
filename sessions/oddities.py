"""What makes no sense in a session, as its flags say: units that cannot be right, events out of their place.

All of it counts as its file says; nothing is converted and nothing refused.

* `out_of_place`: an ad that starts outside of a break; the end of an ad, a break, a chapter or a player state that
  is not open; the completion of content that never played.
* `playhead_units`: content was played to more than 10 times its length, live content to more than 10 days:
  milliseconds, probably, or seconds since 1970.
* `bitrate_kbps`: see `bitrate.py`.
"""

from sessions.bitrate import flags_of_quality
from sessions.event import Event, read_object
from sessions.params import state_name
from sessions.playhead import DAY_S
from sessions.state import State
from sessions.states import STATES_MAX

LENGTHS_MAX = 10.0
OUT_OF_PLACE, PLAYHEAD_UNITS = "out_of_place", "playhead_units"
_ENDS = ("complete", "skip")


def note_place(state: State, event: Event) -> None:
    """Note an event that makes no sense now, before it takes effect."""
    row = event.type
    if (
        (row.ad == "start" and not state.in_break)
        or (row.ad in _ENDS and state.ad is None)
        or (row.ad_break in _ENDS and state.ad_break is None)
        or (row.chapter in _ENDS and state.chapter is None)
        or (row.state == "end" and _is_off(state, event))
        or (row.completes and not state.is_started)
    ):
        state.is_out_of_place = True


def _is_off(state: State, event: Event) -> bool:
    name = state_name(read_object(event.params).get("media.state.name"))
    known = state.states.get(name) if name is not None else None
    return len(state.states) < STATES_MAX if known is None else known.since_ms is None


def flags_of_oddities(state: State) -> list[str]:
    """Return the flags of a session for all of these."""
    flags = flags_of_quality(state)
    if state.start is not None:
        end_s = DAY_S if state.start.is_live else state.start.end_s
        if end_s is not None and state.head_max > LENGTHS_MAX * end_s:
            flags.append(PLAYHEAD_UNITS)
    if state.is_out_of_place:
        flags.append(OUT_OF_PLACE)
    return flags
