"""Show one session: its events in order, what each did, and how every number came to be: `session show`.

The session is folded once more, event by event, and what the fold knows before and after each is compared. So what
is shown is what happened, and not a second opinion.
"""

from typing import Any

import msgspec
from msgspec.structs import replace

from sessions.event import Event
from sessions.facts import SessionFacts
from sessions.fold import Fold

NOT_SUMS = frozenset(("average_bitrate_bps", "dropped_frames", "progress_pct", "startup_s"))
UNCLAIMED = frozenset(("events_over_limit",))  # no claim gives it
SLOW_MS = 5_000
FLAGS_MEAN = {
    "repeat": "sent before: stored, not counted",
    "future_ts": "its timestamp is more than a day ahead of its arrival",
    "ingest_clock": "its ingest had a wrong clock: its arrival is when the log took it",
    "playhead_range": "its playhead is outside of the content",
    "off_schema": "not as the protocol has it: a key is missing or of another type",
    "past_ts": "its timestamp is before 2005: probably not in milliseconds",
    "no_state": "it names no player state",
    "over_limit": "more than a session folds: stored, not counted",
    "after_close": "came when the session was over, and changed nothing then",
    "end_ignored": "an end far before what had come: stored, without effect",
}

# What the player does, by the numbers of the fold.
PLAYER = ("joins", "plays", "ad", "paused", "buffers", "idle", "ad paused", "ad buffers", "ad outside")

NUMBERS = (
    *(
        "is_started",
        "is_completed",
        "is_failed",
        "startup_s",
        "join_s",
        "content_time_s",
        "ad_time_s",
        "ad_time_outside_breaks_s",
        "pause_time_s",
    ),
    *("buffer_time_s", "rebuffer_time_s", "seek_buffer_time_s", "stall_time_s", "gap_s", "idle_s"),
    *("fast_forward_s", "pauses", "buffers", "rebuffers", "seek_buffers"),
    *(
        "stalls",
        "seeks",
        "loops",
        "errors",
        "errors_before_start",
        "bitrate_changes",
        "average_bitrate_bps",
        "dropped_frames",
    ),
    *("ads_started", "ads_completed", "ads_skipped", "ads_aborted", "ads_outside_break", "ad_breaks"),
    *("ad_breaks_completed", "chapters_started", "chapters_completed", "progress_pct", "unique_played_s"),
    "played_error_s",
    *("repeats", "events_after_end", "events_ignored", "events_over_limit"),
)


class Change(msgspec.Struct, frozen=True):
    """A number that an event changed: from what, to what. Times are added backwards too: a stall was content."""

    number: str
    before: float | None
    after: float | None


class Line(msgspec.Struct, frozen=True):
    """One event in order. `at_s` is from the session's start, by the player's clock; `player` what it does now.

    `delay_ms` is arrival - timestamp - clock offset: how long the event took, compared with the fastest. `bitrate`
    is the one known from then on, as reported; `states` are the player states that are on.
    """

    offset: int
    event_type: str
    at_s: float
    client_ms: int
    received_ms: int
    delay_ms: int
    playhead_s: float
    player: str
    bitrate: float | None
    states: list[str]
    flags: list[str]
    changes: list[Change]
    remarks: list[str]


class Part(msgspec.Struct, frozen=True):
    """What one event added to a number."""

    offset: int
    added: float


class Claim(msgspec.Struct, frozen=True):
    """A number of the session, and what the player's claims alone would have given."""

    name: str
    value: float | None
    claimed: float | None


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


def lines_of(events: list[Event], fold: Fold) -> tuple[SessionFacts, list[Line]]:
    """Let a new fold take the events in order, and note what each changed."""
    known: list[SessionFacts] = []
    players: list[tuple[str, float | None, list[str]]] = []
    for event in events:
        fold.step(event)
        known.append(fold.facts())
        is_over = fold.end_ms is not None or fold.events_after_end
        states = [name for name, state in fold.states.items() if state.since_ms is not None]
        players.append(("over" if is_over else PLAYER[fold.doing], fold.bitrate, states))
    facts = known[-1]
    return facts, [_line(events, i, players[i], known) for i in range(len(events))]


def claims_of(facts: SessionFacts, events: list[Event], length_ms: int) -> list[Claim]:
    """Return the numbers that differ from what the player's reports and timestamps alone would have given."""
    fold = Fold(length_ms=length_ms, only_claims=True)
    for event in sorted((replace(event, order_ms=event.client_ms) for event in events), key=Event.order):
        fold.step(event)
    claimed = fold.facts()
    return [
        Claim(name, value, said)
        for name in NUMBERS
        if (value := getattr(facts, name)) != (said := getattr(claimed, name)) and name not in UNCLAIMED
    ]


def _line(
    events: list[Event], i: int, then: tuple[str, float | None, list[str]], known: list[SessionFacts]
) -> Line:
    event, facts = events[i], known[-1]
    player, bitrate, states = then
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
        bitrate=bitrate,
        states=states,
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
    if delay_ms > SLOW_MS and not is_uploaded(facts):
        remarks.append(f"took {delay_ms / 1000:.1f} s to arrive")
    changed = {change.number for change in changes}
    if "gap_s" in changed:
        remarks.append("a gap: nothing is known of the time before it")
    if "events_after_end" in changed:
        remarks.append("after the session's end: stored, not counted")
    if "stalls" in changed:
        remarks.append("a stall: the playhead did not move")
    if event.order_ms < facts.start_ms:
        remarks.append("before sessionStart")
    return remarks


def is_uploaded(facts: SessionFacts) -> bool:
    """Return whether all of it came afterwards, so that single delays say nothing."""
    return facts.is_downloaded or (
        facts.clock_offset_ms == 0 and facts.first_received_ms - facts.start_ms > SLOW_MS
    )


def numbers_of(facts: SessionFacts, lines: list[Line], row: dict[str, Any]) -> list[Number]:
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
