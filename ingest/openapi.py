"""The OpenAPI document: what Litestar says of its handlers, the routes of events, and every error with its shape.

Litestar knows neither the routes in front of it nor the headers that our own code reads; those are written here.
All shapes are made from the Structs that decide.
"""

import inspect
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme

from ingest.replies import MediaError, Protocol, TrackingError, status_of
from schemas.faults import (
    BodyTooSlow,
    Fault,
    InvalidEvent,
    InvalidTracking,
    KeyRefused,
    LogUnavailable,
    NoSuchRoute,
    NotJson,
    Overloaded,
    SessionOver,
    TooLarge,
    TooMany,
    UnknownSession,
)
from schemas.media import DOCUMENTED
from schemas.vocabulary import EVENT_TYPES

Json = dict[str, Any]

REF: Final = "#/components/schemas/{name}"
ABOUT: Final = """\
Takes the events of media players. **A 2xx means: the event is durably in the log.** What is refused is refused by
name, in the shape of its API: `MediaError` with the field and what was expected, or `TrackingError` with a code.
"""
STARTS: Final = [name for name, row in EVENT_TYPES.items() if row.starts]
OTHERS: Final = [name for name, row in EVENT_TYPES.items() if not row.starts]
LITESTARS_DESCRIPTION: Final = HTTPStatus.OK.description
TAGS: Final = {"/api/": "Media events", "/v1/": "Tracking sessions", "/": "The service"}
_BODY: Final = (NotJson, BodyTooSlow, TooLarge, TooMany, Overloaded, LogUnavailable)
FAULTS: Final[dict[str, tuple[type[Fault], ...]]] = {
    "startSession": (InvalidEvent, *_BODY),
    "addEvent": (InvalidEvent, UnknownSession, SessionOver, *_BODY),
    "storeDownloaded": (InvalidEvent, *_BODY),
    "getSchema": (NoSuchRoute, TooMany),
    "createTrackingSession": (InvalidTracking, KeyRefused, *_BODY),
    "showTrackingSession": (InvalidTracking, KeyRefused, TooMany),
    "deleteTrackingSession": (InvalidTracking, KeyRefused, TooMany, LogUnavailable),
    "ready": (LogUnavailable,),
}


def document(handlers: Sequence[HTTPRouteHandler]) -> Json:
    """Return the OpenAPI 3.1 document of Litestar's handlers and of the routes of events."""
    made = _of_litestar(handlers)
    paths: Json = {**_media_paths(), **made["paths"]}
    for path, item in paths.items():
        for operation in item.values():
            _complete(operation, path)
    structs = [*DOCUMENTED.values(), MediaError, TrackingError]
    _, schemas = msgspec.json.schema_components(structs, ref_template=REF)
    made["components"]["schemas"] |= schemas
    return {**made, "paths": paths}


def _of_litestar(handlers: Sequence[HTTPRouteHandler]) -> Json:
    """Return what Litestar says of its handlers: an application of its own, which serves nothing, makes that."""
    config = OpenAPIConfig(
        title="Playhead",
        version=version("playhead"),
        description=ABOUT,
        license=License(name="Apache-2.0", identifier="Apache-2.0"),
        components=Components(
            security_schemes={"key": SecurityScheme(type="apiKey", security_scheme_in="header", name="X-API-Key")}
        ),
        path="/unused",
        render_plugins=[JsonRenderPlugin()],
    )
    return Litestar(handlers, openapi_config=config, logging_config=None).openapi_schema.to_schema()


def _complete(operation: Json, path: str) -> None:
    """Add to an operation what only our own code knows: the headers it reads and sends, and its errors."""
    name = operation["operationId"].removesuffix("OfPlayout")
    added = ADDED.get(name, {})
    protocol: Protocol = (
        "media" if path.startswith("/api/") else "tracking" if path.startswith("/v1/") else "plain"
    )
    parameters = [*operation.get("parameters", []), *added.get("parameters", [])]
    operation |= {key: value for key, value in added.items() if key != "headers"}
    if parameters:
        operation["parameters"] = parameters
    responses = {code: reply for code, reply in operation["responses"].items() if code < "400"}
    for reply in responses.values():
        if headers := reply.pop("headers", {}) | added.get("headers", {}):
            reply["headers"] = headers
        if reply["description"] == LITESTARS_DESCRIPTION:
            reply["description"] = operation["summary"]
    for part in (operation, *parameters):
        part.pop("deprecated", None)
    operation["responses"] = responses | _errors(protocol, FAULTS.get(name, ()))
    operation["tags"] = [next(tag for start, tag in TAGS.items() if path.startswith(start))]


def _errors(protocol: Protocol, faults: Iterable[type[Fault]]) -> Json:
    """Return a reply for each status that these faults are answered with, or what nobody foresaw."""
    by_status: dict[int, list[type[Fault]]] = {}
    for fault in (*faults, Fault):
        by_status.setdefault(status_of(fault, protocol), []).append(fault)
    return {str(status): _error(protocol, by_status[status]) for status in sorted(by_status)}


def _error(protocol: Protocol, faults: Sequence[type[Fault]]) -> Json:
    struct = TrackingError if protocol == "tracking" else MediaError
    reply: Json = {
        "description": "\n".join(f"* `{fault.code}`: {_meaning(fault)}" for fault in faults),
        "content": {"application/json": {"schema": _ref(struct.__name__)}},
    }
    if any(fault.retryable for fault in faults):
        reply["headers"] = {
            "Retry-After": {"description": "Try again after so many seconds", "schema": {"type": "integer"}}
        }
    return reply


def _meaning(fault: type[Fault]) -> str:
    if fault is Fault:
        return "An error of ours; it is in our log."
    return inspect.cleandoc(fault.__doc__ or "")


def _ref(name: str) -> Json:
    return {"$ref": REF.format(name=name)}


def _events(names: list[str]) -> Json:
    return {"oneOf": [_ref(DOCUMENTED[name].__name__) for name in names]}


def _offline() -> Json:
    return {"type": "array", "minItems": 1, "items": _events([*STARTS, *OTHERS])}


def _body(schema: Json, *, required: bool = True) -> Json:
    return {"required": required, "content": {"application/json": {"schema": schema}}}


def _header(description: str) -> Json:
    return {"description": description, "schema": {"type": "string"}}


def _parameter(name: str, place: str, description: str) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": {"type": "string"},
    }


_MEDIA_HEADERS: Final = [
    _parameter("Idempotency-Key", "header", "Repeating key and body repeats the ids: the event is stored once"),
    _parameter("X-Consent", "header", "`granted` or `analytics=1`; anything else drops identities"),
    _parameter("X-JAY-TRACKING", "header", "The viewer's tracking session: a token, or its id"),
]
_CREATED: Final = {"description": "Session made", "headers": {"Location": _header("/api/v1/sessions/{64 hex}")}}
_PRESENTED: Final = [
    _parameter("X-API-Version", "header", "Version to answer in"),
    _parameter("X-JAY-TRACKING", "header", "Tracking session: a token, or its id"),
    _parameter("__Secure-jay_tracking", "header", "The same under its other name"),
    _parameter("__Secure-jay_tracking", "cookie", "The same as a cookie, which comes first"),
]
_KEY: Final[list[Json]] = [{"key": []}]
_USER: Final = {"type": "object", "properties": {"user_id": {"type": "string"}, "userId": {"type": "string"}}}
ADDED: Final[Json] = {
    "createTrackingSession": {
        "summary": "Make a tracking session",
        "security": _KEY,
        "parameters": [
            *_PRESENTED,
            _parameter("user_id", "query", "Names the viewer across sessions; only with the viewer's consent"),
        ],
        "requestBody": _body(_USER, required=False),
        "headers": {"X-JAY-TRACKING": _header("Token"), "Set-Cookie": _header("Token")},
    },
    "showTrackingSession": {
        "summary": "Show the tracking session that the request names",
        "security": _KEY,
        "parameters": _PRESENTED,
    },
    "deleteTrackingSession": {
        "summary": "Delete the tracking session that the request names",
        "security": _KEY,
        "parameters": _PRESENTED,
    },
}


def _media_paths() -> Json:
    """Return the routes that Litestar does not serve."""
    return {
        "/api/v1/sessions": {
            "post": {
                "summary": "Start a session",
                "operationId": "startSession",
                "parameters": _MEDIA_HEADERS,
                "requestBody": _body({"oneOf": [*_events(STARTS)["oneOf"], _offline()]}),
                "responses": {"201": dict(_CREATED)},
            }
        },
        "/api/v1/sessions/{session_id}/events": {
            "post": {
                "summary": "Add an event to a session",
                "operationId": "addEvent",
                "parameters": [
                    _parameter("session_id", "path", "From the Location of the session"),
                    *_MEDIA_HEADERS,
                ],
                "requestBody": _body(_events(OTHERS)),
                "responses": {"204": {"description": "Stored"}},
            }
        },
        "/api/v1/downloaded": {
            "post": {
                "summary": "Store a session that was played offline",
                "operationId": "storeDownloaded",
                "parameters": _MEDIA_HEADERS,
                "requestBody": _body(_offline()),
                "responses": {"201": dict(_CREATED)},
            }
        },
    }
