"""Sessions with what their viewers saw: the numbers of the fold, and how far they are off."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from players.kind import Bounds
from players.kinds import KINDS, play_kind
from players.screen import Seen, Sent, Span
from schemas.vocabulary import EVENT_TYPES
from sessions.event import Event
from sessions.facts import SessionFacts
from sessions.fold import fold_all

AHEAD_MS_MAX = 86_400_000
TOTAL_ERROR_MAX = 0.005
"""The allowed error of the total watch time of a realistic mix."""
SLOW_TIMER_S = 3.0
"""Added to a ping interval: timers are late, and some playheads are whole seconds."""
RATE_ERROR_MAX = 0.05
RATED_S = 120.0
NUMBERS = Bounds.__struct_fields__
FOUND: dict[str, Callable[[SessionFacts], float | None]] = {
    "watch": lambda facts: facts.content_time_s,
    "startup": lambda facts: facts.startup_s,
    "rebuffer": lambda facts: facts.rebuffer_time_s + facts.stall_time_s,
    "ad": lambda facts: facts.ad_time_s,
    "ad_outside": lambda facts: getattr(facts, "ad_time_outside_breaks_s", 0.0),
    "unique": lambda facts: facts.unique_played_s,
    "played": lambda facts: sum((each.end_s - each.start_s) * each.passes for each in facts.played_intervals),
    "seeking": lambda facts: getattr(facts, "seek_buffer_time_s", 0.0),
}


class Judged(msgspec.Struct, frozen=True):
    """One session: the error of each number, and what is out of bounds or wrong, in words."""

    number: int
    seen: Seen
    errors_s: dict[str, float]
    found_watch_s: float
    out: list[str]


def events_of(sent: Sequence[Sent]) -> list[Event]:
    """Return the events of a session as a worker reads them, in the order of arrival."""
    events: list[Event] = []
    twins: dict[tuple[str, int, float], list[Event]] = {}
    for offset, each in enumerate(sent):
        is_ahead = each.ts_ms - each.received_ms > AHEAD_MS_MAX
        event = Event(
            event_id=str(offset),
            session_id="a" * 64,
            type=EVENT_TYPES[each.event_type],
            client_ms=each.ts_ms,
            received_ms=each.received_ms,
            order_ms=each.ts_ms,
            offset=offset,
            playhead_s=each.playhead_s,
            params=None if each.params is None else msgspec.json.encode(each.params),
            flags=("future_ts",) if is_ahead else (),
        )
        before = twins.setdefault((each.event_type, each.ts_ms, each.playhead_s), [])
        if any(event.says_the_same(other) for other in before):
            event = event.flagged("repeat")
        before.append(event)
        events.append(event)
    return events


def judge(kind: str, seed: int, number: int) -> Judged:
    """Play one session of a kind, fold its events, and compare."""
    sent, seen = play_kind(kind, seed, number)
    facts = fold_all(events_of(sent))
    bounds = KINDS[kind].bounds
    errors_s: dict[str, float] = {}
    out: list[str] = []
    for name in NUMBERS:
        span: Span = getattr(seen, name)
        found = FOUND[name](facts)
        error_s = errors_s[name] = span.error_s(found)
        bound_s = getattr(bounds, name)
        if bound_s is None:
            bound_s = _interval_s(seen)
        if abs(error_s) > bound_s:
            out.append(f"{name} {found} for {span.low_s}-{span.high_s}")
    out += [f"{name} {found} for {due}" for name, found, due in _other_facts(facts, seen)]
    misplaced_s = _misplaced_s(facts, seen)
    if misplaced_s > 2 * _interval_s(seen):
        out.append(f"spans {misplaced_s:.1f} s at other times than it played")
    return Judged(number, seen, errors_s, facts.content_time_s or 0.0, out)


def _misplaced_s(facts: SessionFacts, seen: Seen) -> float:
    """Return how long the spans and the viewer disagree on whether content played."""
    if (
        seen.watch.low_s != seen.watch.high_s
        or not hasattr(facts, "spans")
        or facts.is_capped
        or not facts.clock_offset_ms
    ):
        return 0.0
    found = [(each.started_ms, each.ended_ms) for each in facts.spans if each.doing == "playing"]
    if 2 * (facts.last_received_ms - facts.first_received_ms) < facts.last_event_ms - facts.start_ms:
        # Uploaded afterwards, by a clock that is ahead: all that is known is that it played no later than that.
        return max(0, seen.playing[0][0] - found[0][0]) / 1000
    edges = sorted(
        [(at, 0, step) for pair in seen.playing for at, step in zip(pair, (1, -1), strict=True)]
        + [(at, 1, step) for pair in found for at, step in zip(pair, (1, -1), strict=True)]
    )
    playing, misplaced_ms, was_ms = [0, 0], 0, 0
    for at_ms, which, step in edges:
        misplaced_ms += (at_ms - was_ms) * (playing[0] != playing[1])
        playing[which] += step
        was_ms = at_ms
    return misplaced_ms / 1000


def _interval_s(seen: Seen) -> float:
    """Return the allowed error of what only pings show: one ping interval for each change."""
    return seen.unreported * seen.interval_s * max(1.0, seen.rate_max) + SLOW_TIMER_S


def _other_facts(facts: SessionFacts, seen: Seen) -> list[tuple[str, object, object]]:
    """Return the other facts that are wrong, with what was found and what is right."""
    wrong: list[tuple[str, object, object]] = []
    if facts.is_started is not seen.is_started:
        wrong.append(("is_started", facts.is_started, seen.is_started))
    if seen.is_completed is not None and facts.is_completed is not seen.is_completed:
        wrong.append(("is_completed", facts.is_completed, seen.is_completed))
    if seen.seeks is not None and not seen.seeks[0] <= facts.seeks <= seen.seeks[1]:
        wrong.append(("seeks", facts.seeks, seen.seeks))
    if facts.ads_started != seen.ads:
        wrong.append(("ads_started", facts.ads_started, seen.ads))
    if facts.chapters_started != seen.chapters:
        wrong.append(("chapters_started", facts.chapters_started, seen.chapters))
    rate = getattr(facts, "playback_rate", None)
    if (
        rate is not None
        and seen.rate is not None
        and seen.watched_s > RATED_S
        and abs(rate - seen.rate) > RATE_ERROR_MAX * seen.rate
    ):
        wrong.append(("playback_rate", rate, seen.rate))
    if seen.last_playhead is not None:
        error_s = seen.last_playhead.error_s(facts.last_playhead_s)
        if abs(error_s) > _interval_s(seen):
            wrong.append(("last_playhead_s", facts.last_playhead_s, seen.last_playhead.high_s))
    return wrong


class Mix(msgspec.Struct, frozen=True):
    """Watch time of a realistic mix: the relative error of the total, and the 99th percentile by session."""

    total_error: float
    p99_s: float
    p99_intervals: float


def mix_of(judged: Mapping[str, Sequence[Judged]]) -> Mix:
    """Weigh each kind by its share, however many sessions of it there are."""
    weighted = [(each, KINDS[kind].share / len(every)) for kind, every in judged.items() for each in every]
    total_s = sum(each.seen.watched_s * weight for each, weight in weighted)
    errors = [(abs(each.errors_s["watch"]), weight) for each, weight in weighted]
    intervals = [(abs(each.errors_s["watch"]) / each.seen.interval_s, weight) for each, weight in weighted]
    return Mix(
        total_error=sum(each.errors_s["watch"] * weight for each, weight in weighted) / total_s,
        p99_s=quantile(errors, 0.99),
        p99_intervals=quantile(intervals, 0.99),
    )


def quantile(errors: Sequence[tuple[float, float]], share: float) -> float:
    """Return a weighted quantile of (error, weight) pairs."""
    due = share * sum(weight for _, weight in errors)
    for error, weight in sorted(errors):
        due -= weight
        if due <= 1e-9:
            return error
    return 0.0
