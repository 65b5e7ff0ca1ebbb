"""What a record of the log is: a media event, a tracking event, or a bad record."""

from datetime import datetime
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec.structs import replace

from schemas.vocabulary import EventType

AFTER_CLOSE = "after_close"  # flag of an event that changes nothing of a session that is over


def _as_integer(literal: str) -> float | int:
    value = float(literal)
    return int(value) if value.is_integer() else value


_decode = msgspec.json.Decoder(dict[str, Any]).decode
_decode_numbers = msgspec.json.Decoder(float_hook=_as_integer).decode
_encode_sorted = msgspec.json.Encoder(order="deterministic").encode


class Tracking(msgspec.Struct, frozen=True):
    """A tracking session that was created or deleted. `is_replay`: as of an Event."""

    event_id: str
    change: str
    tracking_session_id: str
    playout_id: str | None
    user_id: str | None
    source: str | None
    started_at: datetime | None
    verified: bool
    consent: str | None
    received_ms: int
    offset: int
    is_replay: bool = False


class Bad(msgspec.Struct, frozen=True):
    """A record that is no event. `source` is `ingest` for a body refused at the door, else `worker`.

    Of a refused body more may be known: the name of its API key, the player's name and version, its session.
    """

    offset: int
    received_ms: int
    source: str
    reason: str
    detail: str
    value: bytes
    is_replay: bool = False
    key_name: str | None = None
    player_name: str | None = None
    app_version: str | None = None
    session_id: str | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One media event as read from the log. Times in milliseconds since 1970, UTC.

    `client_ms` is the player's own timestamp, `received_ms` the arrival. `order_ms` is the time that orders it:
    the timestamp, unless the others of its session show that the clock was set (`clock_steps.py`). `params`,
    `qoe`, `custom_metadata` and `other` (the top-level keys that the protocol does not know) are JSON as the lake
    keeps it, and so is `client`, what is known of the sender of a sessionStart. `source` is the route that the
    event came by. `is_replay`: it was appended once more, so that its arrival may be long ago.
    """

    event_id: str
    session_id: str
    type: EventType
    client_ms: int
    received_ms: int
    order_ms: int
    offset: int
    playhead_s: float
    params: bytes | None = None
    qoe: bytes | None = None
    custom_metadata: bytes | None = None
    other: bytes | None = None
    flags: tuple[str, ...] = ()
    tracking_session_id: str | None = None
    tracking_verified: bool = False
    consent: str | None = None
    source: str = ""
    request_hashes: str = ""
    client: bytes | None = None
    is_replay: bool = False

    def says_the_same(self, other: "Event") -> bool:
        """Return whether two events of a session are the same words of the player, however spelled as JSON."""
        return (
            self.client_ms == other.client_ms
            and self.type is other.type
            and self.playhead_s == other.playhead_s
            and _is_same(self.params, other.params)
            and _is_same(self.qoe, other.qoe)
            and _is_same(self.custom_metadata, other.custom_metadata)
            and _is_same(self.other, other.other)
        )

    def words(self) -> bytes:
        """Return a digest (16 bytes) that two events of a session share exactly where they say the same."""
        # A playhead of -0.0 equals 0.0. JSON has no bare NUL, so nothing moves from one part into the next.
        head = f"{self.client_ms} {self.type.name} {self.playhead_s + 0.0!r}".encode()
        parts = (self.params, self.qoe, self.custom_metadata, self.other)
        texts = [b"" if part is None else _spelled_one_way(part) for part in parts]
        return blake2b(b"\0".join((head, *texts)), digest_size=16).digest()

    def flagged(self, flag: str) -> "Event":
        """Return the event with one flag more."""
        return replace(self, flags=(*self.flags, flag))

    def is_flagged(self, *flags: str) -> bool:
        """Return whether the event has one of these flags."""
        return bool(self.flags) and any(flag in self.flags for flag in flags)

    def order(self) -> tuple[int, int, int]:
        """Return what events are sorted by."""
        return (self.order_ms, self.type.rank, self.offset)


def read_object(text: bytes | None) -> dict[str, Any]:
    """Return the keys of a JSON object of an event, none where it has no such object."""
    return {} if text is None else _decode(text)


def _is_same(text: bytes | None, other: bytes | None) -> bool:
    if text == other or text is None or other is None:
        return text == other
    return _spelled_one_way(text) == _spelled_one_way(other)


def _spelled_one_way(text: bytes) -> bytes:
    """Return JSON as everybody who means the same would have it: keys sorted, numbers by value (1.0 is 1)."""
    return _encode_sorted(_decode_numbers(text))
