"""One event that may be stored, the check that it has passed, and the paths where events are posted."""

from typing import Any, Final

import msgspec

from ingest.findings import Takes, errors, misplaced, refusal
from ingest.oddities import STRICT_FLAGS, oddities
from schemas.faults import InvalidEvent
from schemas.media import check_event
from schemas.vocabulary import EventType

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


def check(event: Any, *, strict: bool, takes: Takes, now_ms: int) -> Incoming:
    """Check one decoded event for a place that takes this. Raises InvalidEvent, which names all that is wrong."""
    try:
        event_type, flags = check_event(event, now_ms=now_ms)
    except InvalidEvent as fault:
        raise refusal(errors(event, takes), or_else=str(fault)) from None
    if (wrong := misplaced(event, event_type, takes)) is not None:
        raise refusal(errors(event, takes), or_else=wrong.message)
    if strict and not STRICT_FLAGS.isdisjoint(flags):
        odd = (found for found in oddities(event, event_type, now_ms=now_ms) if found.code in STRICT_FLAGS)
        raise refusal(odd, or_else=f"Expected an event without the flags {', '.join(flags)}")
    return Incoming(event, event_type, flags)
