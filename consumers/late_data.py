"""Late data of one partition: events that only the lake can place. Pure; what the lake knows is passed in.

An event that belongs before the reorder buffer of its session (`open_session.py`), or to a session that is not in
memory, is looked up. The session's history is read from the lake, and it is folded again from all its events.

Folding again takes no more than a `Share` of the time. While there is none left, what is looked up is only what
decides whether an event is new, and so each event is stored in the batch it was read in. Its session is *behind*
until it is folded again: it stays as it was before that event (`as_of_offset` of its row), and does not close.
"""

from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import closing as closed_after
from typing import Protocol

import msgspec
from msgspec.structs import replace

from consumers.closing import Closing, Limits, with_passed
from consumers.live_sessions import LiveSessions
from consumers.share import Share
from lake.changes import Changes, History, Lookup, Over
from sessions.admission import OVER_LIMIT, REPEAT, admitted, is_over_limit
from sessions.event import AFTER_CLOSE, Event

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
    ) -> Mapping[str, Lookup]:
        """Return what decides whether these are new; of the sessions `without_moments`, by their ids alone."""
        ...

    def known_tracking(self, event_ids: Collection[str]) -> set[str]:
        """Return those of these ids of tracking events that are stored."""
        ...


class Backlog(msgspec.Struct):
    """A session that is to be folded again: from which event on its fold lacks some, how many are stored."""

    since_offset: int
    stored: int


class LateData:
    """What is looked up, and which sessions are to be folded again."""

    def __init__(self, live: LiveSessions, limits: Limits) -> None:
        self.behind: dict[str, Backlog] = {}  # the one that waits longest first
        self._live = live
        self._limits = limits
        self._events_max = limits.events_max

    def join(self, waiting: dict[str, list[Event]], lake: Lake, share: Share, changes: Changes) -> None:
        """Decide on what waited, by what the lake has and this batch placed before; fold at once what may be."""
        placed = _by_session(changes.events, waiting)
        if share.is_free():
            with share.spent():
                self._join_at_once(waiting, placed, lake, changes)
        if not waiting:
            return
        asked = [event for events in waiting.values() for event in events]
        full = {id for id in waiting if self._live.is_full(id)}
        found = lake.known(asked, without_moments=full, since=self._live.first_offsets(waiting))
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
        wanted = [id for id in waiting if not self._live.is_full(id)]
        unknown = set(wanted)
        read = 0
        with closed_after(lake.histories(wanted, since=self._live.first_offsets(wanted))) as histories:
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
        known = Lookup(history.events, len(history.events), has_end=_has_end(history.events))
        before = placed.get(session_id, [])
        fresh = self._decide(waiting.pop(session_id), known, before, changes)
        closing = self._closing_of(session_id)
        if closing is None and session_id not in self.behind:
            closing = Closing.after(history, self._limits)
            if history.version:
                self._live.keep_closing(session_id, closing)
        whole = replace(history, events=[*history.events, *before])
        fresh = with_passed(fresh, closing, whole)
        changes.events += fresh
        if not all(event.is_flagged(AFTER_CLOSE) for event in fresh):
            self._refold_counted(session_id, replace(whole, events=[*whole.events, *fresh]), changes)
            self._mark_caught_up(session_id, changes)

    def _decide(self, events: list[Event], known: Lookup, placed: list[Event], changes: Changes) -> list[Event]:
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
        return None if session_id in self.behind else self._live.closing_of(session_id)

    def _fall_behind(self, session_id: str, fresh: list[Event], *, stored: int) -> None:
        """Note that these events of a session are stored and not in its fold."""
        behind, session = self.behind.get(session_id), self._live.open.get(session_id)
        if behind is not None:
            behind.stored = stored
        elif (
            session is not None
            and session.closing.passed_since is None
            and all(event.is_flagged(OVER_LIMIT) for event in fresh)
        ):
            if session.count_over(Over.of(fresh)):
                self._live.unschedule(session_id)
            self._live.watch(session_id, session)
        else:
            self.behind[session_id] = Backlog(fresh[0].offset, stored)
            self._live.closings.pop(session_id, None)

    def catch_up(self, lake: Lake, changes: Changes) -> None:
        """Fold again the session that is behind for longest, and besides as many as have the events of a long one.

        The shortest first, so that no long one keeps all others waiting.
        """
        longest, *others = self.behind
        chosen, left = [longest], self._events_max
        for session_id in sorted(others, key=lambda id: self.behind[id].stored):
            left -= self.behind[session_id].stored
            if left < 0:
                break
            chosen.append(session_id)
        placed = _by_session(changes.events, set(chosen))
        unread = set(chosen)
        for session_id, history in lake.histories(chosen, since=self._live.first_offsets(chosen)):
            unread.remove(session_id)
            whole = replace(history, events=[*history.events, *placed.get(session_id, [])])
            self._refold_counted(session_id, whole, changes)
        for session_id in unread & placed.keys():
            self._refold_counted(session_id, History(placed[session_id]), changes)
        for session_id in chosen:
            self._mark_caught_up(session_id, changes)

    def _mark_caught_up(self, session_id: str, changes: Changes) -> None:
        self.behind.pop(session_id, None)
        changes.folded_again = True

    def _refold_counted(self, session_id: str, history: History, changes: Changes) -> None:
        """Refold a session, and count the late events by which it grows, and whether they open it again."""
        before = self._live.open.get(session_id)
        known = history.late_events if before is None else before.late_events
        self.refold(session_id, history)
        changes.late += max(0, self._live.open[session_id].late_events - known)
        changes.reopened += before is None and history.version > 0

    def refold(self, session_id: str, history: History) -> None:
        """Open a session with the events of its history, in place of what memory has of it."""
        events, last_offset = history.events, history.last_offset
        taken = [event for event in events if event.offset <= last_offset and not event.is_flagged(OVER_LIMIT)]
        clocks, counted = admitted(taken) if taken else (None, [])
        first_offset = min((event.offset for event in events), default=0)
        session = self._live.begin(session_id, version=history.version + 1, first_offset=first_offset)
        session.late_events = history.late_events + sum(
            history.version > 0
            and event.offset >= history.closed_as_of_offset
            and not event.is_flagged(AFTER_CLOSE)
            for event in counted
        )
        closing = session.closing
        if closing.take_all(counted):
            self._live.unschedule(session_id)
        if clocks is not None:
            session.set_clocks(clocks)
        for event in sorted(counted, key=Event.order):
            session.place(event)
        for over in (history.over, Over.of(events)):
            if over.events and session.count_over(over):
                self._live.unschedule(session_id)
        closing.pass_over_all(event for event in events if event.offset > last_offset)
        self._live.watch(session_id, session)


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


_NOTHING = Lookup([], 0, has_end=False)
