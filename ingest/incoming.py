"""One event that may be stored, and the check that it has passed."""

from typing import Any

import msgspec

from ingest.findings import Takes, errors, refusal
from ingest.oddities import STRICT_FLAGS, oddities
from schemas.faults import InvalidEvent
from schemas.media import check_event
from schemas.vocabulary import EventType


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

    @property
    def is_downloaded(self) -> bool:
        """Whether it begins an offline session."""
        return self.event["params"].get("media.downloaded") is True


def check(event: Any, *, strict: bool, takes: Takes, now_ms: int) -> Incoming:
    """Check one decoded event. Raises InvalidEvent, which names all that is wrong with it."""
    try:
        event_type, flags = check_event(event, now_ms=now_ms)
    except InvalidEvent as fault:
        raise refusal(errors(event, takes), or_else=str(fault)) from None
    if event_type.starts is not (takes == "a sessionStart"):
        raise refusal(errors(event, takes), or_else="Expected another `eventType` here")
    if strict and not STRICT_FLAGS.isdisjoint(flags):
        odd = (found for found in oddities(event, event_type, now_ms=now_ms) if found.code in STRICT_FLAGS)
        raise refusal(odd, or_else=f"Expected an event without the flags {', '.join(flags)}")
    return Incoming(event, event_type, flags)
