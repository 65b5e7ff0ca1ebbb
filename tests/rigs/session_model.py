"""A lake in memory, and a log in memory: what the sessions of a partition are tested against.

The lake knows what the real one keeps of a partition (events, closed versions, the open table as of an offset, the
ledger) and nothing else: a worker that starts again has only this.
"""

import dataclasses
from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from consumers.closing import Limits
from consumers.partition import PartitionSessions
from consumers.share import Share
from lake.changes import Changes, History, Lookup, Over, SessionRow, YoungIds
from schemas.ids import BORN_MS_MAX, is_derived_session, mint_event_id, mint_media_session
from schemas.vocabulary import EVENT_TYPES
from sessions.event import Bad, Event, Tracking
from sessions.facts import SessionFacts
from sessions.fold import fold_all

ALL_THE_TIME = Share(1.0, clock_s=lambda: 0.0)


def no_time() -> Share:
    """Make a share of the time that is used up."""
    now_s = [0.0]
    share = Share(0.25, clock_s=lambda: now_s[0])
    with share.spent():
        now_s[0] += 1
    return share


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
    received_ms = fields.pop("received_ms", ts)
    return Event(
        **{
            "event_id": f"event-{offset}",
            "session_id": session_id(0, NOON_MS),
            "type": EVENT_TYPES[type_name],
            "client_ms": ts,
            "received_ms": received_ms,
            "order_ms": ts,
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
    histories_read: int = 0

    def start(self, limits: Limits = LIMITS) -> PartitionSessions:
        """Load the partition, as a worker does that knows nothing else."""
        sessions = PartitionSessions(0, next_offset=self.next_offset, watermark_ms=self.time_ms, limits=limits)
        candidates = {row.facts.session_id for row in self.open} | {
            event.session_id for event in self.events if event.offset >= self.open_as_of_offset
        }
        sessions.restore(self.histories(candidates, since={}))
        since, until = f"{self.time_ms + 1:012x}", f"{BORN_MS_MAX:012x}"
        young = {event.session_id for event in self.events if since <= event.session_id < until}
        sessions.remember(
            sessions=YoungIds(sorted(young), BORN_MS_MAX),
            tracking=YoungIds([entry.event_id for entry in self.tracking], BORN_MS_MAX),
            derived=[id for row in self.versions if is_derived_session(id := row.facts.session_id)],
        )
        return sessions

    def take(
        self,
        sessions: PartitionSessions,
        entries: Sequence[Entry],
        *,
        idle_until_ms: int | None = None,
        renew_open: bool = False,
        share: Share = ALL_THE_TIME,
    ) -> Changes:
        """Apply a batch, and return what would be committed."""
        next_offset = entries[-1].offset + 1 if entries else sessions.next_offset
        changes = sessions.apply(
            entries,
            next_offset=next_offset,
            lake=self,
            share=share,
        )
        if idle_until_ms is not None:
            sessions.advance_watermark(idle_until_ms)
        sessions.close_due(changes)
        if renew_open:
            changes.open = sessions.take_open_rows()
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
            self.open_as_of_offset = changes.open.as_of_offset
        self.next_offset = changes.next_offset
        self.time_ms = changes.read_ms or self.time_ms

    def histories(
        self, session_ids: Collection[str], *, since: Mapping[str, int]
    ) -> Generator[tuple[str, History], None, None]:
        """Give what is stored of sessions, as the lake does."""
        self.look_ups += 1
        for wanted in list(session_ids):
            events = self._stored(wanted, since)
            beyond = [event for event in events if "over_limit" in event.flags]
            over = [event for event in beyond if "after_close" not in event.flags]
            versions = [row for row in self.versions if row.facts.session_id == wanted]
            if events or versions:
                self.histories_read += 1
                yield (
                    wanted,
                    History(
                        [event for event in events if event not in beyond],
                        max((row.version for row in versions), default=0),
                        max((row.as_of_offset for row in versions), default=-1),
                        max((row.late_events for row in versions), default=0),
                        Over(
                            len(over),
                            over[-1].offset,
                            over[-1].received_ms,
                            any(event.consent == "denied" for event in over),
                        )
                        if over
                        else Over(),
                    ),
                )

    def known(
        self, events: Collection[Event], *, without_moments: Collection[str], since: Mapping[str, int]
    ) -> dict[str, Lookup]:
        """Return the stored events that have an id, or a moment, in common with these."""
        self.look_ups += 1
        ids = {event.event_id for event in events}
        moments = {event.client_ms for event in events if event.session_id not in without_moments}
        found = {}
        for wanted in {event.session_id for event in events}:
            stored = self._stored(wanted, since)
            alike = [
                event
                for event in stored
                if event.event_id in ids or (event.client_ms in moments and "over_limit" not in event.flags)
            ]
            if stored:
                found[wanted] = Lookup(alike, len(stored), has_end=any(event.type.ends for event in stored))
        return found

    def _stored(self, session_id: str, since: Mapping[str, int]) -> list[Event]:
        first_offset = since.get(session_id, 0)
        return [each for each in self.events if each.session_id == session_id and each.offset >= first_offset]

    def known_tracking(self, event_ids: Collection[str]) -> set[str]:
        """Return those ids of tracking events that are stored."""
        self.look_ups += 1
        return set(event_ids) & {entry.event_id for entry in self.tracking}

    def uncounted(self) -> set[int]:
        """Return the offsets of events that no row counts: over the limit, and of no effect besides."""
        both = {"over_limit", "after_close"}
        return {event.offset for event in self.events if both <= set(event.flags)}

    def newest(self) -> dict[str, SessionRow]:
        """Return what the view `sessions` shows: the highest version, and of equal ones the closed."""
        rows: dict[str, SessionRow] = {}
        for row in [*self.open, *self.versions]:
            known = rows.get(row.facts.session_id)
            if known is None or row.version >= known.version:
                rows[row.facts.session_id] = row
        return rows


def expected_kinds(log: Iterable[Entry], *, events_max: int = LIMITS.events_max) -> dict[int, str]:
    """Return for each offset what must become of it: event, repeat, over_limit, duplicate, tracking or bad."""
    kinds: dict[int, str] = {}
    seen: set[str] = set()
    stored: dict[str, list[Event]] = {}
    for entry in log:
        if isinstance(entry, Bad):
            kinds[entry.offset] = "bad"
        elif entry.event_id in seen:
            kinds[entry.offset] = "duplicate"
        elif isinstance(entry, Tracking):
            kinds[entry.offset] = "tracking"
            seen.add(entry.event_id)
        else:
            before = stored.setdefault(entry.session_id, [])
            is_first_end = entry.type.ends and not any(event.type.ends for event in before)
            folded = [event for event in before if kinds[event.offset] != "over_limit"]
            if len(before) >= events_max and not is_first_end:
                kinds[entry.offset] = "over_limit"
            else:
                said = any(event.says_the_same(entry) for event in folded)
                kinds[entry.offset] = "repeat" if said else "event"
            seen.add(entry.event_id)
            before.append(entry)
    return kinds


def expected_facts(
    log: Sequence[Entry], *, events_max: int = LIMITS.events_max, without: Collection[int] = ()
) -> dict[str, SessionFacts]:
    """Fold each session from scratch, all of its events at once but those `without`, by their offsets."""
    kinds = expected_kinds(log, events_max=events_max)
    by_session: dict[str, list[Event]] = {}
    for entry in log:
        kind = kinds[entry.offset]
        if isinstance(entry, Event) and kind in ("event", "repeat", "over_limit") and entry.offset not in without:
            if kind != "event":
                entry = msgspec.structs.replace(entry, flags=(*entry.flags, kind))
            by_session.setdefault(entry.session_id, []).append(entry)
    return {session: fold_all(events) for session, events in by_session.items()}
