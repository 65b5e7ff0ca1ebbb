"""What a batch of one partition changes in the lake, and what the lake has of a session already."""

from collections.abc import Iterator
from typing import Literal

import msgspec

from sessions.event import Bad, Event, Tracking
from sessions.facts import SessionFacts

CloseReason = Literal["ended", "idle", "stuck", "too_long"]


class Over(msgspec.Struct, frozen=True):
    """The events of a session that are stored and not folded: how many, the last of them, and its arrival.

    `is_denied`: one of them denied consent.
    """

    events: int = 0
    last_offset: int = -1
    received_ms: int = 0
    is_denied: bool = False


class Known(msgspec.Struct, frozen=True):
    """What the lake has of one session as far as it decides whether some events are new.

    `events` are those with one of their ids, and those of one of their moments. `stored` counts all of the
    session, and `has_end` is whether a sessionEnd is among those.
    """

    events: list[Event]
    stored: int
    has_end: bool


class YoungIds(msgspec.Struct, frozen=True):
    """Ids of the lake that say that they were made after a time: all of those made before `until_ms`."""

    ids: list[str]
    until_ms: int


class History(msgspec.Struct, frozen=True):
    """What the lake has of one session: the events to fold, the others, and the versions it closed as."""

    events: list[Event]
    version: int = 0
    closed_as_of_offset: int = -1
    late_events: int = 0
    over: Over = Over()

    @property
    def last_offset(self) -> int:
        return max([self.over.last_offset, *(event.offset for event in self.events)])


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
    next batch. `kept` are the ids of those without, whose rows stay as they are. All events before `as_of_offset`
    are in these rows, or in a closed version.
    """

    fresh: Iterator[SessionRow]
    kept: list[str]
    as_of_offset: int


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
    folded_again: bool = False
    open: OpenRows | None = None
