"""Main content that played although the player did not report it, or reported it in an unclosed ad break."""

from schemas.vocabulary import EventType
from sessions.ads import close_ad, close_break, leave_break
from sessions.evidence import spilled_ms
from sessions.played import add_range
from sessions.player import leave_buffering, play_main, settle
from sessions.playhead import make_progress, note_slip
from sessions.silence import TOLERANCE_S
from sessions.spans import rewrite_spans
from sessions.state import AD, AD_OVER, BUFFER, CONTENT, FAR_FUTURE, JOIN, OUTSIDE, Run, State

RESUMED_MS = 5_000


def play_unsaid(state: State, run: Run) -> None:
    """Let main content have played since the run began."""
    _count_as_content(state, run.since_ms, run.began.spilled_ms)
    state.weight_ms += run.weight_ms
    state.weighted += run.weighted
    rewrite_spans(state, CONTENT, run.since_ms, run.head)
    state.plays_unsaid += 1
    state.seeks, state.head_max, state.slip_events = run.began.seeks, max(run.began.head_max, state.head), -1
    _forget_sought(state, run)
    add_range(state, run.head, state.head)
    _close_ads(state, run.since_ms)
    leave_buffering(state)
    state.main = CONTENT
    if not state.is_started:
        state.is_started = state.is_startup_unknown = True
        state.startup_buffer_ms = state.times[BUFFER]
    if state.head_first < 0.0:
        state.head_first = run.head
    settle(state)


def judge_resumed(state: State, row: EventType, now: int, head: float) -> None:
    """Decide whether a play after the ads of a break was one of main content, or keep what it needs if it was."""
    if row.ad or row.ad_break:
        state.resumed_ms = FAR_FUTURE
    elif now >= state.resumed_ms + RESUMED_MS or row.chapter or row.is_error or row.starts:
        _play_resumed(state)
    else:
        ms = now - state.now_ms
        if state.bitrate is not None:
            state.resumed_weight_ms += ms
            state.resumed_weighted += state.bitrate * ms
        if head < 0.0 <= state.head:
            note_slip(state, state.rate * ms / 1000)
            state.slip_head_max = max(state.head_max, state.resumed_head)


def _play_resumed(state: State) -> None:
    """Let main content have played since a play that came after the ads of a break, which was never closed."""
    since_ms, head = state.resumed_ms, state.resumed_head
    passed_ms = state.now_ms - since_ms
    _count_as_content(state, since_ms, state.resumed_spilled_ms)
    state.weight_ms += state.resumed_weight_ms
    state.weighted += state.resumed_weighted
    rewrite_spans(state, CONTENT, since_ms, head)
    if 0.0 <= head < state.head <= head + max(1.0, state.rate) * passed_ms / 1000 + TOLERANCE_S:
        add_range(state, head, state.head)
    for known in (head, state.head):
        if known > state.head_max:
            make_progress(state, known)
    _close_ads(state, since_ms)
    leave_buffering(state)
    state.main = CONTENT
    play_main(state)
    settle(state)


def _count_as_content(state: State, since_ms: int, spilled_before_ms: int) -> None:
    """Take the time since a moment from what was claimed, and give it to main content."""
    played_ms = state.now_ms - since_ms
    spilled = min(played_ms, spilled_ms(state) - spilled_before_ms)
    if state.doing == AD:
        state.times[AD_OVER] -= spilled
    elif state.doing == OUTSIDE:
        state.times[JOIN] -= spilled
    state.times[state.doing] -= played_ms - spilled
    state.times[CONTENT] += played_ms


def _close_ads(state: State, at_ms: int) -> None:
    if state.in_break:
        state.breaks_unclosed += 1
        close_ad(state, "aborted", at_ms=at_ms)
        close_break(state, "aborted", at_ms=at_ms)
        leave_break(state)
    elif state.is_ad_outside:
        close_ad(state, "aborted", at_ms=at_ms)


def _forget_sought(state: State, run: Run) -> None:
    """What moved in the run was played: it caused no buffering."""
    state.sought_ms = run.began.sought_ms
    if state.is_buffer_sought and not run.began.is_buffer_sought:
        state.is_buffer_sought = False
        state.seek_buffers -= 1
