"""Nothing identifies a person who did not consent: not in the log, the lake, or any other file."""

import base64
import contextlib
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rigs.visits import ANONYMOUS, API, KEY, TIMELINES, TRACKING
from rigs.whole import Stack, running

from ingest.identity import pseudonym

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


def _shared_by_two_visits(stack: Stack, user_id: str | None) -> set[str]:
    """Return what two visits of one viewer share, and a visit of another one does not."""
    first = _values_of_a_visit(stack, "viewer 1", user_id)
    stranger = _values_of_a_visit(stack, "viewer 2", f"not {user_id}" if user_id else None)
    second = _values_of_a_visit(stack, "viewer 1", user_id)
    assert len(first & stranger) > 20
    return (first & second) - stranger


@pytest.mark.parametrize("user_id", [None, "someone"])
def test_two_visits_are_linked_only_where_the_viewer_may_be_known(stack: Stack, user_id: str | None) -> None:
    """Whatever column is joined with whatever column: a viewer who gave no user id is as strange the second time.

    What two visits of one viewer share, a visit of another one shares as well: content, player, app. Only with a
    user id there is more, and all of it is pseudonyms.
    """
    wanted = {pseudonym(KEY, "user", user_id)} if user_id else set()
    assert _shared_by_two_visits(stack, user_id) == wanted


def test_two_visits_are_linked_by_the_device_where_the_operator_wants_it(tmp_path: Path) -> None:
    """As pseudonyms too."""
    with running(tmp_path, PLAYHEAD_LINK_DEVICES="on") as stack:
        assert _shared_by_two_visits(stack, None) == {pseudonym(KEY, "device", "device of viewer 1")}
