"""The OpenAPI document: every route, its bodies, and its errors, made from the Structs that decide."""

from typing import Any, Final

import msgspec

from ingest.consent import GpcSupport
from ingest.replies import MediaError, TrackingError
from ingest.tokens import TrackingSession
from ingest.tracking import DeletedMessage
from schemas.media import DOCUMENTED
from schemas.vocabulary import EVENT_TYPES

Json = dict[str, Any]

REF: Final = "#/components/schemas/{name}"
STARTS: Final = [name for name, row in EVENT_TYPES.items() if row.starts]
OTHERS: Final = [name for name, row in EVENT_TYPES.items() if not row.starts]


def document() -> Json:
    """Return the OpenAPI 3.1 document."""
    structs = [*DOCUMENTED.values(), MediaError, TrackingError, TrackingSession, DeletedMessage, GpcSupport]
    _, components = msgspec.json.schema_components(structs, ref_template=REF)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Playhead",
            "version": "1",
            "description": "Takes the events of media players. A 2xx means: the event is durably in the log.",
        },
        "paths": {
            "/api/v1/sessions": {"post": _start_session()},
            "/api/v1/sessions/{session_id}/events": {"post": _add_event()},
            "/api/v1/downloaded": {"post": _store_downloaded()},
            "/api/v1/schemas/{event_type}": {"get": _get_schema()},
            "/v1/playouts/tracking/session": _tracking(with_playout=False),
            "/v1/playouts/{playout_id}/tracking/session": _tracking(with_playout=True),
            "/.well-known/gpc.json": {"get": _gpc()},
            "/health/live": {"get": _health("The process answers", {})},
            "/health/ready": {"get": _health("The log takes events", {"503": _error(MediaError, "It does not")})},
            "/metrics": {"get": _plain("Metrics", "Metrics in the text format of Prometheus", "text/plain")},
            "/schema": {"get": _plain("This document", "OpenAPI 3.1", "application/json")},
            "/schema/openapi.json": {"get": _plain("This document", "OpenAPI 3.1", "application/json")},
            "/asyncapi.json": {"get": _plain("What is in the log", "AsyncAPI 3.0", "application/json")},
        },
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "apiKey", "in": "header", "name": "X-API-Key"}},
        },
    }


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


def _parameter(name: str, place: str, description: str, *, schema: Json | None = None) -> Json:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "description": description,
        "schema": schema or {"type": "string"},
    }


def _error(struct: type[msgspec.Struct], description: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": _ref(struct.__name__)}}}


MEDIA_ERRORS: Final = {
    "400": _error(MediaError, "No event; the message names the field and what was expected"),
    "408": _error(MediaError, "The body stopped half-way"),
    "413": _error(MediaError, "The body is too large, or an array of too many events"),
    "429": _error(MediaError, "Too much from one session or network; try again after Retry-After seconds"),
    "500": _error(
        MediaError,
        "The log did not take the event in time, or memory is short; try again after Retry-After seconds",
    ),
}
TRACKING_ERRORS: Final = {
    "400": _error(TrackingError, "No tracking session, or what was sent is none"),
    "401": _error(TrackingError, "The API key is missing or unknown"),
    "408": _error(TrackingError, "The body stopped half-way"),
    "413": _error(TrackingError, "The body is too large"),
    "429": _error(TrackingError, "Too much with one API key, or from one network; wait for Retry-After seconds"),
    "503": _error(TrackingError, "The log did not take it in time; try again after Retry-After seconds"),
}
MEDIA_HEADERS: Final = [
    _parameter("Idempotency-Key", "header", "Repeating key and body repeats the ids: the event is stored once"),
    _parameter("X-Consent", "header", "`granted` or `analytics=1`; anything else drops identities"),
    _parameter("X-JAY-TRACKING", "header", "The viewer's tracking session: a token, or its id"),
]


def _created() -> Json:
    return {"description": "Session made", "headers": {"Location": _header("/api/v1/sessions/{64 hex}")}}


def _start_session() -> Json:
    return {
        "summary": "Start a session",
        "operationId": "startSession",
        "parameters": MEDIA_HEADERS,
        "requestBody": _body({"oneOf": [*_events(STARTS)["oneOf"], _offline()]}),
        "responses": {"201": _created(), **MEDIA_ERRORS},
    }


def _add_event() -> Json:
    return {
        "summary": "Add an event to a session",
        "operationId": "addEvent",
        "parameters": [_parameter("session_id", "path", "From the Location of the session"), *MEDIA_HEADERS],
        "requestBody": _body(_events(OTHERS)),
        "responses": {
            "204": {"description": "Stored"},
            **MEDIA_ERRORS,
            "404": _error(MediaError, "No session has this id; start a new one"),
            "410": _error(MediaError, "The session is over; start a new one"),
        },
    }


def _store_downloaded() -> Json:
    return {
        "summary": "Store a session that was played offline",
        "operationId": "storeDownloaded",
        "parameters": MEDIA_HEADERS,
        "requestBody": _body(_offline()),
        "responses": {"201": _created(), **MEDIA_ERRORS},
    }


def _get_schema() -> Json:
    schema = {"type": "string", "enum": list(EVENT_TYPES)}
    return {
        "summary": "The JSON Schema of one event type",
        "operationId": "getSchema",
        "parameters": [_parameter("event_type", "path", "Name of the event type", schema=schema)],
        "responses": {
            "200": {"description": "JSON Schema", "content": {"application/json": {"schema": {"type": "object"}}}},
            "404": _error(MediaError, "No event type has this name"),
            "429": MEDIA_ERRORS["429"],
        },
    }


def _tracking(*, with_playout: bool) -> Json:
    suffix = "OfPlayout" if with_playout else ""
    names = [
        _parameter("X-API-Version", "header", "Version to answer in"),
        _parameter("X-JAY-TRACKING", "header", "Tracking session: a token, or its id"),
        _parameter("__Secure-jay_tracking", "header", "The same under its other name"),
        _parameter("__Secure-jay_tracking", "cookie", "The same as a cookie, which comes first"),
    ]
    if with_playout:
        names.insert(0, _parameter("playout_id", "path", "The playout that the session belongs to"))
    user = _parameter("user_id", "query", "Names the viewer across sessions; only with the viewer's consent")
    user_body = {"type": "object", "properties": {"user_id": {"type": "string"}, "userId": {"type": "string"}}}
    session = {"description": "The session", "content": {"application/json": {"schema": _ref("TrackingSession")}}}
    made = {**session, "headers": {"X-JAY-TRACKING": _header("Token"), "Set-Cookie": _header("Token")}}
    deleted = {"description": "Deleted", "content": {"application/json": {"schema": _ref("DeletedMessage")}}}
    common: Json = {"security": [{"key": []}]}
    return {
        "post": {
            **common,
            "summary": "Make a tracking session",
            "operationId": "createTrackingSession" + suffix,
            "parameters": [*names, user],
            "requestBody": _body(user_body, required=False),
            "responses": {"200": made, **TRACKING_ERRORS},
        },
        "get": {
            **common,
            "summary": "Show the tracking session that the request names",
            "operationId": "showTrackingSession" + suffix,
            "parameters": names,
            "responses": {"200": session, **{code: TRACKING_ERRORS[code] for code in ("400", "401", "429")}},
        },
        "delete": {
            **common,
            "summary": "Delete the tracking session that the request names",
            "operationId": "deleteTrackingSession" + suffix,
            "parameters": names,
            "responses": {
                "200": deleted,
                **{code: TRACKING_ERRORS[code] for code in ("400", "401", "429", "503")},
            },
        },
    }


def _gpc() -> Json:
    support = {"description": "It is", "content": {"application/json": {"schema": _ref("GpcSupport")}}}
    return {"summary": "Whether Global Privacy Control is respected", "responses": {"200": support}}


def _health(description: str, errors: Json) -> Json:
    return _plain(description, description, "application/json", errors)


def _plain(summary: str, description: str, media_type: str, errors: Json | None = None) -> Json:
    reply = {"description": description, "content": {media_type: {"schema": {}}}}
    return {"summary": summary, "responses": {"200": reply, **(errors or {})}}
