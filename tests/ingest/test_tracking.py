"""What clients of the tracking API get, in every form in which they ask."""

import base64
import json
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rigs.ingest import DATA, SECRETS, Ingest, running, session_start

from ingest.identity import pseudonym
from ingest.tokens import TrackingSession, read_token, write_token
from schemas.ids import mint_tracking_session

EXAMPLES = {example["id"]: example for example in json.loads((DATA / "tracking_examples.json").read_text())}
PLAIN = "/v1/playouts/tracking/session"
KEY = {"X-API-Key": "your_api_key_here"}
MAC_KEYS = [SECRETS["PLAYHEAD_MAC_KEY"].encode()]
NOT_VALID = {
    "error": {
        "code": 1001,
        "message": "No tracking session found or session data is invalid",
        "details": "TRACKING_NOT_VALID",
    }
}
PSEUDONYM_KEY = SECRETS["PLAYHEAD_PSEUDONYM_KEY"].encode()
FOREIGN = {
    "session_id": "example-session-id-1234",
    "start_time": "2025-01-01T12:00:00.000000",
    "source": "jay.api.playout.example",
}


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here."""
    with running(tmp_path_factory.mktemp("tracking") / "data", log_partitions=2) as ingest:
        yield ingest


def send(ingest: Ingest, name: str, **replaced: str) -> httpx.Response:
    """Send a documented example; `replaced` are the values for the placeholders in its headers."""
    example = EXAMPLES[name]
    headers = {**example["headers"], **replaced}
    body = example["body"]
    text = body if isinstance(body, str) else json.dumps(body)
    content = None if body is None else text.encode()
    # curl takes the braces of `{playout_id}` for a list of one, browsers send them percent-encoded
    reply = ingest.client.request(
        example["method"], example["path"], params=example["query"], headers=headers, content=content
    )
    ingest.client.cookies.clear()
    return reply


def check_made(reply: httpx.Response, *, user_id: str | None) -> dict[str, str]:
    """Check the reply to a POST in all its parts; return its body."""
    assert reply.status_code == 200, reply.text
    body: dict[str, str] = reply.json()
    assert uuid.UUID(body["session_id"]).version == 4
    assert body["source"] == "jay.api.playout.1.0.0"
    started = datetime.strptime(body["start_time"], "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - started).total_seconds()) < 60
    assert body.get("user_id") == user_id
    assert set(body) == {"session_id", "start_time", "source", *(["user_id"] if user_id else [])}
    token = reply.headers["x-jay-tracking"]
    assert reply.headers["__secure-jay_tracking"] == token
    cookie = f"__Secure-jay_tracking={token}; Path=/; Max-Age=86400; HttpOnly; Secure; SameSite=Lax"
    assert reply.headers["set-cookie"] == cookie
    assert json.loads(base64.b64decode(token, validate=True)).items() >= body.items()
    return body


@pytest.mark.parametrize(
    ("name", "user_id"),
    [
        ("reference-post", "string"),
        ("guide-post-anon", None),
        ("guide-post-json", "user-123-xyz"),
        ("guide-js-create", "user-9"),
        ("guide-js-create-nobody", None),
        ("guide-kotlin-anon", None),
        ("guide-kotlin-user", "u"),
    ],
)
def test_every_documented_way_makes_a_session(ingest: Ingest, name: str, user_id: str | None) -> None:
    """curl, browser and Android examples, user id in the query, as `user_id` or as `userId`, or none: all work."""
    body = check_made(send(ingest, name), user_id=user_id)
    (record,) = ingest.events(body["session_id"])
    assert record["type"] == "playhead.tracking.created"
    data = record["data"]
    assert data["session_id"] == body["session_id"]
    assert data["start_time"].removesuffix("Z") == body["start_time"]
    assert data.get("playout_id") == ("{playout_id}" if "{" in EXAMPLES[name]["path"] else None)
    wanted = pseudonym(PSEUDONYM_KEY, "user", user_id) if user_id else None
    assert data.get("user_id") == wanted
    assert record.get("consent") == ("given" if user_id else None)


def test_a_new_session_does_not_name_the_one_that_came_with_the_request(ingest: Ingest) -> None:
    """POST with a token makes a new session, and nothing of the old one is written."""
    old = send(ingest, "guide-post-anon")
    headers = {**KEY, "X-JAY-TRACKING": old.headers["x-jay-tracking"]}
    body = check_made(ingest.client.post(PLAIN, headers=headers), user_id=None)
    ingest.client.cookies.clear()
    assert body["session_id"] != old.json()["session_id"]
    (record,) = ingest.events(body["session_id"])
    assert old.json()["session_id"] not in json.dumps(record)


@pytest.mark.parametrize("name", ["reference-get", "reference-2025-08-04-get"])
def test_a_token_of_another_maker_is_shown(ingest: Ingest, name: str) -> None:
    """The documentation's own token is read without a store, also where the header repeats the cookie's name."""
    reply = send(ingest, name)
    assert reply.status_code == 200
    assert reply.json() == FOREIGN


@pytest.mark.parametrize("form", ["token", "id"])
@pytest.mark.parametrize(
    ("get", "delete", "header"),
    [
        ("guide-get-cookie", "guide-delete-cookie", "Cookie"),
        ("guide-js-header-get", "guide-js-header-delete", "__Secure-jay_tracking"),
    ],
)
def test_a_session_is_shown_and_deleted(ingest: Ingest, form: str, get: str, delete: str, header: str) -> None:
    """Cookie or header, token or bare id; a token still has the user id, and works after the deletion."""
    made = send(ingest, "guide-post-json")
    body = made.json()
    text = made.headers["x-jay-tracking"] if form == "token" else body["session_id"]
    named = {header: f"__Secure-jay_tracking={text}" if header == "Cookie" else text}
    wanted = body if form == "token" else {key: value for key, value in body.items() if key != "user_id"}
    for _ in range(2):
        shown = send(ingest, get, **named)
        assert (shown.status_code, shown.json()) == (200, wanted)
        deleted = send(ingest, delete, **named)
        assert (deleted.status_code, deleted.json()) == (200, {"message": "Tracking session deleted"})
        assert "__Secure-jay_tracking=; Path=/; Max-Age=0; HttpOnly; Secure" in deleted.headers["set-cookie"]
    types = [record["type"] for record in ingest.events(body["session_id"])]
    assert types == ["playhead.tracking.created", "playhead.tracking.deleted", "playhead.tracking.deleted"]
    assert ingest.events(body["session_id"])[1]["data"]["verified"] is True


def test_deleting_a_foreign_session_is_noted_by_a_pseudonym(ingest: Ingest) -> None:
    """The documentation's DELETE example succeeds; its record has no word of the token, and is always the same."""
    for _ in range(2):
        assert send(ingest, "reference-delete").status_code == 200
    first, second = ingest.events(pseudonym(PSEUDONYM_KEY, "tracking", FOREIGN["session_id"]))
    assert first["data"] == second["data"] == {"session_id": first["subject"], "playout_id": "{playout_id}"}
    assert FOREIGN["session_id"] not in json.dumps(ingest.records())


def test_a_forged_token_names_no_user(ingest: Ingest) -> None:
    """What a token of another maker says of the session is shown, as documented; whom it names is not."""
    forged = base64.b64encode(json.dumps({**FOREIGN, "user_id": "somebody"}).encode()).decode()
    signed = base64.b64encode(json.dumps({**FOREIGN, "user_id": "somebody", "sig": "00.x"}).encode()).decode()
    for token in (forged, signed):
        for named in ({"X-JAY-TRACKING": token}, {"Cookie": f"__Secure-jay_tracking={token}"}):
            reply = ingest.client.get(PLAIN, headers={**KEY, **named})
            assert (reply.status_code, reply.json()) == (200, FOREIGN)


def test_a_token_of_ours_shows_its_user_unless_consent_is_denied(ingest: Ingest) -> None:
    """GET answers a denial with the session alone."""
    made = send(ingest, "guide-post-json")
    named = {**KEY, "X-JAY-TRACKING": made.headers["x-jay-tracking"]}
    assert ingest.client.get(PLAIN, headers=named).json()["user_id"] == "user-123-xyz"
    assert "user_id" not in ingest.client.get(PLAIN, headers={**named, "Sec-GPC": "1"}).json()


@pytest.mark.parametrize("denial", [{"X-Consent": "no"}, {"Sec-GPC": "1"}])
def test_under_a_denial_the_playout_is_not_noted(ingest: Ingest, denial: dict[str, str]) -> None:
    """Neither where a session is made nor where it is deleted; without a denial it is."""
    path = "/v1/playouts/my-playout/tracking/session"
    for headers, wanted in (({}, "my-playout"), (denial, None)):
        made = ingest.client.post(path, headers={**KEY, **headers}).json()
        ingest.client.cookies.clear()
        named = {"X-JAY-TRACKING": made["session_id"]}
        assert ingest.client.delete(path, headers={**KEY, **named, **headers}).status_code == 200
        records = ingest.events(made["session_id"])
        assert [record["data"].get("playout_id") for record in records] == [wanted, wanted]
        assert [record.get("consent") for record in records] == ["denied" if headers else None] * 2


def test_deleting_nothing_succeeds(ingest: Ingest) -> None:
    """DELETE without a session is 200 as well."""
    assert ingest.client.delete(PLAIN, headers=KEY).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-JAY-TRACKING": "nonsense"},
        {"X-JAY-TRACKING": str(uuid.uuid4())},
        {"X-JAY-TRACKING": base64.b64encode(b'{"session_id": 5}').decode()},
        {"X-JAY-TRACKING": base64.b64encode(b'["session_id"]').decode()},
        {"X-JAY-TRACKING": base64.b64encode(json.dumps({**FOREIGN, "session_id": "a\nb"}).encode()).decode()},
        {"X-JAY-TRACKING": base64.b64encode(json.dumps({**FOREIGN, "start_time": "then"}).encode()).decode()},
        {"X-JAY-TRACKING": base64.b64encode(json.dumps({**FOREIGN, "x": "y" * 300}).encode()).decode()},
        {"X-JAY-TRACKING": "A" * 5000},
        {"Cookie": "__Secure-jay_tracking=; other=1"},
    ],
)
def test_no_session_is_told_in_the_documented_form(ingest: Ingest, headers: dict[str, str]) -> None:
    """Nothing, a bare id that is not ours, an invalid token: 400 with code 1001."""
    reply = ingest.client.get(PLAIN, headers={**KEY, **headers})
    assert (reply.status_code, reply.json()) == (400, NOT_VALID)


def test_an_unusable_cookie_falls_through_to_the_headers(ingest: Ingest) -> None:
    """Cookie before X-JAY-TRACKING before __Secure-jay_tracking; what is no session is passed over."""
    made = [send(ingest, "guide-post-anon").json()["session_id"] for _ in range(3)]
    headers = {
        **KEY,
        "Cookie": f"__Secure-jay_tracking={made[0]}",
        "X-JAY-TRACKING": made[1],
        "__Secure-jay_tracking": made[2],
    }
    for index, spoilt in enumerate(("Cookie", "X-JAY-TRACKING", "__Secure-jay_tracking")):
        assert ingest.client.get(PLAIN, headers=headers).json()["session_id"] == made[index]
        headers[spoilt] = "__Secure-jay_tracking=nonsense"
    assert ingest.client.get(PLAIN, headers=headers).status_code == 400


def test_a_cookie_for_other_sites_is_partitioned(tmp_path: Path) -> None:
    """As it is set, and as it is deleted, since browsers take a partitioned cookie for another one."""
    attributes = "HttpOnly; Secure; SameSite=None; Partitioned"
    with running(tmp_path / "data", tracking_cookie_same_site="None") as ingest:
        made = ingest.client.post(PLAIN, headers=KEY)
        cookie = f"__Secure-jay_tracking={made.headers['x-jay-tracking']}"
        assert made.headers["set-cookie"] == f"{cookie}; Path=/; Max-Age=86400; {attributes}"
        deleted = ingest.client.delete(PLAIN, headers={**KEY, "Cookie": cookie})
        assert deleted.headers["set-cookie"] == f"__Secure-jay_tracking=; Path=/; Max-Age=0; {attributes}"


@pytest.mark.parametrize(
    "key", [{}, {"X-API-Key": "wrong"}, {"X-API-Key": ""}, {"X-API-Key": "string,your_api_key_here"}]
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_without_a_key_nothing_works(ingest: Ingest, method: str, key: dict[str, str]) -> None:
    """A missing or unknown key is 401 in the envelope, with CORS headers; the query string is no place for one."""
    reply = ingest.client.request(
        method, PLAIN, params={"X-API-Key": "string"}, headers={"Origin": "https://a.example", **key}
    )
    assert reply.status_code == 401
    assert reply.json()["error"]["details"] == "KEY_REFUSED"
    assert reply.headers["access-control-allow-origin"] == "https://a.example"


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ({}, "2025-09-02"),
        ({"x-jay-api-version": "2025-05-19"}, "2025-05-19"),
        ({"X-API-Version": "2025-08-04"}, "2025-08-04"),
        ({"X-API-Version": "1999-01-01"}, "2025-09-02"),
        ({"X-API-Version": "1999-01-01", "x-jay-api-version": "2025-05-19"}, "2025-05-19"),
    ],
)
def test_the_version_is_echoed_under_both_names(ingest: Ingest, asked: dict[str, str], answered: str) -> None:
    """Either header asks, both answer; what is unknown is answered in the newest. Errors say it, too."""
    for reply in (
        ingest.client.delete(PLAIN, headers={**KEY, **asked}),
        ingest.client.get(PLAIN, headers={**KEY, **asked}),
    ):
        assert (reply.headers["x-api-version"], reply.headers["x-jay-api-version"]) == (answered, answered)


@pytest.mark.parametrize(
    ("query", "body", "user_id"),
    [
        ("?user_id=q", {"user_id": "a", "userId": "b"}, "q"),
        ("?user_id=", {"user_id": "", "userId": "b"}, "b"),
        ("", {"user_id": "a", "userId": "b"}, "a"),
        ("", {"user_id": None}, None),
        ("", {"user_id": "undefined", "userId": "b"}, "b"),
        ("?user_id=null", {"user_id": "00000000-0000-0000-0000-000000000000"}, None),
        ("?user_id=q", {"consent": True}, "q"),
        ("?user_id=q", {"consent": "analytics=0"}, None),
        ("?user_id=q", {"Consent": None}, None),
        ("", {}, None),
        ("?user_id=%C5%BElu%C5%A5", b"  ", "žluť"),
    ],
)
def test_the_first_user_id_counts(ingest: Ingest, query: str, body: object, user_id: str | None) -> None:
    """Query before `user_id` before `userId`; empty is absent."""
    reply = ingest.post(PLAIN + query, body, headers=KEY)
    ingest.client.cookies.clear()
    check_made(reply, user_id=user_id)


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"x"', {"user_id": 5}, {"user_id": "x" * 257}, {"userId": "a\nb"}, b"user_id=x", b"\xff"],
)
def test_a_body_that_says_nothing_of_use_is_refused(ingest: Ingest, body: object) -> None:
    """No JSON, no object, no string: 400 in the envelope, with what was expected."""
    reply = ingest.post(PLAIN, body, headers=KEY)
    assert reply.status_code == 400
    assert reply.json()["error"]["code"] == 1001


def test_a_page_may_use_it_with_credentials(ingest: Ingest) -> None:
    """Preflight and replies echo the page's origin, allow credentials, and vary by origin; so do errors."""
    reply = send(ingest, "guide-js-preflight")
    assert reply.status_code == 204
    assert int(reply.headers["access-control-max-age"]) >= 7200
    allowed = {name.strip().lower() for name in reply.headers["access-control-allow-headers"].split(",")}
    assert {"content-type", "x-api-key", "x-api-version", "x-jay-api-version", "x-jay-tracking"} <= allowed
    assert {"__secure-jay_tracking", "traceparent", "idempotency-key", "user-agent"} <= allowed
    for other in (reply, send(ingest, "guide-js-create"), send(ingest, "get-none", Origin="https://app.example")):
        assert other.headers["access-control-allow-origin"] == "https://app.example"
        assert other.headers["access-control-allow-credentials"] == "true"
        assert other.headers["vary"] == "Origin"
        assert "__Secure-jay_tracking" in other.headers["access-control-expose-headers"]


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost:3000",
        "https://xn--mnchen-3ya.example",
        "https://192.0.2.7:8443",
        "https://[2001:db8::1]:8443",
        "capacitor://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    ],
)
def test_every_origin_that_a_browser_writes_is_let_in(ingest: Ingest, origin: str) -> None:
    """Scheme, host and perhaps a port."""
    reply = ingest.client.get(PLAIN, headers={**KEY, "Origin": origin})
    assert reply.headers["access-control-allow-origin"] == origin
    assert reply.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "NULL",
        "*",
        "https://",
        "a.example",
        "//a.example",
        "file://",
        "https://a.example/",
        "https://a.example/path",
        "https://a.example?x",
        "https://user@a.example",
        "https://a.example:",
        "https://a.example:port",
        "https://a.example:65536",
        "https://a.example https://b.example",
        "https://a.example, https://b.example",
        "https://a..example",
        "https://a.example%0d",
        "https://m\u00fcnchen.example",
        "https://[::1",
        "javascript:alert(1)",
        "https://" + "a" * 300 + ".example",
    ],
)
@pytest.mark.parametrize("method", ["OPTIONS", "GET", "POST", "PUT"])
def test_what_is_no_origin_gets_no_permission(ingest: Ingest, method: str, origin: str | None) -> None:
    """Sandboxed pages (origin null), junk, several: never repeated, no credentials; caches keep them apart."""
    headers = [(b"X-API-Key", b"string")] + ([(b"Origin", origin.encode())] if origin else [])
    reply = ingest.client.request(method, PLAIN, headers=headers)
    assert "access-control-allow-origin" not in reply.headers
    assert "access-control-allow-credentials" not in reply.headers
    assert reply.headers["vary"] == "Origin"


def test_two_origins_get_no_permission(ingest: Ingest) -> None:
    """A header sent twice is one with two values."""
    headers = [(b"X-API-Key", b"string"), (b"Origin", b"https://a.example"), (b"Origin", b"https://a.example")]
    assert "access-control-allow-origin" not in ingest.client.get(PLAIN, headers=headers).headers


@pytest.mark.parametrize(
    ("method", "path", "key", "status"),
    [
        ("POST", PLAIN, "string", 200),
        ("GET", PLAIN, "string", 400),
        ("DELETE", PLAIN, "string", 200),
        ("GET", PLAIN, "wrong", 401),
        ("PUT", PLAIN, "string", 405),
        ("OPTIONS", PLAIN, "string", 204),
        ("GET", "/v1/playouts/a/b", "string", 404),
    ],
)
def test_no_cache_keeps_a_reply(ingest: Ingest, method: str, path: str, key: str, status: int) -> None:
    """It may name a user: whatever was asked, and whatever came of it."""
    ingest.client.cookies.clear()
    reply = ingest.client.request(method, path, headers={"X-API-Key": key})
    assert (reply.status_code, reply.headers["cache-control"]) == (status, "no-store")


def test_another_method_or_path_is_refused_in_the_envelope(ingest: Ingest) -> None:
    """405 with Allow, 404 for what is not there, both in the tracking API's form."""
    reply = ingest.client.put(PLAIN, headers=KEY)
    assert (reply.status_code, reply.headers["allow"]) == (405, "POST, GET, DELETE, OPTIONS")
    assert reply.json()["error"]["code"] == 405
    assert ingest.client.get("/v1/playouts/a/b", headers=KEY).json()["error"]["code"] == 404


def test_a_playout_may_have_any_name(ingest: Ingest) -> None:
    """Also one that is a word of the path; and a name too long to be one is refused."""
    body = ingest.client.post("/v1/playouts/tracking/tracking/session", headers=KEY).json()
    ingest.client.cookies.clear()
    assert ingest.events(body["session_id"])[0]["data"]["playout_id"] == "tracking"
    assert ingest.client.post(f"/v1/playouts/{'x' * 300}/tracking/session", headers=KEY).status_code == 400


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_keeps_and_sends_the_cookie(ingest: Ingest, tmp_path: Path) -> None:
    """curl's jar takes the `__Secure-` cookie, GET finds the session by it, DELETE empties the jar.

    curl sends Secure cookies over plain HTTP to localhost alone.
    """
    jar = str(tmp_path / "jar")
    base = ["curl", "-s", "-b", jar, "-c", jar, "-H", "X-API-Key: your_api_key_here"]
    url = f"http://localhost:{ingest.port}{PLAIN}"

    def curl(*arguments: str) -> Any:
        return json.loads(subprocess.run([*base, *arguments, url], check=True, capture_output=True).stdout)

    made = curl("-X", "POST", "-H", "Content-Type: application/json", "-d", '{"user_id": "user-123-xyz"}')
    assert curl() == made
    assert curl("-X", "DELETE") == {"message": "Tracking session deleted"}
    assert curl() == NOT_VALID


def test_a_cookie_jar_keeps_and_sends_the_cookie(ingest: Ingest) -> None:
    """A client with a cookie jar finds its session again without doing anything for it."""
    policy = DefaultCookiePolicy(secure_protocols=("http",))
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar(policy)))

    def call(method: str) -> Any:
        request = urllib.request.Request(ingest.url + PLAIN, method=method, headers=KEY)
        with opener.open(request) as reply:
            return json.load(reply)

    made = call("POST")
    assert call("GET") == made
    call("DELETE")
    with pytest.raises(HTTPError) as refused:
        call("GET")
    with refused.value as reply:
        assert json.load(reply) == NOT_VALID


@pytest.mark.parametrize(
    "name", ["X-JAY-TRACKING", "__Secure-jay_tracking", "tracking_session_id", "jay_tracking"]
)
@pytest.mark.parametrize("form", ["token", "id"])
def test_a_media_call_names_its_tracking_session(ingest: Ingest, name: str, form: str) -> None:
    """By either header or either custom metadata key, by token or bare id; a token is not kept, its id is."""
    made = send(ingest, "guide-post-json")
    session_id = made.json()["session_id"]
    text = made.headers["x-jay-tracking"] if form == "token" else session_id
    body = session_start()
    headers = {}
    if "_" in name and not name.startswith("__"):
        body["customMetadata"] = {name: text, "other": "kept"}
    else:
        headers[name] = text
    (record,) = ingest.events(ingest.start(body, headers=headers))
    assert (record["trackingsession"], record["trackingverified"]) == (session_id, True)
    assert "flags" not in record
    if headers == {}:
        assert record["data"]["customMetadata"] == {name: session_id, "other": "kept"}


@pytest.mark.parametrize("in_header", [True, False])
def test_a_foreign_tracking_session_is_not_stored(ingest: Ingest, in_header: bool) -> None:
    """A well-formed token that we did not make proves nothing: the event is taken and flagged."""
    token = EXAMPLES["reference-get"]["headers"]["X-JAY-TRACKING"]
    body = session_start() if in_header else {**session_start(), "customMetadata": {"jay_tracking": token}}
    (record,) = ingest.events(ingest.start(body, headers={"X-JAY-TRACKING": token} if in_header else {}))
    assert not record.keys() & {"trackingsession", "trackingverified"}
    assert record["flags"] == "tracking_not_valid"
    assert FOREIGN["session_id"] not in json.dumps(record)


def test_a_session_of_ours_counts_behind_a_foreign_one(ingest: Ingest) -> None:
    """The first that we issued is taken, wherever the call names it."""
    token = EXAMPLES["reference-get"]["headers"]["X-JAY-TRACKING"]
    ours = send(ingest, "guide-post-anon").json()["session_id"]
    body = {**session_start(), "customMetadata": {"tracking_session_id": ours}}
    (record,) = ingest.events(ingest.start(body, headers={"X-JAY-TRACKING": token}))
    assert (record["trackingsession"], record["trackingverified"]) == (ours, True)


@pytest.mark.parametrize("denied_by", ["header", "metadata"])
@pytest.mark.parametrize("named_by", ["X-JAY-TRACKING", "tracking_session_id", "jay_tracking"])
def test_a_denied_event_names_no_tracking_session(ingest: Ingest, denied_by: str, named_by: str) -> None:
    """Neither its envelope nor its metadata have it in the log; no flag shows that one was named."""
    session_id = send(ingest, "guide-post-json").json()["session_id"]
    metadata = {} if named_by == "X-JAY-TRACKING" else {named_by: session_id}
    headers = {named_by: session_id} if named_by == "X-JAY-TRACKING" else {}
    if denied_by == "header":
        headers["X-Consent"] = "denied"
    else:
        metadata["consent"] = "denied"
    (record,) = ingest.events(ingest.start({**session_start(), "customMetadata": metadata}, headers=headers))
    assert record["consent"] == "denied"
    assert not record.keys() & {"trackingsession", "trackingverified", "flags"}
    assert session_id not in json.dumps(record)


@pytest.mark.parametrize("in_header", [True, False])
def test_what_names_no_tracking_session_is_flagged(ingest: Ingest, in_header: bool) -> None:
    """A bare id that is not ours is no reason to refuse an event; it is left out and flagged."""
    text = str(uuid.uuid4())
    body = session_start() if in_header else {**session_start(), "customMetadata": {"tracking_session_id": text}}
    headers = {"X-JAY-TRACKING": text} if in_header else {}
    (record,) = ingest.events(ingest.start(body, headers=headers))
    assert "trackingsession" not in record
    assert record["flags"] == "tracking_not_valid"
    assert text not in json.dumps(record)


def made_token(user_id: str | None = "user") -> str:
    """Return a token of ours."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    session_id = mint_tracking_session(MAC_KEYS, now=now, entropy=bytes)
    return write_token(TrackingSession(session_id, "2026-01-01T00:00:00.000000", "s", user_id), MAC_KEYS)


@given(
    position=st.integers(0, len(made_token()) - 1), character=st.characters(min_codepoint=33, max_codepoint=126)
)
def test_a_changed_token_is_never_verified(position: int, character: str) -> None:
    """Whatever character of a token is changed, it is no token, or one that proves nothing."""
    token = made_token()
    changed = token[:position] + character + token[position + 1 :]
    presented = read_token(changed, MAC_KEYS, source="s")
    original = read_token(token, MAC_KEYS, source="s")
    assert original is not None
    assert original.verified
    if changed.rstrip("=") != token.rstrip("="):
        assert presented is None or not presented.verified


@given(
    claims=st.dictionaries(
        st.sampled_from(["session_id", "start_time", "source", "user_id", "x"]), st.text(max_size=20)
    )
)
def test_changed_claims_are_never_verified(claims: dict[str, str]) -> None:
    """A signature covers only its own claims: with other, more or fewer claims it is not valid."""
    original = json.loads(base64.b64decode(made_token()))
    token = base64.b64encode(json.dumps({**original, **claims}).encode()).decode()
    presented = read_token(token, MAC_KEYS, source="s")
    if {**original, **claims} != original:
        assert presented is None or not presented.verified


@given(text=st.text(max_size=200))
def test_reading_any_text_as_a_token_never_fails(text: str) -> None:
    """Any text is either read as a token or rejected."""
    presented = read_token(text, MAC_KEYS, source="s")
    assert presented is None or not presented.verified


def test_tokens_of_the_previous_key_are_verified() -> None:
    """After a rotation old tokens and ids stay ours; signed with a key we never had, they are not."""
    token = made_token()
    for keys, verified in (([b"new", *MAC_KEYS], True), ([b"new"], False)):
        presented = read_token(token, keys, source="s")
        assert presented is not None
        assert presented.verified is verified


def test_base64url_and_missing_padding_are_read() -> None:
    """Clients re-encode tokens: both alphabets, with or without padding, are the same token."""
    token = made_token("žluť?>")
    variants = {
        token,
        token.rstrip("="),
        token.translate(str.maketrans("+/", "-_")),
        f"__Secure-jay_tracking={token}",
    }
    assert len({read_token(variant, MAC_KEYS, source="s") for variant in variants} - {None}) == 1
