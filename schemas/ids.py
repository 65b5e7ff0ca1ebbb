"""Ids that prove themselves: media session ids, tracking session ids, event ids.

Any replica can tell an id that was issued from an invented one without asking a store, because part of each id
is a MAC over the rest. Keys rotate: the newest signs, all of them verify.

    media session id     64 hex characters = 32 bytes
                         time 6 | key id 1 | partition 2 | random 7 | MAC 16
                         (time: milliseconds since 1970; 0 = derived from the request, so of unknown age)
    tracking session id  a UUIDv4 to look at; of its 122 free bits: time 50 | random 32 | MAC 40
                         (time: microseconds since 2025-01-01)
    event id             UUIDv7, or derived (UUIDv8) where the client gave an Idempotency-Key
"""

import functools
import hashlib
import hmac
import os
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

Entropy = Callable[[int], bytes]

PARTITIONS_MAX = 1000
BORN_MS_MAX = 4_102_444_800_000  # the year 2100; an id of another producer may have anything where ours have time
_DERIVED = b"playhead derived media session\0"
_MEDIA = b"session"
_TRACKING = b"playhead tracking session v1\0"
_EPOCH_2025 = datetime(2025, 1, 1, tzinfo=UTC)
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_POOL_BYTES = 4_096


class EntropyPool:
    """The system's random bytes, fetched many at a time: a system call for each id costs more than the id.

    For one process and thread: a forked child would hand out the same bytes again.
    """

    def __init__(self) -> None:
        self._bytes = b""
        self._next = 0

    def __call__(self, size: int) -> bytes:
        """Return `size` bytes that were never returned before."""
        if self._next + size > len(self._bytes):
            self._bytes = os.urandom(max(_POOL_BYTES, size))
            self._next = 0
        start, self._next = self._next, self._next + size
        return self._bytes[start : self._next]


class MediaSession(msgspec.Struct, frozen=True):
    """What a media session id says of itself. `started_ms` is None where the id was derived from a request."""

    id: str
    partition: int
    started_ms: int | None


def mint_media_session(
    keys: Sequence[bytes], *, partition: int, started_ms: int, entropy: Entropy
) -> MediaSession:
    """Make a new media session id in `partition`, signed with the first key."""
    return _seal_media(keys[0], started_ms, partition, entropy(7))


def derive_media_session(keys: Sequence[bytes], *, partitions: int, request: bytes) -> MediaSession:
    """Make the media session id that this very request always gets: a repeated one names the same session."""
    digest = hmac.digest(keys[0], _DERIVED + request, "sha256")
    return _seal_media(keys[0], 0, int.from_bytes(digest[:8]) % partitions, digest[8:15])


def _seal_media(key: bytes, started_ms: int, partition: int, random: bytes) -> MediaSession:
    head = started_ms.to_bytes(6) + _key_id(key) + partition.to_bytes(2) + random
    return MediaSession((head + _media_mac(key, head)).hex(), partition, started_ms or None)


def _media_mac(key: bytes, head: bytes) -> bytes:
    # Keyed BLAKE2s (RFC 7693) takes a third of the time of HMAC-SHA256, and each event's id is verified.
    return hashlib.blake2s(head, digest_size=16, key=_mac_key(key), person=_MEDIA).digest()


def verify_media_session(keys: Sequence[bytes], text: str) -> MediaSession | None:
    """Return what the id says if it was made with one of `keys`, else None."""
    session = read_media_session(text)
    if session is None:
        return None
    raw = bytes.fromhex(text)
    for key in keys:
        if _key_id(key) == raw[6:7] and hmac.compare_digest(_media_mac(key, raw[:16]), raw[16:]):
            return session
    return None


def read_media_session(text: str) -> MediaSession | None:
    """Return what a well-formed media session id says, unproven; None if it is not well-formed."""
    if len(text) != 64 or not text.isascii() or text != text.lower():
        return None
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    if len(raw) != 32:
        return None
    return MediaSession(text, int.from_bytes(raw[7:9]), int.from_bytes(raw[:6]) or None)


@functools.cache
def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()[:1]


@functools.cache
def _mac_key(key: bytes) -> bytes:
    return hmac.digest(key, _MEDIA, "sha256")


def mint_tracking_session(keys: Sequence[bytes], *, now: datetime, entropy: Entropy) -> str:
    """Make a new tracking session id, a version 4 UUID that carries its start time."""
    micros = (now - _EPOCH_2025) // timedelta(microseconds=1)
    body = ((micros & (1 << 50) - 1) << 32) | int.from_bytes(entropy(4))
    free = (body << 40) | _tracking_mac(keys[0], body)
    high, middle, low = free >> 74, (free >> 62) & 0xFFF, free & (1 << 62) - 1
    return str(uuid.UUID(int=(high << 80) | (4 << 76) | (middle << 64) | (2 << 62) | low))


def verify_tracking_session(keys: Sequence[bytes], text: str) -> datetime | None:
    """Return the start time of a tracking session id made with one of `keys`, else None."""
    try:
        number = uuid.UUID(text).int
    except ValueError:
        return None
    if str(uuid.UUID(int=number)) != text or (number >> 76) & 0xF != 4 or (number >> 62) & 3 != 2:
        return None
    free = ((number >> 80) << 74) | (((number >> 64) & 0xFFF) << 62) | number & (1 << 62) - 1
    body, mac = free >> 40, free & (1 << 40) - 1
    if any(hmac.compare_digest(_tracking_mac(key, body).to_bytes(5), mac.to_bytes(5)) for key in keys):
        return _EPOCH_2025 + timedelta(microseconds=body >> 32)
    return None


def _tracking_mac(key: bytes, body: int) -> int:
    return int.from_bytes(hmac.digest(key, _TRACKING + body.to_bytes(11), "sha256")[:5])


def mint_event_id(*, now_ms: int, entropy: Entropy) -> str:
    """Make a UUIDv7 (RFC 9562): 48 bits of milliseconds, then random."""
    text = (now_ms.to_bytes(6) + entropy(10)).hex()  # uuid.UUID would do the same in many times the time
    return f"{text[:8]}-{text[8:12]}-7{text[13:16]}-{_VARIANT[text[16]]}{text[17:20]}-{text[20:]}"


def read_event_time_ms(text: str) -> int | None:
    """Return when an event id says it was made; None where it is derived, or no UUIDv7 at all."""
    try:
        number = uuid.UUID(text).int
    except ValueError:
        return None
    return number >> 80 if (number >> 76) & 0xF == 7 else None


def derive_event_id(*parts: bytes) -> str:
    """Make the UUIDv8 (RFC 9562) that these parts always give."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8) + part)
    number = int.from_bytes(digest.digest()[:16])
    number = number & ~(0xF << 76) & ~(3 << 62) | 8 << 76 | 2 << 62
    return str(uuid.UUID(int=number))


def born_ms_of_session(session_id: str) -> int | None:
    """Return when a session id says it was made; None where it says nothing."""
    session = read_media_session(session_id)
    return session.started_ms if session else None
