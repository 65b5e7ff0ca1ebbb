"""What is known of the sender of a sessionStart: from the request to columns of `sessions`, and no further."""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rigs.places import write_places
from rigs.user_agents import USER_AGENTS, WINDOWS_CHROME
from rigs.whole import Stack, running

from schemas.named_keys import Scope, add_key, revoke_key

START = json.loads((Path(__file__).parents[1] / "data" / "media_timelines.json").read_text())["timelines"]["1"][0]
TS_MS: int = START["playerTime"]["ts"]
COLUMNS = ("device_type", "os", "browser", "is_bot", "country", "region")
PHONE = next(text for text, said in USER_AGENTS.items() if said[:2] == ("phone", "iOS"))
IN_BRUSSELS = "192.0.2.77"
FORWARDED = {"User-Agent": PHONE, "X-Forwarded-For": IN_BRUSSELS}
SAID = {"device_type": "phone", "os": "iOS", "browser": "Safari", "is_bot": False}
ALL = {**SAID, "country": "BE", "region": "BE-BRU"}
KEPT = dict.fromkeys(COLUMNS) | {"device_type": "phone", "country": "BE"}
DENIAL = {"Sec-GPC": "1"}


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A file of named keys, and the keys: for media, for the other API, and revoked."""
    file, now = tmp_path_factory.mktemp("keys") / "named_keys.json", datetime.now(UTC)
    scopes: dict[str, tuple[Scope, ...]] = {"news": ("media",), "backend": ("tracking",), "old-app": ("media",)}
    made = {name: add_key(file, name, each, now=now) for name, each in scopes.items()}
    revoke_key(file, "old-app", now=now)
    return file, made


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, keys: tuple[Path, dict[str, str]]) -> Iterator[Stack]:
    """One stack behind a proxy that names countries, with a file of places for those that it does not know."""
    cwd = tmp_path_factory.mktemp("clients")
    with running(
        cwd,
        PLAYHEAD_HTTP_TRUSTED_PROXIES="127.0.0.1",
        PLAYHEAD_HTTP_COUNTRY_HEADER="CF-IPCountry",
        PLAYHEAD_HTTP_REGION_HEADER="CF-Region-Code",
        PLAYHEAD_HTTP_PLACES_DATABASE=str(write_places(cwd / "places.mmdb")),
        PLAYHEAD_NAMED_KEYS=str(keys[0]),
    ) as stack:
        yield stack


def event(name: str, *, after_ms: int, **more: Any) -> dict[str, Any]:
    """Return an event so long after the start."""
    return {"eventType": name, "playerTime": {"playhead": 0, "ts": TS_MS + after_ms}, **more}


def client(row: dict[str, Any]) -> dict[str, Any]:
    """Return what a row says of the sender."""
    return {name: row[name] for name in COLUMNS}


def started(stack: Stack, **headers: str) -> dict[str, Any]:
    """Post a sessionStart with these headers; return what its row says of the sender."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client(stack.session(stack.play([START], headers=named), events=1))


def test_a_session_has_the_device_and_place_of_its_start(stack: Stack) -> None:
    """By the User-Agent and what the proxy says; later events, from another device, change nothing."""
    session_id = stack.play([START], headers={**FORWARDED, "CF-IPCountry": "US", "CF-Region-Code": "CA"})
    later = {"User-Agent": WINDOWS_CHROME, "CF-IPCountry": "JP"}
    path = f"/api/v1/sessions/{session_id}/events"
    assert stack.post(path, event("play", after_ms=100), headers=later).status_code == 204
    row = stack.session(session_id, events=2)
    assert client(row) == {**SAID, "country": "US", "region": "US-CA"}
    stored = stack.ask("SELECT event_type, client FROM events WHERE session_id = ? ORDER BY client_ts", session_id)
    assert [(row["event_type"], row["client"] is not None) for row in stored] == [
        ("sessionStart", True),
        ("play", False),
    ]


def test_the_file_names_the_place_that_the_proxy_does_not(stack: Stack) -> None:
    """For the address that the proxy forwards."""
    assert started(stack, **FORWARDED) == ALL
    assert started(stack, **{**FORWARDED, "CF-IPCountry": "XX"}) == ALL


def test_what_is_not_known_is_null(stack: Stack) -> None:
    """Without a User-Agent nothing is known of the device, and nothing of an address in no file."""
    assert started(stack, User_Agent="", X_Forwarded_For="8.8.8.8") == dict.fromkeys(COLUMNS)


def test_a_session_watched_offline_has_them_too(stack: Stack) -> None:
    """Of the device that uploaded it."""
    start = {**START, "params": {**START["params"], "media.downloaded": True}}
    reply = stack.post("/api/v1/downloaded", [start, event("sessionEnd", after_ms=5_000)], headers=FORWARDED)
    assert reply.status_code == 201
    row = stack.session(reply.headers["location"].rpartition("/")[2], events=2)
    assert client(row) == ALL


def test_a_session_that_names_no_site_has_that_of_its_key(stack: Stack, keys: tuple[Path, dict[str, str]]) -> None:
    """By the name of a valid key of the media API, with consent or without; a report suite counts before it."""
    named = keys[1]
    unnamed = {**START, "params": {**START["params"], "analytics.reportSuite": "-"}}

    def site(start: dict[str, Any], key: str, **headers: str) -> Any:
        session_id = stack.play([start], headers={"X-API-Key": key, **headers})
        return stack.session(session_id, events=1)["site"]

    assert site(unnamed, named["news"]) == site(unnamed, named["news"], **DENIAL) == "news"
    assert site(START, named["news"]) == "example-rsid"
    for other in (named["backend"], named["old-app"], "string", "invented"):
        assert site(unnamed, other) is None


@pytest.mark.parametrize("denial", [DENIAL, {"X-Consent": "denied"}, {"DNT": "1"}])
def test_a_denial_keeps_the_kind_of_device_and_the_country(stack: Stack, denial: dict[str, str]) -> None:
    """In the event and in the session."""
    session_id = stack.play([START], headers={**FORWARDED, **denial})
    assert client(stack.session(session_id, events=1)) == KEPT
    (stored,) = stack.ask("SELECT client FROM events WHERE session_id = ?", session_id)
    assert json.loads(stored["client"]) == {"device_type": "phone", "country": "BE"}


def test_a_denial_in_the_custom_metadata_counts_as_well(stack: Stack) -> None:
    """As everywhere."""
    denied = {**START, "customMetadata": {"consent": "denied"}}
    assert client(stack.session(stack.play([denied], headers=FORWARDED), events=1)) == KEPT


def test_a_denial_after_the_start_leaves_the_same(stack: Stack) -> None:
    """The session's row forgets the rest."""
    session_id = stack.play([START], headers=FORWARDED)
    assert client(stack.session(session_id, events=1)) == ALL
    path = f"/api/v1/sessions/{session_id}/events"
    assert stack.post(path, event("play", after_ms=100), headers=DENIAL).status_code == 204
    row = stack.session(session_id, events=2)
    assert (row["consent"], client(row)) == ("denied", KEPT)


def test_a_session_that_is_folded_again_keeps_them(stack: Stack) -> None:
    """From the events in the lake, when an event comes after its end."""
    session_id = stack.play([START, event("sessionEnd", after_ms=9_000)], headers=FORWARDED)
    closed = stack.until("SELECT * FROM sessions WHERE session_id = ? AND state = 'final'", session_id)
    path = f"/api/v1/sessions/{session_id}/events"
    assert stack.post(path, event("play", after_ms=100)).status_code == 204
    again = stack.until(
        "SELECT * FROM sessions WHERE session_id = ? AND state = 'final' AND version > ?",
        session_id,
        closed[0]["version"],
    )
    assert client(again[0]) == client(closed[0]) == ALL


def test_neither_user_agent_nor_address_is_in_any_byte(tmp_path: Path) -> None:
    """Not in the log, the lake, the catalogue, or the output of a process; accepted or refused, denied or not."""
    mark = "Qz7Marked"
    headers = {
        "User-Agent": f"{mark}/4.2 (Linux; Android 14; {mark} Build/1) CFNetwork/1 {mark}bot/2",
        "X-Forwarded-For": f"203.0.113.201, {IN_BRUSSELS}",
        "CF-IPCountry": f"{mark}, BE",
        "CF-Region-Code": mark,
    }
    with running(
        tmp_path,
        PLAYHEAD_HTTP_TRUSTED_PROXIES="127.0.0.1",
        PLAYHEAD_HTTP_COUNTRY_HEADER="cf-ipcountry",
        PLAYHEAD_HTTP_REGION_HEADER="cf-region-code",
        PLAYHEAD_HTTP_PLACES_DATABASE=str(write_places(tmp_path / "places.mmdb")),
    ) as stack:
        for more in ({}, DENIAL):
            session_id = stack.play([START, event("play", after_ms=100)], headers={**headers, **more})
            row = stack.session(session_id, events=2)
            assert (row["device_type"], row["country"]) == ("phone", "BE")
            assert stack.post("/api/v1/sessions", {}, headers={**headers, **more}).status_code == 400
        stack.catch_up()
        stack.until("SELECT 1 FROM quarantine HAVING count(*) >= 2")
        tables = stack.ask("SELECT table_name AS name FROM duckdb_tables() WHERE database_name = 'lake'")
        texts = [str(stack.ask(f"FROM {table['name']}")) for table in tables]
        texts += [str(pq.ParquetFile(path).read().to_pylist()) for path in tmp_path.rglob("*.parquet")]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".mmdb", ".parquet")]
    texts += [path.read_bytes().decode("latin-1") for path in files]
    assert any("BE-BRU" in text for text in texts)
    trace = re.compile(f"{mark}|{re.escape(IN_BRUSSELS)}|203\\.0\\.113\\.", re.IGNORECASE)
    assert not [text[:200] for text in texts if trace.search(text)]
