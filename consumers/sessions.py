"""The sessions of one partition: what each new record does to them. Pure; what the lake knows is passed in.

An event takes its place in its session by (client time, rank of its type, arrival). The newest few events of an
open session stay unsettled, in the *tail*, where latecomers still find their place; what is older has been
folded and is only numbers. An event that belongs before the tail, or to a session that is not in memory, is
looked up: the session's history is read from the lake, and it is folded again from all its events.

A session closes as a function of the log: at sessionEnd; when the partition's time (the largest `received_at`
read; the log's clock as the worker knows it only while the partition is idle and read to its end) passes its last
event, the last movement of its playhead, or its start by the limits in `Limits`. A later event reopens it.

Arrivals follow the log's clock to within two minutes (`decode.CLOCK_MS_MAX`). So an arrival that is more than
`CLOCK_BACK_MS` before the partition's time says that the log's clock was put back, and the time goes back with it.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Literal

import msgspec

from consumers.decode import Bad, Tracking
from consumers.facts import SessionFacts
from consumers.fold import Event, Fold
from schemas.ids import read_event_time_ms, read_media_session

TAIL = 4  # events of a session that wait for latecomers; more costs memory, fewer costs look-ups
REMEMBERED = 200_000  # ids of closed sessions and tracking events kept in memory, to know what is new
CLOCK_BACK_MS = 300_000

BORN_MS_MAX = 4_102_444_800_000  # the year 2100; an id of another producer may have anything where ours have time
Moment = tuple[int, str, float]
CloseReason = Literal["ended", "idle", "stuck", "too_long"]


class Limits(msgspec.Struct, frozen=True):
    """When a session closes without a sessionEnd: milliseconds of the partition's time."""

    idle_ms: int
    stuck_ms: int
    length_ms: int


class History(msgspec.Struct, frozen=True):
    """What the lake has of one session: its events, and the versions it closed as."""

    events: list[Event]
    version: int = 0
    closed_as_of_offset: int = -1
    late_events: int = 0


LookUp = Callable[[Iterable[str]], Mapping[str, History]]
LookUpIds = Callable[[Iterable[str]], set[str]]


class YoungIds(msgspec.Struct, frozen=True):
    """Ids of the lake that say that they were made after a time: all of those made before `until_ms`."""

    ids: list[str]
    until_ms: int


class SessionRow(msgspec.Struct, frozen=True):
    """A session as a row: what the fold knows, and where it stands."""

    facts: SessionFacts
    version: int
    close_reason: CloseReason | None
    late_events: int
    as_of_ms: int
    as_of_offset: int


class OpenRows(msgspec.Struct, frozen=True):
    """All open sessions of a partition, each as it would close now.

    `fresh` are those with news since their rows were written, made as they are taken: to be taken once, before the
    next batch. `kept` are the ids of those without, whose rows stand as they are.
    """

    fresh: Iterator[SessionRow]
    kept: list[str]


class Changes(msgspec.Struct):
    """What a batch of one partition adds to the lake, in one transaction."""

    partition: int
    next_offset: int
    read_ms: int = 0
    events: list[Event] = []
    tracking: list[Tracking] = []
    bad: list[Bad] = []
    duplicates: list[tuple[int, str, str]] = []
    closed: list[SessionRow] = []
    open: OpenRows | None = None


class OpenSession:
    """One session in memory: the fold of its settled events, the tail, and what closing it depends on."""

    __slots__ = (
        "ahead",
        "first_received_ms",
        "fold",
        "has_end",
        "has_news",
        "last_received_ms",
        "late_events",
        "moved_ms",
        "playhead_s",
        "settled",
        "tail",
        "version",
    )

    def __init__(self, *, version: int, length_ms: int) -> None:
        self.fold = Fold(length_ms=length_ms)
        self.tail: list[Event] = []
        self.settled: tuple[int, int] | None = None
        self.ahead: set[int] | None = None  # client_ms of settled events that are ordered by arrival instead
        self.version = version
        self.late_events = 0
        self.first_received_ms = 0
        self.last_received_ms = 0
        self.moved_ms = 0
        self.playhead_s: float | None = None
        self.has_end = False
        self.has_news = True  # since its row was written

    def arrive(self, event: Event) -> bool:
        """Note what closing depends on, in order of offset; return whether the log's clock was put back before."""
        self.has_news = True
        self.first_received_ms = self.first_received_ms or event.received_ms
        received_ms = event.received_ms
        if received_ms > self.last_received_ms:
            self.last_received_ms = received_ms
        if event.playhead_s != self.playhead_s:
            self.playhead_s = event.playhead_s
            if received_ms > self.moved_ms:
                self.moved_ms = received_ms
        if event.type.ends:
            self.has_end = True
        if received_ms >= self.last_received_ms - CLOCK_BACK_MS:
            return False
        self.last_received_ms = received_ms
        self.moved_ms = min(self.moved_ms, received_ms)
        self.first_received_ms = min(self.first_received_ms, received_ms)
        return True

    def is_plainly_next(self, event: Event) -> bool:
        """Tell whether an event is later than all before it, and so neither repeats one nor was read before."""
        return (
            bool(self.tail) and event.order_ms > self.tail[-1].order_ms and not event.flags and self.ahead is None
        )

    def is_unsettled(self, event: Event) -> bool:
        """Tell whether an event, and any earlier one that says the same, has its place in the tail."""
        if self.ahead is not None and event.client_ms in self.ahead:
            return False
        return self.settled is None or (event.order_ms, event.type.rank) > self.settled

    def place(self, event: Event) -> None:
        """Put an event into the tail, and settle what the tail no longer holds."""
        tail = self.tail
        is_latest = not tail or event.order_ms > tail[-1].order_ms
        tail.append(event)
        if not is_latest:
            tail.sort(key=Event.order)
        if len(tail) > TAIL:
            settled = tail.pop(0)
            self.fold.step(settled)
            self.settled = (settled.order_ms, settled.type.rank)
            if settled.order_ms != settled.client_ms:
                self.ahead = self.ahead or set()
                self.ahead.add(settled.client_ms)

    def facts(self) -> SessionFacts:
        """Return what is known of the session if nothing more came."""
        fold = self.fold.copy()
        for event in self.tail:
            fold.step(event)
        return fold.facts()

    def deadline_ms(self, limits: Limits) -> tuple[int, CloseReason]:
        """Return the partition time at which it closes, and why."""
        deadlines: tuple[tuple[int, CloseReason], ...] = (
            (self.last_received_ms + limits.idle_ms, "idle"),
            (self.moved_ms + limits.stuck_ms, "stuck"),
            (self.first_received_ms + limits.length_ms, "too_long"),
        )
        return min(deadlines)


class Memory:
    """Which ids were seen since the partition was loaded, so that most new ones need no look-up.

    An id that carries its time of birth is new unless it was remembered, where that time is after everything that
    is no longer remembered (`floor_ms`) and before everything that never was (`until_ms`). That holds whatever the
    clocks say by which the ids were made: it compares ids with ids alone.
    """

    def __init__(self, floor_ms: int) -> None:
        self.floor_ms = floor_ms
        self.until_ms = BORN_MS_MAX
        self._seen: set[str] = set()
        self._oldest: list[tuple[int, str]] = []

    def load(self, young: YoungIds, born_ms: Callable[[str], int | None]) -> None:
        """Take note of ids that the lake has, although they say that they were made after `floor_ms`."""
        self.until_ms = young.until_ms
        for id in young.ids:
            self.remember(id, born_ms(id))

    def is_certainly_new(self, id: str, born_ms: int | None) -> bool:
        """Return whether no record with this id was read before; where False, it must be looked up."""
        return born_ms is not None and self.floor_ms < born_ms < self.until_ms and id not in self._seen

    def remember(self, id: str, born_ms: int | None) -> None:
        """Take note of an id. Those made first are forgotten first: an ingest may be years ahead."""
        if born_ms is None or born_ms <= self.floor_ms or id in self._seen:
            return
        self._seen.add(id)
        heapq.heappush(self._oldest, (born_ms, id))
        if len(self._seen) > REMEMBERED:
            self.floor_ms, oldest = heapq.heappop(self._oldest)
            self._seen.remove(oldest)


class PartitionSessions:
    """All open sessions of one partition, and what its time and its memory know."""

    def __init__(self, partition: int, *, next_offset: int, time_ms: int, limits: Limits) -> None:
        self.partition = partition
        self.next_offset = next_offset
        self.read_ms = time_ms  # largest received_at read since the log's clock was last put back
        self.time_ms = time_ms  # the partition's time: that, or the log's clock while idle
        self.limits = limits
        self.open: dict[str, OpenSession] = {}
        self._deadlines: list[tuple[int, str]] = []  # an entry for each session, not later than its deadline
        self._scheduled: set[str] = set()
        self._ended: set[str] = set()
        self._closed = Memory(time_ms)
        self._tracked = Memory(time_ms)

    def restore(self, histories: Iterable[tuple[str, History]]) -> None:
        """Open again what was open: every session of `histories` that did not close after its last event."""
        for session_id, history in histories:
            last_offset = max((event.offset for event in history.events), default=-1)
            if history.closed_as_of_offset <= last_offset:
                self._refold(session_id, history, history.events)

    def remember(self, *, sessions: YoungIds, tracking: YoungIds) -> None:
        """Take note of ids that the lake has, although they say that they were made after what it has read."""
        self._closed.load(sessions, born_ms_of_session)
        self._tracked.load(tracking, read_event_time_ms)

    def apply(
        self,
        entries: Iterable[Event | Tracking | Bad],
        *,
        next_offset: int,
        look_up: LookUp,
        look_up_tracking: LookUpIds,
    ) -> Changes:
        """Take the records of a batch, in order of offset, and return what they add to the lake.

        `look_up` answers with the history of sessions, `look_up_tracking` with those event ids that are stored
        already; both are asked at most once a batch.
        """
        changes = Changes(self.partition, next_offset)
        waiting: dict[str, list[Event]] = {}
        has_entries = False
        for entry in entries:
            has_entries = True
            if entry.received_ms > self.read_ms or entry.received_ms < self.read_ms - CLOCK_BACK_MS:
                self.read_ms = entry.received_ms
            if isinstance(entry, Event):
                if waiting and entry.session_id in waiting:
                    waiting[entry.session_id].append(entry)
                elif not self._place(entry, changes):
                    waiting[entry.session_id] = [entry]
            elif isinstance(entry, Tracking):
                changes.tracking.append(entry)
            else:
                changes.bad.append(entry)
        if waiting:
            self._join(waiting, look_up(waiting), changes)
        if changes.tracking:
            self._drop_known_tracking(changes, look_up_tracking)
        self.next_offset = next_offset
        if has_entries and self.time_ms > self.read_ms + CLOCK_BACK_MS:
            self.time_ms = self.read_ms
        self.time_ms = max(self.time_ms, self.read_ms)
        changes.read_ms = self.read_ms
        return changes

    def _place(self, event: Event, changes: Changes) -> bool:
        """Place one event by what is in memory; False if only the lake can tell."""
        session = self.open.get(event.session_id)
        if session is None:
            born_ms = born_ms_of_session(event.session_id)
            if not self._closed.is_certainly_new(event.session_id, born_ms):
                return False
            session = self._opened(event.session_id, version=1)
        elif not session.is_plainly_next(event):
            is_repeat = False
            for known in session.tail:
                if known.event_id == event.event_id:
                    changes.duplicates.append((event.offset, event.event_id, "in memory"))
                    return True
                if known.client_ms == event.client_ms and known.says_the_same(event):
                    is_repeat = True
            if not session.is_unsettled(event):
                return False
            if is_repeat:
                event = _flagged_repeat(event)
        changes.events.append(event)
        session.late_events += session.version > 1
        if session.arrive(event):
            self._scheduled.discard(event.session_id)
        session.place(event)
        self._watch(event.session_id, session)
        return True

    def _join(self, waiting: dict[str, list[Event]], known: Mapping[str, History], changes: Changes) -> None:
        """Fold looked-up sessions again: their history, what this batch placed before, and what waited."""
        placed: dict[str, list[Event]] = {}
        for event in changes.events:
            if event.session_id in waiting:
                placed.setdefault(event.session_id, []).append(event)
        for session_id, events in waiting.items():
            history = known.get(session_id, History([]))
            together = history.events + placed.get(session_id, [])
            ids = {event.event_id for event in together}
            said: dict[Moment, list[Event]] = {}  # there may be many thousands, so only neighbours are compared
            for event in together:
                said.setdefault(_moment(event), []).append(event)
            fresh = 0
            for event in events:
                if event.event_id in ids:
                    changes.duplicates.append((event.offset, event.event_id, "in the lake"))
                    continue
                ids.add(event.event_id)
                at_once = said.setdefault(_moment(event), [])
                flagged = _flag_repeat(event, at_once)
                at_once.append(flagged)
                together.append(flagged)
                changes.events.append(flagged)
                fresh += 1
            if fresh:
                self._refold(session_id, history, together)

    def _refold(self, session_id: str, history: History, events: list[Event]) -> None:
        session = self._opened(session_id, version=history.version + 1)
        session.late_events = history.late_events
        for event in sorted(events, key=attrgetter("offset")):
            if session.arrive(event):
                self._scheduled.discard(session_id)
            session.late_events += history.version > 0 and event.offset >= history.closed_as_of_offset
        for event in sorted(events, key=Event.order):
            session.place(event)
        self._watch(session_id, session)

    def _opened(self, session_id: str, *, version: int) -> OpenSession:
        session = OpenSession(version=version, length_ms=self.limits.length_ms)
        self.open[session_id] = session
        return session

    def _watch(self, session_id: str, session: OpenSession) -> None:
        """See to it that the session is looked at when it may have to close."""
        if session.has_end:
            self._ended.add(session_id)
        elif session_id not in self._scheduled:
            self._scheduled.add(session_id)
            heapq.heappush(self._deadlines, (session.deadline_ms(self.limits)[0], session_id))

    def _drop_known_tracking(self, changes: Changes, look_up_ids: LookUpIds) -> None:
        doubtful = [
            entry.event_id
            for entry in changes.tracking
            if not self._tracked.is_certainly_new(entry.event_id, read_event_time_ms(entry.event_id))
        ]
        stored = look_up_ids(doubtful) if doubtful else set()
        fresh = []
        for entry in changes.tracking:
            if entry.event_id in stored:
                changes.duplicates.append((entry.offset, entry.event_id, "in the lake"))
                continue
            stored.add(entry.event_id)
            self._tracked.remember(entry.event_id, read_event_time_ms(entry.event_id))
            fresh.append(entry)
        changes.tracking = fresh

    def advance(self, now_ms: int) -> None:
        """Move the partition's time on by the log's clock: it is idle, and read to its end."""
        self.time_ms = max(self.time_ms, now_ms)

    def close_due(self, changes: Changes) -> None:
        """Close what has ended or whose time has come; the closed rows go into `changes`."""
        due = list(self._ended)
        self._ended.clear()
        while self._deadlines and self._deadlines[0][0] < self.time_ms:
            _, session_id = heapq.heappop(self._deadlines)
            self._scheduled.discard(session_id)
            session = self.open.get(session_id)
            if session is None or session.has_end:
                continue  # closed before, or closes now anyway
            if session.deadline_ms(self.limits)[0] < self.time_ms:
                due.append(session_id)
            else:
                self._watch(session_id, session)
        for session_id in dict.fromkeys(due):
            session = self.open.pop(session_id)
            reason: CloseReason = "ended" if session.has_end else session.deadline_ms(self.limits)[1]
            changes.closed.append(self._row(session, reason, changes.next_offset))
            self._closed.remember(session_id, born_ms_of_session(session_id))

    def open_rows(self) -> OpenRows:
        """Return every open session as it would close. What is not written is to be loaded anew."""
        fresh = [session for session in self.open.values() if session.has_news]
        kept = [session_id for session_id, session in self.open.items() if not session.has_news]
        for session in fresh:
            session.has_news = False
        return OpenRows((self._row(session, None, self.next_offset) for session in fresh), kept)

    def _row(self, session: OpenSession, reason: CloseReason | None, as_of_offset: int) -> SessionRow:
        return SessionRow(
            facts=session.facts(),
            version=session.version,
            close_reason=reason,
            late_events=session.late_events,
            as_of_ms=self.time_ms,
            as_of_offset=as_of_offset,
        )


def born_ms_of_session(session_id: str) -> int | None:
    """Return when a session id says it was made; None where it says nothing."""
    session = read_media_session(session_id)
    return session.started_ms if session else None


def _moment(event: Event) -> Moment:
    """Return what two events that say the same have in common at least."""
    return event.client_ms, event.type.name, event.playhead_s


def _flag_repeat(event: Event, earlier: Iterable[Event]) -> Event:
    """Flag an event that equals an earlier one of its session: stored, but not counted twice."""
    for known in earlier:
        if known.says_the_same(event):
            return _flagged_repeat(event)
    return event


def _flagged_repeat(event: Event) -> Event:
    return msgspec.structs.replace(event, flags=(*event.flags, "repeat"))
