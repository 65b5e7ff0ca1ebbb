"""What a batch of one partition changes in the lake, and what the lake already has of a session."""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Literal

import msgspec

from sessions.admission import OVER_LIMIT
from sessions.event import AFTER_CLOSE, Bad, Event, Tracking
from sessions.facts import SessionFacts
from sessions.identity import DENIED

CloseReason = Literal["ended", "idle", "stuck", "too_long"]


class Over(msgspec.Struct, frozen=True):
    """The events of a session over the limit, stored and only counted: how many, the last of them, its arrival.

    `is_denied`: one of them denied consent. Those that are flagged `after_close` too are not even counted.
    """

    events: int = 0
    last_offset: int = -1
    received_ms: int = 0
    is_denied: bool = False

    @classmethod
    def of(cls, events: Iterable[Event]) -> "Over":
        """Return what is counted of those events that are over the limit."""
        every = [event for event in events if event.is_flagged(OVER_LIMIT) and not event.is_flagged(AFTER_CLOSE)]
        if not every:
            return cls()
        last = max(every, key=attrgetter("offset"))
        is_denied = any(event.consent == DENIED for event in every)
        return cls(len(every), last.offset, last.received_ms, is_denied)


class Lookup(msgspec.Struct, frozen=True):
    """What decides whether certain events of one session are new to the lake.

    `events` are the stored events with the same ids or the same client times. `stored` counts all stored events of
    the session; `has_end`: one of them is a sessionEnd.
    """

    events: list[Event]
    stored: int
    has_end: bool


class YoungIds(msgspec.Struct, frozen=True):
    """Ids in the lake that were made after some time; complete up to `until_ms`."""

    ids: list[str]
    until_ms: int


class History(msgspec.Struct, frozen=True):
    """What the lake has of one session: the events to fold, the other events, and its closed versions."""

    events: list[Event]
    version: int = 0
    closed_as_of_offset: int = -1
    late_events: int = 0
    over: Over = Over()

    @property
    def last_offset(self) -> int:
        """The offset of the last event that counts: those after it are flagged `after_close`."""
        counted = (event.offset for event in self.events if not event.is_flagged(AFTER_CLOSE))
        return max(self.over.last_offset, max(counted, default=-1))


class SessionRow(msgspec.Struct, frozen=True):
    """A session as a row: the facts of the fold, and the position in the log up to which they count.

    No event of it has an offset before `first_offset`, if that is known.
    """

    facts: SessionFacts
    version: int
    close_reason: CloseReason | None
    late_events: int
    as_of_ms: int
    as_of_offset: int
    first_offset: int | None = None


class OpenRows(msgspec.Struct, frozen=True):
    """All open sessions of a partition, each as it would close now.

    `fresh` are those that changed since their rows were written. They are made while iterated, which must happen
    once, before the next batch. `kept` are the ids of the others, whose rows stay as they are. All events before
    `as_of_offset` are in these rows, or in a closed version.
    """

    fresh: Iterator[SessionRow]
    kept: list[str]
    as_of_offset: int


class Changes(msgspec.Struct):
    """What a batch of one partition adds to the lake, in one transaction.

    `late` counts events of sessions that had closed before, `reopened` the sessions that these opened again.
    """

    partition: int
    next_offset: int
    read_ms: int = 0
    watermark_ms: int = 0
    events: list[Event] = []
    tracking: list[Tracking] = []
    bad: list[Bad] = []
    duplicates: list[tuple[int, str, str]] = []
    closed: list[SessionRow] = []
    late: int = 0
    reopened: int = 0
    folded_again: bool = False
    open: OpenRows | None = None
