"""Replies of each protocol, including faults."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from ingest.cors import MEDIA_FOR_ANY_PAGE, MEDIA_FOR_ANY_PAGE_HEAD, Protocol
from ingest.http import Headers, Reply, render_headers
from schemas.faults import Fault, InvalidEvent, NotJson, TooMany

RETRY_AFTER_S: Final = b"2"
RETRY_AFTER_S_MAX: Final = 3_600
VERSIONS: Final = (b"2025-09-02", b"2025-08-04", b"2025-05-19")  # of the tracking API, the newest first
_CREATED: Final[Headers] = [(b"content-type", b"application/octet-stream"), (b"content-length", b"0")]
_CREATED_HEAD: Final = MEDIA_FOR_ANY_PAGE_HEAD + render_headers(_CREATED)

encode = msgspec.json.Encoder().encode


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


def created(session_id: str) -> Reply:
    """Reply to a sessionStart. Clients extract the id from this path, so it is relative and has no prefix."""
    location = (b"location", b"/api/v1/sessions/" + session_id.encode())
    return Reply(201, [*MEDIA_FOR_ANY_PAGE, *_CREATED, location], head=_CREATED_HEAD + render_headers([location]))


def json_reply(status: int, body: object, headers: Headers) -> Reply:
    """Return a reply with a JSON body."""
    return whole_reply(status, encode(body), headers, content_type=b"application/json")


def whole_reply(status: int, body: bytes, headers: Headers, *, content_type: bytes) -> Reply:
    """Return a reply with any body."""
    about = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    return Reply(status, headers + about, body)


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


def refused(
    fault: Fault, protocol: Protocol, asked: Mapping[bytes, bytes], cors: Headers, *, allow: str = ""
) -> Reply:
    """Turn a fault into the reply of this protocol to a request with these headers."""
    headers = list(cors)
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
