"""At what speed main content plays: named by the player, or steady by its playhead, or 1.

* Named: `playbackRate` or `media.playbackRate`, a number above 0 and up to 16, in `params` (a number), in
  customMetadata (a number or a text, which may end in "x"), or as a player state whose name is "1.5x",
  "playbackRate:1.5" or "speed=1.5x" (`STATE_NAMES_RATE`; any case). Of one event `params` win over customMetadata,
  `playbackRate` over `media.playbackRate`, and each over a state. The one named last holds, from its event on; the
  end of the state that named it ends it. While a rate is named it is in force, and no steady rate is looked for.
* Observations: recorded content, while main content is claimed (`content`), from a base to the first event at
  least 2,000 ms later (`RATE_OBSERVATION_MS`), both playheads known; that event is the next base. The event is a
  new base, and the window is empty, where the claim changed, at a chapter's border, at an unknown playhead, after
  an interval over its limit (also where it is content), after one of which a part was counted as a stall, as idle,
  or as unknown because the playhead never moved, at the sessionStart after other events, where a slip was found
  (`playhead.py`), and where a rate was named. An interval within its limit completes an observation before its
  event becomes a new base; the one that leads up to the sessionStart has no length, and is no observation. An
  observation whose playhead did not move forward empties the window. An event with an unknown playhead is no base:
  the next known one is.
* An observation fits a rate where its move differs from rate x seconds by no more than 3 % of that product, or, if
  the move is a whole number of seconds, by no more than 1 s.
* An observation that fits the rate in force empties the window, and is steady play. Others enter the window. With
  three in it, their ratio is the sum of their moves by the sum of their seconds; it is steady if all three fit it
  and it is 0.2 or more. If it is not steady, the first of the three leaves the window.
* `steady_rate`: a steady ratio up to 2.06 is in force from the first of the three on: as 1 where it is within 0.03
  of 1, else rounded to hundredths. The flag is for rates other than 1. The third interval is counted by the new
  rate. Of the first two: where the interval that completed the observation was a jump, it was played and is no
  seek, and what was unknown of it by `SILENT_MS` (`silence.py`) becomes content. Likewise of the observation that
  left the window last, if it is right before the three, was a jump, and moved at least as far as the lower of the
  two rates makes due, less 2 s, and at most as far as the higher does, and 2 s: the speed changed in it. The
  window is empty then.
* `fast_forward`: a steady ratio above 2.06 that is not named. The three observations, and those that follow at
  once and fit the same ratio (not rounded), are fast forward: main content, its time is counted in
  `fast_forward_s` besides, and where the interval that completes an observation is a jump, it is neither played
  nor a seek nor a slip, and causes no buffering. The jumps of the first two together are one seek; there is one
  also if neither was. An observation that does not fit ends it, and is looked at as any other. So does whatever
  makes a new base.
* `playback_rate`: moves by seconds of all steady play (observations that fitted the rate in force, and the threes
  that made a steady rate), rounded to hundredths; the rate named last where there was no such; else null.

The rate in force outlasts pauses, seeks and ads.
"""

import re
from typing import Any

from msgspec.structs import replace

from sessions.bitrate import weigh
from sessions.event import Event, read_object
from sessions.params import names, state_name
from sessions.played import add_range
from sessions.silence import TOLERANCE_S
from sessions.spans import rewrite_spans
from sessions.state import CONTENT, UNBORNE, Odd, SpeedObservation, State

RATE_OBSERVATION_MS = 2_000
RATE_OBSERVATIONS = 3
FITS = 0.03
FITS_WHOLE_S = 1.0
RATE_MIN, RATE_MAX, NAMED_RATE_MAX = 0.2, 2.06, 16.0
STATE_NAMES_RATE = re.compile(r"(?:playbackrate|speed)[ :=]?(\d+(?:\.\d+)?)x?|(\d+(?:\.\d+)?)x", re.IGNORECASE)
NAMES_RATE = b"laybackRate"  # a part of both keys: an event without it is not read for them
KEYS = ("media.playbackRate", "playbackRate")

FORWARD = SpeedObservation(0, 0.0, 0, 0.0, None)
"""What `observe_speed` returns for an observation of fast forward."""


def begin_speed(state: State, now: int, head: float) -> None:
    """Begin to observe the speed again, from this event."""
    state.rate_ms, state.rate_head = now, head
    state.forward_rate = 0.0
    if state.rate_window:
        state.rate_window = ()


def observe_speed(state: State, now: int, head: float) -> SpeedObservation | None:
    """Look at the speed up to this event, whose playhead is known.

    Return an observation that does not fit the rate in force, to be given to `keep_odd`; FORWARD; or None.
    """
    was, ms = state.rate_head, now - state.rate_ms
    if was < 0.0:
        begin_speed(state, now, head)
        return None
    if ms < RATE_OBSERVATION_MS:
        return None
    since_ms, moved_s = state.rate_ms, head - was
    state.rate_ms, state.rate_head = now, head
    if moved_s > 0.0 and state.forward_rate:
        if _fits(state.forward_rate, moved_s, ms):
            state.fast_forward_ms += ms
            return FORWARD
        state.forward_rate = 0.0
    if moved_s <= 0.0:
        state.forward_rate = 0.0
        state.rate_window = ()
        return None
    if _fits(state.rate, moved_s, ms):
        state.steady_ms += ms
        state.steady_s += moved_s
        if state.rate_window:
            state.rate_window = ()
        return None
    if state.is_rate_named:
        return None
    seen = SpeedObservation(since_ms, was, ms, moved_s, state.bitrate)
    return _find_steady(state, (*state.rate_window, seen))


def keep_odd(state: State, seen: SpeedObservation, odd: Odd) -> None:
    """Keep an observation that does not fit the rate in force: it may be the first of a steady one."""
    state.rate_window = (*state.rate_window, replace(seen, odd=odd))[-RATE_OBSERVATIONS:]


def _fits(rate: float, moved_s: float, ms: int) -> bool:
    due_s = rate * ms / 1000
    off_s = abs(moved_s - due_s)
    return off_s <= FITS * due_s or (off_s <= FITS_WHOLE_S and moved_s.is_integer())


def _find_steady(state: State, window: tuple[SpeedObservation, ...]) -> SpeedObservation | None:
    """Return the last observation of a window that is not steady; or None or FORWARD, the rate being found."""
    before, window = window[:-RATE_OBSERVATIONS], window[-RATE_OBSERVATIONS:]
    if len(window) < RATE_OBSERVATIONS:
        return window[-1]
    ms, moved_s = sum(seen.ms for seen in window), sum(seen.moved_s for seen in window)
    ratio = moved_s * 1000 / ms
    if ratio < RATE_MIN or not all(_fits(ratio, seen.moved_s, seen.ms) for seen in window):
        return window[-1]
    state.rate_window = ()
    state.seeks -= sum(seen.odd.jump is not None for seen in window)
    if ratio > RATE_MAX:
        state.seeks += 1
        state.forward_rate = ratio
        state.fast_forward_ms += ms
        return FORWARD
    old_rate, state.rate = state.rate, 1.0 if abs(ratio - 1.0) <= FITS else round(ratio, 2)
    state.has_steady_rate = state.has_steady_rate or state.rate != 1.0
    state.steady_ms += ms
    state.steady_s += moved_s
    changed = [seen for seen in before if _changes(seen, old_rate, state.rate)]
    state.seeks -= len(changed)
    for seen in (*changed, *window[:-1]):
        _count_as_played(state, seen)
    first = (*changed, *window)[0]
    rewrite_spans(state, CONTENT, first.since_ms, first.head)
    return None


def _changes(seen: SpeedObservation, old_rate: float, rate: float) -> bool:
    """Return whether the speed may have changed in an observation, whose jump is no seek then."""
    low, high = sorted((old_rate * seen.ms / 1000, rate * seen.ms / 1000))
    return seen.odd.jump is not None and low - TOLERANCE_S <= seen.moved_s <= high + TOLERANCE_S


def _count_as_played(state: State, seen: SpeedObservation) -> None:
    """Count afterwards an observation by the rate that has been found."""
    if seen.odd.jump is not None:
        add_range(state, *seen.odd.jump)
    unborne_ms = seen.odd.unborne_ms
    state.times[UNBORNE] -= unborne_ms
    state.times[CONTENT] += unborne_ms
    weigh(state, seen.bitrate, unborne_ms)


# ---- rates that the player names


def name_rate(state: State, event: Event) -> None:
    """Take the rate that an event names, if it does."""
    params = read_object(event.params)
    if event.type.state:
        _take_state(state, event, params)
    metadata = read_object(event.custom_metadata)
    for source in (metadata, params):
        for key in KEYS:
            rate = _rate_of(source.get(key), is_text=source is metadata)
            if rate is not None:
                _set_rate(state, rate, None)


def _take_state(state: State, event: Event, params: dict[str, Any]) -> None:
    name = state_name(params.get("media.state.name"))
    ended = names(params.get("statesEnd")) if event.type.state == "update" else [name]
    started = names(params.get("statesStart")) if event.type.state == "update" else [name]
    if event.type.state != "start" and state.rate_state is not None and state.rate_state in ended:
        _set_rate(state, None, None)
    if event.type.state != "end":
        for begun in started:
            found = STATE_NAMES_RATE.fullmatch(begun or "")
            rate = None if found is None else _rate_of(found[1] or found[2], is_text=True)
            if rate is not None:
                _set_rate(state, rate, begun)


def _rate_of(value: Any, *, is_text: bool) -> float | None:
    if is_text and type(value) is str and re.fullmatch(r"\d{1,9}(\.\d{1,9})?x?", value):
        value = float(value.rstrip("x"))
    if type(value) in (int, float) and 0 < value <= NAMED_RATE_MAX:
        return float(value)
    return None


def _set_rate(state: State, rate: float | None, by_state: str | None) -> None:
    state.rate, state.is_rate_named, state.rate_state = rate or 1.0, rate is not None, by_state
    if rate is not None:
        state.named_rate = rate
    begin_speed(state, state.now_ms, state.head)


def facts_of_speed(state: State) -> dict[str, Any]:
    """Return what is known of the speed, by the names of `SessionFacts`."""
    rate = state.named_rate
    if state.steady_ms:
        rate = round(state.steady_s * 1000 / state.steady_ms, 2)
    return {"playback_rate": rate, "fast_forward_s": state.fast_forward_ms / 1000}
