"""Replies: what each protocol answers, faults included, and the CORS headers that stand on every one of them.

A browser shows a reply to its page only if the CORS headers are there, so a player can recover from a 404 or 410
only if those have them too. The two APIs need two policies: anybody's page may post media events, without
credentials; the tracking session lives in a cookie, so there the page's origin is named and credentials allowed.
"""

from typing import Final, Literal

import msgspec

from ingest.http import Headers, Reply
from schemas.faults import Fault, InvalidEvent, LogUnavailable, NotJson

Protocol = Literal["media", "tracking", "plain"]

PREFLIGHT_AGE_S: Final = b"86400"
RETRY_AFTER_S: Final = b"2"
COMMON_HEADERS: Final = (
    b"Content-Type, User-Agent, X-JAY-TRACKING, __Secure-jay_tracking, Idempotency-Key, traceparent, X-Consent, "
    b"Content-Encoding"
)
MEDIA_METHODS: Final = b"OPTIONS,POST,PUT"
TRACKING_METHODS: Final = b"GET, POST, DELETE, OPTIONS"
_MEDIA_CORS: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", MEDIA_METHODS),
    (b"access-control-allow-headers", COMMON_HEADERS),
    (b"access-control-expose-headers", b"Location, Retry-After"),
]
_TRACKING_CORS: Final[Headers] = [
    (b"vary", b"Origin"),
    (b"access-control-allow-credentials", b"true"),
    (b"access-control-allow-methods", TRACKING_METHODS),
    (
        b"access-control-allow-headers",
        COMMON_HEADERS + b", X-API-Key, X-API-Version, x-jay-api-version",
    ),
    (
        b"access-control-expose-headers",
        b"X-JAY-TRACKING, __Secure-jay_tracking, X-API-Version, x-jay-api-version, Retry-After",
    ),
]
_CREATED: Final[Headers] = [
    *_MEDIA_CORS,
    (b"content-type", b"application/octet-stream"),
    (b"content-length", b"0"),
]
NO_CONTENT: Final = Reply(204, _MEDIA_CORS)

encode = msgspec.json.Encoder().encode


class MediaError(msgspec.Struct):
    """What the Media Collection API answers when it refuses: which field, and what was expected."""

    message: str


class TrackingErrorBody(msgspec.Struct):
    """`code` 1001 with `details` TRACKING_NOT_VALID means: no tracking session, or one that is none."""

    code: int
    message: str
    details: str


class TrackingError(msgspec.Struct):
    """What the tracking API answers when it refuses."""

    error: TrackingErrorBody


def cors(protocol: Protocol, origin: bytes | None) -> Headers:
    """Return the CORS headers of a reply to a page of this origin."""
    if protocol == "media":
        return _MEDIA_CORS
    if protocol == "plain":
        return []
    if not origin or origin == b"null":
        return _TRACKING_CORS[:1]
    return [(b"access-control-allow-origin", origin), *_TRACKING_CORS]


def created(session_id: str) -> Reply:
    """Answer a sessionStart. Clients cut the id out of this path, so it is relative, and nothing precedes it."""
    return Reply(201, [*_CREATED, (b"location", b"/api/v1/sessions/" + session_id.encode())])


def json_reply(status: int, body: object, headers: Headers) -> Reply:
    """Answer with a JSON body."""
    return whole_reply(status, encode(body), headers, content_type=b"application/json")


def whole_reply(status: int, body: bytes, headers: Headers, *, content_type: bytes) -> Reply:
    """Answer with a body of any kind."""
    about = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    return Reply(status, headers + about, body)


def preflight(protocol: Protocol, origin: bytes | None, *, allow: str) -> Reply:
    """Answer OPTIONS: what a page may send, and that it need not ask again for a day."""
    more = [(b"access-control-max-age", PREFLIGHT_AGE_S), (b"allow", allow.encode())]
    return Reply(204, cors(protocol, origin) + more)


def refused(fault: Fault, protocol: Protocol, origin: bytes | None, *, allow: str = "") -> Reply:
    """Turn a fault into the reply of this protocol.

    The Media Collection API knows one server error, 500, which makes its clients repeat a sessionStart.
    """
    headers = list(cors(protocol, origin))
    status = fault.status
    if isinstance(fault, LogUnavailable):
        headers.append((b"retry-after", RETRY_AFTER_S))
        status = 500 if protocol == "media" else fault.status
    if allow:
        headers.append((b"allow", allow.encode()))
    if status in (408, 413):  # what is left of the body is not read, so the connection cannot be used again
        headers.append((b"connection", b"close"))
    if protocol == "tracking":
        return json_reply(status, _tracking_error(fault), headers)
    message = "the service cannot take this now, try again" if status >= 500 else str(fault)
    return json_reply(status, MediaError(message), headers)


TRACKING_CODES: Final = {
    "tracking_not_valid": 1001,
    "not_json": 1001,
    "invalid_event": 1001,
    "key_refused": 1002,
}


def _tracking_error(fault: Fault) -> TrackingError:
    code = TRACKING_CODES.get(fault.code, fault.status)
    details = "TRACKING_NOT_VALID" if code == 1001 else fault.code.upper()
    message = "The service cannot take this now, try again" if fault.status >= 500 else str(fault)
    if isinstance(fault, NotJson | InvalidEvent):
        message = f"No tracking session was made: {fault}"
    return TrackingError(TrackingErrorBody(code, message, details))
