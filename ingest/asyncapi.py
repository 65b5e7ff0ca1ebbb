"""The AsyncAPI document: the records of the topic, for other consumers, generated from the Structs in use."""

import inspect
from typing import Any, Final

import msgspec

from schemas.media import DOCUMENTED
from schemas.records import (
    MEDIA,
    REJECTED,
    TRACKING_CREATED,
    TRACKING_DELETED,
    Envelope,
    Rejected,
    TrackingCreated,
    TrackingDeleted,
)
from schemas.settings import Settings

Json = dict[str, Any]

REF: Final = "#/components/schemas/{name}"
TIMES: Final = (("Envelope", "time"), ("Envelope", "receivedtime"), ("TrackingCreated", "start_time"))
ABOUT: Final = """\
Every event that Playhead accepted, and every body that it refused, as CloudEvents 1.0 in structured JSON. The key
of a record is the session id, so a session stays in one partition, in the order in which its events were taken.
Its timestamp is the broker's. A record may occur twice with one `id`; the first counts. One with `replayof`
repeats an earlier record that could not be decoded. New types and new keys may come: skip those that you do not
know."""
ABOUT_MEDIA: Final = """\
`data` is the event as the player sent it, unknown keys included, with identities replaced by pseudonyms. `time` is
the player's clock, `receivedtime` ours. A sessionStart describes its sender, coarsely: `devicetype`, `os`,
`browser`, `isbot`, `country`, `region`, and the name of its API key, `keyname`. An event with the flag
`off_schema` lacks keys that are required here, or has keys of other types."""


def document(settings: Settings) -> Json:
    """Return the AsyncAPI 3.0 document of the topic in the settings."""
    messages = _messages()
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Playhead's events", "version": "1", "description": ABOUT},
        "defaultContentType": "application/cloudevents+json",
        "channels": {
            "events": {
                "address": settings.kafka_topic,
                "description": "The event log: accepted events and refused bodies, in the order they were taken.",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"kafka": {"topic": settings.kafka_topic, "bindingVersion": "0.5.0"}},
            }
        },
        "operations": {
            "appendEvent": {
                "action": "send",
                "channel": {"$ref": "#/channels/events"},
                "summary": "Ingest appends each event before it answers 2xx.",
            }
        },
        "components": {"messages": messages, "schemas": _schemas()},
    }


def _messages() -> Json:
    media = {
        name: _message(MEDIA + name, struct, f"A player's {name}", ABOUT_MEDIA)
        for name, struct in DOCUMENTED.items()
    }
    return {
        **media,
        "trackingCreated": _message(TRACKING_CREATED, TrackingCreated, "A tracking session was made"),
        "trackingDeleted": _message(TRACKING_DELETED, TrackingDeleted, "A tracking session was deleted"),
        "rejected": _message(REJECTED, Rejected, "A body was refused; best effort, capped in size and rate"),
    }


def _message(type_: str, data: type[msgspec.Struct], title: str, about: str | None = None) -> Json:
    """Return one message: the envelope, with its type and the schema of its data."""
    of_type = {"properties": {"type": {"const": type_}, "data": _ref(data)}}
    message = {
        "name": type_,
        "title": title,
        "contentType": "application/cloudevents+json",
        "payload": {"allOf": [_ref(Envelope), of_type]},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "`subject`: the session's id"},
                "bindingVersion": "0.5.0",
            }
        },
    }
    return message if about is None else {**message, "description": about}


def _ref(struct: type[msgspec.Struct]) -> Json:
    return {"$ref": REF.format(name=struct.__name__)}


def _schemas() -> Json:
    structs = [Envelope, TrackingCreated, TrackingDeleted, Rejected, *DOCUMENTED.values()]
    _, schemas = msgspec.json.schema_components(structs, ref_template=REF)
    for struct, field in TIMES:
        schemas[struct]["properties"][field]["format"] = "date-time"
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"])
    return schemas
