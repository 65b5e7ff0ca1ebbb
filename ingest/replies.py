"""Replies of each protocol, including faults, and the CORS headers that each of them has.

A browser shows a reply to its page only if the CORS headers are there, so a player can recover from a 404 or 410
only if those have them too. The two APIs need two policies: anybody's page may post media events, without
credentials; the tracking session lives in a cookie, so there the page's origin is named and credentials allowed.
"""

import math
import re
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from ingest.http import Headers, Reply, render_headers
from schemas.faults import Fault, InvalidEvent, NotJson, TooMany

Protocol = Literal["media", "tracking", "plain"]


PREFLIGHT_AGE_S: Final = b"86400"
RETRY_AFTER_S: Final = b"2"
RETRY_AFTER_S_MAX: Final = 3_600
COMMON_HEADERS: Final = (
    b"Content-Type, User-Agent, X-JAY-TRACKING, __Secure-jay_tracking, Idempotency-Key, traceparent, X-Consent, "
    b"Content-Encoding"
)
MEDIA_METHODS: Final = b"OPTIONS,POST,PUT"
TRACKING_METHODS: Final = b"GET, POST, DELETE, OPTIONS"
VERSIONS: Final = (b"2025-09-02", b"2025-08-04", b"2025-05-19")  # of the tracking API, the newest first
ASKED_HEADERS_BYTES_MAX: Final = 4_096
_ORIGIN: Final = re.compile(
    rb"[a-z][a-z0-9+.-]{0,31}://(?:[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,126}|\[[0-9a-f:.]{2,45}\])"
    rb"(?::(?P<port>[0-9]{1,5}))?"
)
_HEADER_NAMES: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*+")
_MEDIA_CORS: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", MEDIA_METHODS),
    (b"access-control-allow-headers", COMMON_HEADERS),
    (b"access-control-expose-headers", b"Location, Retry-After"),
]
# A reply of the tracking API may contain a user, for the page that asked: it must not be cached.
_TRACKING: Final[Headers] = [(b"cache-control", b"no-store"), (b"vary", b"Origin")]
_TRACKING_CORS: Final[Headers] = [
    *_TRACKING,
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
_CREATED_HEAD: Final = render_headers(_CREATED)
NO_CONTENT: Final = Reply(204, _MEDIA_CORS, head=render_headers(_MEDIA_CORS))

encode = msgspec.json.Encoder().encode


def protocol_of(path: str) -> Protocol:
    """Return the protocol of what is at a path."""
    if path.startswith("/v1/"):
        return "tracking"
    return "media" if path.startswith("/api/") else "plain"


class MediaError(msgspec.Struct):
    """A refusal of the Media Collection API: the field, and what was expected."""

    message: str


class TrackingErrorBody(msgspec.Struct):
    """`code` 1001 with `details` TRACKING_NOT_VALID: the tracking session is missing or invalid."""

    code: int
    message: str
    details: str


class TrackingError(msgspec.Struct):
    """A refusal of the tracking API."""

    error: TrackingErrorBody


def cors(protocol: Protocol, origin: bytes | None) -> Headers:
    """Return the headers of every reply of a protocol to a page of this origin."""
    if protocol == "media":
        return _MEDIA_CORS
    if protocol == "plain":
        return []
    if origin is None or not is_origin(origin):
        return _TRACKING
    return [(b"access-control-allow-origin", origin), *_TRACKING_CORS]


def is_origin(text: bytes) -> bool:
    """Return whether a header `Origin` names one origin, as browsers write it: `scheme://host` or with `:port`."""
    match = _ORIGIN.fullmatch(text)
    return match is not None and int(match["port"] or 0) <= 65_535


def _allowed_headers(asked: bytes) -> bytes:
    """Return the headers that a page may send with media events: the usual ones, and those it asks for.

    A page's instrumentation adds headers of its own to each request (`baggage`, `sentry-trace`), and nothing
    is let in by allowing them: media routes take no credentials.
    """
    if len(asked) > ASKED_HEADERS_BYTES_MAX or not _HEADER_NAMES.fullmatch(asked):
        return COMMON_HEADERS
    names = {name.strip().lower(): name.strip() for name in asked.split(b",")}
    known = {name.strip().lower() for name in COMMON_HEADERS.split(b",")}
    return b", ".join([COMMON_HEADERS, *(names[name] for name in names if name not in known)])


def created(session_id: str) -> Reply:
    """Reply to a sessionStart. Clients extract the id from this path, so it is relative and has no prefix."""
    location = (b"location", b"/api/v1/sessions/" + session_id.encode())
    return Reply(201, [*_CREATED, location], head=_CREATED_HEAD + render_headers([location]))


def json_reply(status: int, body: object, headers: Headers) -> Reply:
    """Return a reply with a JSON body."""
    return whole_reply(status, encode(body), headers, content_type=b"application/json")


def whole_reply(status: int, body: bytes, headers: Headers, *, content_type: bytes) -> Reply:
    """Return a reply with any body."""
    about = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    return Reply(status, headers + about, body)


def preflight(protocol: Protocol, headers: Mapping[bytes, bytes], *, allow: str = "") -> Reply:
    """Reply to OPTIONS: what a page may send, valid for a day. `allow` lists the methods of a path that exists."""
    about = dict(cors(protocol, headers.get(b"origin")))
    if protocol == "media":
        about[b"access-control-allow-headers"] = _allowed_headers(
            headers.get(b"access-control-request-headers", b"").strip()
        )
        about[b"vary"] = b"Access-Control-Request-Headers"
    about[b"access-control-max-age"] = PREFLIGHT_AGE_S
    if allow:
        about[b"allow"] = allow.encode()
    return Reply(204, list(about.items()))


def status_of(fault: Fault | type[Fault], protocol: Protocol) -> int:
    """Return the HTTP status of a fault.

    The Media Collection API knows one server error, 500, which makes its clients repeat a sessionStart.
    """
    return 500 if protocol == "media" and fault.status > 500 else fault.status


def version_headers(headers: Mapping[bytes, bytes]) -> Headers:
    """Name the version of a tracking reply under both header names: the one asked for, else the newest."""
    asked = [headers.get(name, b"").strip() for name in (b"x-api-version", b"x-jay-api-version")]
    version = next((version for version in asked if version in VERSIONS), VERSIONS[0])
    return [(b"x-api-version", version), (b"x-jay-api-version", version)]


def refused(fault: Fault, protocol: Protocol, asked: Mapping[bytes, bytes], *, allow: str = "") -> Reply:
    """Turn a fault into the reply of this protocol to a request with these headers."""
    headers = list(cors(protocol, asked.get(b"origin")))
    status = status_of(fault, protocol)
    if isinstance(fault, TooMany):
        headers.append((b"retry-after", b"%d" % min(math.ceil(fault.retry_after_s), RETRY_AFTER_S_MAX)))
    elif fault.retryable:
        headers.append((b"retry-after", RETRY_AFTER_S))
    if allow:
        headers.append((b"allow", allow.encode()))
    if status in (408, 413):  # the rest of the body is not read, so the connection cannot be reused
        headers.append((b"connection", b"close"))
    if protocol == "tracking":
        reply = json_reply(status, _tracking_error(fault), headers)
        return reply._replace(headers=reply.headers + version_headers(asked))
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
