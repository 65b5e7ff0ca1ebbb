"""How long a player may say nothing, and what is known of a longer silence: `gap_s`.

An interval is the time from one event that counts to the next; what it claims (`player.py`) is what the player
reported. The interval that leads up to the sessionStart has no length.

* `LIMITS_MS`: main content may be silent for 90 s; starting, buffering, and an ad break between its ads for 120 s
  (some players send no pings there); an ad, in a break or outside of one, for 120 s and its own length. A silence
  in a pause is a pause, and one after completion is idle, however long.
* `long_silence`: an interval longer than its limit is unknown, all of it, and a border (`evidence.py`). Only main
  content that played on as the playhead says is known: recorded content, both playheads known, and `ahead = moved
  / rate - seconds` no less than minus the tolerance and no more than 2 s. The tolerance is 2 s or a twentieth of
  the interval, whichever is more.
* The playhead does not bear an interval of main content out if, of recorded content and both playheads being
  known, it did not go back, and `moved / rate < seconds - tolerance`. Then `round(moved * 1000 / rate)` ms are
  borne out, and the rest follows them. In an interval of 15 s (`SILENT_MS`) or more up to its limit the rest is
  unknown (`not_borne_out`), unless it becomes a part of a freeze (`evidence.py`); in a shorter one the claim
  holds, and it is content. An interval in which the playhead did not move is all rest; it is content where the
  playhead never moved before, unless `playhead_never_moved` applies to such content. A jump contradicts
  nothing.
* The end of recorded content is reached in the interval, that is, the playhead was more than 1 s before it and is
  not any more: where `(min(playhead, end) - was) * 1000 / rate`, rounded, is by more than 2,000 ms shorter than
  the interval, that much is content, and the rest, which follows it, is idle (`stood_at_end`). This goes before
  the rule above, and for any shorter interval too; not for one over its limit, nor for one that ends a freeze,
  played or not.

`rate` is the rate in force in the interval (`speed.py`). Where the rate is found afterwards, what was unknown by
another rate becomes content; an interval over its limit stays as it is. An interval of an ad outside of a break
has the limit of an ad, and none of the other rules here.
"""

from sessions.state import AD, AD_BUFFER, BUFFER, CONTENT, FAR_FUTURE, IDLE, JOIN, OUTSIDE, State

CONTENT_MS = 90_000
WAITING_MS = 120_000
SILENT_MS = 15_000
TOLERANCE_S = 2.0
TOLERANCE_MS = 2_000
AT_END_S = 1.0

LIMITS_MS = {CONTENT: CONTENT_MS} | dict.fromkeys((JOIN, BUFFER, AD, AD_BUFFER, OUTSIDE), WAITING_MS)


def limit_ms(state: State) -> int:
    """Return how long what the player does now may be silent."""
    doing = state.doing
    if state.only_claims:
        return FAR_FUTURE
    if doing in (AD, OUTSIDE) and state.ad is not None:
        return WAITING_MS + int((state.ad.length_s or 0.0) * 1000)
    if doing == IDLE and state.in_break:
        return WAITING_MS
    return LIMITS_MS.get(doing, FAR_FUTURE)


def tolerance_s(ms: int) -> float:
    """Return by how much the playhead may differ from the clock: 2 s, or a twentieth of the time."""
    return TOLERANCE_S if ms <= 40_000 else ms / 20_000


def is_known(state: State, ms: int, head: float) -> bool:
    """Return whether the playhead shows that main content played through a silence longer than its limit."""
    if not state.is_recorded or head < 0.0 or state.head < 0.0:
        return False
    ahead_s = (head - state.head) / state.rate - ms / 1000
    return -tolerance_s(ms) <= ahead_s <= TOLERANCE_S


def borne_out_ms(state: State, moved_s: float, ms: int) -> int:
    """Return how much of a silent interval of main content the playhead bears out."""
    if moved_s / state.rate >= ms / 1000 - tolerance_s(ms):
        return ms
    return round(moved_s * 1000 / state.rate)


def played_to_end_ms(state: State, head: float, ms: int) -> int:
    """Return how much of an interval content played that reached its end in it."""
    played_ms = round((min(head, state.end_s) - state.head) * 1000 / state.rate)
    return played_ms if ms - played_ms > TOLERANCE_MS else ms
