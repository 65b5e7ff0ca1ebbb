"""What POST /validate says of events, without storing any."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs.events import any_event
from rigs.ingest import SECRETS, event, session_start

from eventlog.adapters import create_log, open_writer
from ingest.app import build_app
from ingest.bodies import BodyLimits
from ingest.hints import UNITS
from ingest.posts import Posts, posts_of
from ingest.verdicts import FINDINGS_MAX, Judge
from schemas.settings import read_settings

SESSIONS, DOWNLOADED = "/api/v1/sessions", "/api/v1/downloaded"
NOW_MS = 1_700_000_000_000
OFFLINE = session_start(**{"media.downloaded": True})
Json = dict[str, Any]
Validate = Callable[..., httpx.Response]


LIMITS = BodyLimits(65_536, 4_194_304)


class Served:
    """The application in this process, with validation on."""

    def __init__(self, runner: asyncio.Runner, folder: Path, **settings: str) -> None:
        named = {"DATA_DIR": str(folder), "HTTP_VALIDATE": "on", "REJECTED_PER_S": "0", **settings}
        self.settings = read_settings({**SECRETS, **{f"PLAYHEAD_{name}": value for name, value in named.items()}})
        self._runner = runner
        runner.run(create_log(self.settings))
        self._writer = runner.run(open_writer(self.settings))
        app: Any = build_app(self.settings, self._writer).app
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest")

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        """Post a body: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body)
        return self._runner.run(self._client.post(path, content=content, **options))

    def stored(self) -> list[Json]:
        """Return the records of its log."""
        with contextlib.closing(sqlite3.connect(self.settings.data_dir / "log.sqlite")) as log:
            return [json.loads(value) for (value,) in log.execute("SELECT value FROM records ORDER BY id")]

    def close(self) -> None:
        """End it."""
        self._runner.run(self._client.aclose())
        self._runner.run(self._writer.close())


@pytest.fixture(scope="module")
def validate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validate]:
    """A way to have events checked; in the end nothing is in the log."""
    with asyncio.Runner() as runner:
        served = Served(runner, tmp_path_factory.mktemp("validate"))
        yield partial(served.post, "/validate")
        served.close()
        assert served.stored() == []


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Served]]:
    """An ingest as it is by default, and a strict one."""
    with asyncio.Runner() as runner:
        both = [Served(runner, tmp_path_factory.mktemp(strict), STRICT=strict) for strict in ("off", "on")]
        yield both
        for served in both:
            served.close()


def remarks(reply: httpx.Response, level: str | None = None) -> set[tuple[str, str]]:
    """Return code and pointer of each remark of a level."""
    assert reply.status_code == 200, reply.text
    found = [remark for remark in reply.json()["remarks"] if level in (None, remark["level"])]
    return {(remark["code"], remark["pointer"]) for remark in found}


def test_a_good_event_is_understood(validate: Validate) -> None:
    """When and where it happened, what it does, and which keys are read; nothing is remarked."""
    reply = validate(session_start(**{"media.name": "A film"}), headers={"Origin": "https://tv.example"})
    verdict = reply.json()
    assert (verdict["accepted"], verdict["remarks"], verdict["left_off"]) == (True, [], 0)
    (of_event,) = verdict["events"]
    assert of_event["understood"] == {
        "event_type": "sessionStart",
        "at": "2023-11-14T22:13:20.000+00:00",
        "playhead_s": 0.0,
        "does": ["the session starts"],
        "keys": [*session_start()["params"], "media.name"],
    }


def test_every_error_flag_key_and_unit_is_named_with_its_place(validate: Validate) -> None:
    """By JSON pointer; what is refused is not understood."""
    body = session_start(**{"media.length": 5_400_000, "media.genere": "x", "media.ad.id": "a"})
    del body["params"]["media.channel"]
    body |= {"extra": 1, "qoeData": {"media.qoe.timeToStart": 2}, "customMetadata": {"a/b": 1}}
    body["playerTime"]["ts"] = 1_700_000_000
    reply = validate(body)
    assert remarks(reply, "flag") == {
        ("off_schema", "/params/media.channel"),
        ("off_schema", "/customMetadata/a~1b"),
        ("past_ts", "/playerTime/ts"),
    }
    assert remarks(reply, "note") == {
        ("unknown_key", "/extra"),
        ("unknown_key", "/params/media.genere"),
        ("unknown_key", "/params/media.ad.id"),
        ("unit", "/params/media.length"),
        ("unit", "/qoeData/media.qoe.timeToStart"),
    }
    assert reply.json()["events"][0]["flags"] == ["off_schema", "past_ts"]
    assert "did you mean `media.genre`?" in reply.text
    wrong = validate({"eventType": "Play", "playerTime": {"playhead": "1", "ts": 5}})
    assert remarks(wrong, "error") == {("unknown_event_type", "/eventType"), ("type", "/playerTime/playhead")}
    refused: Json = {"event": 0, "accepted": False, "post_to": None, "flags": [], "understood": None}
    assert wrong.json()["events"] == [refused]


@pytest.mark.parametrize(("part", "key", "above", "below", "unit"), UNITS)
def test_an_unlikely_unit_is_noted(part: str, key: str, above: float, below: float, unit: str) -> None:
    """Each, just beyond its limit, with the unit that is documented."""
    odd = above + 1 if below == float("inf") else below - 1
    body = session_start() if "ad" not in key and "chapter" not in key else event("adStart", params={})
    body = {**body, part: {**body.get(part, {}), key: odd}}
    judge = Judge(posts_of(json.dumps(body).encode(), LIMITS), strict=False, now_ms=NOW_MS)
    list(judge.each())
    noted = [remark for remark in judge.verdict().remarks if remark.code == "unit"]
    assert [(remark.pointer, unit in remark.message) for remark in noted][-1:] == [(f"/{part}/{key}", True)]


def test_the_events_of_a_session_are_judged_in_their_order(validate: Validate) -> None:
    """Times that do not increase, ads outside of breaks, ends without beginnings, and what is left open."""
    events = [
        session_start(),
        event("play", ts=1_700_000_002_000),
        event("adStart", ts=1_700_000_001_000),
        event("chapterComplete", ts=1_700_000_003_000),
        event("Pause"),
        event("sessionStart"),
    ]
    reply = validate(events)
    assert remarks(reply, "note") == {
        ("order", "/2/playerTime/ts"),
        ("order", "/2/eventType"),
        ("order", "/3/eventType"),
        ("order", "/5/playerTime/ts"),
        ("order", "/5"),
    }
    assert remarks(reply, "error") == {
        ("unknown_event_type", "/4/eventType"),
        ("path", "/5/eventType"),
        ("missing", "/5/params"),
    }
    assert [each["accepted"] for each in reply.json()["events"]] == [True] * 4 + [False] * 2
    assert reply.json()["accepted"] is False
    good = [session_start(), event("play"), event("sessionEnd", ts=1_700_000_002_000)]
    assert validate(good).json()["remarks"] == []


@pytest.mark.parametrize("body", [b"", b"{", b"[{]", b"[1", b'"x"', b"[[]]", b"\x1f\x8bx"])
def test_what_is_not_an_event_is_an_answer_too(validate: Validate, body: bytes) -> None:
    """The verdict names it, as an ingest would refuse it."""
    reply = validate(body)
    assert reply.json()["accepted"] is False
    assert reply.json()["remarks"][0]["level"] == "error"


def test_an_event_that_is_refused_is_judged_to_its_end(validate: Validate) -> None:
    """Beside its errors it has every flag, unknown key and unit, so that one round says it all."""
    body = session_start(**{"media.length": 5_400_000, "media.genere": "x"})
    body["playerTime"] = {"playhead": "0", "ts": 5}
    del body["params"]["media.channel"]
    reply = validate(body)
    assert remarks(reply, "error") == {("type", "/playerTime/playhead")}
    assert remarks(reply, "flag") == {("past_ts", "/playerTime/ts"), ("off_schema", "/params/media.channel")}
    assert remarks(reply, "note") == {("unit", "/params/media.length"), ("unknown_key", "/params/media.genere")}
    untyped = validate(body | {"eventType": "Start", "extra": 1, "customMetadata": {"a": 1}})
    assert {
        ("unknown_event_type", "/eventType"),
        ("unknown_key", "/extra"),
        ("off_schema", "/customMetadata/a"),
        ("past_ts", "/playerTime/ts"),
    } < remarks(untyped)


def test_what_stands_in_the_place_of_numbers_is_named_each_time(validate: Validate) -> None:
    """With its pointer, and the rest of the event is judged; in an array, the other events are."""
    nan = json.dumps(event("play", extra=1)).replace("1.0", "NaN").replace("1700000001000", "undefined").encode()
    found = {
        ("not_json", "/playerTime/playhead"),
        ("not_json", "/playerTime/ts"),
        ("unknown_key", "/extra"),
    }
    assert remarks(validate(nan)) == found
    array = validate(b"[" + json.dumps(session_start()).encode() + b"," + nan + b"]")
    assert [each["accepted"] for each in array.json()["events"]] == [True, False]
    assert remarks(array) == {*((code, "/1" + place) for code, place in found), ("order", "/1")}


def test_an_array_that_cannot_be_divided_says_so(validate: Validate) -> None:
    """The error has its place, as far as it is known, and a note says that no event was judged."""
    for body, found in (
        (b'[{"eventType": "play"}, {"a": 0x}]', ("not_json", "/1/a")),
        (b'[{"eventType": "play"}, 1]', ("invalid_event", "/1")),
        (b"[NaN]", ("not_json", "/0")),
    ):
        reply = validate(body)
        assert (reply.json()["accepted"], reply.json()["events"]) == (False, [])
        assert remarks(reply) == {found, ("not_judged", "")}
        assert {remark["event"] for remark in reply.json()["remarks"]} == {None}


def test_an_empty_array_has_the_reason_of_the_routes(validate: Validate, both: list[Served]) -> None:
    """It is refused with the message that a route gives."""
    (remark,) = validate([]).json()["remarks"]
    assert remark["message"] == both[0].post(SESSIONS, []).json()["message"]


def test_events_in_lines_are_those_of_a_session(validate: Validate) -> None:
    """As `playhead check` reads them; documents that are not in lines are told what to do here."""
    lines = [session_start(), event("Play"), event("sessionEnd")]
    reply = validate("\n".join(map(json.dumps, lines)).encode())
    assert remarks(reply, "error") == {("unknown_event_type", "/1/eventType")}
    joined = validate(b"".join(json.dumps(each).encode() for each in lines))
    assert "as an array, or each in a line" in joined.json()["remarks"][0]["message"]


def test_an_answer_is_bounded(validate: Validate) -> None:
    """Of very many remarks the first are named, and the others counted; too large a body is refused."""
    many = validate([event(f"x{number}") for number in range(FINDINGS_MAX + 100)])
    assert (len(many.json()["remarks"]), many.json()["left_off"]) == (FINDINGS_MAX, 101)
    assert validate(b"[" + b" " * 2_000_000).status_code == 413


def test_a_page_that_sends_credentials_reads_the_answer(validate: Validate) -> None:
    """Its origin is repeated, as by the media routes, in refusals too."""
    for body in (session_start(), b" " * 70_000):
        headers = validate(body, headers={"Origin": "https://tv.example"}).headers
        assert headers["access-control-allow-origin"] == "https://tv.example"
        assert headers["access-control-allow-credentials"] == "true"


def test_checking_needs_no_key(tmp_path: Path) -> None:
    """Also where events need one: nothing is stored, and nothing said that the documents do not say."""
    with asyncio.Runner() as runner:
        served = Served(runner, tmp_path, MEDIA_NEEDS_KEY="on")
        assert served.post(SESSIONS, session_start()).status_code == 401
        assert served.post("/validate", session_start()).json()["accepted"] is True
        served.close()


def test_validation_is_off_by_default(tmp_path: Any) -> None:
    """404, which names the setting."""
    settings = read_settings({**SECRETS, "PLAYHEAD_DATA_DIR": str(tmp_path)})

    async def ask() -> httpx.Response:
        await create_log(settings)
        writer = await open_writer(settings)
        app: Any = build_app(settings, writer).app
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest") as client:
            reply = await client.post("/validate", json=event("play"))
        await writer.close()
        return reply

    reply = asyncio.run(ask())
    assert (reply.status_code, "PLAYHEAD_HTTP_VALIDATE" in reply.json()["message"]) == (404, True)


good_events = st.sampled_from(
    [
        session_start(),
        session_start(**{"media.downloaded": True}),
        session_start(**{"media.downloaded": False}),
        session_start(**{"media.downloaded": "true"}),
        event("play"),
        event("Play"),
        event("sessionEnd"),
        event("ping", customMetadata={"padding": "x" * 65_536}),
    ]
)


@given(any_event | good_events | st.lists(good_events | any_event, max_size=4))
def test_a_verdict_is_what_the_routes_decide(both: list[Served], body: Any) -> None:
    """What is accepted is stored with the same flags, posted as the verdict says; no route takes the rest."""
    for served in both:
        reply = served.post("/validate", body)
        if reply.status_code == 413:
            assert served.post(
                f"{served.post(SESSIONS, session_start()).headers['location']}/events", body
            ).is_error
            continue
        verdict = reply.json()
        has_errors = any(remark["level"] == "error" for remark in verdict["remarks"])
        assert verdict["accepted"] is not has_errors
        if verdict["form"] == "an offline session" or not verdict["events"]:
            replies = [served.post(path, body) for path in (SESSIONS, DOWNLOADED)]
            assert [each.status_code for each in replies] == [201 if verdict["accepted"] else 400] * 2
            continue
        events = [body] if verdict["form"] == "one event" else body
        for one, judged in zip(events, verdict["events"], strict=True):
            location = served.post(SESSIONS, session_start()).headers["location"]
            paths = {f"{location}/events"}
            if judged["event"] == 0:
                paths.add(SESSIONS)
            if not judged["accepted"]:
                assert {served.post(path, one).status_code for path in paths} <= {400, 413}
                continue
            path = judged["post_to"].replace("/api/v1/sessions/{session_id}", location)
            assert path in paths
            assert served.post(path, one).is_success
            assert served.stored()[-1].get("flags", "").split(",") == (judged["flags"] or [""])


@given(
    any_event, st.sampled_from([("playerTime", "playhead"), ("params", "media.length"), ("eventType",), ("x",)])
)
def test_what_a_route_says_of_a_body_that_is_not_json_is_the_verdict(
    both: list[Served], body: Any, place: tuple[str, ...]
) -> None:
    """With a `NaN` somewhere, alone and in an array, it names the same errors: the first eight."""
    if type(body) is not dict:
        return
    flawed: Json = {**body, place[0]: float("nan")}
    if len(place) > 1:
        part = body.get(place[0])
        flawed[place[0]] = {**(part if type(part) is dict else {}), place[1]: float("nan")}
    for served in both:
        location = served.post(SESSIONS, session_start()).headers["location"]
        alone = SESSIONS if flawed.get("eventType") == "sessionStart" else f"{location}/events"
        for path, sent in ((alone, flawed), (DOWNLOADED, [OFFLINE, flawed])):
            said = served.post(path, sent).json()["message"]
            found = [
                each["message"]
                for each in served.post("/validate", sent).json()["remarks"]
                if each["level"] == "error"
            ]
            assert [each for each in found[:8] if each not in said] == []
            assert said.endswith("; and more") is (len(found) > 8)


@given(any_event)
def test_each_flag_has_its_remark(body: Any) -> None:
    """An event that is accepted has the remarks of its flags and no others; a refused one has an error."""
    for strict in (False, True):
        judge = Judge(Posts([json.dumps(body).encode()], "one event", 65_536), strict=strict, now_ms=NOW_MS)
        (incoming,) = judge.each()
        verdict = judge.verdict()
        assert verdict.accepted is (incoming is not None)
        assert verdict.accepted is not any(remark.level == "error" for remark in verdict.remarks)
        if incoming is not None:
            assert {remark.code for remark in verdict.remarks if remark.level == "flag"} == set(incoming.flags)
