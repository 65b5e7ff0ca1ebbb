"""What media players get from the Media Collection API, and what their events become in the log."""

import copy
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from rigs.ingest import DATA, SECRETS, Ingest, event, running, session_start

from ingest.ended import BEHIND_MS_MAX, RecentEnds
from ingest.identity import pseudonym
from schemas.ids import mint_media_session
from schemas.media import json_schema
from schemas.vocabulary import EVENT_TYPES, QOE

TIMELINES = json.loads((DATA / "media_timelines.json").read_text())["timelines"]
PSEUDONYM_KEY = SECRETS["PLAYHEAD_PSEUDONYM_KEY"].encode()
MEDIA_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "OPTIONS,POST,PUT",
    "access-control-expose-headers": "Location, Retry-After",
}

# The documentation's sample of a sessions request. Its `...` lines, for more of the same, are omitted.
DOCUMENTED_START = b"""{
    "playerTime": {
        "playhead": 0,
        "ts": 1509045324153
    },
    "eventType": "sessionStart",
    "params": {
        "media.playerName": "sample-html5-api-player",
        "analytics.trackingServer": "<your-aa-tracking-server>",
        "analytics.reportSuite": "<your-aa-rsid>",
        "analytics.visitorId": "<your-userId>",
        "media.contentType": "VOD",
        "media.length": 60.39333333333333,
        "media.id": "MA API Sample Player",
        "visitor.marketingCloudOrgId": "<your-org-id>",
        "media.name": "ClickMe",
        "media.channel": "sample-channel",
        "media.sdkVersion": "va-api-0.0.0",
        "analytics.enableSSL": false
    },
    "customMetadata": {
        "myCustomData": "<your metadata>",
        "myCustomData2": "<your metadata>"
    },
    "qoeData": {
        "param1": "<your param-value>",
        "param2": "<your param-value>"
    }
}"""


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest over a log of three partitions, for all tests here."""
    with running(tmp_path_factory.mktemp("media") / "data", log_partitions=3) as ingest:
        yield ingest


def pseudonymized(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body as it must be in the log: `analytics.visitorId` replaced by its pseudonym."""
    body = copy.deepcopy(body)
    if "analytics.visitorId" in body.get("params", {}):
        body["params"]["analytics.visitorId"] = pseudonym(
            PSEUDONYM_KEY, "user", body["params"]["analytics.visitorId"]
        )
    return body


def test_the_documented_request_gets_the_documented_reply(ingest: Ingest) -> None:
    """The sample body is answered with the sample's status, headers and empty body, and a Location of its form."""
    reply = ingest.post("/api/v1/sessions", DOCUMENTED_START, headers={"Content-Type": "application/json"})
    assert reply.status_code == 201
    assert reply.content == b""
    assert reply.headers["content-type"] == "application/octet-stream"
    assert reply.headers["content-length"] == "0"
    assert re.fullmatch("/api/v1/sessions/[0-9a-f]{64}", reply.headers["location"])
    assert MEDIA_CORS.items() <= dict(reply.headers).items()
    (record,) = ingest.events(reply.headers["location"])
    assert record["data"] == pseudonymized(json.loads(DOCUMENTED_START))
    assert record["type"] == "playhead.media.sessionStart"
    assert record["time"] == "2017-10-26T19:15:24.153000Z"
    assert record["consent"] == "given"
    assert "flags" not in record  # unknown keys of qoeData are no oddity


@pytest.mark.parametrize("name", ["1", "3"])
def test_a_timeline_is_stored_event_by_event_in_order(ingest: Ingest, name: str) -> None:
    """A documented timeline is answered 201 and 204s, and the log has each event as sent, in order."""
    first, *others = TIMELINES[name]
    session = ingest.start(first)
    for other in others:
        reply = ingest.post(f"{session}/events", other)
        assert (reply.status_code, reply.content) == (204, b"")
        assert MEDIA_CORS.items() <= dict(reply.headers).items()
    records = ingest.events(session)
    assert [record["data"] for record in records] == [pseudonymized(body) for body in TIMELINES[name]]
    assert len({record["id"] for record in records}) == len(records)


@pytest.mark.parametrize("name", [name for name, row in EVENT_TYPES.items() if not row.starts])
def test_every_event_type_is_taken(ingest: Ingest, name: str) -> None:
    """With what is documented for it it has no flag; without a key it has one, or is refused if it is nothing."""
    example: dict[str, object] = {"string": "x", "integer": 1, "number": 1.5}
    row = EVENT_TYPES[name]
    params = {param.key: example[param.kind] for param in row.required}
    session = ingest.start(session_start())
    body = event(name, params=params) if params else event(name)
    assert ingest.post(f"{session}/events", body).status_code == 204
    assert ingest.events(session)[-1].get("flags") in (None, "no_state")
    for param in row.required:
        lacking = event(name, params={key: value for key, value in params.items() if key != param.key})
        reply = ingest.post(f"{session}/events", lacking)
        if param.vital:
            assert (reply.status_code, param.key in reply.json()["message"]) == (400, True)
        else:
            assert (reply.status_code, ingest.events(session)[-1].get("flags")) == (204, "off_schema")


@pytest.mark.parametrize("name", [name for name, row in EVENT_TYPES.items() if row.params])
def test_an_event_may_have_any_one_of_its_keys_alone(ingest: Ingest, name: str) -> None:
    """As the documentation shows it, a page a key; what it lacks is flagged, and what it has is kept."""
    row = EVENT_TYPES[name]
    start = None if row.starts else ingest.start(session_start())
    for key, value in whole_event(name)["params"].items():
        if any(param.key != key for param in row.vital):
            continue
        body = event(name, params={key: value})
        if start is None:
            (record,) = ingest.events(ingest.start(body))
        else:
            assert ingest.post(f"{start}/events", body).status_code == 204
            record = ingest.events(start)[-1]
        assert record["data"]["params"].keys() <= {
            key
        }  # not there, where it names a device and nothing allows that
        assert record.get("flags") == ("off_schema" if {param.key for param in row.required} - {key} else None)


def test_a_session_starts_with_any_params_and_not_without(ingest: Ingest) -> None:
    """The sessions request makes `params` mandatory, and says of no key that it is."""
    (record,) = ingest.events(ingest.start(event("sessionStart", params={})))
    assert record["flags"] == "off_schema"
    for body in (event("sessionStart"), event("sessionStart", params=None), event("sessionStart", params=[])):
        reply = ingest.post("/api/v1/sessions", body)
        assert (reply.status_code, "params" in reply.json()["message"]) == (400, True)


@pytest.mark.parametrize(
    "body",
    [
        event("error", qoeData={"media.qoe.errorID": "5", "media.qoe.errorSource": "player"}),
        event("error", params={"media.errorId": "5", "media.errorSource": "external"}),
        event("error"),
        event("statesUpdate", params={"statesStart": [{"media.state.name": "mute"}], "statesEnd": []}),
        event("ping", params={}),
        event("ping", qoeData={}),
        event("play", qoeData={"media.qoe.framesPerSecond": 23.5}),
        event("play", unknown="kept", params={"media.unknown": None}),
        event("pauseStart", customMetadata={"a.b": "žluťoučký kůň 🐎", "nul": "a\u0000b"}),
        event("adBreakStart", params={"media.ad.podIndex": -1, "media.ad.podSecond": 0}),
    ],
    ids=lambda body: body["eventType"],
)
def test_what_real_players_send_is_kept_as_sent(ingest: Ingest, body: dict[str, Any]) -> None:
    """All forms of error, batched states, empty parts, unknown keys and any text are accepted and kept."""
    session = ingest.start(session_start())
    assert ingest.post(f"{session}/events", body).status_code == 204
    record = ingest.events(session)[1]
    assert record["data"] == body
    assert "flags" not in record


@pytest.mark.parametrize(
    ("body", "flag"),
    [
        (event("play", playhead=-1), "playhead_range"),
        (event("play", ts=4_000_000_000_000), "future_ts"),
        (event("ping", customMetadata={"number": 5}), "off_schema"),
        (event("adBreakStart", params={"media.ad.podIndex": 1}), "off_schema"),
        (event("adStart", params={"media.ad.id": "a", "media.ad.length": "15"}), "off_schema"),
        (event("adStart"), "off_schema"),
        (event("ping", ts=1_700_000_001), "past_ts"),
        (event("statesUpdate"), "no_state"),
        (event("statesUpdate", params={"statesStart": [], "statesEnd": None}), "no_state"),
    ],
)
def test_what_is_odd_is_kept_with_a_flag(ingest: Ingest, body: dict[str, Any], flag: str) -> None:
    """An odd playhead or time, a key that is missing or of another type: stored as given and flagged."""
    session = ingest.start(session_start())
    assert ingest.post(f"{session}/events", body).status_code == 204
    record = ingest.events(session)[1]
    assert record["data"] == body
    assert record["flags"] == flag


@pytest.mark.parametrize(
    ("content_type", "length", "playhead", "flags"),
    [
        ("VOD", 60, 60, None),
        ("VOD", 60, 60.1, "playhead_range"),
        ("VOD", 0, 100, None),
        ("VOD", -1, 100, None),
        ("live", 10, 80_000, None),
        ("Live", 86_400, 90_000, "playhead_range"),
    ],
)
def test_a_start_past_the_end_is_flagged(
    ingest: Ingest, content_type: str, length: float, playhead: float, flags: str | None
) -> None:
    """Recorded content ends at its length where that is known; live playheads are seconds of the day."""
    body = session_start(**{"media.contentType": content_type, "media.length": length})
    body["playerTime"]["playhead"] = playhead
    (record,) = ingest.events(ingest.start(body))
    assert record.get("flags") == flags


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/x-www-form-urlencoded", "text/plain;charset=UTF-8", "nonsense", None],
)
def test_any_content_type_is_json(ingest: Ingest, content_type: str | None) -> None:
    """curl's form type, sendBeacon's text/plain, none at all: the body is parsed as JSON whatever it says."""
    headers = {"Content-Type": content_type} if content_type else {}
    session = ingest.start(session_start(), headers=headers)
    assert ingest.post(f"{session}/events", event("play"), headers=headers).status_code == 204


def test_gzip_and_chunks_are_understood(ingest: Ingest) -> None:
    """A packed body and a body in chunks of unknown total are events like any other."""
    packed = gzip.compress(json.dumps(session_start()).encode())
    session = ingest.start(packed, headers={"Content-Encoding": "gzip"})
    text = json.dumps(event("play")).encode()
    chunks = (text[start : start + 7] for start in range(0, len(text), 7))
    assert ingest.client.post(f"{session}/events", content=chunks).status_code == 204
    assert [record["data"]["eventType"] for record in ingest.events(session)] == ["sessionStart", "play"]


def test_an_id_we_never_issued_is_unknown(ingest: Ingest) -> None:
    """An invented id, a changed one, and text that is no id are answered 404 with CORS headers."""
    session = ingest.start(session_start())
    flipped = session[:-1] + ("0" if session[-1] != "0" else "1")
    session_id = session.rpartition("/")[2]
    for unknown in (flipped.rpartition("/")[2], "0" * 64, "abc", session_id.upper(), session_id + "\u0660"):
        reply = ingest.post(f"/api/v1/sessions/{unknown}/events", event("play"))
        assert reply.status_code == 404
        assert reply.headers["access-control-allow-origin"] == "*"
        assert "start a new session" in reply.json()["message"]


def test_a_session_of_yesterday_is_over(ingest: Ingest) -> None:
    """An id made more than 24 hours ago is ours, and answered 410."""
    keys = [SECRETS["PLAYHEAD_MAC_KEY"].encode()]
    old = mint_media_session(keys, partition=0, started_ms=1_600_000_000_000, entropy=bytes)
    reply = ingest.post(f"/api/v1/sessions/{old.id}/events", event("play"))
    assert reply.status_code == 410
    assert reply.headers["access-control-allow-origin"] == "*"


def test_a_session_end_may_be_repeated(ingest: Ingest) -> None:
    """Each repetition of sessionEnd is answered 204 and stored."""
    session = ingest.start(session_start())
    for _ in range(3):
        assert ingest.post(f"{session}/events", event("sessionEnd")).status_code == 204
    assert len(ingest.events(session)) == 4


def test_what_comes_after_the_end_is_welcome_for_a_while() -> None:
    """After its end a session takes all for 30 s, and for ever what its player says happened before the end."""
    ended = RecentEnds(sessions_max=2)
    ended.remember("s", ts_ms=1000, received_ms=1000, now_s=50)
    assert not ended.is_over("s", ts_ms=2000, now_s=79)
    assert ended.is_over("s", ts_ms=2000, now_s=81)
    assert not ended.is_over("s", ts_ms=1000, now_s=81)
    assert not ended.is_over("another", ts_ms=2000, now_s=81)


@pytest.mark.parametrize(("behind_ms", "is_over"), [(BEHIND_MS_MAX, True), (BEHIND_MS_MAX + 1, False)])
def test_an_end_of_long_ago_ends_nothing_here(behind_ms: int, is_over: bool) -> None:
    """Anyone may have sent it: 1970, or more than five minutes before its arrival; the player's own counts."""
    now_ms = 1_763_712_000_000
    ended = RecentEnds()
    for name, ts_ms in (("stranger", 1), ("late", now_ms - behind_ms)):
        ended.remember(name, ts_ms=ts_ms, received_ms=now_ms, now_s=50)
    assert not ended.is_over("stranger", ts_ms=now_ms, now_s=1_000)
    assert ended.is_over("late", ts_ms=now_ms, now_s=1_000) is is_over
    ended.remember("stranger", ts_ms=now_ms, received_ms=now_ms, now_s=60)
    assert not ended.is_over("stranger", ts_ms=now_ms, now_s=1_000)
    assert ended.is_over("stranger", ts_ms=now_ms + 1, now_s=1_000)


def test_ended_sessions_are_forgotten_oldest_first() -> None:
    """Only so many ends are remembered, so memory is bounded."""
    ended = RecentEnds(sessions_max=2)
    for name in ("a", "b", "c"):
        ended.remember(name, ts_ms=0, received_ms=0, now_s=0)
    assert [ended.is_over(name, ts_ms=1, now_s=100) for name in ("a", "b", "c")] == [False, True, True]


def test_a_start_belongs_to_sessions_and_nothing_else_does(ingest: Ingest) -> None:
    """sessionStart is refused as an event of a session, any other type as the start of one."""
    session = ingest.start(session_start())
    assert ingest.post(f"{session}/events", session_start()).status_code == 400
    assert ingest.post("/api/v1/sessions", event("play")).status_code == 400


def test_an_idempotency_key_makes_one_session_of_repeated_posts(ingest: Ingest) -> None:
    """Key and body together decide the ids: repeated they are the same, with another key or body they are not."""
    headers = {"Idempotency-Key": "k1"}
    first = ingest.start(session_start(), headers=headers)
    again = ingest.start(session_start(), headers=headers)
    assert first == again
    assert len({record["id"] for record in ingest.events(first)}) == 1
    others = {
        ingest.start(session_start(**{"media.id": "another"}), headers=headers),
        ingest.start(session_start(), headers={"Idempotency-Key": "k2"}),
        ingest.start(session_start()),
    }
    assert len(others | {first}) == 4
    for _ in range(2):
        ingest.post(f"{first}/events", event("play"), headers=headers)
    plays = [record["id"] for record in ingest.events(first) if record["type"].endswith("play")]
    assert len(plays) == 2
    assert len(set(plays)) == 1


def test_equal_bodies_without_a_key_are_events_of_their_own(ingest: Ingest) -> None:
    """Players send byte-equal events on purpose; each is a record with an id of its own."""
    session = ingest.start(session_start())
    for _ in range(2):
        ingest.post(f"{session}/events", event("play"))
    assert len({record["id"] for record in ingest.events(session)}) == 3


OFFLINE = [session_start(**{"media.downloaded": True}), event("play"), event("ping"), event("sessionEnd")]


def test_a_start_is_known_again_in_an_array(ingest: Ingest) -> None:
    """A player whose start got no reply may tell the whole session later; its lone start is then a copy."""
    start = msgspec.json.encode(session_start(**{"media.id": "told again"}))
    alone = ingest.start(start)
    array = b"[" + start + b", " + msgspec.json.encode(event("sessionEnd")) + b"]"
    whole = ingest.post("/api/v1/downloaded", array).headers["location"]
    other = ingest.start(session_start(**{"media.id": "another"}))
    hashes = [ingest.events(path)[0]["requesthashes"] for path in (alone, whole, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert "requesthashes" not in ingest.events(whole)[1]


@pytest.mark.parametrize("path", ["/api/v1/downloaded", "/api/v1/sessions"])
def test_an_offline_session_comes_as_one_array(ingest: Ingest, path: str) -> None:
    """A whole session is stored in order; posting the same body again changes no id."""
    body = [*OFFLINE[:-1], event("ping", params={"path": path}), OFFLINE[-1]]
    replies = [ingest.post(path, body) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [201, 201]
    (session,) = {reply.headers["location"] for reply in replies}
    records = ingest.events(session)
    assert [record["data"] for record in records[: len(body)]] == body
    assert len({record["id"] for record in records}) == len(body)
    assert {record["source"] for record in records} == {path}


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("/api/v1/downloaded", [*OFFLINE, event("stateStart")], "event 4"),
        ("/api/v1/downloaded", [*OFFLINE, session_start()], "event 4"),
        ("/api/v1/downloaded", [event("play")], "event 0"),
        ("/api/v1/downloaded", [], "array"),
        ("/api/v1/downloaded", session_start(), "array"),
        ("/api/v1/sessions", [session_start(), event("play")], "media.downloaded"),
        ("/api/v1/sessions", [session_start(**{"media.downloaded": False})], "media.downloaded"),
        ("/api/v1/sessions", session_start(**{"media.downloaded": True}), "media.downloaded"),
        ("/api/v1/sessions", [5], "event 0"),
    ],
)
def test_one_bad_element_refuses_the_whole(ingest: Ingest, path: str, body: Any, wanted: str) -> None:
    """The message names the element or what is missing, and nothing of the array is stored."""
    before = [record for record in ingest.records() if record["type"] != "playhead.rejected"]
    reply = ingest.post(path, body)
    assert reply.status_code == 400
    assert wanted in reply.json()["message"]
    assert [record for record in ingest.records() if record["type"] != "playhead.rejected"] == before


@pytest.mark.parametrize("name", list(EVENT_TYPES))
def test_each_event_type_has_a_schema(ingest: Ingest, name: str) -> None:
    """The JSON Schema of a type is served, and is the one made from its Struct."""
    reply = ingest.client.get(f"/api/v1/schemas/{name}")
    assert reply.status_code == 200
    assert reply.headers["access-control-allow-origin"] == "*"
    assert reply.json() == msgspec.json.decode(msgspec.json.encode(json_schema(name)))


def test_an_unknown_event_type_has_none(ingest: Ingest) -> None:
    """The schema of what is no event type is answered 404."""
    assert ingest.client.get("/api/v1/schemas/nonsense").status_code == 404


VALUES = {"string": "x", "integer": 2, "number": 1.5, "boolean": True, "states": [{"media.state.name": "mute"}]}


def whole_event(name: str) -> dict[str, Any]:
    """Return an event of a type with all that is documented for it, every integer being 2."""
    row = EVENT_TYPES[name]
    customer_ids = {"crm": {"id": "x", "authState": 2}}
    params = {p.key: customer_ids if p.kind == "customer ids" else VALUES[p.kind] for p in row.params}
    params.pop("media.downloaded", None)
    qoe = {param.key: VALUES[param.kind] for param in QOE}
    whole = event(name, qoeData=qoe)
    return whole | {"params": params} if params else whole


def with_integers(value: Any, form: str) -> str:
    """Return JSON in which every integer 2, and the timestamp, are written in another form."""
    text = json.dumps(value)
    ts = {"2.0": "1700000001000.0", "2e0": "1.700000001e12", "0.2E+1": "170000000.1000E4"}[form]
    return re.sub(r"(?<=: )2(?=[,}])", form, text).replace("1700000001000", ts)


@pytest.mark.parametrize("form", ["2.0", "2e0", "0.2E+1"])
@pytest.mark.parametrize("name", EVENT_TYPES)
def test_an_integer_may_be_written_as_any_number(ingest: Ingest, name: str, form: str) -> None:
    """JSON has one kind of number: what the JSON Schema takes for an integer is one, and is stored as one."""
    written = with_integers(whole_event(name), form)
    assert written.count(form) >= 3
    schema = ingest.client.get(f"/api/v1/schemas/{name}").json()
    jsonschema.validate(json.loads(written), schema)
    if EVENT_TYPES[name].starts:
        session = ingest.start(written.encode())
    else:
        session = ingest.start(session_start())
        assert ingest.post(f"{session}/events", written.encode()).status_code == 204
    record = ingest.events(session)[-1]
    assert "off_schema" not in record.get("flags", "")
    stored = json.dumps(record["data"])
    plain = copy.deepcopy(whole_event(name))
    if "visitor.customerIDs" in plain.get("params", {}):
        assert record["data"]["params"]["visitor.customerIDs"]["crm"]["authState"] == 2
    assert form not in stored
    assert '"ts": 1700000001000}' in stored
    assert {key: value for key, value in record["data"]["qoeData"].items() if "framesPerSecond" not in key} == {
        key: value for key, value in plain["qoeData"].items() if "framesPerSecond" not in key
    }


def test_an_offline_session_may_write_its_integers_so(ingest: Ingest) -> None:
    """Each event of the array."""
    start = session_start(**{"media.downloaded": True})
    start["playerTime"]["ts"] = 1_700_000_000_000.0
    events = [start, event("play", ts=1_700_000_001_000.0), event("sessionEnd", ts=1_700_000_002_000.0)]  # type: ignore[arg-type]
    session = ingest.start(events)
    stamps = [record["data"]["playerTime"]["ts"] for record in ingest.events(session)]
    assert [(type(ts), ts) for ts in stamps] == [(int, 1_700_000_000_000 + 1000 * n) for n in range(3)]


@pytest.mark.parametrize("ts", ["1700000001000.5", "1e300", "-1.0", "4102444800001.0", "1e16", "0.1", '"1.0"'])
def test_a_timestamp_that_is_no_whole_number_is_refused(ingest: Ingest, ts: str) -> None:
    """As are those out of range, however they are written."""
    body = json.dumps(event("play")).replace("1700000001000", ts)
    reply = ingest.post(f"{ingest.start(session_start())}/events", body.encode())
    assert reply.status_code == 400
    assert "`/playerTime/ts`" in reply.json()["message"]


@pytest.mark.parametrize("bitrate", ["1.5", "1e300", "9007199254740994.0"])
def test_an_optional_integer_that_is_no_whole_number_is_flagged(ingest: Ingest, bitrate: str) -> None:
    """Kept as it was sent."""
    session = ingest.start(session_start())
    body = json.dumps(event("ping", qoeData={"media.qoe.bitrate": 0})).replace(
        'bitrate": 0', f'bitrate": {bitrate}'
    )
    assert ingest.post(f"{session}/events", body.encode()).status_code == 204
    record = ingest.events(session)[-1]
    assert record["flags"] == "off_schema"
    assert record["data"]["qoeData"]["media.qoe.bitrate"] == float(bitrate)


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/sessions/abc/events", "/api/v1/downloaded"])
def test_a_browser_may_post_from_anywhere(ingest: Ingest, path: str) -> None:
    """A preflight allows what players' pages send, credentials too, and need not be repeated for hours."""
    asked = {
        "Origin": "https://player.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,user-agent",
    }
    reply = ingest.client.options(path, headers=asked)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == "https://player.example"
    assert reply.headers["access-control-allow-credentials"] == "true"
    assert int(reply.headers["access-control-max-age"]) >= 7200
    allowed = {name.strip().lower() for name in reply.headers["access-control-allow-headers"].split(",")}
    wanted = {
        "content-type",
        "user-agent",
        "x-jay-tracking",
        "__secure-jay_tracking",
        "idempotency-key",
        "traceparent",
    }
    assert wanted <= allowed


def preflight(ingest: Ingest, asked: str, path: str = "/api/v1/sessions") -> set[str]:
    """Return the headers that a preflight allows, in lower case."""
    headers = {
        "Origin": "https://player.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    reply = ingest.client.options(path, headers=headers)
    assert reply.status_code == 204
    assert reply.headers["vary"] == "Origin, Access-Control-Request-Headers"
    assert len(reply.headers["access-control-allow-headers"]) < 5_000
    return {name.strip().lower() for name in reply.headers["access-control-allow-headers"].split(",")}


COMMON = {
    "content-type",
    "user-agent",
    "x-jay-tracking",
    "__secure-jay_tracking",
    "idempotency-key",
    "traceparent",
    "x-consent",
    "content-encoding",
}


@pytest.mark.parametrize("path", ["/api/v1/sessions", "/api/v1/sessions/abc/events", "/api/v1/downloaded"])
@pytest.mark.parametrize(
    "asked",
    [
        "baggage,content-type,sentry-trace,traceparent,tracestate",
        "newrelic",
        "x-datadog-origin, x-datadog-parent-id,\tx-datadog-sampling-priority , x-datadog-trace-id",
        "authorization",
        "X-Anything-At-All, odd!#$%&'*+.^_`|~name",
        ",".join(f"x-{number}" for number in range(500)),
    ],
)
def test_a_page_may_send_whatever_headers_it_asks_for(ingest: Ingest, asked: str, path: str) -> None:
    """Instrumentation adds its own to each request; those that players send are allowed in any case."""
    assert preflight(ingest, asked, path) == COMMON | {name.strip().lower() for name in asked.split(",")}


@pytest.mark.parametrize(
    "asked", ["", "a b", "a,,b", "a:b", "a, b\u00e9", '"quoted"', "a;b", ",", "a,", "x" * 4_097, "a(b)", "x,\x01"]
)
def test_what_is_no_list_of_header_names_is_not_repeated(ingest: Ingest, asked: str) -> None:
    """The usual headers are allowed all the same, and nothing of what was asked is in the reply."""
    raw = f"OPTIONS /api/v1/sessions HTTP/1.1\r\nHost: a\r\nAccess-Control-Request-Headers: {asked}\r\n"
    reply = ingest.exchange(raw.encode() + b"Connection: close\r\n\r\n").partition(b"\r\n\r\n")[0].decode()
    if reply.startswith("HTTP/1.1 400"):  # no HTTP at all
        return
    assert reply.startswith("HTTP/1.1 204")
    (line,) = [line for line in reply.split("\r\n") if line.lower().startswith("access-control-allow-headers:")]
    assert {name.strip().lower() for name in line.partition(":")[2].split(",")} == COMMON


CREDENTIALS = "access-control-allow-credentials"
ALLOWED_ORIGIN = "access-control-allow-origin"


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [("https://tv.example", "https://tv.example"), ("capacitor://localhost", "capacitor://localhost")]
    + [
        (origin, "*") for origin in ("null", "https://tv.example/path", "https://a.example, https://b.example", "")
    ],
)
def test_an_origin_is_repeated_with_credentials_and_nothing_else_is(
    ingest: Ingest, origin: str, allowed: str
) -> None:
    """On preflights, successes and errors alike: a preflight does not say whether credentials will come."""
    headers = {"Origin": origin}
    start = ingest.post("/api/v1/sessions", session_start(), headers=headers)
    events = start.headers["location"] + "/events"
    for reply, status in (
        (start, 201),
        (ingest.post(events, event("play"), headers=headers), 204),
        (ingest.post(events, event("Play"), headers=headers), 400),
        (ingest.post("/api/v1/session", b"", headers=headers), 404),
        (ingest.client.get(events, headers=headers), 405),
        (ingest.client.options(events, headers=headers), 204),
    ):
        assert (reply.status_code, reply.headers[ALLOWED_ORIGIN]) == (status, allowed)
        assert reply.headers.get(CREDENTIALS) == (None if allowed == "*" else "true")
        assert ("Origin" in reply.headers.get("vary", "")) is (allowed != "*")
        assert reply.headers["access-control-expose-headers"] == "Location, Retry-After"
    assert start.headers["content-type"] == "application/octet-stream"


def test_origins_that_are_not_allowed_read_nothing_but_documents(tmp_path: Path) -> None:
    """With a list of origins, other pages get no permission of any API; their events are taken all the same."""
    tracking = "/v1/playouts/tracking/session"
    origins = "https://tv.example, https://b.example:8443"
    with running(tmp_path / "data", http_origins=origins, http_validate="on") as ingest:
        for origin, is_allowed in (
            ("https://tv.example", True),
            ("https://b.example:8443", True),
            ("https://b.example", False),
            ("https://evil.tv.example", False),
            ("null", False),
        ):
            headers = {"Origin": origin, "X-API-Key": "string"}
            for reply in (
                ingest.post("/api/v1/sessions", session_start(), headers=headers),
                ingest.post("/api/v1/sessions", b"", headers=headers),
                ingest.client.options("/api/v1/sessions", headers=headers),
                ingest.post(tracking, b"", headers=headers),
                ingest.post("/validate", session_start(), headers=headers),
                ingest.post("/validate", b" " * 70_000, headers=headers),
                ingest.client.options("/validate", headers=headers),
            ):
                assert reply.headers.get(ALLOWED_ORIGIN) == (origin if is_allowed else None)
                assert reply.headers.get(CREDENTIALS) == ("true" if is_allowed else None)
                assert "Origin" in reply.headers["vary"]
            assert ingest.client.get("/api/v1/schemas/play", headers=headers).headers[ALLOWED_ORIGIN] == "*"
        assert ingest.post("/api/v1/sessions", session_start()).status_code == 201
        assert len([record for record in ingest.records() if "sessionStart" in record["type"]]) == 6


def test_documents_and_health_are_readable_from_any_page(ingest: Ingest) -> None:
    """With `*`, errors and preflights among them."""
    schemas = ("/api/v1/schemas", "/api/v1/schemas/play", "/api/v1/schemas/nothing")
    for path in ("/schema", "/schema/openapi.json", "/asyncapi.json", "/health", "/health/ready", *schemas):
        asks = {"Origin": "https://tv.example", "Access-Control-Request-Method": "GET"}
        for reply in (ingest.client.get(path, headers=asks), ingest.client.options(path, headers=asks)):
            assert (reply.headers[ALLOWED_ORIGIN], CREDENTIALS in reply.headers) == ("*", False)
            assert reply.status_code < 500


def test_health_and_schemas_say_what_is_below_them(ingest: Ingest) -> None:
    """The health of the log, and where the schema of each event type is."""
    assert ingest.client.get("/health").json() == {"status": "ready"}
    for name, path in ingest.client.get("/api/v1/schemas").json().items():
        assert ingest.client.get(path).json()["properties"]["eventType"] == {"enum": [name]}


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD"])
def test_another_method_is_not_allowed(ingest: Ingest, method: str) -> None:
    """A method the path does not have is answered 405, with those it has and the CORS headers."""
    reply = ingest.client.request(method, "/api/v1/sessions")
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST, OPTIONS"
    assert MEDIA_CORS.items() <= dict(reply.headers).items()


def test_an_unknown_path_is_refused_in_the_protocol_s_own_form(ingest: Ingest) -> None:
    """404 with a message, CORS headers included, also below a path that exists."""
    for path in ("/", "/api/v1/nothing", "/api/v1/sessions/a/b/c", "/api/v1/sessionsx", "/health/x", "/x%00y"):
        reply = ingest.client.get(path)
        assert reply.status_code == 404
        assert reply.json()["message"].startswith("Nothing lives at this path")
        assert list(reply.json()) == ["message"]
        assert reply.headers["access-control-allow-origin"] == "*"


def test_cookies_change_nothing(ingest: Ingest) -> None:
    """A tracking cookie on a media call is ignored: only headers and custom metadata name a tracking session."""
    token = ingest.client.post("/v1/playouts/tracking/session", headers={"X-API-Key": "string"}).headers[
        "x-jay-tracking"
    ]
    session = ingest.start(session_start(), headers={"Cookie": f"__Secure-jay_tracking={token}"})
    assert "trackingsession" not in ingest.events(session)[0]


def test_strict_refuses_what_is_otherwise_flagged(tmp_path: Path) -> None:
    """Under PLAYHEAD_STRICT an odd playhead, a mistyped key and a missing one are 400s that name the field."""
    with running(tmp_path / "data", strict="on") as ingest:
        session = ingest.start(session_start())
        reply = ingest.post(f"{session}/events", event("play", playhead=-1))
        assert (reply.status_code, "playhead" in reply.json()["message"]) == (400, True)
        reply = ingest.post(f"{session}/events", event("play", customMetadata={"k": 1}))
        assert (reply.status_code, "customMetadata" in reply.json()["message"]) == (400, True)
        lacking = event("adBreakStart", params={"media.ad.podIndex": 1})
        reply = ingest.post(f"{session}/events", lacking)
        assert (reply.status_code, "media.ad.podSecond" in reply.json()["message"]) == (400, True)
        newest = session_start()
        del newest["params"]["analytics.reportSuite"]
        reply = ingest.post("/api/v1/sessions", newest)
        assert (reply.status_code, "analytics.reportSuite" in reply.json()["message"]) == (400, True)
        assert ingest.post("/api/v1/sessions", DOCUMENTED_START).status_code == 201
        assert ingest.post(f"{session}/events", event("play", ts=4_000_000_000_000)).status_code == 204
