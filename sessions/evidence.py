"""Where the playhead contradicts what the player says for long enough, the playhead is believed.

Evidence is of recorded content only: that is content not known to be live (live as the sessionStart says, from
that event on). Of live content, and where a playhead is unknown, the claim holds, bounded by silence and by the
length of ads. One observation overrules nothing; three in a row do (`OBSERVATIONS`), or two if the second is at
least 15 s (`SPAN_MS`) after the base of the first. Then all since the run began is counted otherwise. A run begins
again, and what was counted stays, at a border: where the claim changes (any start or end of an ad or a break is a
change, but not the end of an ad whose break is paused or buffering), at a chapter's border (a chapter starts, or
one that is open ends), after an interval over its limit (also where it is content), at the sessionStart after
other events, and, where main content is claimed, at an error and at the first play after it. A run that has been
decided goes on over a chapter's border; any other border ends it, and what follows begins a new one.

Freezes. Main content is claimed, and in each interval of the run the known playhead is that of the event before.
The first base is the event before the first such interval; an event 500 ms or more (`OBSERVATION_MS`) after the
base is an observation, and the next base.

* `playhead_stood`: the run is a stall, all of it, whether it was content or unknown so far. So is what is not
  borne out (`silence.py`) of the intervals next to it: of the one right before the run, if it claims main content,
  no border is between, and the playhead moved forward in it, the rest, which is its end; and of the one that ends
  a decided run, if it was played (`playhead.py`), all but what is borne out, which is its beginning. It is counted
  in `stalls`.
* `playhead_never_moved`: no second of main content has been played so far (`playhead.py`). Of content whose
  sessionStart names a length, and streamType is not "audio", the run is unknown. Of other content it is content
  (without the flag), and a chapter that closes has it. If main content is played later, all such runs were stalls,
  and are counted in `stalls`.
* Where something else explains why the playhead does not move, one interval of any length is idle at once:
  `stood_at_end`, within 1 s of the end of recorded content of known length, or past it; `stood_after_error`, an
  error came at this playhead, and no play since; `stood_at_zero`, it is 0 and the last known other playhead before
  it was above 0 (a player that was torn down; `playhead_reset` in `playhead.py`). Looked at in this order, before
  the two rules above.

Moving. Something else than main content is claimed: join, pause, buffer, ad, ad pause, ad buffer, idle (between
ads, or after completion), or an ad outside of a break before main content started. The first base is the event at
which the claim began or the run was broken; an event 500 ms or more after the base is looked at, and is the next
base; others are passed over. It is an observation where the playhead moved on: both known, and `ms / 5 <= moved *
1000 <= max(2.06, rate) * ms + tolerance`, the tolerance being 2 s or a twentieth of the time. What does not move
on, breaks the run. What moves on in 15 s or more, and is not borne out (`moved / rate < seconds - tolerance`), is
the first observation of a new run.

* `play_unsaid`: main content has been playing since `T = event - round(moved * 1000 / rate)` of the first
  observation, not before its base. All of the run after T is main content, whatever it was counted as; so is what
  follows, as after a play. What was played is the range from the playhead of the first base to that of the event.
  No seek and no slip is looked for in the run: moves in a pause or in buffering that were counted are taken back,
  and so is what a slip found in it took back, and that a jump in it caused buffering (seeks, progress, and jumps
  that may cause buffering, are as after the event of the first base). For progress only the playhead of the event
  that decides, and of later ones, counts. If main content had not started, it started at T, and startup is unknown
  (`player.py`), and the first playhead is that of the first base. An open ad outside of a break is aborted.
* `break_unclosed`: the claim was one of an ad break. Then its open ad and the break are aborted at T, and what
  comes after is outside of a break.
"""

from msgspec.structs import replace

from sessions.silence import AT_END_S, SILENT_MS, borne_out_ms, tolerance_s
from sessions.spans import count, count_content, rewrite_spans
from sessions.speed import RATE_MAX, begin_speed
from sessions.state import (
    AD,
    AD_OVER,
    AFTER_ERROR,
    AT_END,
    AT_ZERO,
    CONTENT,
    INFINITE,
    JOIN,
    NEVER_MOVED,
    NO_BASE,
    NOTHING_ODD,
    OUTSIDE,
    STALL,
    STILL,
    UNBORNE,
    Base,
    Odd,
    Run,
    State,
)

OBSERVATION_MS = 500
OBSERVATIONS = 3
SPAN_MS = 15_000
MOVED_ON = 0.2


def observe_from_here(state: State) -> None:
    """Begin to observe again, from the event that was taken last: what was counted stays."""
    state.run = state.short = None
    state.base_bitrates = ()
    if state.doing == CONTENT:
        state.base = NO_BASE  # a freeze is seen from one event to the next
    else:
        state.base = Base(
            state.now_ms,
            state.head,
            spilled_ms(state),
            state.seeks,
            state.head_max,
            state.sought_ms,
            state.is_buffer_sought,
        )


def mark_chapter(state: State) -> None:
    """Leave what was counted on one side of a chapter's border as it is, whatever follows."""
    if state.run is None or state.run.counts_as < 0:
        observe_from_here(state)
    begin_speed(state, state.now_ms, state.head)


def spilled_ms(state: State) -> int:
    """Return how long ads were over their bound, in such intervals as the one that is open."""
    if state.doing == AD:
        return state.times[AD_OVER]
    return state.times[JOIN] if state.doing == OUTSIDE else 0


def is_enough(run: Run, now: int) -> bool:
    """Return whether the observations of a run overrule the claim."""
    return run.observations >= OBSERVATIONS or (run.observations == 2 and now - run.first_ms >= SPAN_MS)


# ---- main content is claimed, and the playhead does not move


def count_freeze(state: State, now: int, ms: int) -> Odd | None:
    """Count the time up to this event, in which the playhead did not move; return what of it the rate may explain.

    None: it is no observation of the speed.
    """
    why = _why_frozen(state)
    if why is not None:
        state.run = None
    elif state.run is not None and state.run.counts_as >= 0:
        why = state.run.counts_as
    if why is not None:
        count(state, why, ms)
        if why == STILL and state.bitrate is not None:
            state.still_weight_ms += ms
            state.still_weighted += state.bitrate * ms
        return NOTHING_ODD if why == STILL else None
    unborne_ms = ms if ms >= SILENT_MS and (state.has_moved or is_video_with_length(state)) else 0
    if unborne_ms:
        count(state, UNBORNE, ms)
    else:
        count_content(state, ms)
    run = _with_freeze(state, now, ms, unborne_ms)
    if run.base_ms == now and is_enough(run, now):
        state.run = _overrule_content(state, run, now)
        return NOTHING_ODD if state.run.counts_as == STILL else None
    state.run = run
    return Odd(None, unborne_ms) if unborne_ms else NOTHING_ODD


def _why_frozen(state: State) -> int | None:
    """Return what a freeze here is, if something else than a stall explains it."""
    head = state.head
    if head >= state.end_s - AT_END_S:
        return AT_END
    if state.error_plays == state.plays and state.error_head == head:
        return AFTER_ERROR
    return AT_ZERO if head == 0.0 and state.reset_head > 0.0 else None


def is_video_with_length(state: State) -> bool:
    """Return whether content is known to be of such a kind that its playhead must move."""
    return state.end_s < INFINITE and state.start is not None and state.start.stream_type != "audio"


def _with_freeze(state: State, now: int, ms: int, unborne_ms: int) -> Run:
    """Return the run with one interval more, or a new one, with what was not borne out before it."""
    run = state.run
    if run is None:
        run = Run(first_ms=state.now_ms, since_ms=state.now_ms, head=state.head, base_ms=state.now_ms)
        short = state.short
        if short is not None and short.events == state.events:
            run = replace(
                _weighed(run, 0 if short.is_unborne else short.ms, short.bitrate),
                since_ms=run.since_ms - short.ms,
                unborne_ms=short.ms if short.is_unborne else 0,
            )
    run = replace(run, unborne_ms=run.unborne_ms + unborne_ms)
    if not unborne_ms:
        run = _weighed(run, ms, state.bitrate)
    if now - run.base_ms >= OBSERVATION_MS:
        run = replace(run, observations=run.observations + 1, base_ms=now)
    return run


def _weighed(run: Run, ms: int, bitrate: float | None) -> Run:
    if bitrate is None:
        return run
    return replace(run, weight_ms=run.weight_ms + ms, weighted=run.weighted + bitrate * ms)


def _overrule_content(state: State, run: Run, now: int) -> Run:
    """Count the run as what it is, and return it decided."""
    if state.has_moved:
        what = STALL
        state.stalls += 1
    else:
        what = NEVER_MOVED if is_video_with_length(state) else STILL
        state.freezes_never_moved += 1
    ms = now - run.since_ms
    state.times[CONTENT] -= ms - run.unborne_ms
    state.times[UNBORNE] -= run.unborne_ms
    state.times[what] += ms
    state.weight_ms -= run.weight_ms
    state.weighted -= run.weighted
    if what == STILL:
        state.still_weight_ms += run.weight_ms
        state.still_weighted += run.weighted
    rewrite_spans(state, what, run.since_ms, run.head)
    return replace(run, counts_as=what)


# ---- something else is claimed, and the playhead moves


def see_it_move(state: State) -> Run | None:
    """See whether the playhead of the newest event has moved on; return a run that overrules the claim."""
    now, head, was = state.now_ms, state.head, state.base.head
    ms = now - state.base.ms
    if ms < OBSERVATION_MS:
        _pass_over(state, now)
        return None
    run = None
    if 0.0 <= was < head and state.is_recorded and _has_moved_on(state, head - was, ms):
        if ms >= SILENT_MS and borne_out_ms(state, head - was, ms) < ms:
            state.run = None
        run = _with_observation(state, now, head - was, ms)
    enough = run if run is not None and is_enough(run, now) else None
    observe_from_here(state)
    state.run = run
    return enough


def _pass_over(state: State, now: int) -> None:
    """Keep what the bitrate was up to this event: once for each, so at most once for each millisecond."""
    known = state.base_bitrates
    if now == (known[-1][0] if known else state.base.ms):
        return
    if known and known[-1][1] == state.bitrate:
        known = known[:-1]
    state.base_bitrates = (*known, (now, state.bitrate))


def _has_moved_on(state: State, moved_s: float, ms: int) -> bool:
    passed_s = ms / 1000
    return MOVED_ON * passed_s <= moved_s <= max(RATE_MAX, state.rate) * passed_s + tolerance_s(ms)


def _with_observation(state: State, now: int, moved_s: float, ms: int) -> Run:
    """Return the run with one observation more, or a new one."""
    run, base, played_ms = state.run, state.base, ms
    if run is None:
        played_ms = min(ms, round(moved_s * 1000 / state.rate))
        run = Run(
            first_ms=base.ms,
            since_ms=now - played_ms,
            head=base.head,
            base_ms=base.ms,
            began=base,
        )
    at_ms = now - played_ms
    for until_ms, bitrate in (*state.base_bitrates, (now, state.bitrate)):
        if until_ms > at_ms:
            run = _weighed(run, until_ms - at_ms, bitrate)
            at_ms = until_ms
    return replace(run, observations=run.observations + 1)
