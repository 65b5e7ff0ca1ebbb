"""The sessions of one partition: what each new record does to them. Pure; what the lake knows is passed in.

An event that is later than what its session has folded is placed from memory; any other waits for the end of the
batch, and is looked up (`late_data.py`). Sessions close by the watermark of the partition: the largest
`received_at` read; the log's clock as the worker knows it only while the partition is idle and read to its end. A
later event opens a session again, unless it changes nothing (`closing.py`): then it is stored, and the row of the
session stays.

Arrivals follow the log's clock to within two minutes (`decode.CLOCK_MS_MAX`). So an arrival that is more than
`CLOCK_BACK_MS` before the watermark shows that the log's clock was put back, and the watermark goes back with it.
Only the arrival of a replay may be as old as it likes.
"""

from collections.abc import Iterable

from consumers.closing import Closing, Limits
from consumers.known_ids import KnownIds
from consumers.late_data import Lake, LateData
from consumers.live_sessions import LiveSessions
from consumers.log_clock import CLOCK_BACK_MS
from consumers.open_session import OpenSession
from consumers.share import Share
from lake.changes import Changes, History, OpenRows, YoungIds
from schemas.ids import read_event_time_ms
from sessions.admission import REPEAT
from sessions.clock_steps import Clocks, clocks_of, dated
from sessions.event import Bad, Event, Tracking


class PartitionSessions:
    """All open sessions of one partition, its watermark, and which ids it has seen."""

    def __init__(self, partition: int, *, next_offset: int, watermark_ms: int, limits: Limits) -> None:
        self.partition = partition
        self.next_offset = next_offset
        self.read_ms = watermark_ms  # largest received_at read since the log's clock was last put back
        self.watermark_ms = watermark_ms  # that, or the log's clock while idle
        self._events_max = limits.events_max
        self._live = LiveSessions(watermark_ms=watermark_ms, limits=limits)
        self.open = self._live.open
        self._late = LateData(self._live, limits)
        self._tracked = KnownIds(watermark_ms)

    def restore(self, histories: Iterable[tuple[str, History]]) -> None:
        """Open again what was open: every session of `histories` that did not close after its last event."""
        for session_id, history in histories:
            if history.closed_as_of_offset <= history.last_offset:
                self._late.refold(session_id, history)

    def remember(self, *, sessions: YoungIds, tracking: YoungIds, derived: Iterable[str]) -> None:
        """Take note of ids that the lake has: `derived` of closed sessions, which say nothing of their age.

        The others say that they were made after what it has read.
        """
        self._live.remember(sessions, derived)
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
        read_ms = self.read_ms
        for entry in entries:
            has_entries = True
            received_ms = entry.received_ms
            if received_ms > read_ms or (received_ms < read_ms - CLOCK_BACK_MS and not entry.is_replay):
                read_ms = received_ms
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
            self._late.join(waiting, lake, share, changes)
        while self._late.behind and share.is_free():
            with share.spent():
                self._late.catch_up(lake, changes)
        if changes.tracking:
            self._drop_known_tracking(changes, lake)
        self.next_offset, self.read_ms = next_offset, read_ms
        if has_entries and self.watermark_ms > self.read_ms + CLOCK_BACK_MS:
            self.watermark_ms = self.read_ms
        self.watermark_ms = max(self.watermark_ms, self.read_ms)
        changes.read_ms = self.read_ms
        return changes

    def _place(self, event: Event, changes: Changes) -> bool:
        """Place one event by what is in memory; False if only the lake can tell."""
        session_id = event.session_id
        if self._late.behind and session_id in self._late.behind:
            return False
        session = self.open.get(session_id)
        if session is None:
            return self._place_first(event, changes)
        if not session.continues(event):
            return self._place_judged(event, session, changes)
        changes.events.append(event)
        if session.version > 1:
            session.late_events += 1
            changes.late += 1
        return True

    def _place_first(self, event: Event, changes: Changes) -> bool:
        """Place an event of a session that is not open, as `_place` does."""
        session_id = event.session_id
        closing = self._live.closings.get(session_id)
        if closing is not None:
            known = closing.dated(event)
            return known is not None and closing.passes(known) and self._pass_over(known, closing, changes)
        if not self._live.is_certainly_new(session_id):
            return False
        session = self._live.begin(session_id, version=1, first_offset=event.offset)
        self._put(event, session, clocks_of([(event.received_ms, event.client_ms)]), changes)
        return True

    def _place_judged(self, event: Event, session: OpenSession, changes: Changes) -> bool:
        """Place an event of an open session that does not just continue it, as `_place` does."""
        clocks = session.closing.clocks_with(event)
        if clocks is None:
            return False
        judged = self._judge(session, dated(event, clocks), changes)
        if isinstance(judged, bool):
            return judged
        self._put(judged, session, clocks, changes)
        return True

    def _put(self, event: Event, session: OpenSession, clocks: Clocks, changes: Changes) -> None:
        """Store an event and add it to its session; `clocks` is what its events show, this one included."""
        changes.events.append(event)
        if session.version > 1:
            session.late_events += 1
            changes.late += 1
        if session.arrive(event):
            self._live.unschedule(event.session_id)
        session.set_clocks(clocks)
        session.place(event)
        self._live.watch(event.session_id, session)

    def _judge(self, session: OpenSession, event: Event, changes: Changes) -> Event | bool:
        """Return an event of an open session that is to be placed, flagged if it is a repeat.

        True: it is stored already, or a duplicate. False: only the lake can tell.
        """
        closing = session.closing
        if closing.passes(event):
            return self._pass_over(event, closing, changes)
        if (
            closing.stored >= self._events_max
            or closing.passed_since is not None
            or ((event.type.ends or closing.end_ms is not None) and session.is_end_in_doubt(event))
        ):
            return False
        if session.is_plainly_next(event):
            return event
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
            if closing.passes(event):
                changes.events.append(closing.pass_over(event))
                return True
        return event

    def _pass_over(self, event: Event, closing: Closing, changes: Changes) -> bool:
        """Store an event that changes nothing of its session; False if only the lake knows whether it is new."""
        if not closing.is_certainly_new(event):
            return False
        changes.events.append(closing.pass_over(event))
        if event.session_id in self._live.closings:
            self._live.keep_closing(event.session_id, closing)
        return True

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
        changes.closed += self._live.close_due(
            watermark_ms=self.watermark_ms, as_of_offset=changes.next_offset, behind=self._late.behind
        )

    def take_open_rows(self) -> OpenRows:
        """Return every open session as it would close, and count it as written.

        If the rows are not written, the partition is to be loaded again.
        """
        since = {id: behind.since_offset for id, behind in self._late.behind.items()}
        return self._live.take_rows(watermark_ms=self.watermark_ms, as_of_offset=self.next_offset, since=since)
