"""What becomes of events that somebody wants to have checked: every error, flag and hint, and what was understood.

The rules are those of events that are stored: `ingest.incoming.check` decides, for the place to which each event
would be posted. Nothing here has effects.
"""

import itertools
from collections.abc import Container, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ingest.bodies import check_size
from ingest.findings import Finding, Level, Takes
from ingest.hints import Order, phases, units, unknown_keys
from ingest.incoming import Incoming, check, flaws_of, meant, row_of, wrong
from ingest.oddities import oddities
from ingest.posts import Form, Posts
from schemas.faults import Flaw, InvalidEvent, NotJson, Refusal, TooLarge
from schemas.media import read_json
from schemas.not_json import SEVERAL_DOCUMENTS
from schemas.paths import Path, pointer
from schemas.vocabulary import QOE, EventType

FINDINGS_OF_EVENT_MAX: Final = 50
FINDINGS_MAX: Final = 500
# What a message about one event says to whoever has several checked.
_MEANT: Final = {
    SEVERAL_DOCUMENTS: "it is several JSON documents; send the events of a session as an array, or each in a line"
}
NOT_JUDGED: Final = "No event was judged, since they cannot be told apart: mend this, and check the array again"
PHASES: Final = {"start": "starts", "complete": "is complete", "skip": "is skipped"}


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong or odd.

    `level`: an `error` refuses the event, a `flag` is stored with it (with a refused one once that is mended), a
    `note` changes nothing. `code` is the flag, or the kind of mistake. `event` is the index of the event, null if
    the whole body is refused. `pointer` is the place in what was sent (RFC 6901).
    """

    level: Level
    code: str
    event: int | None
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
    """What becomes of one event, and the path to post it to. A refused one has no path, and is not understood."""

    event: int
    accepted: bool
    post_to: str | None
    flags: list[str]
    understood: Understood | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of all events, as they would be posted. `left_off` is the number of remarks beyond 500.

    `form`: one event, a live session, each event of which is posted by itself, or an offline session, one array.
    """

    accepted: bool
    form: Form
    events: list[EventVerdict]
    remarks: list[Remark]
    left_off: int


class Judge:
    """Judges the events of a body in the order in which they come, as the places do to which they are posted."""

    def __init__(self, posts: Posts, *, strict: bool, now_ms: int) -> None:
        self._posts = posts
        self._strict = strict
        self._now_ms = now_ms
        self._is_session = posts.form != "one event"
        self._order = Order()
        self._events: list[EventVerdict] = []
        self._remarks: list[Remark] = []
        self._left_off = 0

    def each(self) -> Iterator[Incoming | None]:
        """Judge one event after the other; yield each that is accepted, None in the place of each that is not."""
        for body in self._posts.bodies:
            yield self._take(bytes(body))

    def _take(self, body: bytes) -> Incoming | None:
        index = len(self._events)
        event, flaws = self._read(index, body)
        takes = self._posts.takes(index, event)
        incoming = None
        found: list[Finding] = []
        try:
            check_size(len(body), self._posts.event_bytes_max)
            if not flaws:
                incoming = check(event, strict=self._strict, takes=takes, now_ms=self._now_ms)
        except TooLarge as fault:
            found = [Finding("error", fault.code, (), str(fault)), *self._wrong(event, flaws, takes)]
        except InvalidEvent as fault:
            found = self._wrong(event, flaws, takes) or [Finding("error", fault.code, (), str(fault))]
        else:
            found = self._wrong(event, flaws, takes) if flaws else []
        if type(event) is dict:
            found += self._odd(event, {finding.path for finding in found})
        for finding in found[:FINDINGS_OF_EVENT_MAX]:
            self._remark(index, finding)
        self._events.append(
            EventVerdict(
                event=index,
                accepted=incoming is not None,
                post_to=self._posts.path(takes) if incoming else None,
                flags=incoming.flags if incoming else [],
                understood=understood(incoming) if incoming else None,
            )
        )
        return incoming

    def _read(self, index: int, body: bytes) -> tuple[Any, list[Flaw]]:
        """Return an event, and the flaws of its bytes: then it is what they seem to mean, or UNSET."""
        flaws = flaws_of(self._posts.flaws, index)
        try:
            return read_json(body), flaws
        except NotJson as fault:
            flaws += [flaw._replace(message=_MEANT.get(flaw.message, flaw.message)) for flaw in fault.flaws]
            return meant(fault), flaws or [Flaw(str(fault))]

    def _wrong(self, event: Any, flaws: Sequence[Flaw], takes: Takes) -> list[Finding]:
        found = wrong(event, flaws, takes, strict=self._strict, now_ms=self._now_ms)
        return list(itertools.islice(found, FINDINGS_OF_EVENT_MAX))

    def _odd(self, event: dict[str, Any], places: Container[Path]) -> Iterator[Finding]:
        """Yield what is odd, wherever nothing is wrong already."""
        row = row_of(event)
        order = list(self._order.after(event, row)) if self._is_session and row is not None else []
        found = (oddities(event, row, now_ms=self._now_ms), unknown_keys(event, row), units(event), order)
        for finding in itertools.islice(itertools.chain.from_iterable(found), FINDINGS_OF_EVENT_MAX):
            if finding.path not in places:
                yield finding

    def _remark(self, index: int | None, finding: Finding) -> None:
        if len(self._remarks) >= FINDINGS_MAX:
            self._left_off += 1
            return
        path: Path = finding.path if index is None or not self._is_session else (index, *finding.path)
        remark = Remark(
            level=finding.level,
            code=finding.code,
            event=index,
            pointer=pointer(path),
            message=finding.message,
        )
        self._remarks.append(remark)

    def verdict(self) -> Verdict:
        """Return what becomes of the events that were judged."""
        if self._posts.fault is not None:
            self._remark_whole(self._posts.fault)
        if self._is_session and self._events:
            for finding in self._order.at_the_end():
                self._remark(len(self._events) - 1, finding)
        return Verdict(
            accepted=bool(self._events) and all(event.accepted for event in self._events),
            form=self._posts.form,
            events=self._events,
            remarks=self._remarks,
            left_off=self._left_off,
        )

    def _remark_whole(self, fault: Refusal) -> None:
        """Say why a body is refused as a whole, and that its events were not judged for that."""
        flaws: Sequence[Flaw] = [Flaw(str(fault), fault.path if isinstance(fault, InvalidEvent) else ())]
        if isinstance(fault, NotJson):
            flaws = fault.flaws or flaws
        found = [Finding("error", fault.code, flaw.path, flaw.message) for flaw in flaws]
        if isinstance(fault, NotJson) or found[0].path:
            found.append(Finding("note", "not_judged", (), NOT_JUDGED))
        for finding in found:
            self._remark(None, finding)


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
