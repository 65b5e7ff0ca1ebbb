"""What becomes of events that somebody wants to have checked: every error, flag and hint, and what was understood.

The rules are those of events that are stored: `ingest.incoming.check` decides. Nothing here has effects.
"""

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ingest.arrays import cut
from ingest.findings import Finding, Level, Takes, errors
from ingest.hints import Order, phases, units, unknown_keys
from ingest.incoming import Incoming, check
from ingest.oddities import STRICT_FLAGS, oddities
from schemas.faults import InvalidEvent, NotJson
from schemas.media import read_json
from schemas.paths import Path, pointer
from schemas.vocabulary import QOE, EventType

FINDINGS_OF_EVENT_MAX: Final = 50
FINDINGS_MAX: Final = 500
PHASES: Final = {"start": "starts", "complete": "is complete", "skip": "is skipped"}


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong or odd.

    `level`: an `error` refuses the event, a `flag` is stored with it, a `note` changes nothing. `code` is the
    flag, or the kind of mistake. `event` is the index of the event, `pointer` the place in what was sent
    (RFC 6901).
    """

    level: Level
    code: str
    event: int
    pointer: str
    message: str


class Understood(msgspec.Struct, frozen=True, kw_only=True):
    """What an accepted event is by the vocabulary: when and where it happened, what it does, what is read."""

    event_type: str
    at: str
    playhead_s: float
    does: list[str]
    keys: list[str]


class EventVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one event; `understood` is null if it is refused."""

    event: int
    accepted: bool
    flags: list[str]
    understood: Understood | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of all events. Of more remarks than 500, `left_off` is their number beyond."""

    accepted: bool
    events: list[EventVerdict]
    remarks: list[Remark]
    left_off: int


def events_of(body: bytes) -> Sequence[msgspec.Raw] | None:
    """Return the events of a body that is an array; None if it has to be judged whole. Raises TooLarge."""
    if body.lstrip()[:1] != b"[":
        return None
    try:
        return cut(body)
    except (NotJson, InvalidEvent):
        return None


class Judge:
    """Judges the events of one session, or a single one, in the order in which they come."""

    def __init__(self, *, strict: bool, now_ms: int, is_session: bool) -> None:
        self._strict = strict
        self._now_ms = now_ms
        self._is_session = is_session
        self._order = Order()
        self._events: list[EventVerdict] = []
        self._remarks: list[Remark] = []
        self._left_off = 0

    def take(self, body: bytes) -> Incoming | None:
        """Judge the next event, as it was sent; return it if it is accepted."""
        index = len(self._events)
        found: list[Finding] = []
        incoming = None
        try:
            event = read_json(body)
            starts = type(event) is dict and event.get("eventType") == "sessionStart" and index == 0
            takes: Takes = "a sessionStart" if starts else "any other event"
            incoming = check(event, strict=self._strict, takes=takes, now_ms=self._now_ms)
        except NotJson as fault:
            found = [Finding("error", fault.code, (), str(fault))]
        except InvalidEvent as fault:
            found = list(itertools.islice(self._wrong(event, takes), FINDINGS_OF_EVENT_MAX))
            found = found or [Finding("error", fault.code, (), str(fault))]
        else:
            found = list(itertools.islice(self._odd(incoming), FINDINGS_OF_EVENT_MAX))
        for finding in found:
            self._remark(index, finding)
        self._events.append(
            EventVerdict(
                event=index,
                accepted=incoming is not None,
                flags=incoming.flags if incoming else [],
                understood=understood(incoming) if incoming else None,
            )
        )
        return incoming

    def _wrong(self, event: Any, takes: Takes) -> Iterator[Finding]:
        wrong = list(itertools.islice(errors(event, takes), FINDINGS_OF_EVENT_MAX))
        yield from wrong
        if not wrong:  # it is refused because the ingest is strict
            row = check(event, strict=False, takes=takes, now_ms=self._now_ms).event_type
            for finding in oddities(event, row, now_ms=self._now_ms):
                is_error = finding.code in STRICT_FLAGS
                yield msgspec.structs.replace(finding, level="error") if is_error else finding

    def _odd(self, incoming: Incoming) -> Iterator[Finding]:
        event, row = incoming.event, incoming.event_type
        yield from oddities(event, row, now_ms=self._now_ms)
        yield from unknown_keys(event, row)
        yield from units(event)
        if self._is_session:
            yield from self._order.after(event, row)

    def _remark(self, index: int, finding: Finding) -> None:
        if len(self._remarks) >= FINDINGS_MAX:
            self._left_off += 1
            return
        path: Path = (index, *finding.path) if self._is_session else finding.path
        remark = Remark(
            level=finding.level,
            code=finding.code,
            event=index,
            pointer=pointer(path),
            message=finding.message,
        )
        self._remarks.append(remark)

    def verdict(self) -> Verdict:
        """Return what becomes of the events that were taken."""
        if self._is_session and self._events:
            for finding in self._order.at_the_end():
                self._remark(len(self._events) - 1, finding)
        return Verdict(
            accepted=bool(self._events) and all(event.accepted for event in self._events),
            events=self._events,
            remarks=self._remarks,
            left_off=self._left_off,
        )


def understood(incoming: Incoming) -> Understood:
    """Return what an event is by the vocabulary."""
    event, row = incoming.event, incoming.event_type
    params, qoe = event.get("params") or {}, event.get("qoeData") or {}
    known = [param.key for param in row.params if param.key in params]
    return Understood(
        event_type=row.name,
        at=datetime.fromtimestamp(incoming.ts_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        playhead_s=float(event["playerTime"]["playhead"]),
        does=list(_does(row)),
        keys=[*known, *(param.key for param in QOE if param.key in qoe)],
    )


def _does(row: EventType) -> Iterator[str]:
    """Yield what an event of this type does, in words."""
    if row.starts:
        yield "the session starts"
    if row.player:
        yield f"the player is {row.player}"
    for name, phase in phases(row):
        yield f"the {name} {PHASES[phase]}"
    if row.state:
        yield {"start": "a state starts", "end": "a state ends", "update": "states start and end"}[row.state]
    for does, words in (
        (row.is_error, "an error happened"),
        (row.changes_bitrate, "the bitrate changes"),
        (row.completes, "the content is complete"),
        (row.ends, "the session ends"),
        (row.only_reports, "it reports the playhead"),
    ):
        if does:
            yield words
