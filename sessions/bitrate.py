"""The quality of what played: bitrate, dropped frames, time to start, as the player measured them.

* Bitrate: the mean over content time with a known bitrate, as reported: each interval counts with the bitrate that
  was known before it. Time that turns out not to be content leaves the mean, and time that turns out to be content
  joins it, each with the bitrate of its time (`evidence.py`, `speed.py`). The documentation has bits per second on
  some pages and kbit/s on others, and nothing is converted: a session whose bitrates are all under 100,000 has the
  flag `bitrate_kbps`.
* Dropped frames and time to start: the value that came last.
* `media.qoe.bitrate` in `params` counts as in qoeData, and `bitrate` in qoeData as `media.qoe.bitrate`; so do the
  other keys. Of one event qoeData wins, and in it the documented name.
"""

from typing import Any

from sessions.event import Event, read_object
from sessions.params import QUALITY, number, quality_in
from sessions.state import State

BITRATE_BPS_MIN = 100_000  # nobody watches a video of fewer bits per second
BITRATE_KBPS = "bitrate_kbps"
_QUALITY = f'"{QUALITY}'.encode()


def take_quality(state: State, event: Event) -> None:
    """Take what an event says of quality, in params and in qoeData."""
    if event.params is not None and _QUALITY in event.params:
        state.qoe = None
        _measure(state, quality_in(read_object(event.params)))
    if event.qoe is not None and event.qoe != state.qoe:  # players often send the same values with every event
        state.qoe = event.qoe
        _measure(state, read_object(event.qoe))


def _measure(state: State, qoe: dict[str, Any]) -> None:
    bitrate = qoe.get("media.qoe.bitrate", qoe.get("bitrate"))
    if bitrate is not None and bitrate != state.bitrate and (bitrate := number(bitrate)):
        state.bitrate = bitrate
        state.bitrate_max = max(state.bitrate_max, bitrate)
    dropped = qoe.get("media.qoe.droppedFrames", qoe.get("droppedFrames"))
    if dropped is not None and dropped != state.dropped_frames and (dropped := number(dropped)) is not None:
        state.dropped_frames = int(dropped)
    delay_ms = qoe.get("media.qoe.timeToStart", qoe.get("timeToStart"))
    if delay_ms is not None and delay_ms != state.time_to_start_ms and (delay_ms := number(delay_ms)) is not None:
        state.time_to_start_ms = int(delay_ms)


def weigh(state: State, bitrate: float | None, ms: int) -> None:
    """Let so much content time count with this bitrate, if it is known."""
    if bitrate is not None:
        state.weight_ms += ms
        state.weighted += bitrate * ms


def change_bitrate(state: State, event: Event) -> None:
    """Count a change of bitrate; its value is in qoeData."""
    state.bitrate_changes += 1


def flags_of_quality(state: State) -> list[str]:
    """Return what is odd about the quality that the player reported."""
    return [BITRATE_KBPS] if 0.0 < state.bitrate_max < BITRATE_BPS_MIN else []


def facts_of_quality(state: State) -> dict[str, Any]:
    """Return what is known of quality, by the names of `SessionFacts`."""
    weight_ms, weighted = state.weight_ms, state.weighted
    if not state.has_moved:
        weight_ms, weighted = weight_ms + state.still_weight_ms, weighted + state.still_weighted
    return {
        "time_to_start_ms": state.time_to_start_ms,
        "bitrate_changes": state.bitrate_changes,
        "average_bitrate_bps": weighted / weight_ms if weight_ms else None,
        "dropped_frames": state.dropped_frames,
    }
