"""What is in the log, byte for byte: other programs read it, and so does every later Playhead.

`tests/data/records` has the value of one record of each kind, as ingest wrote it. A change here is a change of a
format that others rely on: keys may be added, and what was written before must still be read: `records_before`
has records as they were until something was added.
`python tests/schemas/test_records.py` rewrites the files.
"""

import asyncio
import itertools
import json
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
from rigs.user_agents import WINDOWS_CHROME

from consumers.decode import decode
from eventlog import Record
from eventlog.adapters import create_log, open_writer
from ingest import asyncapi
from ingest.app import build_app
from ingest.identity import pseudonym
from schemas.records import MEDIA
from schemas.settings import Settings, read_settings
from schemas.vocabulary import EVENT_TYPES, Kind
from sessions.event import Bad, Event, Tracking

FOLDER = Path(__file__).parents[1] / "data" / "records"
BEFORE = FOLDER.with_name("records_before")
NOW = datetime(2026, 3, 1, 12, 0, 0, 123_000, UTC)
NOW_MS = int(NOW.timestamp() * 1000)
VALUES: dict[Kind, Any] = {
    "string": "text",
    "integer": 3,
    "number": 1.5,
    "boolean": True,
    "states": [{"media.state.name": "mute"}],
}
KINDS = [*EVENT_TYPES, "trackingCreated", "trackingDeleted", "rejected"]


def settings_in(folder: Path) -> Settings:
    """Return settings with secrets that never change."""
    return read_settings(
        {
            "PLAYHEAD_DATA_DIR": str(folder),
            "PLAYHEAD_API_KEYS": "key",
            "PLAYHEAD_MAC_KEY": "mac key of the golden records",
            "PLAYHEAD_PSEUDONYM_KEY": "pseudonym key of the golden records",
        }
    )


def event_of(name: str) -> dict[str, Any]:
    """Return an event of a type, with all that it needs, and something of all that it may have."""
    event: dict[str, Any] = {"playerTime": {"playhead": 12.25, "ts": NOW_MS - 200}, "eventType": name}
    params = {param.key: VALUES[param.kind] for param in EVENT_TYPES[name].required}
    if name == "sessionStart":
        params["media.contentType"] = "vod"
        params["media.length"] = 3600
        params["visitor.customerIDs"] = {"login": {"id": "somebody", "authState": 1}}
        event["customMetadata"] = {"consent": "given", "plan": "naïve ☃"}
    if params:
        event["params"] = params
    if name == "statesUpdate":
        event["params"] = {"statesStart": [{"media.state.name": "mute"}]}
    if name == "ping":
        event["qoeData"] = {"media.qoe.bitrate": 3_000_000, "media.qoe.droppedFrames": "many"}
        event["unknown"] = 1
    return event


async def records_written(folder: Path) -> dict[str, bytes]:
    """Post one request of each kind to an ingest that has no randomness; return what its log holds, by kind."""
    settings = settings_in(folder)
    await create_log(settings)
    numbers = itertools.count(1)
    values: list[bytes] = []
    writer = await open_writer(settings)
    try:
        ingest = build_app(
            settings,
            writer,
            clock=lambda: NOW,
            monotonic_s=lambda: 0.0,
            entropy=lambda size: next(numbers).to_bytes(size),
        )
        transport = httpx.ASGITransport(app=ingest.app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
            await _post_all(client)
            await ingest.accept.settle()
    finally:
        await writer.close()
    values = await _read_all(settings)
    return dict(zip(KINDS, values, strict=True))


async def _post_all(client: httpx.AsyncClient) -> None:
    start, *others = EVENT_TYPES
    assert start == "sessionStart"
    reply = await client.post("/api/v1/sessions", json=event_of(start), headers={"User-Agent": WINDOWS_CHROME})
    assert reply.status_code == 201, reply.text
    headers = {"X-API-Key": "key", "X-API-Version": "1.0.0"}
    tracking = "/v1/playouts/playout-1/tracking/session"
    for name in others:
        posted = await client.post(f"{reply.headers['location']}/events", json=event_of(name))
        assert posted.status_code == 204, posted.text
    created = await client.post(f"{tracking}?user_id=somebody", headers=headers)
    assert created.status_code == 200, created.text
    named = {"X-JAY-TRACKING": created.headers["x-jay-tracking"]}
    deleted = await client.delete(tracking, headers={**headers, **named})
    assert deleted.status_code == 200, deleted.text
    refused = await client.post("/api/v1/sessions", json={"eventType": "sessionStart", "playerTime": 5})
    assert refused.status_code == 400, refused.text


async def _read_all(settings: Settings) -> list[bytes]:
    from rigs.logs import read_records, reading

    async with reading(settings) as reader:
        return [record.value for record in await read_records(reader, len(KINDS))]


def golden(kind: str) -> bytes:
    """Return the value of the record of a kind, as it was written once."""
    return (FOLDER / f"{kind}.json").read_bytes()


def record_of(kind: str) -> Record:
    """Return that record as a reader gets it."""
    value = golden(kind)
    return Record(0, 7, json.loads(value).get("subject", "").encode(), value, NOW_MS + 5)


async def test_each_kind_is_written_byte_for_byte(tmp_path: Path) -> None:
    """What ingest appends for the same requests, at the same time, is the same to the last byte."""
    written = await records_written(tmp_path)
    assert written == {kind: golden(kind) for kind in KINDS}


def test_no_file_is_left_over() -> None:
    """The folder has a record of each kind, and nothing else."""
    assert {path.stem for path in FOLDER.iterdir()} == set(KINDS)


@pytest.mark.parametrize("name", EVENT_TYPES)
def test_media_records_are_understood(name: str) -> None:
    """Every media record that was ever written is an event to the worker."""
    event = decode(record_of(name))
    assert isinstance(event, Event)
    assert (event.type.name, event.offset, event.playhead_s) == (name, 7, 12.25)
    assert (event.client_ms, event.received_ms) == (NOW_MS - 200, NOW_MS)
    assert event.source == "/api/v1/sessions"


@pytest.mark.parametrize("path", sorted(BEFORE.iterdir()), ids=lambda path: path.stem)
def test_records_of_earlier_ingests_are_understood(path: Path) -> None:
    """What was not written then is not known; all else is as it was."""
    value = path.read_bytes()
    event = decode(Record(0, 7, json.loads(value)["subject"].encode(), value, NOW_MS + 5))
    today = decode(record_of(path.stem.partition("_")[0]))
    assert isinstance(event, Event)
    assert isinstance(today, Event)
    assert event.words() == today.words()
    assert (event.event_id, event.consent, event.flags) == (today.event_id, today.consent, today.flags)


def test_tracking_records_are_understood() -> None:
    """So is every record of a tracking session."""
    created, deleted = decode(record_of("trackingCreated")), decode(record_of("trackingDeleted"))
    assert isinstance(created, Tracking)
    assert isinstance(deleted, Tracking)
    assert (created.change, deleted.change) == ("created", "deleted")
    assert created.tracking_session_id == deleted.tracking_session_id
    assert created.playout_id == deleted.playout_id == "playout-1"
    assert deleted.verified


def test_rejected_records_are_understood() -> None:
    """A body that was refused is a bad record of ingest's, with ingest's reason."""
    rejected = decode(record_of("rejected"))
    assert isinstance(rejected, Bad)
    assert (rejected.source, rejected.reason) == ("ingest", "invalid_event")


def test_no_identity_is_in_a_record(tmp_path: Path) -> None:
    """A pseudonym replaces each identity that was sent."""
    key = settings_in(tmp_path).key_of_pseudonyms()
    for kind in ("sessionStart", "trackingCreated"):
        assert b"somebody" not in golden(kind)
    assert pseudonym(key, "user", "somebody").encode() in golden("trackingCreated")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_as_the_document_says(kind: str, tmp_path: Path) -> None:
    """Each record fits the schema of its message in the AsyncAPI document; so does its type to that alone."""
    document = asyncapi.document(settings_in(tmp_path))
    messages, record = document["components"]["messages"], json.loads(golden(kind))
    assert messages[kind]["name"] == record["type"]
    if record.get("flags") == "off_schema":
        return
    fits = [name for name in messages if _validator(document, messages[name]["payload"]).is_valid(record)]
    assert fits == [kind]


def _validator(document: dict[str, Any], schema: dict[str, Any]) -> Any:
    whole = {**schema, "components": document["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    return jsonschema.Draft202012Validator(whole, format_checker=checker)


def test_the_document_is_whole(tmp_path: Path) -> None:
    """Every reference leads somewhere, every event type has its message, and the channel is the topic."""
    settings = settings_in(tmp_path).model_copy(update={"kafka_topic": "another.topic"})
    document = asyncapi.document(settings)
    assert document["asyncapi"] == "3.0.0"
    assert document["channels"]["events"]["address"] == "another.topic"
    assert set(document["channels"]["events"]["messages"]) == set(KINDS)
    for reference in _references(document):
        found: Any = document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
    names = {message["name"] for message in document["components"]["messages"].values()}
    assert names >= {MEDIA + name for name in EVENT_TYPES}


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [reference for value in part.values() for reference in _references(value)]
    return [reference for value in part for reference in _references(value)] if isinstance(part, list) else []


async def test_the_document_is_served(tmp_path: Path) -> None:
    """Ingest serves it at /asyncapi.json."""
    settings = settings_in(tmp_path)
    await create_log(settings)
    writer = await open_writer(settings)
    try:
        app = build_app(settings, writer).app
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
            reply = await client.get("/asyncapi.json")
    finally:
        await writer.close()
    assert reply.status_code == 200
    assert reply.json() == json.loads(json.dumps(asyncapi.document(settings)))


def _write_all() -> None:
    with tempfile.TemporaryDirectory() as folder:
        for kind, value in asyncio.run(records_written(Path(folder))).items():
            (FOLDER / f"{kind}.json").write_bytes(value)


if __name__ == "__main__":
    _write_all()
