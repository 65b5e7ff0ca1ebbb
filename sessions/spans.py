"""One account of what happened: what the session did, from when to when, as spans.

Spans are the labels of the intervals as they were finally counted, in order, without overlap, neighbours of one
label joined; so the sum of the spans of a kind is its duration: `joining` join_s, `playing` content_time_s, `ad`
and `ad_outside` the two ad times, `paused` and `ad_paused` together pause_time_s, `buffering` and `ad_buffering`
together buffer_time_s, `stalled` stall_time_s, `unknown` gap_s, `idle` idle_s. Spans of no length are left out.
`started_ms` and `ended_ms` are corrected by the clock offset, as all moments in lists.

* `head_from_s` is the playhead of the event at which the span begins, `head_to_s` that of the event at which it
  ends; null where unknown. Where an interval is split, the playhead at the split is that of the interval's end for
  what comes first if it is content, else that of its beginning. A span that begins at T of an unsaid play begins
  with the playhead of the first base.
* A span `playing` also ends at an event to which the playhead jumped or wrapped, and a new one begins there; the
  one before keeps the playhead from before the jump.
* The first 500 (`SPANS_MAX`) are kept; more set `is_capped`, and the durations count them all the same.
"""

import struct
from typing import Any

from sessions.bitrate import weigh
from sessions.facts import Doing, Span
from sessions.state import (
    AD,
    AD_BUFFER,
    AD_OVER,
    AD_PAUSE,
    AFTER_ERROR,
    AT_END,
    AT_ZERO,
    BUFFER,
    CONTENT,
    GAP,
    IDLE,
    JOIN,
    NEVER_MOVED,
    OUTSIDE,
    PAUSE,
    STALL,
    STILL,
    UNBORNE,
    State,
)

SPANS_MAX = 500

DOING: dict[int, Doing] = {
    JOIN: "joining",
    CONTENT: "playing",
    AD: "ad",
    PAUSE: "paused",
    BUFFER: "buffering",
    IDLE: "idle",
    STALL: "stalled",
    GAP: "unknown",
    AD_PAUSE: "ad_paused",
    AD_BUFFER: "ad_buffering",
    OUTSIDE: "ad_outside",
    AD_OVER: "unknown",
    UNBORNE: "unknown",
    NEVER_MOVED: "unknown",
    STILL: "playing",
    AT_END: "idle",
    AFTER_ERROR: "idle",
    AT_ZERO: "idle",
}
_DOING_MOVED: dict[int, Doing] = {**DOING, NEVER_MOVED: "stalled", STILL: "stalled"}  # once the playhead has moved
# A span in memory: what, from and to when, from and to which playhead. A session may have hundreds.
_PACKED = struct.Struct("<Bqqdd")
_SIZE = _PACKED.size


def count(state: State, what: int, ms: int) -> None:
    """Count the time up to the event that is taken now, or its first part, as one thing."""
    state.times[what] += ms
    if what != state.span_is and ms:
        begin_span(state, what, state.now_ms, state.head)


def count_content(state: State, ms: int) -> None:
    """Count the time up to the event that is taken now, or its first part, as main content."""
    state.times[CONTENT] += ms
    if state.span_is != CONTENT and ms:
        begin_span(state, CONTENT, state.now_ms, state.head)
    weigh(state, state.bitrate, ms)


def count_rest(state: State, what: int, ms: int, since_ms: int, head: float) -> None:
    """Count what is left of an interval as something else; `head` is the playhead where that begins."""
    state.times[what] += ms
    if what == CONTENT:
        weigh(state, state.bitrate, ms)
    begin_span(state, what, since_ms, head)


def begin_span(state: State, what: int, at_ms: int, head: float) -> None:
    """Do something else from this moment on; the span that is open ends."""
    end_span(state, at_ms, head)
    state.span_is, state.span_ms, state.span_head = what, at_ms, head


def end_span(state: State, at_ms: int, head: float) -> None:
    """End the span that is open, if any."""
    if state.span_is >= 0 and at_ms > state.span_ms:
        if len(state.spans) < SPANS_MAX * _SIZE:
            state.spans += _PACKED.pack(state.span_is, state.span_ms, at_ms, state.span_head, head)
        else:
            state.is_capped = True
    state.span_is = -1


def rewrite_spans(state: State, what: int, since_ms: int, head: float) -> None:
    """Let all since a moment be one thing: it turned out to be something else than what was counted."""
    if state.span_is < 0 or state.span_ms >= since_ms:
        state.span_is = -1
        while state.spans:
            was, from_ms, to_ms, head_from, _ = _PACKED.unpack_from(state.spans, len(state.spans) - _SIZE)
            if to_ms <= since_ms:
                break
            state.spans = state.spans[:-_SIZE]
            if from_ms < since_ms:
                state.span_is, state.span_ms, state.span_head = was, from_ms, head_from
    if state.span_is != what:
        begin_span(state, what, since_ms, head)


def facts_of_spans(state: State, offset_ms: int) -> dict[str, Any]:
    """Return what happened as spans, by the name of `SessionFacts`; moments are corrected by `offset_ms`."""
    packed = state.spans
    if state.span_is >= 0 and state.now_ms > state.span_ms:
        packed += _PACKED.pack(state.span_is, state.span_ms, state.now_ms, state.span_head, state.head)
    what_is = _DOING_MOVED if state.has_moved else DOING
    spans: list[Span] = []
    last: Span | None = None
    for what, from_ms, to_ms, head_from, head_to in _PACKED.iter_unpack(packed):
        doing = what_is[what]
        from_ms, to_ms = from_ms + offset_ms, to_ms + offset_ms
        from_s, to_s = None if head_from < 0.0 else head_from, None if head_to < 0.0 else head_to
        if last is not None and last.doing == doing != "playing" and last.ended_ms == from_ms:
            from_ms, from_s = last.started_ms, last.head_from_s
            spans.pop()
        last = Span(doing, from_ms, to_ms, from_s, to_s)
        spans.append(last)
    return {"spans": spans}
