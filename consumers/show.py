"""Show one session: its events in order, what each did, and how every number came to be: `session show`.

The session is folded once more, event by event, and what the fold knows before and after each is compared. So what
is shown is what happened, and not a second opinion.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
import msgspec

from consumers.facts import SessionFacts
from consumers.fold import Event, Fold, without_false_ends
from consumers.history import read_histories
from lake.catalog import Location, connect
from schemas.faults import Fault
from schemas.terminal import printable

CANDIDATES_MAX = 10
PARTS_MAX = 12
NOT_SUMS = frozenset(("average_bitrate_bps", "dropped_frames", "progress_pct", "startup_s"))
SLOW_MS = 5_000
FLAGS_MEAN = {
    "repeat": "said before: stored, not counted",
    "future_ts": "its timestamp is of the future: ordered by arrival",
    "ingest_clock": "its ingest had a wrong clock: its arrival is when the log took it",
    "playhead_range": "its playhead is outside of the content",
    "off_schema": "not as the protocol has it",
    "over_limit": "more than a session folds: stored, not counted",
    "end_ignored": "an end far before what had come: stored, without effect",
}

# What the player does, by the numbers of the fold.
PLAYER = ("joins", "plays", "ad", "paused", "buffers", "idle", "stalls", "gap", "ad paused", "ad buffers")

NUMBERS = (
    *(
        "is_started",
        "is_completed",
        "is_failed",
        "startup_s",
        "join_s",
        "content_time_s",
        "ad_time_s",
        "pause_time_s",
    ),
    *("buffer_time_s", "rebuffer_time_s", "stall_time_s", "gap_s", "idle_s", "pauses", "buffers", "rebuffers"),
    *(
        "stalls",
        "seeks",
        "errors",
        "errors_before_start",
        "bitrate_changes",
        "average_bitrate_bps",
        "dropped_frames",
    ),
    *("ads_started", "ads_completed", "ads_skipped", "ads_aborted", "ads_outside_break", "ad_breaks"),
    *("ad_breaks_completed", "chapters_started", "chapters_completed", "progress_pct", "unique_played_s"),
    *("repeats", "events_after_end", "events_ignored", "events_over_limit"),
)


class NoSuchSession(Fault):
    """No session, or more than one, begins like that; the message names those that do."""

    code = "no_such_session"


class Change(msgspec.Struct, frozen=True):
    """A number that an event changed: from what, to what. Times are added backwards too: a stall was content."""

    number: str
    before: float | None
    after: float | None


class Line(msgspec.Struct, frozen=True):
    """One event in order. `at_s` is from the session's start, by the player's clock; `player` what it does now.

    `delay_ms` is arrival - timestamp - clock offset: how long the event took, compared with the fastest.
    """

    offset: int
    event_type: str
    at_s: float
    client_ms: int
    received_ms: int
    delay_ms: int
    playhead_s: float
    player: str
    flags: list[str]
    changes: list[Change]
    remarks: list[str]


class Part(msgspec.Struct, frozen=True):
    """What one event added to a number."""

    offset: int
    added: float


class Number(msgspec.Struct, frozen=True):
    """A number of the session, what the lake has for it, and the events that it came from."""

    name: str
    value: float | None
    lake: float | None
    parts: list[Part]

    @property
    def is_other(self) -> bool:
        """Whether the lake has another value: the newest events may not be in its row yet."""
        if self.value is None or self.lake is None:
            return self.value is not self.lake
        return abs(self.value - self.lake) > 1e-6


class Version(msgspec.Struct, frozen=True):
    """One closing of the session; `provisional` while it is open."""

    version: int
    state: str
    close_reason: str | None
    as_of_offset: int
    events: int
    late_events: int


class Timeline(msgspec.Struct, frozen=True):
    """One session as it went."""

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
    is_retried_start: bool
    is_uploaded: bool
    versions: list[Version]
    lines: list[Line]
    numbers: list[Number]


def show(place: Location, prefix: str, *, length_ms: int) -> Timeline:
    """Return the session whose id begins with `prefix`. Raises NoSuchSession, with help, where none or several do.

    `length_ms` is the longest session by the settings.
    """
    connection = connect(place, read_only=True, threads=2)
    try:
        connection.execute("BEGIN")
        session_id, partition = find(connection, prefix)
        history = read_histories(connection, [session_id], partition=partition)[session_id]
        row = _row(connection, session_id)
        versions = _versions(connection, session_id, partition)
    finally:
        connection.close()
    events = sorted(without_false_ends(history.events), key=Event.order)
    if not events:
        raise NoSuchSession(f"the events of {session_id} were removed; its row stands in `sessions`")
    facts, lines = _lines(events, length_ms, over_limit=history.over.events)
    return Timeline(
        session_id=session_id,
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
        is_retried_start=bool(row.get("is_retried_start")),
        is_uploaded=_is_uploaded(facts),
        versions=versions,
        lines=lines,
        numbers=_numbers(facts, lines, row),
    )


def describe(timeline: Timeline) -> Iterator[str]:
    """Return the lines of a timeline for a terminal."""
    return map(printable, _described(timeline))


def _described(timeline: Timeline) -> Iterator[str]:
    yield f"session {timeline.session_id}, partition {timeline.partition}"
    user = f"{timeline.user_id} ({timeline.user_id_source})" if timeline.user_id else "nobody known"
    yield f"content {timeline.content_id} in {timeline.player_name}, watched by {user}"
    if timeline.tracking_session_id:
        yield f"tracking session {timeline.tracking_session_id}"
    yield f"from {_moment(timeline.started_ms)} to {_moment(timeline.ended_ms)}"
    yield (
        f"the player's clock is {timeline.clock_offset_ms} ms behind; "
        f"its slowest event took {timeline.clock_spread_ms} ms longer than its fastest"
    )
    if timeline.is_uploaded:
        yield "it was uploaded afterwards, so its clock cannot be checked and is believed"
    if timeline.is_retried_start:
        yield "a retried start: another session has the same start and more events; it does not count"
    for version in timeline.versions:
        why = f" ({version.close_reason})" if version.close_reason else ""
        upto = f"{version.events} events up to offset {version.as_of_offset - 1}"
        yield f"version {version.version}: {version.state}{why}, {upto}, {version.late_events} late"
    yield ""
    head = f"{'offset':>9} {'at s':>10} {'took ms':>8}  {'event':<16} {'playhead s':>10}  {'then':<10}"
    yield f"{head} what it changed"
    for line in timeline.lines:
        changed = ", ".join(f"{change.number} {_change(change)}" for change in line.changes)
        yield (
            f"{line.offset:>9} {line.at_s:>10.3f} {line.delay_ms:>8}  {line.event_type:<16} "
            f"{line.playhead_s:>10.3f}  {line.player:<10} {changed}"
        )
        for remark in line.remarks:
            yield f"{'':>31}! {remark}"
    yield ""
    for number in timeline.numbers:
        if number.value or number.parts or number.is_other:
            yield _arithmetic(number)


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


def find(connection: duckdb.DuckDBPyConnection, prefix: str) -> tuple[str, int]:
    """Return the id and partition of the one session that begins so. Raises NoSuchSession."""
    wanted = prefix.strip().lower()
    if not wanted:
        raise NoSuchSession("name a session by the first characters of its id")
    rows = connection.execute(
        """
        SELECT session_id, any_value(log_partition), count(*), min(received_at), max(content_id)
        FROM (
            SELECT session_id, log_partition, received_at, params ->> '$."media.id"' AS content_id
            FROM events WHERE session_id >= $low AND session_id < $high
            UNION ALL
            SELECT session_id, log_partition, first_received_at, content_id
            FROM session_versions WHERE session_id >= $low AND session_id < $high
        )
        GROUP BY session_id ORDER BY session_id LIMIT $most
        """,
        {"low": wanted, "high": wanted + chr(0x10FFFF), "most": CANDIDATES_MAX + 1},
    ).fetchall()
    exact = [row for row in rows if row[0] == wanted]
    if len(exact or rows) == 1:
        return (exact or rows)[0][:2]
    if rows:
        named = [
            printable(f"{row[0]}  from {row[3]:%Y-%m-%d %H:%M:%S}, of {row[4]}") for row in rows[:CANDIDATES_MAX]
        ]
        more = ["..."] if len(rows) > CANDIDATES_MAX else []
        raise NoSuchSession("\n".join([f"several sessions begin with {wanted}; write more of it:", *named, *more]))
    named = _named_by(connection, wanted)
    if named:
        raise NoSuchSession("\n".join([f"{wanted} is a tracking session; these sessions named it:", *named]))
    newest = connection.execute(
        "SELECT session_id FROM events GROUP BY session_id ORDER BY max(received_at) DESC LIMIT 3"
    ).fetchall()
    raise NoSuchSession(
        "\n".join([f"no session begins with {wanted[:80]}; the newest are:", *(row[0] for row in newest)])
        if newest
        else "there are no sessions yet"
    )


def _named_by(connection: duckdb.DuckDBPyConnection, tracking_session_id: str) -> list[str]:
    rows = connection.execute(
        "SELECT DISTINCT session_id FROM events WHERE tracking_session_id = ? ORDER BY 1 LIMIT ?",
        [tracking_session_id, CANDIDATES_MAX],
    ).fetchall()
    return [row[0] for row in rows]


def _row(connection: duckdb.DuckDBPyConnection, session_id: str) -> dict[str, Any]:
    rows = connection.execute("SELECT * FROM sessions WHERE session_id = ?", [session_id])
    return dict(zip([column[0] for column in rows.description or []], rows.fetchone() or (), strict=False))


def _versions(connection: duckdb.DuckDBPyConnection, session_id: str, partition: int) -> list[Version]:
    columns = "version, state, close_reason, as_of_offset, events, late_events"
    rows = connection.execute(
        f"SELECT {columns} FROM session_versions WHERE session_id = $id "
        f"UNION ALL SELECT {columns} FROM open_sessions_p{partition:03} WHERE session_id = $id ORDER BY 1, 2",
        {"id": session_id},
    ).fetchall()
    return [Version(*row) for row in rows]


def _lines(events: list[Event], length_ms: int, *, over_limit: int) -> tuple[SessionFacts, list[Line]]:
    """Fold the events in order, and note what each changed. Besides them, `over_limit` are stored."""
    fold = Fold(length_ms=length_ms, events_over_limit=over_limit)
    known: list[SessionFacts] = []
    players: list[str] = []
    for event in events:
        fold.step(event)
        known.append(fold.facts())
        is_over = fold.end_ms is not None or fold.events_after_end
        players.append("over" if is_over else PLAYER[fold.doing])
    facts = known[-1]
    return facts, [_line(events, i, players[i], known) for i in range(len(events))]


def _line(events: list[Event], i: int, player: str, known: list[SessionFacts]) -> Line:
    event, facts = events[i], known[-1]
    before = known[i - 1] if i else None
    changes = [
        Change(name, was, now)
        for name in NUMBERS
        if (was := getattr(before, name, None)) != (now := getattr(known[i], name)) and (was or now)
    ]
    return Line(
        offset=event.offset,
        event_type=event.type.name,
        at_s=(event.order_ms - facts.start_ms) / 1000,
        client_ms=event.client_ms,
        received_ms=event.received_ms,
        delay_ms=event.received_ms - event.order_ms - facts.clock_offset_ms,
        playhead_s=event.playhead_s,
        player=player,
        flags=list(event.flags),
        changes=changes,
        remarks=_remarks(events, i, changes, facts),
    )


def _remarks(events: list[Event], i: int, changes: list[Change], facts: SessionFacts) -> list[str]:
    event = events[i]
    remarks = [FLAGS_MEAN.get(flag, flag) for flag in event.flags]
    overtaken = sum(later.offset < event.offset for later in events[i + 1 :])
    if overtaken:
        remarks.append(f"arrived after {overtaken} later {'event' if overtaken == 1 else 'events'}")
    delay_ms = event.received_ms - event.order_ms - facts.clock_offset_ms
    if delay_ms > SLOW_MS and not _is_uploaded(facts):
        remarks.append(f"took {delay_ms / 1000:.1f} s to come")
    changed = {change.number for change in changes}
    if "gap_s" in changed:
        remarks.append("a gap: nothing is known of the time before it")
    if "events_after_end" in changed:
        remarks.append("after the session's end: stored, not counted")
    if "stalls" in changed:
        remarks.append("a stall: what seemed to play stood still")
    if event.order_ms < facts.start_ms:
        remarks.append("before sessionStart")
    return remarks


def _is_uploaded(facts: SessionFacts) -> bool:
    """Tell whether all of it came afterwards, so that single delays say nothing."""
    return facts.is_downloaded or (
        facts.clock_offset_ms == 0 and facts.first_received_ms - facts.start_ms > SLOW_MS
    )


def _numbers(facts: SessionFacts, lines: list[Line], row: dict[str, Any]) -> list[Number]:
    numbers = []
    for name in NUMBERS:
        parts = [
            Part(line.offset, round((change.after or 0) - (change.before or 0), 6))
            for line in lines
            for change in line.changes
            if change.number == name
        ]
        numbers.append(Number(name, getattr(facts, name), row.get(name), parts))
    return numbers
