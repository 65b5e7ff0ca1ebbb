"""From a player's request to a row in SQL, over real processes: everything arrives, and nothing that must not."""

import asyncio
import base64
import contextlib
import gzip
import json
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest
from rigs.commands import SECRETS, playhead
from rigs.hostile_bodies import CORPUS
from rigs.whole import Stack, running

from ingest.identity import pseudonym

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parents[1] / "data"
TIMELINES = json.loads((DATA / "media_timelines.json").read_text())["timelines"]
GOLDEN = json.loads((DATA / "fold_timelines.json").read_text())
EXAMPLES = json.loads((DATA / "tracking_examples.json").read_text())
DOCUMENTED = json.loads((DATA / "documented_examples.json").read_text())
# The first event of a timeline, without the user identity in it.
ANONYMOUS = {
    **TIMELINES["1"][0],
    "params": {
        name: value for name, value in TIMELINES["1"][0]["params"].items() if name != "analytics.visitorId"
    },
}
KEY = SECRETS["PLAYHEAD_PSEUDONYM_KEY"].encode()
API = {"X-API-Key": "string"}
TRACKING = "/v1/playouts/tracking/session"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the tests that do not mind each other; at the end it must be as promised."""
    cwd = tmp_path_factory.mktemp("end_to_end")
    with running(cwd) as stack:
        yield stack
    done = playhead("verify", cwd=cwd)
    assert done.returncode == 0, done.stdout


# ---- what a player's developer copies from the documentation


def documented(stack: Stack, name: str) -> dict[str, Any]:
    """Post a session of examples; return its row, its ads, chapters, states and errors in it."""
    events = DOCUMENTED["online"][name]
    return stack.session(stack.play(events), events=len(events))


def test_examples_of_events_give_their_numbers(stack: Stack) -> None:
    """Ads 5 s and 3 s, content 25 + 15 + 80 s, buffering 2 s, a pause of 4 s, full screen 27 s, an error."""
    row = documented(stack, "as the pages of events have them")
    assert (row["content_id"], row["content_type"], row["player_name"]) == ("film-77", "vod", "Web Player")
    assert (row["ad_time_s"], row["ads_completed"], row["ads_skipped"], row["ad_breaks_completed"]) == (8, 1, 1, 1)
    assert (row["content_time_s"], row["buffer_time_s"], row["pause_time_s"]) == (120, 2, 4)
    assert (row["is_completed"], row["chapters_completed"], row["chapters_started"]) == (True, 1, 2)
    assert (row["average_bitrate_bps"], row["bitrate_changes"], row["flags"]) == (3200, 1, ["bitrate_kbps"])
    assert [(error["error_id"], error["source"]) for error in row["playback_errors"]] == [
        ("media-error-9", "player")
    ]
    assert [(state["name"], state["time_s"]) for state in row["player_states"]] == [("fullscreen", 27)]
    flagged = stack.ask(
        "SELECT event_type, flags FROM events WHERE session_id = ? AND len(flags) > 0 ORDER BY log_offset",
        row["session_id"],
    )
    lacking = ("sessionStart", "adStart", "adStart")
    assert [(found["event_type"], found["flags"]) for found in flagged] == [
        (event_type, ["off_schema"]) for event_type in lacking
    ]


def test_quality_in_params_counts_as_in_qoe_data(stack: Stack) -> None:
    """Five pages of the documentation have it there."""
    row = documented(stack, "as the pages of variables have quality")
    assert (row["time_to_start_ms"], row["dropped_frames"]) == (1500, 3)
    assert (row["average_bitrate_bps"], row["bitrate_changes"], row["flags"]) == (4500, 3, ["bitrate_kbps"])
    sent = stack.ask(
        "SELECT params::JSON->>'$.\"media.qoe.bitrate\"' AS bitrate, qoe FROM events "
        "WHERE session_id = ? AND event_type = 'bitrateChange' ORDER BY log_offset",
        row["session_id"],
    )
    assert [(found["bitrate"], found["qoe"]) for found in sent] == [("4500", None), (None, None), (None, None)]


def test_bare_names_and_other_spellings_of_the_timelines_count(stack: Stack) -> None:
    """`bitrate` in qoeData, `media.qoe.media.errorSource`; an error without either is an error."""
    row = documented(stack, "as the timelines have them")
    assert (row["average_bitrate_bps"], row["ad_time_s"], row["flags"]) == (10_000, 7, ["bitrate_kbps"])
    errors = [(error["error_id"], error["source"]) for error in row["playback_errors"]]
    assert errors == [("e-22", "external"), (None, None)]


def test_names_in_any_case_are_one_name(stack: Stack) -> None:
    """`fullScreen` ends as `fullscreen`, `Live` is live; an update that names no state is flagged."""
    row = documented(stack, "as the page of several states has them")
    assert (row["content_type"], row["is_live"]) == ("live", True)
    states = {state["name"]: (state["starts"], state["time_s"], state["is_on"]) for state in row["player_states"]}
    assert states == {"mute": (1, 2, False), "pictureInPicture": (1, 2, False), "fullscreen": (1, 3, False)}
    (flagged,) = stack.ask(
        "SELECT event_type FROM events WHERE session_id = ? AND list_contains(flags, 'no_state')",
        row["session_id"],
    )
    assert flagged["event_type"] == "statesUpdate"


@pytest.mark.parametrize("path", DOCUMENTED["offline"])
def test_a_session_played_offline_comes_as_its_examples_have_it(stack: Stack, path: str) -> None:
    """At the route of its own without the flag, at the older one with it."""
    reply = stack.post(path, DOCUMENTED["offline"][path])
    assert reply.status_code == 201, reply.text
    row = stack.session(reply.headers["location"].rpartition("/")[2], events=6)
    assert (row["content_time_s"], row["is_completed"], row["is_downloaded"]) == (35, True, True)


# ---- what was sent is what is there


@pytest.mark.parametrize("name", list(TIMELINES))
def test_a_documented_timeline_arrives_event_by_event(stack: Stack, name: str) -> None:
    """Type, time, playhead, params, qoe and custom metadata are equal to what was sent, but for identities."""
    sent = TIMELINES[name]
    session_id = stack.play(sent)
    stack.session(session_id, events=len(sent))
    rows = stack.ask(
        "SELECT *, epoch_ms(client_ts) AS ts FROM events WHERE session_id = ? ORDER BY log_offset", session_id
    )
    assert len(rows) == len(sent)
    for row, event in zip(rows, sent, strict=True):
        params = dict(event.get("params", {}))
        if "analytics.visitorId" in params:
            params["analytics.visitorId"] = pseudonym(KEY, "user", params["analytics.visitorId"])
        assert row["event_type"] == event["eventType"]
        assert (row["ts"], row["playhead_s"]) == (event["playerTime"]["ts"], event["playerTime"]["playhead"])
        assert json.loads(row["params"] or "{}") == params
        assert json.loads(row["qoe"] or "{}") == event.get("qoeData", {})
        assert json.loads(row["custom_metadata"] or "{}") == event.get("customMetadata", {})
        assert row["other"] is None
        assert row["flags"] == []
    assert len({row["event_id"] for row in rows}) == len(rows)


@pytest.mark.parametrize("name", list(GOLDEN))
def test_a_documented_timeline_gives_its_numbers(stack: Stack, name: str) -> None:
    """With the seconds of the documentation's tables, a session's row has exactly the documented values."""
    derived = GOLDEN[name]["derived"]
    began_ms = 1_700_000_000_000
    events = [
        {**{key: value for key, value in event.items() if key != "at_s"}}
        | {"playerTime": {**event["playerTime"], "ts": began_ms + round(event["at_s"] * 1000)}}
        for event in GOLDEN[name]["events"]
    ]
    row = stack.session(stack.play(events), events=len(events))
    assert row["state"] == "provisional"
    wanted = {
        "content_time_s": derived["content_time_spent_s"],
        "ad_time_s": derived["ad_time_spent_s"],
        "media_time_s": derived["media_time_spent_s"],
        "pauses": derived["pause_events"],
        "pause_time_s": derived["pause_time_s"],
        "buffers": derived["buffer_events"],
        "buffer_time_s": derived["buffer_time_s"],
        "ads_started": derived["ad_starts"],
        "ads_completed": derived["ad_completes"],
        "ads_skipped": 0,
        "chapters_started": derived.get("chapter_starts", 0),
        "chapters_completed": derived.get("chapter_completes", 0),
        "progress_pct": derived["progress_markers"][-1],
        "is_started": True,
        "is_completed": True,
        "errors": 0,
        "stalls": 0,
        "gap_s": 0,
        "content_name": "ClickMe",
        "length_s": 60.3333333333333,
        "user_id": pseudonym(KEY, "user", "user-123456"),
        "user_id_source": "analytics.visitorId",
    }
    assert {name: row[name] for name in wanted} == wanted
    times = stack.ask("SELECT time_s FROM chapters WHERE session_id = ? ORDER BY started_at", row["session_id"])
    assert [chapter["time_s"] for chapter in times] == derived.get("chapter_time_spent_s", [])
    assert len(stack.ask("FROM ads WHERE session_id = ?", row["session_id"])) == derived["ad_starts"]


def test_the_requests_of_the_readme_are_answered_as_it_says(stack: Stack) -> None:
    """Each `curl` of the page, typed literally; the id in the second is the one from the first reply."""
    blocks = re.findall(r"^```sh\n(curl.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    commands = [command for block in blocks for command in re.findall(r"^curl.*?(?=^#)", block, re.M | re.S)]
    secrets = stack.cwd / "data" / "secrets"
    secrets.mkdir(exist_ok=True)
    (secrets / "api_keys").write_text(API["X-API-Key"])
    session_id, answers = "019a...", []
    for command in commands:
        command = command.replace("http://127.0.0.1:8080", f"http://127.0.0.1:{stack.port}")
        done = subprocess.run(
            ["bash", "-c", command.replace("019a...", session_id)],
            cwd=stack.cwd,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(done.stdout)
        if location := re.search(r"^location: /api/v1/sessions/(\w{64})$", done.stdout, re.MULTILINE):
            session_id = location[1]
    assert [answer.splitlines()[0] for answer in answers] == [
        "HTTP/1.1 201 Created",
        "HTTP/1.1 204 No Content",
        "HTTP/1.1 200 OK",
    ]
    assert set(json.loads(answers[2].splitlines()[-1])) == {"session_id", "start_time", "source"}
    assert stack.session(session_id, events=2)["content_name"] == "Big Buck Bunny"


def test_an_ended_session_is_final(stack: Stack) -> None:
    """With a sessionEnd the row closes, and says why."""
    end = {
        "eventType": "sessionEnd",
        "playerTime": {"playhead": 45, "ts": TIMELINES["1"][-1]["playerTime"]["ts"] + 1},
    }
    session_id = stack.play([*TIMELINES["1"], end])
    row = stack.until("FROM sessions WHERE session_id = ? AND state = 'final'", session_id)[0]
    assert (row["close_reason"], row["version"], row["events"]) == ("ended", 1, len(TIMELINES["1"]) + 1)


def test_an_offline_session_arrives_once_however_often_it_is_sent(stack: Stack) -> None:
    """Posted three times: one session, each event once, the rest counted as duplicates."""
    sent = [*TIMELINES["3"]]
    sent[0] = {**sent[0], "params": {**sent[0]["params"], "media.downloaded": True}}
    before = stack.ask("SELECT sum(duplicates)::INTEGER AS n FROM ledger")[0]["n"]
    paths = {stack.post("/api/v1/downloaded", sent).headers["location"] for _ in range(3)}
    (session_id,) = {path.rpartition("/")[2] for path in paths}
    row = stack.session(session_id, events=len(sent))
    assert row["is_downloaded"]
    stack.until("SELECT 1 FROM ledger HAVING sum(duplicates) = ?", before + 2 * len(sent))
    assert stack.ask("SELECT count(*) AS n FROM events WHERE session_id = ?", session_id) == [{"n": len(sent)}]


def test_every_tracking_example_arrives(stack: Stack) -> None:
    """What the documentation's examples create and delete is in `tracking_sessions`; showing leaves nothing."""
    before = {row["tracking_session_id"] for row in stack.ask("FROM tracking_sessions")}
    wanted: dict[str, dict[str, Any]] = {}
    latest = ""
    for example in EXAMPLES:
        body, headers = example["body"], dict(example["headers"])
        for name, value in headers.items():
            headers[name] = re.sub(r"<session.*?>", latest, value)
        content = body.encode() if isinstance(body, str) else b"" if body is None else json.dumps(body).encode()
        reply = stack.client.request(
            example["method"], example["path"], params=example["query"], headers=headers, content=content
        )
        stack.client.cookies.clear()
        assert reply.status_code == (
            400 if example["id"] == "get-none" else 204 if example["method"] == "OPTIONS" else 200
        )
        if example["method"] == "POST":
            latest = reply.json()["session_id"]
            user_id = example["query"].get("user_id") or next(iter((body or {}).values()), None)
            wanted[latest] = {
                "playout_id": "{playout_id}" if "{" in example["path"] else None,
                "user_id": pseudonym(KEY, "user", user_id) if user_id else None,
                "source": "jay.api.playout.1.0.0",
                "verified": True,
                "deleted": False,
            }
        elif example["method"] == "DELETE":
            # A token that was not issued here has no session of ours: its id is replaced.
            foreign = pseudonym(KEY, "tracking", "example-session-id-1234")
            deleted = foreign if example["id"].startswith("reference") else latest
            wanted.setdefault(
                deleted, {"playout_id": "{playout_id}", "user_id": None, "source": None, "verified": False}
            )
            wanted[deleted]["deleted"] = True
    stack.catch_up()
    rows = stack.ask("SELECT *, deleted_at IS NOT NULL AS deleted FROM tracking_sessions")
    found = {
        row["tracking_session_id"]: {
            name: row[name] for name in ("playout_id", "user_id", "source", "verified", "deleted")
        }
        for row in rows
        if row["tracking_session_id"] not in before
    }
    assert found == wanted


def test_a_session_belongs_to_the_user_of_the_tracking_session_it_names(stack: Stack) -> None:
    """The user id was given to the tracking API alone, the media calls name its session."""
    made = stack.post(TRACKING, {"user_id": "someone"}, headers=API)
    events = [ANONYMOUS, *TIMELINES["1"][1:]]
    session_id = stack.play(events, headers={"X-JAY-TRACKING": made.headers["x-jay-tracking"]})
    stack.session(session_id, events=len(events))
    row = stack.until("FROM sessions WHERE session_id = ? AND user_id IS NOT NULL", session_id)[0]
    assert row["user_id"] == pseudonym(KEY, "user", "someone")
    assert (row["user_id_source"], row["tracking_session_id"]) == ("tracking_session", made.json()["session_id"])


def test_every_bad_body_ends_in_quarantine_and_nowhere_else(stack: Stack) -> None:
    """Each is a row of source `ingest` with a reason and its size, and no event comes of it."""
    stack.catch_up()
    count = "SELECT (SELECT count(*) FROM events) AS events, (SELECT count(*) FROM quarantine) AS bad"
    before = stack.ask(count)[0]
    session_id = stack.play(TIMELINES["1"][:1])
    paths = ("/api/v1/sessions", f"/api/v1/sessions/{session_id}/events", "/api/v1/downloaded")
    refused = [body for body in CORPUS.values() for path in paths if stack.post(path, body).status_code == 400]
    assert len(refused) == len(CORPUS) * len(paths)
    stack.until(f"SELECT 1 FROM ({count}) WHERE bad >= ?", before["bad"] + len(refused))
    after = stack.ask(count)[0]
    assert after == {"events": before["events"] + 1, "bad": before["bad"] + len(refused)}
    rows = stack.ask("SELECT * FROM quarantine ORDER BY log_offset LIMIT ? OFFSET ?", len(refused), before["bad"])
    assert {row["source"] for row in rows} == {"ingest"}
    assert {row["reason"] for row in rows} == {"not_json", "invalid_event"}
    assert all(row["detail"] for row in rows)
    sizes = sorted(json.loads(row["value"])["data"]["size_bytes"] for row in rows)
    assert sizes == sorted(len(body) for body in refused)


# ---- nothing that must not be there


MARK = "pl4nted"


def anyone() -> Iterator[str]:
    """Give out identities, as they look in the field; each can be told by the mark in it."""
    for number in range(10_000):
        yield (f"user-{MARK}-{number}", f"{number}.{MARK}@mail.example", f"+49-{MARK}-{number:08}")[number % 3]


def identities(people: Iterator[str]) -> dict[str, Any]:
    """Return params that say who the viewer is in every way there is."""
    return {
        "analytics.visitorId": next(people),
        "visitor.marketingCloudUserId": next(people),
        "analytics.aid": next(people),
        "appInstallationId": next(people),
        "visitor.customerIDs": {"mail": {"id": next(people), "authState": 1}, "crm": {"id": next(people)}},
        **{name: next(people) for name in ("user_id", "E-Mail", "phone", "deviceId", "ip.address", "my_idfa")},
        "visitor.customerIDs.crm.id": next(people),
        "page": f"https://www.example.com/?user_id={next(people)}",
        "note": f"write to {MARK}@mail.example",
    }


def traces() -> list[bytes]:
    """Return the bytes that betray an identity: the mark, also in hexadecimal and in base64 at each alignment."""
    raw = MARK.encode()
    in_base64 = [base64.b64encode(b"." * shift + raw)[4 if shift else 0 :][:8] for shift in range(3)]
    return [raw.lower(), raw.hex().encode(), *(text.lower() for text in in_base64)]


# What accompanies the identities of viewers, with and without consent, logged in or not.
AGREED: list[dict[str, str]] = [{}, {"X-Consent": "granted"}]
DENIED = [
    {"X-Consent": "withheld"},
    {"Sec-GPC": "1, 1"},
    {"X-Consent": "denied"},
    {"X-Consent": "analytics=0"},
    {"Sec-GPC": "1"},
    {"DNT": "1"},
]


def test_no_identity_is_in_any_byte(tmp_path: Path) -> None:
    """Not a byte in the log, the lake, the catalogue, or the output of a process.

    In both APIs, in every state of consent, accepted or refused, in bodies, headers, cookies, queries and paths.
    """
    people = anyone()
    with running(tmp_path) as stack:
        known = {_visit(stack, people, headers) for headers in AGREED}
        unknown = {_visit(stack, people, headers) for headers in DENIED}
        _hide_everywhere(stack, people)
        _be_refused(stack, people)
        stack.catch_up()
        stack.until("SELECT 1 FROM quarantine HAVING count(*) >= 30")
        tables = [
            row["name"]
            for row in stack.ask("SELECT table_name AS name FROM duckdb_tables() WHERE database_name = 'lake'")
        ]
        views = ["sessions", "viewers", "tracking_sessions", "events_checked", "ads"]
        texts = [str(stack.ask(f"FROM {name}")).lower().encode() for name in [*tables, *views]]
        users = {row["user_id"] for row in stack.ask("SELECT user_id FROM viewers")}
        assert users == known
        parquet = [
            str(pq.ParquetFile(path).read().to_pylist()).lower().encode() for path in tmp_path.rglob("*.parquet")
        ]
        assert len(parquet) > 5
        files = {path.name: path.read_bytes().lower() for path in tmp_path.rglob("*") if path.is_file()}
        assert {"log.sqlite", "log.sqlite-wal", "catalog.sqlite"} <= files.keys()
    files |= {path.name: path.read_bytes().lower() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(name.startswith("ingest.") for name in files)
    for name in known:  # what is to be found is found this way
        assert name.encode() in files["log.sqlite"] + files["log.sqlite-wal"]
        assert any(name.encode() in text for text in parquet)
    for trace in [*traces(), *(name.encode() for name in unknown)]:
        assert not [name for name, content in files.items() if trace in content]
        assert not [text[:200] for text in texts + parquet if trace in text]


@pytest.mark.parametrize("named_by", ["the event", "the tracking session"])
def test_a_viewer_who_denies_in_mid_session_is_unlinked(stack: Stack, named_by: str) -> None:
    """The session has a user, then none, also after a later consent; the denied event is unlinked as well."""
    made = stack.post(TRACKING, {"user_id": "changes-their-mind"}, headers=API).json()
    headers = {"X-JAY-TRACKING": made["session_id"]}
    start, play, ping, *_ = TIMELINES["1"]
    params = {name: value for name, value in start["params"].items() if name != "analytics.visitorId"}
    if named_by == "the event":
        params["analytics.visitorId"] = "changes-their-mind"
    session_id = stack.play([{**start, "params": params}, play], headers=headers)
    known = pseudonym(KEY, "user", "changes-their-mind")
    stack.until("SELECT 1 FROM sessions WHERE session_id = ? AND user_id = ?", session_id, known)
    path = f"/api/v1/sessions/{session_id}/events"
    assert stack.post(path, ping, headers=headers | {"Sec-GPC": "1"}).status_code == 204
    again = {**ping, "customMetadata": {"consent": True, "analytics.visitorId": "changes-their-mind"}}
    assert stack.post(path, again, headers=headers).status_code == 204
    row = stack.session(session_id, events=4)
    assert (row["consent"], row["tracking_session_id"], row["tracking_verified"]) == ("denied", None, False)
    assert (row["user_id"], row["user_id_source"], row["device_id"]) == (None, None, None)
    denied = stack.ask("FROM events WHERE session_id = ? AND consent = 'denied'", session_id)
    assert [event["tracking_session_id"] for event in denied] == [None]


def _visit(stack: Stack, people: Iterator[str], headers: dict[str, str]) -> str:
    """Visit in both APIs with every identity, whatever was agreed; return the viewer's pseudonym."""
    user_id = next(people)
    playout = TRACKING if headers in AGREED else f"/v1/playouts/{next(people)}/tracking/session"
    made = stack.post(playout, {"user_id": user_id}, headers={**API, **headers})
    text = made.headers["x-jay-tracking"]
    token = {"X-JAY-TRACKING": text, "Cookie": made.headers["set-cookie"].partition(";")[0]}
    stack.client.get(TRACKING, headers={**API, **headers, **token})
    named = identities(people) | {"visitor.customerIDs": {"mail": {"id": user_id, "authState": 1}}}
    events = [{**event, "params": {**event.get("params", {}), **named}} for event in TIMELINES["1"][:3]]
    stack.play(events, headers={**headers, **token})
    in_metadata = [{**ANONYMOUS, "customMetadata": {"jay_tracking": text}}, *events[1:]]
    stack.play(in_metadata, headers=headers)
    packed = {**headers, "Content-Encoding": "gzip"}
    events[0]["params"]["media.downloaded"] = True
    offline = stack.post("/api/v1/downloaded", gzip.compress(json.dumps(events).encode()), headers=packed)
    assert offline.status_code == 201
    stack.client.delete(playout, headers={**API, **headers, **token})
    stack.client.cookies.clear()
    return pseudonym(KEY, "user", user_id)


def _hide_everywhere(stack: Stack, people: Iterator[str]) -> None:
    """Put identities where nobody asks for them: headers, cookies, queries, paths, keys of idempotency."""
    names = ("User-Agent", "Referer", "X-Forwarded-For", "Authorization", "Idempotency-Key", "traceparent", "From")
    headers = {name: next(people) for name in names}
    headers |= {"Cookie": f"uid={next(people)}; __Secure-jay_tracking={next(people)}"}
    stack.play([ANONYMOUS, *TIMELINES["1"][1:3]], headers=headers)
    foreign = {"session_id": "s", "start_time": "2025-01-01", "source": "x", "user_id": next(people)}
    token = base64.b64encode(json.dumps(foreign).encode()).decode()
    for text in (token, token[:-4], next(people)):
        stack.play([ANONYMOUS], headers={"X-JAY-TRACKING": text})
        stack.play([ANONYMOUS | {"customMetadata": {"tracking_session_id": text}}])
        for method in ("GET", "DELETE"):
            stack.client.request(
                method, f"{TRACKING}?user_id={next(people)}", headers={**API, "X-JAY-TRACKING": text}
            )
    stack.post(f"{TRACKING}?user_id={next(people)}", b"", headers={**API, **headers, "DNT": "1"})
    for path in (
        "/api/v1/sessions/{}/events",
        "/v1/users/{}",
        "/{}",
        "/api/v1/schemas/{}",
        "/api/v1/sessions?user_id={}",
    ):
        for method in ("GET", "POST", "OPTIONS", "PUT"):
            stack.client.request(method, path.format(next(people)), headers=headers)
    stack.client.get("/health/live", headers={"X-Long": next(people) * 5_000})


def _be_refused(stack: Stack, people: Iterator[str]) -> None:
    """Send identities in bodies that are refused: as events, as lists, as JSON, for their key."""
    named = identities(people)
    bodies: list[object] = [
        {"eventType": "nonsense", "params": named},
        {"eventType": f"{MARK}@mail.example", "customMetadata": named},
        [{"eventType": "sessionStart", "params": named}],
        {"params": json.dumps(named)},
        json.dumps({"params": named}).encode()[:-1],
        json.dumps({"params": named}).encode("utf-16"),
        f"user_id={next(people)}&analytics.visitorId={next(people)}".encode(),
        {"user_id": [next(people)], "userId": {"id": next(people)}},
        {**TIMELINES["1"][0], "playerTime": {"playhead": "x", "ts": 1}, "user_id": next(people)},
    ]
    for body in bodies:
        for path in ("/api/v1/sessions", "/api/v1/downloaded", TRACKING):
            for headers in (API, {**API, "DNT": "1"}):
                assert stack.post(path, body, headers=headers).status_code in (200, 400)
    stack.post(TRACKING, {"user_id": next(people)}, headers={"X-API-Key": next(people)})


def leaves(value: Any) -> set[str]:
    """Return every scalar inside a value, JSON in texts unpacked, that is long enough to identify anybody."""
    if isinstance(value, dict):
        return set().union(*(leaves(inner) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(leaves(inner) for inner in value))
    if isinstance(value, bytes):
        return leaves(value.decode())
    if isinstance(value, str) and value[:1] in ("{", "["):
        with contextlib.suppress(ValueError):
            return leaves(json.loads(value))
    return {str(value)} if len(str(value)) >= 8 else set()


def _values_of_a_visit(stack: Stack, viewer: str, user_id: str | None) -> set[str]:
    """Watch something, with a tracking session and a mistake; return every value of every row it left."""
    headers = {"User-Agent": f"player of {viewer}", "Cookie": f"uid={viewer}"}
    made = stack.post(TRACKING, {"user_id": user_id} if user_id else b"", headers={**API, **headers})
    names = ("visitor.marketingCloudUserId", "analytics.aid", "appInstallationId")
    device = dict.fromkeys(names, f"device of {viewer}")
    now_ms = int(time.time() * 1000)
    events = [
        {
            **event,
            "playerTime": {**event["playerTime"], "ts": now_ms + number},
            "params": {**event.get("params", {}), **device},
        }
        for number, event in enumerate(TIMELINES["1"])
    ]
    events[0]["params"].pop("analytics.visitorId")
    session_id = stack.play(events, headers={**headers, "X-JAY-TRACKING": made.headers["x-jay-tracking"]})
    stack.session(session_id, events=len(events))
    stack.catch_up()
    (before,) = stack.ask("SELECT max(log_offset) AS last FROM quarantine")
    stack.post(f"/api/v1/sessions/{session_id}/events", {**events[0], "eventType": "nonsense"}, headers=headers)
    (bad,) = stack.until("FROM quarantine WHERE log_offset > coalesce(?, -1)", before["last"])
    tracking_id = made.json()["session_id"]
    rows: list[Any] = [json.loads(bad["value"])["data"]["body"], {**bad, "value": None}]
    for table in ("events", "events_checked", "sessions", "ads", "chapters", "played_intervals", "player_states"):
        rows += stack.ask(f"FROM {table} WHERE session_id = ?", session_id)
    for table in ("tracking_events", "tracking_sessions"):
        rows += stack.ask(f"FROM {table} WHERE tracking_session_id = ?", tracking_id)
    return leaves(rows)


@pytest.mark.parametrize(
    ("settings", "user_id"), [({}, None), ({}, "someone"), ({"PLAYHEAD_LINK_DEVICES": "on"}, None)]
)
def test_two_visits_are_linked_only_where_the_viewer_may_be_known(
    settings: dict[str, str], user_id: str | None, tmp_path: Path
) -> None:
    """Whatever column is joined with whatever column: a viewer who gave no user id is as strange the second time.

    What two visits of one viewer share, a visit of another one shares as well: content, player, app. Only with a
    user id, or where the operator wants devices linked, there is more, and all of it is pseudonyms.
    """
    with running(tmp_path, **settings) as stack:
        first = _values_of_a_visit(stack, "viewer 1", user_id)
        stranger = _values_of_a_visit(stack, "viewer 2", f"not {user_id}" if user_id else None)
        second = _values_of_a_visit(stack, "viewer 1", user_id)
    assert len(first & stranger) > 20
    shared = (first & second) - stranger
    wanted = {pseudonym(KEY, "user", user_id)} if user_id else set()
    if settings:
        wanted.add(pseudonym(KEY, "device", "device of viewer 1"))
    assert shared == wanted


# ---- memory


async def _pour(port: int, *, events: int, connections: int) -> None:
    """Post so many events, over so many connections, as fast as they are answered."""
    left = iter(range(events))

    async def post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, event: Any) -> str:
        body = json.dumps(event).encode()
        writer.write(f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith(("HTTP/1.1 201", "HTTP/1.1 204")), head
        found = re.search(r"(?i)location: (\S+)", head)
        return found[1] if found else ""

    async def play() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while next(left, None) is not None:
            now_ms = int(time.time() * 1000)
            start = {**TIMELINES["1"][0], "playerTime": {"playhead": 0, "ts": now_ms}}
            session = await post(reader, writer, "/api/v1/sessions", start)
            for number in range(1, 40):
                if next(left, None) is None:
                    break
                ping = {
                    "eventType": "ping" if number > 1 else "play",
                    "playerTime": {"playhead": number, "ts": now_ms + number * 1000},
                }
                await post(reader, writer, f"{session}/events", ping | {"customMetadata": {"page": "x" * 300}})
            else:
                end = {"eventType": "sessionEnd", "playerTime": {"playhead": 40, "ts": now_ms + 40_000}}
                await post(reader, writer, f"{session}/events", end)
        writer.close()

    await asyncio.gather(*(play() for _ in range(connections)))


@pytest.mark.parametrize(
    "events", [20_000, pytest.param(200_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
async def test_memory_stays_bounded(events: int, tmp_path: Path) -> None:
    """Over many events neither process grows: the second half takes no more than the first."""
    with running(tmp_path) as stack:
        ingest, worker = (psutil.Process(pid) for pid in stack.pids)
        samples: list[tuple[int, int, int]] = []

        def sample() -> int:
            (row,) = stack.ask("SELECT sum(inserted)::BIGINT AS n FROM ledger")
            samples.append((row["n"], ingest.memory_info().rss, worker.memory_info().rss))
            return int(row["n"])

        began = time.monotonic()
        pouring = asyncio.create_task(_pour(stack.port, events=events, connections=32))
        while sample() < events:
            assert not (pouring.done() and pouring.exception()), pouring.exception()
            assert time.monotonic() - began < events / 250
            await asyncio.sleep(0.2)
        await pouring
        seconds = time.monotonic() - began
    halves = [row for row in samples if row[0] < events / 2], [row for row in samples if row[0] >= events / 2]
    for number, name, most_mb in ((1, "ingest", 250), (2, "worker", 700)):
        first, second = (max(row[number] for row in half) / 1e6 for half in halves)
        print(f"{name}: {first:.0f} MB, then {second:.0f} MB, over {events} events in {seconds:.0f} s")
        assert second < most_mb
        assert second < first * 1.25 + 30
