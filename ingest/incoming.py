"""One event that may be stored, the check that it has passed, and the paths where events are posted.

What is wrong with an event that is refused is put together here too, for the routes and for `/validate`.
"""

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET

from ingest.findings import NAMED_MAX, Finding, Takes, errors, in_words, misplaced
from ingest.oddities import STRICT_FLAGS, oddities
from schemas.faults import Flaw, InvalidEvent, NotJson
from schemas.media import check_event, read_json
from schemas.vocabulary import EVENT_TYPES, EventType

SESSIONS: Final = "/api/v1/sessions"
EVENTS: Final = "/api/v1/sessions/{session_id}/events"
DOWNLOADED: Final = "/api/v1/downloaded"


class Incoming(msgspec.Struct, frozen=True):
    """One event that may be stored: as it was decoded, of which type it is, and what is odd about it."""

    event: dict[str, Any]
    event_type: EventType
    flags: list[str]

    @property
    def ts_ms(self) -> int:
        """When it happened, by the player's clock."""
        ts_ms: int = self.event["playerTime"]["ts"]
        return ts_ms


def read(body: bytes, *, strict: bool, takes: Takes, now_ms: int) -> Incoming:
    """Decode and check one event. Raises NotJson or InvalidEvent, which name all that is wrong."""
    try:
        event = read_json(body)
    except NotJson as fault:
        rest = rest_in_words(meant(fault), fault.flaws, takes, strict=strict, now_ms=now_ms)
        raise fault.and_also([rest] if rest else []) from None
    return check(event, strict=strict, takes=takes, now_ms=now_ms)


def check(event: Any, *, strict: bool, takes: Takes, now_ms: int) -> Incoming:
    """Check one decoded event for a place that takes this. Raises InvalidEvent, which names all that is wrong."""
    try:
        event_type, flags = check_event(event, now_ms=now_ms)
        if (elsewhere := misplaced(event, event_type, takes)) is not None:
            raise InvalidEvent(elsewhere.message)
        if strict and not STRICT_FLAGS.isdisjoint(flags):
            raise InvalidEvent(f"Expected an event without the flags {', '.join(flags)}")
    except InvalidEvent as fault:
        found = wrong(event, (), takes, strict=strict, now_ms=now_ms)
        raise InvalidEvent(in_words(found) or str(fault)) from None
    return Incoming(event, event_type, flags)


def meant(fault: NotJson) -> Any:
    """Return what bytes with flaws seem to mean, with a 0 in the place of each; UNSET if that is unknown."""
    if fault.mended is not None:
        with contextlib.suppress(NotJson):
            return read_json(fault.mended)
    return UNSET


def wrong(event: Any, flaws: Sequence[Flaw], takes: Takes, *, strict: bool, now_ms: int) -> Iterator[Finding]:
    """Yield all that an event is refused for: the flaws of its bytes, then the rest, the most important first.

    With flaws the event is what its bytes seem to mean, and nothing is said of the places where they are.
    """
    yield from (Finding("error", NotJson.code, flaw.path, flaw.message) for flaw in flaws)
    if event is UNSET:
        return
    flawed = {flaw.path for flaw in flaws}
    named = set(flawed)
    for finding in errors(event, takes):
        if finding.path not in flawed:
            named.add(finding.path)
            yield finding
    if strict and type(event) is dict:
        for finding in oddities(event, row_of(event), now_ms=now_ms):
            if finding.code in STRICT_FLAGS and finding.path not in named:
                yield msgspec.structs.replace(finding, level="error")


def flaws_of(flaws: Sequence[Flaw], index: int) -> list[Flaw]:
    """Return those flaws of an array that are in one of its events, with their places in it."""
    return [flaw._replace(path=flaw.path[1:]) for flaw in flaws if flaw.path[0] == index]


def rest_in_words(event: Any, flaws: Sequence[Flaw], takes: Takes, *, strict: bool, now_ms: int) -> str:
    """Return what is wrong with an event beyond the flaws of its bytes, an empty text if nothing is."""
    found = wrong(event, flaws, takes, strict=strict, now_ms=now_ms)
    return in_words(itertools.islice(found, len(flaws), None), at_most=max(0, NAMED_MAX - len(flaws)))


def row_of(event: dict[str, Any]) -> EventType | None:
    """Return the type of an event that may be wrong; None if that is unknown."""
    name = event.get("eventType")
    return EVENT_TYPES.get(name) if type(name) is str else None
