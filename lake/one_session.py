"""One session as it happened: its events, gaps, flags, and how each number was computed."""

import contextlib
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from lake.catalog import Location, connect
from lake.changes import History
from lake.find import NoSuchSession, Version, find, read_row, read_versions
from lake.history import read_histories
from lake.quarantine import RefusedBody, read_refused
from schemas.terminal import printable, quantity
from sessions.event import Event
from sessions.facts import ClockSegment
from sessions.fold import begun
from sessions.rules import RULES
from sessions.timeline import (
    NOT_SUMS,
    NUMBERS,
    Change,
    Claim,
    Line,
    Number,
    claims_of,
    is_uploaded,
    lines_of,
    numbers_of,
)

PARTS_MAX = 12


class Timeline(msgspec.Struct, frozen=True):
    """One session, as `describe` tells it."""

    session_id: str
    partition: int
    content_id: str | None
    player_name: str | None
    user_id: str | None
    user_id_source: str | None
    tracking_session_id: str | None
    started_ms: int
    ended_ms: int
    clock_offset_ms: int
    clock_spread_ms: int
    clocks: list[ClockSegment]
    is_retried_start: bool
    is_uploaded: bool
    playback_rate: float | None
    events_after_close: int
    flags: list[str]
    claims: list[Claim]
    versions: list[Version]
    lines: list[Line]
    refused: list[RefusedBody]
    numbers: list[Number]


def show(place: Location, prefix: str, *, length_ms: int) -> Timeline:
    """Return the session whose id begins with `prefix`. Raises NoSuchSession unless exactly one does.

    `length_ms` is the longest session that the settings allow.
    """
    with contextlib.closing(connect(place, read_only=True, threads=2, one_snapshot=True)) as connection:
        session_id, partition = find(connection, prefix)
        history = read_histories(connection, [session_id], partition=partition)[session_id]
        row = read_row(connection, session_id)
        versions = read_versions(connection, session_id, partition)
        refused = read_refused(connection, session_id)
    if not history.events:
        raise NoSuchSession(f"the events of {session_id} were removed; its row is in `sessions`")
    timeline = timeline_of_history(history, partition, length_ms=length_ms, row=row)
    return msgspec.structs.replace(timeline, versions=versions, refused=refused)


def timeline_of_history(
    history: History, partition: int, *, length_ms: int, row: dict[str, Any] | None
) -> Timeline:
    """Return the timeline of what the lake has of a session, at least one event; `row` as for `timeline_of`."""
    last_offset = history.last_offset
    counted = [event for event in history.events if event.offset <= last_offset]
    timeline = timeline_of(counted, partition, length_ms=length_ms, row=row, events_over=history.over.events)
    return msgspec.structs.replace(timeline, events_after_close=len(history.events) - len(counted))


def timeline_of(
    counted: list[Event],
    partition: int,
    *,
    length_ms: int,
    row: dict[str, Any] | None = None,
    events_over: int = 0,
) -> Timeline:
    """Return the timeline of the events of one session, at least one.

    `row` is what the lake has of it; without one, what these events give. `events_over` is how many more came
    than a session may have.
    """
    fold, events = begun(counted, length_ms=length_ms, events_over_limit=events_over)
    facts, lines = lines_of(events, fold)
    row = {name: getattr(facts, name) for name in NUMBERS} if row is None else row
    return Timeline(
        session_id=facts.session_id,
        partition=partition,
        content_id=facts.content_id,
        player_name=facts.player_name,
        user_id=row.get("user_id"),
        user_id_source=row.get("user_id_source"),
        tracking_session_id=facts.tracking_session_id,
        started_ms=facts.started_ms,
        ended_ms=facts.ended_ms,
        clock_offset_ms=facts.clock_offset_ms,
        clock_spread_ms=facts.clock_spread_ms,
        clocks=facts.clocks,
        is_retried_start=bool(row.get("is_retried_start")),
        is_uploaded=is_uploaded(facts),
        playback_rate=facts.playback_rate,
        events_after_close=0,
        flags=facts.flags,
        claims=claims_of(facts, events, length_ms) if facts.flags else [],
        versions=[],
        lines=lines,
        refused=[],
        numbers=numbers_of(facts, lines, row),
    )


def describe(timeline: Timeline) -> Iterator[str]:
    """Return the lines of a timeline, safe to print."""
    return map(printable, _described(timeline))


def _described(timeline: Timeline) -> Iterator[str]:
    yield f"session {timeline.session_id}, partition {timeline.partition}"
    user = f"{timeline.user_id} ({timeline.user_id_source})" if timeline.user_id else "an unknown user"
    yield f"content {timeline.content_id} in {timeline.player_name}, watched by {user}"
    if timeline.tracking_session_id:
        yield f"tracking session {timeline.tracking_session_id}"
    yield f"from {_moment(timeline.started_ms)} to {_moment(timeline.ended_ms)}"
    yield (
        f"the player's clock is {timeline.clock_offset_ms} ms behind; "
        f"its slowest event took {timeline.clock_spread_ms} ms longer than its fastest"
    )
    for each in timeline.clocks[1:]:
        since = "" if each.since_ms is None else f" after {_moment(each.since_ms)}"
        yield f"its clock was set{since}: from then on it is {each.offset_ms} ms behind"
    if timeline.playback_rate not in (None, 1.0):
        yield f"played at {timeline.playback_rate}x"
    if timeline.is_uploaded:
        yield "it was uploaded afterwards, so its clock cannot be checked"
    if timeline.is_retried_start:
        yield "a retried start, which does not count: another session was started by the same request"
    for version in timeline.versions:
        why = f" ({version.close_reason})" if version.close_reason else ""
        upto = f"{quantity(version.events, 'event')} up to offset {version.as_of_offset - 1}"
        yield f"version {version.version}: {version.state}{why}, {upto}, {version.late_events} late"
    if timeline.events_after_close:
        late = quantity(timeline.events_after_close, "event")
        yield f"{late} came when it was over and changed nothing: in no number"
    yield ""
    head = f"{'offset':>9} {'at s':>10} {'took ms':>8}  {'event':<16} {'playhead s':>10}  {'then':<10}"
    yield f"{head} what it changed"
    waiting = deque(timeline.refused)
    for line in timeline.lines:
        while waiting and _at_s(waiting[0], timeline) < line.at_s:
            yield _refused(waiting.popleft(), timeline)
        changed = ", ".join(f"{change.number} {_change(change)}" for change in line.changes)
        yield (
            f"{line.offset:>9} {line.at_s:>10.3f} {line.delay_ms:>8}  {line.event_type:<16} "
            f"{line.playhead_s:>10.3f}  {line.player:<10} {changed}"
        )
        for remark in line.remarks:
            yield f"{'':>31}! {remark}"
    for body in waiting:
        yield _refused(body, timeline)
    yield ""
    for number in timeline.numbers:
        if number.value or number.parts or number.is_other:
            yield _arithmetic(number)
    if timeline.flags:
        yield ""
        meanings = {rule.flag: rule.meaning for rule in RULES}
        for flag in timeline.flags:
            yield f"flag {flag}: {meanings[flag]}"
        for claim in timeline.claims:
            yield f"as the player reports it, {claim.name} would be {_figure(claim.claimed)}"


def _at_s(body: RefusedBody, timeline: Timeline) -> float:
    """Return when a refused body arrived, in seconds from the session's start; its fastest events took no time."""
    return (body.received_ms - timeline.started_ms) / 1000


def _refused(body: RefusedBody, timeline: Timeline) -> str:
    return f"{'REFUSED':>9} {_at_s(body, timeline):>10.3f} {'':>8}  {body.reason}: {body.detail}"


def _moment(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds")


def _change(change: Change) -> str:
    if isinstance(change.after, bool) or change.after is None or change.number in NOT_SUMS:
        return f"{_figure(change.after)}"
    return f"{(change.after or 0) - (change.before or 0):+.10g}"


def _arithmetic(number: Number) -> str:
    text = f"{number.name} = {_figure(number.value)}"
    if number.parts and number.name not in NOT_SUMS and not isinstance(number.value, bool):
        shown = [f"{part.added:+.10g} (#{part.offset})" for part in number.parts[:PARTS_MAX]]
        more = [f"and {len(number.parts) - PARTS_MAX} more"] if len(number.parts) > PARTS_MAX else []
        text += " = " + " ".join([*shown, *more])
    elif number.parts:
        text += f" (#{number.parts[-1].offset})"
    return text + (f"   but the lake has {_figure(number.lake)}" if number.is_other else "")


def _figure(value: float | None) -> str:
    if value is None:
        return "unknown"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value:.10g}"
