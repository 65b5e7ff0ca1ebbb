"""A lake in memory, and a log in memory: what the sessions of a partition are tested against.

The lake knows what the real one keeps of a partition (events, closed versions, the open table as of an offset, the
ledger) and nothing else: a worker that starts again has only this.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from consumers.decode import Bad, Tracking
from consumers.facts import SessionFacts
from consumers.fold import Event, fold_all
from consumers.sessions import BORN_MS_MAX, Changes, History, Limits, PartitionSessions, SessionRow, YoungIds
from schemas.ids import mint_event_id, mint_media_session
from schemas.vocabulary import EVENT_TYPES

LIMITS = Limits(idle_ms=600_000, stuck_ms=1_800_000, length_ms=86_400_000)
NOON_MS = 1_790_000_000_000
KEYS = (b"a key for tests",)

Entry = Event | Tracking | Bad


def session_id(number: int, born_ms: int) -> str:
    """Make a media session id of partition 0 that says it was made at `born_ms`."""
    return mint_media_session(KEYS, partition=0, started_ms=born_ms, entropy=lambda size: number.to_bytes(size)).id


def as_json(value: Mapping[str, Any] | None) -> bytes | None:
    """Return the text of a JSON object as an event holds it."""
    return None if value is None else msgspec.json.encode(value)


def make_event(
    type_name: str = "ping",
    *,
    ts: int = NOON_MS,
    offset: int = 0,
    params: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Event:
    """Make an event that was received when it happened, unless told otherwise; ids follow from the offset."""
    flags = fields.get("flags", ())
    received_ms = fields.pop("received_ms", ts)
    return Event(
        **{
            "event_id": f"event-{offset}",
            "session_id": session_id(0, NOON_MS),
            "type": EVENT_TYPES[type_name],
            "client_ms": ts,
            "received_ms": received_ms,
            "order_ms": received_ms if "future_ts" in flags else ts,
            "offset": offset,
            "playhead_s": 0.0,
            "params": as_json(params),
            **fields,
        }
    )


def make_bad(*, offset: int, received_ms: int = NOON_MS) -> Bad:
    """Make a record that is no event."""
    return Bad(offset, received_ms, "worker", "not_json", "", b"?")


def make_tracking(*, offset: int, received_ms: int = NOON_MS, event_id: str | None = None) -> Tracking:
    """Make the creation of a tracking session."""
    made = mint_event_id(now_ms=received_ms, entropy=lambda size: offset.to_bytes(size))
    return Tracking(
        event_id or made, "created", f"tracking-{offset}", None, None, None, None, True, None, received_ms, offset
    )


@dataclasses.dataclass
class ModelLake:
    """What the lake holds of one partition."""

    events: list[Event] = dataclasses.field(default_factory=list)
    tracking: list[Tracking] = dataclasses.field(default_factory=list)
    bad: list[Bad] = dataclasses.field(default_factory=list)
    duplicates: list[tuple[int, str, str]] = dataclasses.field(default_factory=list)
    versions: list[SessionRow] = dataclasses.field(default_factory=list)
    open: list[SessionRow] = dataclasses.field(default_factory=list)
    open_as_of_offset: int = 0
    next_offset: int = 0
    time_ms: int = 0
    look_ups: int = 0

    def start(self, limits: Limits = LIMITS) -> PartitionSessions:
        """Load the partition, as a worker does that knows nothing else."""
        sessions = PartitionSessions(0, next_offset=self.next_offset, time_ms=self.time_ms, limits=limits)
        candidates = {row.facts.session_id for row in self.open} | {
            event.session_id for event in self.events if event.offset >= self.open_as_of_offset
        }
        sessions.restore(self.look_up(candidates).items())
        since, until = f"{self.time_ms + 1:012x}", f"{BORN_MS_MAX:012x}"
        young = {event.session_id for event in self.events if since <= event.session_id < until}
        sessions.remember(
            sessions=YoungIds(sorted(young), BORN_MS_MAX),
            tracking=YoungIds([entry.event_id for entry in self.tracking], BORN_MS_MAX),
        )
        return sessions

    def take(
        self,
        sessions: PartitionSessions,
        entries: Sequence[Entry],
        *,
        idle_until_ms: int | None = None,
        renew_open: bool = False,
    ) -> Changes:
        """Apply a batch, and return what would be committed."""
        next_offset = entries[-1].offset + 1 if entries else sessions.next_offset
        changes = sessions.apply(
            entries,
            next_offset=next_offset,
            look_up=self.look_up,
            look_up_tracking=self.look_up_tracking,
        )
        if idle_until_ms is not None:
            sessions.advance(idle_until_ms)
        sessions.close_due(changes)
        if renew_open:
            changes.open = sessions.open_rows()
        return changes

    def commit(self, changes: Changes) -> None:
        """Do what the transaction does."""
        self.events += changes.events
        self.tracking += changes.tracking
        self.bad += changes.bad
        self.duplicates += changes.duplicates
        self.versions += changes.closed
        if changes.open is not None:
            standing = {row.facts.session_id: row for row in self.open}
            self.open = [*changes.open.fresh, *(standing[session_id] for session_id in changes.open.kept)]
            self.open_as_of_offset = changes.next_offset
        self.next_offset = changes.next_offset
        self.time_ms = changes.read_ms or self.time_ms

    def look_up(self, session_ids: Iterable[str]) -> dict[str, History]:
        self.look_ups += 1
        found = {}
        for wanted in session_ids:
            events = [event for event in self.events if event.session_id == wanted]
            versions = [row for row in self.versions if row.facts.session_id == wanted]
            if events or versions:
                found[wanted] = History(
                    events,
                    max((row.version for row in versions), default=0),
                    max((row.as_of_offset for row in versions), default=-1),
                    max((row.late_events for row in versions), default=0),
                )
        return found

    def look_up_tracking(self, event_ids: Iterable[str]) -> set[str]:
        self.look_ups += 1
        return set(event_ids) & {entry.event_id for entry in self.tracking}

    def newest(self) -> dict[str, SessionRow]:
        """Return what the view `sessions` shows: the highest version, and of equal ones the closed."""
        rows: dict[str, SessionRow] = {}
        for row in [*self.open, *self.versions]:
            known = rows.get(row.facts.session_id)
            if known is None or row.version >= known.version:
                rows[row.facts.session_id] = row
        return rows


def expected_kinds(log: Iterable[Entry]) -> dict[int, str]:
    """Tell for each offset what must become of it: an event, a repeat, a duplicate, tracking, or bad."""
    kinds: dict[int, str] = {}
    seen: dict[str, Event | Tracking] = {}
    spoken: list[Event] = []
    for entry in log:
        if isinstance(entry, Bad):
            kinds[entry.offset] = "bad"
        elif entry.event_id in seen:
            kinds[entry.offset] = "duplicate"
        elif isinstance(entry, Tracking):
            kinds[entry.offset] = "tracking"
            seen[entry.event_id] = entry
        else:
            said = any(e.session_id == entry.session_id and e.says_the_same(entry) for e in spoken)
            kinds[entry.offset] = "repeat" if said else "event"
            seen[entry.event_id] = entry
            spoken.append(entry)
    return kinds


def expected_facts(log: Sequence[Entry]) -> dict[str, SessionFacts]:
    """Fold each session from scratch, all of its events at once."""
    kinds = expected_kinds(log)
    by_session: dict[str, list[Event]] = {}
    for entry in log:
        kind = kinds[entry.offset]
        if isinstance(entry, Event) and kind in ("event", "repeat"):
            if kind == "repeat":
                entry = msgspec.structs.replace(entry, flags=(*entry.flags, "repeat"))
            by_session.setdefault(entry.session_id, []).append(entry)
    return {session: fold_all(events) for session, events in by_session.items()}
