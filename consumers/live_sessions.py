"""The sessions of one partition in memory: open ones, their deadlines and rows; what opens closed ones; new ids.

A session closes as a function of the log (`closing.py`), by the watermark of its partition. What opens a closed
session again is kept for those that closed last. Pure.
"""

import heapq
from collections.abc import Collection, Iterable, Mapping

from consumers.closing import Closing, Limits
from consumers.known_ids import DerivedIds, KnownIds
from consumers.open_session import OpenSession
from lake.changes import CloseReason, OpenRows, SessionRow, YoungIds
from schemas.ids import born_ms_of_session, is_derived_session

CLOSED_KEPT = 5_000  # closed sessions whose reopening conditions are kept; an older one is read again, once


class LiveSessions:
    """The open sessions of a partition with their deadlines, and what is remembered of closed ones."""

    def __init__(self, *, watermark_ms: int, limits: Limits) -> None:
        self.open: dict[str, OpenSession] = {}
        self.closings: dict[str, Closing] = {}  # of closed sessions; the one that was heard from last comes last
        self._limits = limits
        self._deadlines: list[tuple[int, str]] = []  # an entry for each session, not later than its deadline
        self._scheduled: set[str] = set()
        self._ended: set[str] = set()
        self._closed = KnownIds(watermark_ms)
        self._derived = DerivedIds()

    def remember(self, sessions: YoungIds, derived: Iterable[str]) -> None:
        """Take note of sessions that the lake has; `derived` are closed ones whose ids carry no time."""
        self._derived.add(derived)
        self._closed.load(sessions, born_ms_of_session)

    def is_certainly_new(self, session_id: str) -> bool:
        """Return whether no event of a session that is not open was read before; if False, look it up."""
        born_ms = born_ms_of_session(session_id)
        if born_ms is None:
            return is_derived_session(session_id) and self._derived.is_certainly_new(session_id)
        return self._closed.is_certainly_new(session_id, born_ms)

    def begin(self, session_id: str, *, version: int, first_offset: int) -> OpenSession:
        """Open a session without events, in place of what memory has of it."""
        session = OpenSession(version=version, first_offset=first_offset, limits=self._limits)
        if is_derived_session(session_id):
            self._derived.add([session_id])
        self.open[session_id] = session
        self.closings.pop(session_id, None)
        self._ended.discard(session_id)
        return session

    def closing_of(self, session_id: str) -> Closing | None:
        """Return what memory has of a session's closing."""
        session = self.open.get(session_id)
        return self.closings.get(session_id) if session is None else session.closing

    def keep_closing(self, session_id: str, closing: Closing) -> None:
        """Remember what opens a closed session; the one that was heard from longest ago is forgotten."""
        self.closings.pop(session_id, None)
        self.closings[session_id] = closing
        if len(self.closings) > CLOSED_KEPT:
            del self.closings[next(iter(self.closings))]

    def is_full(self, session_id: str) -> bool:
        """Return whether a session in memory has all the events that it folds."""
        session = self.open.get(session_id)
        return session is not None and session.closing.stored >= self._limits.events_max

    def first_offsets(self, session_ids: Iterable[str]) -> dict[str, int]:
        """Return the first offsets of those of these sessions that are open."""
        return {id: self.open[id].first_offset for id in session_ids if id in self.open}

    def unschedule(self, session_id: str) -> None:
        """Forget a session's deadline: the log's clock was put back, or the session began earlier."""
        self._scheduled.discard(session_id)

    def watch(self, session_id: str, session: OpenSession) -> None:
        """See to it that the session is looked at when it may have to close."""
        if session.closing.end_ms is not None:
            self._ended.add(session_id)
        elif session_id not in self._scheduled:
            self._scheduled.add(session_id)
            heapq.heappush(self._deadlines, (session.closing.deadline_ms()[0], session_id))

    def close_due(self, *, watermark_ms: int, as_of_offset: int, behind: Collection[str]) -> list[SessionRow]:
        """Close what has ended or whose time has come, and return the rows; not what is `behind`."""
        due = list(self._ended)
        self._ended.clear()
        while self._deadlines and self._deadlines[0][0] < watermark_ms:
            _, session_id = heapq.heappop(self._deadlines)
            self._scheduled.discard(session_id)
            session = self.open.get(session_id)
            if session is None or session.has_end:
                continue  # closed before, or closes now anyway
            if session.closing.deadline_ms()[0] < watermark_ms:
                due.append(session_id)
            else:
                self.watch(session_id, session)
        rows = []
        for session_id in dict.fromkeys(due):
            if session_id in behind:
                continue  # it is watched again when it is folded again
            session = self.open.pop(session_id)
            reason: CloseReason = "ended" if session.has_end else session.closing.deadline_ms()[1]
            rows.append(_row(session, reason, as_of_ms=watermark_ms, as_of_offset=as_of_offset))
            self._closed.remember(session_id, born_ms_of_session(session_id))
            self.keep_closing(session_id, session.closing)
        return rows

    def take_rows(self, *, watermark_ms: int, as_of_offset: int, since: Mapping[str, int]) -> OpenRows:
        """Return every open session as it would close, and count it as written.

        `since` has the first offset that the fold of a session lacks.
        """
        fresh = [(session_id, session) for session_id, session in self.open.items() if session.has_news]
        kept = [session_id for session_id, session in self.open.items() if not session.has_news]
        for _, session in fresh:
            session.has_news = False
        rows = (
            _row(session, None, as_of_ms=watermark_ms, as_of_offset=since.get(session_id, as_of_offset))
            for session_id, session in fresh
        )
        return OpenRows(rows, kept, min(since.values(), default=as_of_offset))


def _row(session: OpenSession, reason: CloseReason | None, *, as_of_ms: int, as_of_offset: int) -> SessionRow:
    passed_since = session.closing.passed_since
    return SessionRow(
        facts=session.facts(),
        version=session.version,
        close_reason=reason,
        late_events=session.late_events,
        as_of_ms=as_of_ms,
        as_of_offset=as_of_offset if passed_since is None else min(as_of_offset, passed_since),
        first_offset=session.first_offset,
    )
