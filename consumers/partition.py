"""The sessions of one partition: what each new record does to them. Pure; what the lake knows is passed in.

Late data: an event that belongs before the reorder buffer of its session (`open_session.py`), or to a session
that is not in memory, is looked up. The session's history is read from the lake, and it is folded again from all
its events.

Folding again takes no more than a `Share` of the time. While there is none left, what is looked up is only what
decides whether an event is new, and so each event is stored in the batch it was read in. Its session is *behind*
until it is folded again: it stays as it was before that event (`as_of_offset` of its row), and does not close.

A session closes as a function of the log (`closing.py`), by the watermark of the partition: the largest
`received_at` read; the log's clock as the worker knows it only while the partition is idle and read to its end. A
later event opens it again, unless it changes nothing: then it is stored, and the row of the session stays.

Arrivals follow the log's clock to within two minutes (`decode.CLOCK_MS_MAX`). So an arrival that is more than
`CLOCK_BACK_MS` before the watermark shows that the log's clock was put back, and the watermark goes back with it.
"""

import heapq
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import closing as closed_after
from operator import attrgetter
from typing import Protocol

import msgspec

from consumers.closing import Closing, Limits, with_passed
from consumers.known_ids import DerivedIds, KnownIds
from consumers.log_clock import CLOCK_BACK_MS
from consumers.open_session import OpenSession
from consumers.share import Share
from lake.changes import Changes, CloseReason, History, Known, OpenRows, Over, SessionRow, YoungIds
from schemas.ids import born_ms_of_session, is_derived_session, read_event_time_ms
from sessions.event import AFTER_CLOSE, Bad, Event, Tracking
from sessions.fold import OVER_LIMIT, REPEAT, is_over_limit, without_false_ends

CLOSED_KEPT = 5_000  # closed sessions of which is known what opens them; an older one is read again, once
Moment = tuple[int, str, float]


class Lake(Protocol):
    """What a partition asks of the lake."""

    def histories(
        self, session_ids: Collection[str], *, since: Mapping[str, int]
    ) -> Generator[tuple[str, History], None, None]:
        """Give the histories of those of these sessions that the lake has, one at a time.

        `since` has the first offset of as many of them as are known to have none before.
        """
        ...

    def known(
        self, events: Collection[Event], *, without_moments: Collection[str], since: Mapping[str, int]
    ) -> Mapping[str, Known]:
        """Return what decides whether these are new; of the sessions `without_moments`, by their ids alone."""
        ...

    def known_tracking(self, event_ids: Collection[str]) -> set[str]:
        """Return those of these ids of tracking events that are stored."""
        ...


class Behind(msgspec.Struct):
    """A session that is to be folded again: from which event on its fold lacks some, how many are stored."""

    since_offset: int
    stored: int


class PartitionSessions:
    """All open sessions of one partition, its watermark, and which ids it has seen."""

    def __init__(self, partition: int, *, next_offset: int, watermark_ms: int, limits: Limits) -> None:
        self.partition = partition
        self.next_offset = next_offset
        self.read_ms = watermark_ms  # largest received_at read since the log's clock was last put back
        self.watermark_ms = watermark_ms  # that, or the log's clock while idle
        self.limits = limits
        self._events_max = limits.events_max
        self.open: dict[str, OpenSession] = {}
        self._deadlines: list[tuple[int, str]] = []  # an entry for each session, not later than its deadline
        self._scheduled: set[str] = set()
        self._ended: set[str] = set()
        self._behind: dict[str, Behind] = {}  # the one that waits longest first
        self._closed = KnownIds(watermark_ms)
        self._derived = DerivedIds()
        self._closings: dict[str, Closing] = {}  # of closed sessions; the one that was heard from last comes last
        self._tracked = KnownIds(watermark_ms)

    def restore(self, histories: Iterable[tuple[str, History]]) -> None:
        """Open again what was open: every session of `histories` that did not close after its last event."""
        for session_id, history in histories:
            if history.closed_as_of_offset <= history.last_offset:
                self._refold(session_id, history, history.events)

    def remember(self, *, sessions: YoungIds, tracking: YoungIds, derived: Iterable[str]) -> None:
        """Take note of ids that the lake has: `derived` of closed sessions, which say nothing of their age.

        The others say that they were made after what it has read.
        """
        self._derived.add(derived)
        self._closed.load(sessions, born_ms_of_session)
        self._tracked.load(tracking, read_event_time_ms)

    def apply(
        self,
        entries: Iterable[Event | Tracking | Bad],
        *,
        next_offset: int,
        lake: Lake,
        share: Share,
    ) -> Changes:
        """Take the records of a batch, in order of offset, and return what they add to the lake.

        The lake is asked for histories only while `share` has time for folding again.
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
            self._join(waiting, lake, share, changes)
        while self._behind and share.is_free():
            with share.spent():
                self._catch_up(lake, changes)
        if changes.tracking:
            self._drop_known_tracking(changes, lake)
        self.next_offset = next_offset
        if has_entries and self.watermark_ms > self.read_ms + CLOCK_BACK_MS:
            self.watermark_ms = self.read_ms
        self.watermark_ms = max(self.watermark_ms, self.read_ms)
        changes.read_ms = self.read_ms
        return changes

    def _place(self, event: Event, changes: Changes) -> bool:
        """Place one event by what is in memory; False if only the lake can tell."""
        session = self.open.get(event.session_id)
        if session is None:
            closing = self._closings.get(event.session_id)
            if closing is not None:
                return closing.passes(event) and self._pass_over(event, closing, changes)
            if not self._is_certainly_new(event.session_id):
                return False
            if self._behind and event.session_id in self._behind:
                return False
            session = self._open(event.session_id, version=1, first_offset=event.offset)
        elif self._behind and event.session_id in self._behind:
            return False
        elif (closing := session.closing).may_pass(event) and closing.passes(event):
            return self._pass_over(event, closing, changes)
        elif (
            closing.stored >= self._events_max
            or closing.passed_since is not None
            or ((event.type.ends or closing.end_ms is not None) and session.is_end_in_doubt(event))
        ):
            return False
        elif not session.is_plainly_next(event):
            is_repeat = False
            for known in session.buffer:
                if known.event_id == event.event_id:
                    changes.duplicates.append((event.offset, event.event_id, "in memory"))
                    return True
                if known.client_ms == event.client_ms and known.says_the_same(event):
                    is_repeat = True
            if not session.belongs_in_buffer(event):
                return False
            if is_repeat:
                event = event.flagged(REPEAT)
                if session.closing.passes(event):
                    changes.events.append(session.closing.pass_over(event))
                    return True
        changes.events.append(event)
        if session.version > 1:
            session.late_events += 1
        if session.arrive(event):
            self._scheduled.discard(event.session_id)
        session.place(event)
        self._watch(event.session_id, session)
        return True

    def _is_certainly_new(self, session_id: str) -> bool:
        """Return whether no event of a session that is not open was read before; where False, look it up."""
        born_ms = born_ms_of_session(session_id)
        if born_ms is None:
            return is_derived_session(session_id) and self._derived.is_certainly_new(session_id)
        return self._closed.is_certainly_new(session_id, born_ms)

    def _first_offsets(self, session_ids: Iterable[str]) -> dict[str, int]:
        """Return the first offsets of those of these sessions that are open."""
        return {id: self.open[id].first_offset for id in session_ids if id in self.open}

    def _pass_over(self, event: Event, closing: Closing, changes: Changes) -> bool:
        """Store an event that changes nothing of its session; False if only the lake knows whether it is new."""
        if not closing.is_certainly_new(event):
            return False
        changes.events.append(closing.pass_over(event))
        if self._closings.pop(event.session_id, None) is not None:
            self._closings[event.session_id] = closing
        return True

    def _join(self, waiting: dict[str, list[Event]], lake: Lake, share: Share, changes: Changes) -> None:
        """Decide on what waited, by what the lake has and this batch placed before; fold at once what may be."""
        placed = _by_session(changes.events, waiting)
        if share.is_free():
            with share.spent():
                self._join_at_once(waiting, placed, lake, changes)
        if not waiting:
            return
        asked = [event for events in waiting.values() for event in events]
        full = {id for id in waiting if self._is_full(id)}
        found = lake.known(asked, without_moments=full, since=self._first_offsets(waiting))
        for session_id, events in waiting.items():
            known, before = found.get(session_id, _NOTHING), placed.get(session_id, [])
            fresh = self._decide(events, known, before, changes)
            judged = with_passed(fresh, self._closing_of(session_id))
            is_passed = all(event.is_flagged(AFTER_CLOSE) for event in judged)
            changes.events += judged if is_passed else fresh
            if not is_passed:
                self._fall_behind(session_id, fresh, stored=known.stored + len(before) + len(fresh))

    def _join_at_once(
        self,
        waiting: dict[str, list[Event]],
        placed: Mapping[str, list[Event]],
        lake: Lake,
        changes: Changes,
    ) -> None:
        """Fold looked-up sessions again, as many as have the events of a long one; take them from `waiting`."""
        wanted = [id for id in waiting if not self._is_full(id)]
        unknown = set(wanted)
        read = 0
        with closed_after(lake.histories(wanted, since=self._first_offsets(wanted))) as histories:
            for session_id, history in histories:
                unknown.remove(session_id)
                read += len(history.events)
                if len(history.events) < self._events_max:  # else the ids of some are not in it
                    self._join_whole(session_id, history, waiting, placed, changes)
                if read >= self._events_max:
                    return
        for session_id in unknown:
            self._join_whole(session_id, History([]), waiting, placed, changes)

    def _join_whole(
        self,
        session_id: str,
        history: History,
        waiting: dict[str, list[Event]],
        placed: Mapping[str, list[Event]],
        changes: Changes,
    ) -> None:
        known = Known(history.events, len(history.events), has_end=_has_end(history.events))
        before = placed.get(session_id, [])
        fresh = self._decide(waiting.pop(session_id), known, before, changes)
        closing = self._closing_of(session_id)
        if closing is None and session_id not in self._behind:
            closing = Closing.after(history, self.limits)
            if history.version:
                self._keep_closing(session_id, closing)
        fresh = with_passed(fresh, closing)
        changes.events += fresh
        if not all(event.is_flagged(AFTER_CLOSE) for event in fresh):
            self._refold(session_id, history, [*history.events, *before, *fresh])
            self._mark_caught_up(session_id, changes)

    def _decide(self, events: list[Event], known: Known, placed: list[Event], changes: Changes) -> list[Event]:
        """Return those events of a session that are new, flagged as what they are; the others are duplicates."""
        together = [*known.events, *placed]
        ids = {event.event_id for event in together}
        moments = {_moment(event) for event in events}
        said = {
            event.words() for event in together if _moment(event) in moments and not event.is_flagged(OVER_LIMIT)
        }
        stored, has_end = known.stored + len(placed), known.has_end or _has_end(placed)
        fresh = []
        for event in events:
            if event.event_id in ids:
                changes.duplicates.append((event.offset, event.event_id, "in the lake"))
                continue
            ids.add(event.event_id)
            if is_over_limit(event, stored=stored, has_end=has_end, events_max=self._events_max):
                event = event.flagged(OVER_LIMIT)
            elif (words := event.words()) in said:
                event = event.flagged(REPEAT)
            else:
                said.add(words)
            stored, has_end = stored + 1, has_end or event.type.ends
            fresh.append(event)
        return fresh

    def _closing_of(self, session_id: str) -> Closing | None:
        """Return what memory has of a session's closing; None also while it lacks some of its events."""
        if session_id in self._behind:
            return None
        session = self.open.get(session_id)
        return self._closings.get(session_id) if session is None else session.closing

    def _keep_closing(self, session_id: str, closing: Closing) -> None:
        self._closings.pop(session_id, None)
        self._closings[session_id] = closing
        if len(self._closings) > CLOSED_KEPT:
            del self._closings[next(iter(self._closings))]

    def _is_full(self, session_id: str) -> bool:
        """Return whether a session in memory has all the events that it folds."""
        session = self.open.get(session_id)
        return session is not None and session.closing.stored >= self._events_max

    def _fall_behind(self, session_id: str, fresh: list[Event], *, stored: int) -> None:
        """Note that these events of a session are stored and not in its fold."""
        behind, session = self._behind.get(session_id), self.open.get(session_id)
        if behind is not None:
            behind.stored = stored
        elif (
            session is not None
            and session.closing.passed_since is None
            and all(event.is_flagged(OVER_LIMIT) for event in fresh)
        ):
            if session.count_over(Over.of(fresh)):
                self._scheduled.discard(session_id)
            self._watch(session_id, session)
        else:
            self._behind[session_id] = Behind(fresh[0].offset, stored)
            self._closings.pop(session_id, None)

    def _catch_up(self, lake: Lake, changes: Changes) -> None:
        """Fold again the session that is behind for longest, and besides as many as have the events of a long one.

        The shortest first, so that no long one keeps all others waiting.
        """
        longest, *others = self._behind
        chosen, left = [longest], self._events_max
        for session_id in sorted(others, key=lambda id: self._behind[id].stored):
            left -= self._behind[session_id].stored
            if left < 0:
                break
            chosen.append(session_id)
        placed = _by_session(changes.events, set(chosen))
        unread = set(chosen)
        for session_id, history in lake.histories(chosen, since=self._first_offsets(chosen)):
            unread.remove(session_id)
            self._refold(session_id, history, [*history.events, *placed.get(session_id, [])])
        for session_id in unread & placed.keys():
            self._refold(session_id, History([]), placed[session_id])
        for session_id in chosen:
            self._mark_caught_up(session_id, changes)

    def _mark_caught_up(self, session_id: str, changes: Changes) -> None:
        self._behind.pop(session_id, None)
        changes.folded_again = True

    def _refold(self, session_id: str, history: History, events: list[Event]) -> None:
        told = (event.offset for event in events if not event.is_flagged(AFTER_CLOSE))
        last_offset = max(history.over.last_offset, max(told, default=-1))
        counted = without_false_ends(
            event for event in events if event.offset <= last_offset and not event.is_flagged(OVER_LIMIT)
        )
        passed = [event for event in events if event.offset > last_offset]
        first_offset = min((event.offset for event in events), default=0)
        session = self._open(session_id, version=history.version + 1, first_offset=first_offset)
        session.late_events = history.late_events
        for event in sorted(counted, key=attrgetter("offset")):
            if event.is_flagged(AFTER_CLOSE):
                session.closing.pass_over(event)
                continue
            if session.arrive(event):
                self._scheduled.discard(session_id)
            session.late_events += history.version > 0 and event.offset >= history.closed_as_of_offset
        session.closing.passed_since = None
        for event in sorted(counted, key=Event.order):
            session.place(event)
        for over in (history.over, Over.of(events)):
            if over.events and session.count_over(over):
                self._scheduled.discard(session_id)
        for event in sorted(passed, key=attrgetter("offset")):
            session.closing.pass_over(event)
        self._closings.pop(session_id, None)
        self._ended.discard(session_id)
        self._watch(session_id, session)

    def _open(self, session_id: str, *, version: int, first_offset: int) -> OpenSession:
        session = OpenSession(version=version, first_offset=first_offset, limits=self.limits)
        if is_derived_session(session_id):
            self._derived.add([session_id])
        self.open[session_id] = session
        return session

    def _watch(self, session_id: str, session: OpenSession) -> None:
        """See to it that the session is looked at when it may have to close."""
        if session.closing.end_ms is not None:
            self._ended.add(session_id)
        elif session_id not in self._scheduled:
            self._scheduled.add(session_id)
            heapq.heappush(self._deadlines, (session.closing.deadline_ms()[0], session_id))

    def _drop_known_tracking(self, changes: Changes, lake: Lake) -> None:
        doubtful = [
            entry.event_id
            for entry in changes.tracking
            if not self._tracked.is_certainly_new(entry.event_id, read_event_time_ms(entry.event_id))
        ]
        stored = lake.known_tracking(doubtful) if doubtful else set()
        fresh = []
        for entry in changes.tracking:
            if entry.event_id in stored:
                changes.duplicates.append((entry.offset, entry.event_id, "in the lake"))
                continue
            stored.add(entry.event_id)
            self._tracked.remember(entry.event_id, read_event_time_ms(entry.event_id))
            fresh.append(entry)
        changes.tracking = fresh

    def advance_watermark(self, now_ms: int) -> None:
        """Move the watermark to the log's clock: the partition is idle, and read to its end."""
        self.watermark_ms = max(self.watermark_ms, now_ms)

    def close_due(self, changes: Changes) -> None:
        """Close what has ended or whose time has come; the closed rows go into `changes`."""
        due = list(self._ended)
        self._ended.clear()
        while self._deadlines and self._deadlines[0][0] < self.watermark_ms:
            _, session_id = heapq.heappop(self._deadlines)
            self._scheduled.discard(session_id)
            session = self.open.get(session_id)
            if session is None or session.has_end:
                continue  # closed before, or closes now anyway
            if session.closing.deadline_ms()[0] < self.watermark_ms:
                due.append(session_id)
            else:
                self._watch(session_id, session)
        for session_id in dict.fromkeys(due):
            if session_id in self._behind:
                continue  # it is watched again when it is folded again
            session = self.open.pop(session_id)
            reason: CloseReason = "ended" if session.has_end else session.closing.deadline_ms()[1]
            changes.closed.append(self._row(session, reason, changes.next_offset))
            self._closed.remember(session_id, born_ms_of_session(session_id))
            self._keep_closing(session_id, session.closing)

    def take_open_rows(self) -> OpenRows:
        """Return every open session as it would close, and count it as written.

        If the rows are not written, the partition is to be loaded again.
        """
        fresh = [(session_id, session) for session_id, session in self.open.items() if session.has_news]
        kept = [session_id for session_id, session in self.open.items() if not session.has_news]
        for _, session in fresh:
            session.has_news = False
        since = {id: behind.since_offset for id, behind in self._behind.items()}
        rows = (self._row(session, None, since.get(session_id, self.next_offset)) for session_id, session in fresh)
        return OpenRows(rows, kept, min(since.values(), default=self.next_offset))

    def _row(self, session: OpenSession, reason: CloseReason | None, as_of_offset: int) -> SessionRow:
        passed_since = session.closing.passed_since
        return SessionRow(
            facts=session.facts(),
            version=session.version,
            close_reason=reason,
            late_events=session.late_events,
            as_of_ms=self.watermark_ms,
            as_of_offset=as_of_offset if passed_since is None else min(as_of_offset, passed_since),
        )


def _moment(event: Event) -> Moment:
    """Return what two events that say the same have in common at least."""
    return event.client_ms, event.type.name, event.playhead_s


def _by_session(events: Iterable[Event], wanted: Collection[str]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = {}
    for event in events:
        if event.session_id in wanted:
            found.setdefault(event.session_id, []).append(event)
    return found


def _has_end(events: Iterable[Event]) -> bool:
    return any(event.type.ends for event in events)


_NOTHING = Known([], 0, has_end=False)
