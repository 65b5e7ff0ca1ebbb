"""The quality of what played: bitrate, dropped frames, time to start, as the player measured them.

* Bitrate: the mean over content time with a known bitrate, as reported. Time that turns out to be a stall is no
  content time, and leaves the mean (`playhead.py`). The documentation has bits per second on some pages and kbit/s
  on others, and nothing is converted: a session whose bitrates are all under 100,000 has the flag `bitrate_kbps`.
* Dropped frames and time to start: the value that came last.
* `media.qoe.bitrate` in `params` counts as in qoeData, and `bitrate` in qoeData as `media.qoe.bitrate`; so do the
  other keys. Of one event qoeData wins, and in it the documented name.
"""

from typing import Any

from sessions.event import Event
from sessions.params import number
from sessions.state import CONTENT, State

BITRATE_BPS_MIN = 100_000  # a video of fewer bits per second is none that anybody watches
BITRATE_KBPS = "bitrate_kbps"


def measure(state: State, qoe: dict[str, Any]) -> None:
    """Take what is new in qoeData."""
    bitrate = qoe.get("media.qoe.bitrate", qoe.get("bitrate"))
    if bitrate is not None and bitrate != state.bitrate and (bitrate := number(bitrate)):
        _weigh_bitrate(state)
        state.bitrate = bitrate
        state.bitrate_max = max(state.bitrate_max, bitrate)
    dropped = qoe.get("media.qoe.droppedFrames", qoe.get("droppedFrames"))
    if dropped is not None and dropped != state.dropped_frames and (dropped := number(dropped)) is not None:
        state.dropped_frames = int(dropped)
    delay_ms = qoe.get("media.qoe.timeToStart", qoe.get("timeToStart"))
    if delay_ms is not None and delay_ms != state.time_to_start_ms and (delay_ms := number(delay_ms)) is not None:
        state.time_to_start_ms = int(delay_ms)


def _weigh_bitrate(state: State) -> None:
    """Close the time of the bitrate so far; remember what of it may still turn out to be a stall."""
    content, standing = state.times[CONTENT], state.standing_ms
    if state.bitrate is not None:
        state.weight_ms += content - state.bitrate_base_ms
        state.weighted += state.bitrate * (content - state.bitrate_base_ms)
        state.standing_weight_ms += standing - state.bitrate_standing_ms
        state.standing_weighted += state.bitrate * (standing - state.bitrate_standing_ms)
    state.bitrate_base_ms, state.bitrate_standing_ms = content, standing


def change_bitrate(state: State, event: Event) -> None:
    """Count a change of bitrate; its value is in qoeData."""
    state.bitrate_changes += 1


def _average_bitrate(state: State) -> float | None:
    if state.bitrate is None:
        return None
    open_ms = state.times[CONTENT] - state.bitrate_base_ms
    weight_ms = state.weight_ms + open_ms
    return (state.weighted + state.bitrate * open_ms) / weight_ms if weight_ms else None


def flags_of_quality(state: State) -> list[str]:
    """Return what is odd about the quality that the player reported."""
    return [BITRATE_KBPS] if 0.0 < state.bitrate_max < BITRATE_BPS_MIN else []


def facts_of_quality(state: State) -> dict[str, Any]:
    """Return what is known of quality, by the names of `SessionFacts`."""
    return {
        "time_to_start_ms": state.time_to_start_ms,
        "bitrate_changes": state.bitrate_changes,
        "average_bitrate_bps": _average_bitrate(state),
        "dropped_frames": state.dropped_frames,
    }
