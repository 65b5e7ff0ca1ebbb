"""What POST /validate says of events, without storing any."""

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from rigs.events import any_event
from rigs.ingest import SECRETS, event, session_start

from eventlog.adapters import create_log, open_writer
from ingest.app import build_app
from ingest.hints import UNITS
from ingest.incoming import check
from ingest.verdicts import FINDINGS_MAX, Judge
from schemas.faults import InvalidEvent
from schemas.media import check_event
from schemas.settings import read_settings

NOW_MS = 1_700_000_000_000
Json = dict[str, Any]
Validate = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def validate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Validate]:
    """The application in this process, with validation on; in the end its log holds nothing."""
    named = {"DATA_DIR": str(tmp_path_factory.mktemp("validate")), "HTTP_VALIDATE": "on"}
    settings = read_settings({**SECRETS, **{f"PLAYHEAD_{name}": value for name, value in named.items()}})
    with asyncio.Runner() as runner:
        runner.run(create_log(settings))
        writer = runner.run(open_writer(settings))
        app: Any = build_app(settings, writer).app
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ingest")

        def post(body: Any, **options: Any) -> httpx.Response:
            content = body if isinstance(body, bytes) else json.dumps(body)
            return runner.run(client.post("/validate", content=content, **options))

        yield post
        runner.run(client.aclose())
        runner.run(writer.close())
        with contextlib.closing(sqlite3.connect(settings.data_dir / "log.sqlite")) as log:
            assert log.execute("SELECT count(*) FROM records").fetchone() == (0,)


def remarks(reply: httpx.Response, level: str | None = None) -> set[tuple[str, str]]:
    """Return code and pointer of each remark of a level."""
    assert reply.status_code == 200, reply.text
    found = [remark for remark in reply.json()["remarks"] if level in (None, remark["level"])]
    return {(remark["code"], remark["pointer"]) for remark in found}


def test_a_good_event_is_understood(validate: Validate) -> None:
    """When and where it happened, what it does, and which keys are read; nothing is remarked."""
    reply = validate(session_start(**{"media.name": "A film"}), headers={"Origin": "https://tv.example"})
    assert reply.headers["access-control-allow-origin"] == "*"
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
    assert wrong.json()["events"] == [{"event": 0, "accepted": False, "flags": [], "understood": None}]


@pytest.mark.parametrize(("part", "key", "above", "below", "unit"), UNITS)
def test_an_unlikely_unit_is_noted(part: str, key: str, above: float, below: float, unit: str) -> None:
    """Each, just beyond its limit, with the unit that is documented."""
    judge = Judge(strict=False, now_ms=NOW_MS, is_session=False)
    odd = above + 1 if below == float("inf") else below - 1
    body = session_start() if "ad" not in key and "chapter" not in key else event("adStart", params={})
    judge.take(json.dumps({**body, part: {**body.get(part, {}), key: odd}}).encode())
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


def test_an_answer_is_bounded(validate: Validate) -> None:
    """Of very many remarks the first are named, and the others counted; too large a body is refused."""
    many = validate([event(f"x{number}") for number in range(FINDINGS_MAX + 100)])
    assert (len(many.json()["remarks"]), many.json()["left_off"]) == (FINDINGS_MAX, 101)
    assert validate(b"[" + b" " * 2_000_000).status_code == 413


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


@given(any_event)
def test_a_verdict_is_what_an_ingest_decides(body: Any) -> None:
    """Of any event, strictly or not: accepted if it would be stored, with its flags; refused with a reason."""
    starts = type(body) is dict and body.get("eventType") == "sessionStart"
    for strict in (False, True):
        judge = Judge(strict=strict, now_ms=NOW_MS, is_session=False)
        judge.take(json.dumps(body).encode())
        verdict = judge.verdict()
        takes: Any = "a sessionStart" if starts else "any other event"
        try:
            flags = check(json.loads(json.dumps(body)), strict=strict, takes=takes, now_ms=NOW_MS).flags
        except InvalidEvent:
            assert not verdict.accepted
            assert any(remark.level == "error" for remark in verdict.remarks)
        else:
            assert verdict.accepted
            assert verdict.events[0].flags == flags == check_event(body, now_ms=NOW_MS)[1]
            assert {remark.code for remark in verdict.remarks if remark.level == "flag"} == set(flags)
            assert not any(remark.level == "error" for remark in verdict.remarks)
