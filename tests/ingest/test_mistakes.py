"""What the developer of a player reads after each of the usual mistakes."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from rigs.events import any_event
from rigs.ingest import SECRETS, event, session_start

from eventlog.adapters import create_log, open_writer
from ingest.app import build_app
from ingest.findings import NAMED_MAX, errors
from ingest.oddities import oddities
from schemas.faults import InvalidEvent
from schemas.media import check_event
from schemas.settings import read_settings

STARTS = "/api/v1/sessions"
EVENTS = "{session}/events"
OFFLINE = "/api/v1/downloaded"
START = session_start()
PLAY = event("play")
START_BYTES = json.dumps(START).encode()
PLAY_BYTES = json.dumps(PLAY).encode()


def player_time(**changed: object) -> dict[str, Any]:
    """Return a `play` with another `playerTime`; what is `...` is left out."""
    time = {"playhead": 1.0, "ts": 1_700_000_001_000} | changed
    return {"eventType": "play", "playerTime": {key: value for key, value in time.items() if value is not ...}}


# path, body, status, and what the message says.
MISTAKES: dict[str, tuple[str, Any, int, str]] = {
    # Bytes that are not JSON
    "nothing": (STARTS, b"", 400, "it is empty; send one event, a JSON object"),
    "white space": (STARTS, b" \n", 400, "it is empty"),
    "a byte-order mark": (STARTS, b"\xef\xbb\xbf" + START_BYTES, 400, "byte-order mark (EF BB BF); send UTF-8"),
    "UTF-16": (STARTS, START_BYTES.decode().encode("utf-16"), 400, "it is UTF-16; send UTF-8"),
    "UTF-16 without a mark": (STARTS, START_BYTES.decode().encode("utf-16-le"), 400, "looks like UTF-16"),
    "gzip without its header": (STARTS, gzip.compress(START_BYTES), 400, "Content-Encoding: gzip"),
    "zlib": (STARTS, zlib.compress(START_BYTES), 400, "it looks like zlib"),
    "a form": (STARTS, b"eventType=play&playhead=1", 400, "it looks like a form; the body has to be the JSON"),
    "JSON in a form": (STARTS, b"data=%7B%22eventType%22", 400, "a form with JSON in one of its fields"),
    "multipart": (
        STARTS,
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n{}',
        400,
        "multipart/form-data",
    ),
    "an object as text": (STARTS, b"[object Object]", 400, "send JSON.stringify(event)"),
    "HTML": (STARTS, b"<html></html>", 400, "HTML or XML"),
    "Base64": (STARTS, b"eyJldmVudFR5cGUiOiJwbGF5In0=", 400, "Base64"),
    "Latin-1": (
        STARTS,
        START_BYTES.replace(b"film-1", b"Caf\xe9 1"),
        400,
        "(E9) looks like Latin-1 or Windows-1252; send UTF-8 - at `/params/media.id`",
    ),
    "NaN": (
        EVENTS,
        PLAY_BYTES.replace(b"1.0", b"NaN"),
        400,
        "`NaN` is not a number in JSON; leave the key out, or send a number - at `/playerTime/playhead`",
    ),
    "two that are no numbers": (
        EVENTS,
        PLAY_BYTES.replace(b"1.0", b"NaN").replace(b"1700000001000", b"undefined"),
        400,
        "at `/playerTime/playhead`; `undefined` is not JSON; leave the key out - at `/playerTime/ts`",
    ),
    "-Infinity": (EVENTS, PLAY_BYTES.replace(b"1.0", b"-Infinity"), 400, "`-Infinity` is not a number in JSON"),
    "undefined": (
        EVENTS,
        PLAY_BYTES.replace(b"1700000001000", b"undefined"),
        400,
        "`undefined` is not JSON; leave the key out - at `/playerTime/ts`",
    ),
    "Python's None": (EVENTS, PLAY_BYTES.replace(b"1.0", b"None"), 400, "JSON has null"),
    "single quotation marks": (EVENTS, PLAY_BYTES.replace(b'"', b"'"), 400, "double quotation marks"),
    "a comma too many": (EVENTS, PLAY_BYTES[:-1] + b",}", 400, "no comma before `}`"),
    "a comment": (EVENTS, b"{ // now\n" + PLAY_BYTES[1:], 400, "JSON has no comments"),
    "keys without marks": (EVENTS, b"{eventType: 1}", 400, "double quotation marks"),
    "a line end in a string": (STARTS, START_BYTES.replace(b"film-1", b"a\nb"), 400, "\\u000a"),
    "a cut-off body": (EVENTS, PLAY_BYTES[:-2], 400, "ends too early"),
    "two documents": (EVENTS, PLAY_BYTES + b"\n" + PLAY_BYTES, 400, "several JSON documents; send one event in"),
    "something after the document": (EVENTS, PLAY_BYTES + b";", 400, "something follows the end"),
    "a number with a leading zero": (EVENTS, PLAY_BYTES.replace(b"1.0", b"01"), 400, "begins and ends with a"),
    "a number out of range": (EVENTS, PLAY_BYTES.replace(b"1.0", b"1e999"), 400, "too large - at `/playerTime/p"),
    "half a surrogate pair": (STARTS, START_BYTES.replace(b"film-1", b"\\ud83d"), 400, "surrogate pair"),
    "JSON encoded twice": (
        EVENTS,
        json.dumps(json.dumps(PLAY)),
        400,
        "a string with JSON in it: it was encoded tw",
    ),
    # Types of events
    "a capital letter": (
        EVENTS,
        event("Play"),
        400,
        "Unknown `eventType` 'Play': did you mean `play`? Known are play, sessionStart, ",
    ),
    "underscores": (STARTS, START | {"eventType": "session_start"}, 400, "did you mean `sessionStart`?"),
    "a browser's name": (EVENTS, event("timeupdate"), 400, "did you mean `ping`?"),
    "pause": (EVENTS, event("pause"), 400, "did you mean `pauseStart`?"),
    "the Edge's name": (EVENTS, event("media.bufferStart"), 400, "did you mean `bufferStart`?"),
    "a wrong letter": (EVENTS, event("adBrakeStart"), 400, "did you mean `adBreakStart`?"),
    "an unknown one": (EVENTS, event("xyz"), 400, "Unknown `eventType` 'xyz'. Known are sessionStart, "),
    "no type": (EVENTS, {"playerTime": PLAY["playerTime"]}, 400, "Expected `eventType`, a string"),
    "another key": (
        EVENTS,
        {"playerTime": PLAY["playerTime"], "event_type": "play"},
        400,
        "got 'event_type': did",
    ),
    "a number as type": (EVENTS, PLAY | {"eventType": 1}, 400, "Expected a string, got the number 1 - at `/eve"),
    # Time
    "no playerTime": (EVENTS, {"eventType": "play"}, 400, "Expected `playerTime`, an object of `playhead` (secon"),
    "playerTime spelt otherwise": (
        EVENTS,
        {"eventType": "play", "player_time": {}},
        400,
        "did you mean `playerTi",
    ),
    "times outside of it": (
        EVENTS,
        {"eventType": "play", "playhead": 1, "ts": 2},
        400,
        "put `playhead` and `ts` int",
    ),
    "no ts": (
        EVENTS,
        player_time(ts=..., timestamp=1),
        400,
        "Expected `ts`, an integer, milliseconds since 1970, got",
    ),
    "ts as text": (
        EVENTS,
        player_time(ts="1700000001000"),
        400,
        "leave out the quotation marks - at `/playerTime/ts",
    ),
    "a date": (EVENTS, player_time(ts="2026-01-01T00:00:00Z"), 400, "write `Date.now()`, not a date"),
    "a fraction": (EVENTS, player_time(ts=1_700_000_001_000.25), 400, "got the number 1700000001000.25: round it"),
    "microseconds": (
        EVENTS,
        player_time(ts=1_700_000_001_000_000),
        400,
        "are these microseconds? - at `/playerTi",
    ),
    "a negative ts": (EVENTS, player_time(ts=-5), 400, "got the number -5 - at `/playerTime/ts`"),
    "a playhead that was NaN": (
        EVENTS,
        player_time(playhead=None),
        400,
        "null, which JSON.stringify makes of NaN",
    ),
    "a playhead as text": (
        EVENTS,
        player_time(playhead="1.5"),
        400,
        "Expected a number of seconds, got the string '1.5'",
    ),
    "no playhead": (
        EVENTS,
        player_time(playhead=..., currentTime=3),
        400,
        "got 'currentTime': did you mean `playhead`",
    ),
    # Parts
    "no params": (STARTS, {k: v for k, v in START.items() if k != "params"}, 400, "Expected `params`, an object"),
    "params as an array": (
        STARTS,
        START | {"params": []},
        400,
        "Expected an object, got an array - at `/params`",
    ),
    "params encoded twice": (
        STARTS,
        START | {"params": "{}"},
        400,
        "a string with JSON in it: it was encoded twice",
    ),
    "a state without its name": (
        EVENTS,
        event("stateStart", params={"name": "mute"}),
        400,
        "did you mean `media.state.na",
    ),
    "nested params": (
        STARTS,
        START | {"params": {"media": {"id": "x"}}},
        400,
        "got an object: write the names with a dot between them, as one key - at '/params/media'",
    ),
    "an array in metadata": (EVENTS, event("ping", customMetadata={"tags": ["a"]}), 400, "got an array"),
    "too many keys": (
        EVENTS,
        event("ping", customMetadata={f"k{n}": "" for n in range(300)}),
        400,
        "at most 256 keys",
    ),
    # What belongs elsewhere
    "an event without a session": (STARTS, PLAY, 400, "Expected sessionStart here, got play: post it to /events"),
    "a sessionStart among events": (
        EVENTS,
        START,
        400,
        "Expected any event but sessionStart here: post that to /api",
    ),
    "an array for a live session": (STARTS, [START, PLAY], 400, "a live session is one event in each POST"),
    "an array of events": (EVENTS, [PLAY, PLAY], 400, "got an array: a live session is one event in each POST"),
    "an event in an envelope": (EVENTS, {"events": [PLAY]}, 400, "got it inside of the key 'events'"),
    "the Edge's envelope": (EVENTS, {"events": [{"xdm": {"eventType": "media.play"}}]}, 400, "Media Edge API"),
    "an offline session as an object": (
        STARTS,
        session_start(**{"media.downloaded": True}),
        400,
        "an array of events",
    ),
    "an array that begins later": (OFFLINE, [PLAY], 400, "event 0: Expected sessionStart here, got play"),
    "several bad ones in an array": (
        OFFLINE,
        [START, event("Play"), PLAY, {}],
        400,
        "; event 3: Expected `eventType`",
    ),
    # Paths
    "an id that was not read": (
        "/api/v1/sessions/undefined/events",
        PLAY,
        404,
        "Location of the reply to the sess",
    ),
    "a null id": ("/api/v1/sessions/null/events", PLAY, 404, "got 'null': the header Location"),
    **{
        f"a Location that was not read: {path}": (
            path,
            PLAY,
            404,
            "Location of the reply to the sessionStart was not",
        )
        for path in (
            "/undefined/events",
            "/null/events",
            "/events",
            "/player/undefined/events",
            "/[object Object]/events",
            "/api/v1/sessionsundefined/events",
            "/api/v1/sessions/undefined",
            "/api/v1/sessions/null",
            "/undefined",
            "/${location}/events",
        )
    },
    "a path before Location": (
        "/api/v1/sessions{session}/events",
        PLAY,
        404,
        "Location already begins with /api/v1/s",
    ),
    "the root": ("/", START, 404, "a sessionStart is posted to /api/v1/sessions"),
    "an object as id": ("/api/v1/sessions/[object Object]/events", PLAY, 404, "'[object Object]': the header Loc"),
    "a whole Location as id": (
        "/api/v1/sessions/%2Fapi%2Fv1%2Fsessions%2Fx/events",
        PLAY,
        404,
        "events are posted to",
    ),
    "an id too short": (
        f"/api/v1/sessions/{'0' * 63}/events",
        PLAY,
        404,
        "ids have 64 characters, this one has 63",
    ),
    "an id in capitals": (f"/api/v1/sessions/{'A' * 64}/events", PLAY, 404, "ids are in lower case"),
    "an invented id": (f"/api/v1/sessions/{'0' * 64}/events", PLAY, 404, "No session has this id; start a new"),
    "no /events": ("{session}", PLAY, 404, "events are posted to /api/v1/sessions/{session_id}/events"),
    "/event": ("{session}/event", PLAY, 404, "events are posted to /api/v1/sessions/{session_id}/events"),
    "no id": ("/api/v1/sessions//events", PLAY, 404, "events are posted to /api/v1/sessions/{session_id}/events"),
    "/session": ("/api/v1/session", START, 404, "did you mean /api/v1/sessions?"),
    "no version": ("/api/sessions", START, 404, "did you mean /api/v1/sessions?"),
    "another API's prefix": (
        "/v1/playout/tracking/session",
        {},
        404,
        "did you mean /v1/playouts/tracking/session?",
    ),
    "nothing like a path": ("/favicon.ico", {}, 404, "/schema lists those there are"),
}
HEADERS = {
    "JSON said to be gzip": ("gzip", "it is JSON as it is; leave out"),
    "brotli": ("br", "gzip or identity"),
}

Post = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def send(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    """The application in this process, and a way to post to it."""
    data_dir = tmp_path_factory.mktemp("mistakes")
    settings = read_settings({**SECRETS, "PLAYHEAD_DATA_DIR": str(data_dir), "PLAYHEAD_REJECTED_PER_S": "0"})
    with asyncio.Runner() as runner:
        runner.run(create_log(settings))
        writer = runner.run(open_writer(settings))
        app: Any = build_app(settings, writer).app
        transport = httpx.ASGITransport(app)
        client = httpx.AsyncClient(transport=transport, base_url="http://ingest")

        def request(path: str, body: Any, *, method: str = "POST", **options: Any) -> httpx.Response:
            content = body if isinstance(body, bytes | str) else json.dumps(body)
            return runner.run(client.request(method, path, content=content, **options))

        yield request
        runner.run(client.aclose())
        runner.run(writer.close())


@pytest.fixture(scope="module")
def session(send: Post) -> str:
    """A session that has begun."""
    return send(STARTS, START).headers["location"]


def message(reply: httpx.Response) -> str:
    """Return what a refusal says, in the form of its protocol."""
    body = reply.json()
    text: str = body.get("error", body)["message"]
    return text


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_explains_itself(send: Post, session: str, mistake: str) -> None:
    """The status, and what the message says."""
    path, body, status, words = MISTAKES[mistake]
    reply = send(path.replace("{session}", session), body)
    assert reply.status_code == status
    assert words in message(reply)
    assert len(message(reply)) < 2_000


@pytest.mark.parametrize("mistake", HEADERS)
def test_a_wrong_encoding_explains_itself(send: Post, mistake: str) -> None:
    """A Content-Encoding that the body does not have, or that nobody undoes."""
    encoding, words = HEADERS[mistake]
    reply = send(STARTS, START, headers={"Content-Encoding": encoding})
    assert (reply.status_code, words in message(reply)) == (400, True)


def test_a_refusal_names_everything_at_once(send: Post, session: str) -> None:
    """The most important comes first, each with its place; of very much the first things."""
    body = {"eventType": "Play", "playerTime": {"playhead": "1", "ts": 1.5}, "params": [], "x": {}}
    assert message(send(f"{session}/events", body)).split("; ") == [
        message(send(f"{session}/events", PLAY | {"eventType": "Play"})),
        message(send(f"{session}/events", player_time(playhead="1"))),
        "Expected an integer, milliseconds since 1970, got the number 1.5 - at `/playerTime/ts`",
        "Expected an object, got an array - at `/params`",
        "Expected a string, number, boolean or null, got an object - at '/x'",
    ]
    much = event("ping", customMetadata={f"k{n}": [] for n in range(200)})
    assert message(send(f"{session}/events", much)).split("; ")[NAMED_MAX:] == ["and more"]


def test_what_is_no_number_hides_no_other_mistake(send: Post, session: str) -> None:
    """The rest is judged as if it were not there, in an array too."""
    nan = {"eventType": "Play", "playerTime": {"playhead": float("nan"), "ts": "1"}, "params": []}
    assert message(send(f"{session}/events", nan)).split("; ") == [
        "the body is not JSON: `NaN` is not a number in JSON",
        "leave the key out, or send a number - at `/playerTime/playhead`",
        message(send(f"{session}/events", PLAY | {"eventType": "Play"})),
        message(send(f"{session}/events", player_time(ts="1"))),
        "Expected an object, got an array - at `/params`",
    ]
    array = message(send(OFFLINE, [START, nan, PLAY, {}]))
    assert " - at `/1/playerTime/playhead`; event 1: Unknown `eventType` 'Play'" in array
    assert "; event 3: Expected `eventType`, a string - at" in array


def test_an_array_says_that_more_events_are_bad(send: Post) -> None:
    """After the first four that it names, and only then; with a `NaN` in one of them as well."""
    for last in ({}, {"eventType": float("nan")}):
        for bad, is_more in ((4, False), (5, True)):
            said = message(send(OFFLINE, [START, *[{}] * (bad - 1), PLAY, last]))
            assert ("event 3: " in said, "event 6: " in said) == (True, False)
            assert said.endswith("; and more events") is is_more


def test_a_misspelt_path_answers_its_preflight(send: Post) -> None:
    """So a browser sends the request and shows the 404, instead of an error of CORS."""
    asks = {
        "Origin": "https://player.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-own",
    }
    for path in ("/api/v1/session", "/api/v1/sessions/undefined", "/session"):
        reply = send(path, b"", method="OPTIONS", headers=asks)
        assert (reply.status_code, "x-own" in reply.headers["access-control-allow-headers"]) == (204, True)
    assert send("/api/v1/session", b"", method="OPTIONS").status_code == 404


@given(any_event)
def test_what_is_explained_is_what_is_decided(body: Any) -> None:
    """Errors are found in exactly the events that are refused, and reasons for exactly the flags they get."""
    now_ms = 1_700_000_000_000
    try:
        row, flags = check_event(body, now_ms=now_ms)
    except InvalidEvent:
        assert [*errors(body)] != []
    else:
        assert [*errors(body)] == []
        assert {finding.code for finding in oddities(body, row, now_ms=now_ms)} == set(flags)
