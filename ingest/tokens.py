"""The tracking token: base64 of the tracking session's JSON, with a signature inside that JSON.

    {"session_id": ..., "start_time": ..., "source": ..., "user_id": ..., "sig": "<key id>.<MAC>"}

Clients that decode tokens find what the API's documentation says, and one key more. Tokens without a signature,
or with a wrong one, are accepted as *unverified*: the documentation's own example is one. A bare session id is
accepted if it is one of ours. A verified token proves that we made it, not who sends it.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from schemas.ids import verify_tracking_session

COOKIE: Final = "__Secure-jay_tracking"
TOKEN_BYTES_MAX: Final = 4096
TEXT_CHARACTERS_MAX: Final = 256
_DOMAIN: Final = b"jay-tracking/v1\0"
_decode = msgspec.json.Decoder(dict[str, str]).decode


class TrackingSession(msgspec.Struct, frozen=True, omit_defaults=True):
    """A tracking session as its client sees it. `start_time` is UTC, ISO 8601 without offset."""

    session_id: str
    start_time: str
    source: str
    user_id: str | None = None


class NamedSession(msgspec.Struct, frozen=True):
    """A tracking session that a request named, and whether we issued it."""

    session: TrackingSession
    verified: bool


def write_token(session: TrackingSession, keys: Sequence[bytes]) -> str:
    """Return the token of a session, signed with the first key."""
    claims = msgspec.to_builtins(session)
    return base64.b64encode(msgspec.json.encode({**claims, "sig": _sign(claims, keys[0])})).decode()


def _sign(claims: dict[str, str], key: bytes) -> str:
    canonical = msgspec.json.encode(claims, order="sorted")
    mac = base64.urlsafe_b64encode(hmac.digest(key, _DOMAIN + canonical, "sha256")[:16]).rstrip(b"=")
    return f"{hashlib.sha256(key).hexdigest()[:2]}.{mac.decode()}"


def read_token(text: str, keys: Sequence[bytes], *, source: str) -> NamedSession | None:
    """Return the session of a token or a bare id; None if the text is neither.

    `source` is what a session has of which only the id is known.
    """
    text = text.strip().removeprefix(COOKIE + "=").strip('"')
    if not text or len(text) > TOKEN_BYTES_MAX or not text.isascii():
        return None
    started = verify_tracking_session(keys, text)
    if started is not None:
        return NamedSession(TrackingSession(text, write_time(started), source), verified=True)
    claims = _read_claims(text)
    if claims is None:
        return None
    signature = claims.pop("sig", "")
    verified = any(hmac.compare_digest(_sign(claims, key).encode(), signature.encode()) for key in keys)
    try:
        datetime.fromisoformat(claims["start_time"])
        session = TrackingSession(
            claims["session_id"], claims["start_time"], claims["source"], claims.get("user_id") or None
        )
    except (KeyError, ValueError):
        return None
    return NamedSession(session, verified) if session.session_id else None


def _read_claims(text: str) -> dict[str, str] | None:
    """Decode base64 or base64url JSON, padded or not; each of these forms has exactly one spelling."""
    plain = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        raw = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        claims = _decode(raw)
    except (binascii.Error, msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return None
    if base64.b64encode(raw).decode().rstrip("=") != plain:
        return None
    return claims if all(is_plain(value) for value in claims.values()) else None


def is_plain(text: str) -> bool:
    """Return whether a text is short enough, and free of control characters, to be an id or a name."""
    return len(text) <= TEXT_CHARACTERS_MAX and text.isprintable()


def write_time(time: datetime) -> str:
    """Return a time in the format of the tracking API."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
