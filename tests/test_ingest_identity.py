"""Who a viewer is never reaches the log, and nothing of it does where consent is denied."""

import base64
import copy
import json
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ingest_rig import SECRETS, Ingest, event, running, session_start, until

from ingest.accept import body_to_keep
from ingest.identity import RefusedVeil, Veil, denies, headers_deny, pseudonym

KEY = SECRETS["PLAYHEAD_PSEUDONYM_KEY"].encode()
API = {"X-API-Key": "string"}
TRACKING = "/v1/playouts/tracking/session"
IDENTITIES = {
    "analytics.visitorId": "canary-visitor",
    "visitor.marketingCloudUserId": "canary-ecid",
    "analytics.aid": "canary-aid",
    "appInstallationId": "canary-installation",
    "visitor.customerIDs": {
        "mail": {"id": "canary@mail.example", "authState": 1},
        "crm": {"id": "canary-crm", "authState": 0},
        "none": {"id": ""},
    },
}
DENIALS: list[dict[str, str]] = [
    {"X-Consent": "denied"},
    {"X-Consent": "analytics=0"},
    {"X-Consent": "ads=1; analytics=denied"},
    {"Sec-GPC": "1"},
    {"DNT": "1"},
]


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here; at the end no canary may be anywhere in its log or its output."""
    data_dir = tmp_path_factory.mktemp("identity") / "data"
    with running(data_dir, rejected_per_s=10_000, link_devices="on") as ingest:
        yield ingest
        for written in (ingest.bytes_of_log(), ingest.output.encode()):
            assert not re.search(rb"(?i)canary", written)
            assert base64.b64encode(b'"user_id":"canary')[:16] not in written


def test_identities_are_replaced_by_pseudonyms(ingest: Ingest) -> None:
    """Each identity has its namespace's pseudonym; an empty one is left out; authState stays."""
    (record,) = ingest.events(ingest.start(session_start(**IDENTITIES)))
    params = record["data"]["params"]
    assert params["analytics.visitorId"] == pseudonym(KEY, "user", "canary-visitor")
    assert params["visitor.marketingCloudUserId"] == pseudonym(KEY, "device", "canary-ecid")
    assert params["analytics.aid"] == pseudonym(KEY, "device", "canary-aid")
    assert params["appInstallationId"] == pseudonym(KEY, "device", "canary-installation")
    assert params["visitor.customerIDs"] == {
        "mail": {"id": pseudonym(KEY, "user", "canary@mail.example"), "authState": 1},
        "crm": {"id": pseudonym(KEY, "user", "canary-crm"), "authState": 0},
    }
    assert record["consent"] == "given"
    assert "flags" not in record


def test_a_user_is_the_same_one_in_both_apis(ingest: Ingest) -> None:
    """The tracking API's user_id and analytics.visitorId of equal value have equal pseudonyms."""
    made = ingest.post(TRACKING, {"user_id": "canary-visitor"}, headers=API)
    ingest.client.cookies.clear()
    (created,) = ingest.events(made.json()["session_id"])
    (started,) = ingest.events(ingest.start(session_start(**IDENTITIES)))
    assert created["data"]["user_id"] == started["data"]["params"]["analytics.visitorId"]
    assert re.fullmatch("[0-9a-f]{32}", created["data"]["user_id"])


def test_a_device_is_no_user(ingest: Ingest) -> None:
    """Equal values in two namespaces cannot be told to be equal, and a device identity says nothing of consent."""
    body = session_start(**{"analytics.aid": "canary-visitor"})
    (record,) = ingest.events(ingest.start(body))
    assert record["data"]["params"]["analytics.aid"] != pseudonym(KEY, "user", "canary-visitor")
    assert "consent" not in record


def test_device_identities_are_dropped_unless_they_are_wanted() -> None:
    """By default the sessions of a viewer who gave no user id have nothing in common; user identities stay."""
    veiled = Veil(KEY, links_devices=False).over(session_start(**IDENTITIES), denied=False)
    assert IDENTITIES.keys() & veiled.value["params"].keys() == {"analytics.visitorId", "visitor.customerIDs"}
    assert veiled.consent == "given"
    veil = RefusedVeil(KEY, links_devices=False)
    kept = body_to_keep(json.dumps({"x": IDENTITIES}).encode(), veil, denied=False)
    assert kept["x"].keys() == {"analytics.visitorId", "visitor.customerIDs"}


@pytest.mark.parametrize("headers", DENIALS, ids=str)
def test_a_denial_drops_all_identities(ingest: Ingest, headers: dict[str, str]) -> None:
    """X-Consent, Global Privacy Control, Do Not Track: no identity, no pseudonym is left, in either API."""
    (record,) = ingest.events(ingest.start(session_start(**IDENTITIES), headers=headers))
    assert record["consent"] == "denied"
    assert not IDENTITIES.keys() & record["data"]["params"].keys()
    made = ingest.post(f"{TRACKING}?user_id=canary", {"user_id": "canary"}, headers={**API, **headers})
    ingest.client.cookies.clear()
    assert "user_id" not in made.json()
    assert b"user_id" not in base64.b64decode(made.headers["x-jay-tracking"])
    (created,) = ingest.events(made.json()["session_id"])
    assert (created["consent"], "user_id" in created["data"]) == ("denied", False)


@pytest.mark.parametrize("value", ["denied", "analytics=0", "No", False, 0])
def test_custom_metadata_may_deny(ingest: Ingest, value: object) -> None:
    """The key `consent` of the custom metadata denies for its event."""
    body = {**session_start(**IDENTITIES), "customMetadata": {"consent": value}}
    (record,) = ingest.events(ingest.start(body))
    assert record["consent"] == "denied"
    assert not IDENTITIES.keys() & record["data"]["params"].keys()


@pytest.mark.parametrize(
    ("logged_in", "agreed", "wanted"),
    [(False, False, None), (False, True, None), (True, False, None), (True, True, "given")],
)
def test_the_consent_table(ingest: Ingest, logged_in: bool, agreed: bool, wanted: str | None) -> None:
    """Guests and users without consent get a session without user; only a user who agreed gets one with.

    | viewer                        | tracking session | user id |
    | guest, declined or agreed     | yes              | no      |
    | logged in, without consent    | yes              | no      |
    | logged in, agreed             | yes              | yes     |
    """
    body = {"user_id": "canary-table"} if logged_in and agreed else {}
    records = []
    for _ in range(2):
        made = ingest.post(TRACKING, body, headers=API)
        ingest.client.cookies.clear()
        assert made.status_code == 200
        (record,) = ingest.events(made.json()["session_id"])
        assert record.get("consent") == wanted
        assert ("user_id" in record["data"]) is (wanted is not None)
        records.append(record)
    shared = _values(records[0]) & _values(records[1])
    pseudonyms = {value for value in shared if re.fullmatch("[0-9a-f]{32}", value)}
    assert bool(pseudonyms) is (wanted is not None)
    assert not {value for value in shared if re.search("[0-9a-f]{8}", value)} - pseudonyms


def _values(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(_values(inner) for inner in value.values()))
    return {str(value)}


def test_identity_values_of_other_shapes_are_replaced(ingest: Ingest) -> None:
    """A mistyped identity is stored with a flag, and is no less an identity."""
    for wrong in (
        {"visitor.customerIDs": "canary"},
        {"visitor.customerIDs": ["canary", {"id": "canary"}]},
        {"visitor.customerIDs": {"a": "canary", "b": {"id": 5, "value": "canary", "authState": "canary"}}},
        {"analytics.visitorId": 123454321},
        {"customer": "x", "visitor.customerIDs": {"a": {"id": "canary", "authState": 7}}},
    ):
        (record,) = ingest.events(ingest.start(session_start(**wrong)))
        assert "off_schema" in record["flags"]
        assert "canary" not in json.dumps(record)
        assert "123454321" not in json.dumps(record["data"])


def test_identity_keys_are_found_wherever_they_stand(ingest: Ingest) -> None:
    """Outside params, on other events, in a list of states: replaced all the same."""
    session = ingest.start(session_start())
    body = {
        **event("ping", customMetadata={"analytics.visitorId": "canary"}, qoeData={"analytics.aid": "canary"}),
        "appInstallationId": "canary",
        "analytics.aid": "canary",
        "params": {"statesStart": [{"media.state.name": "mute", "analytics.aid": "canary"}]},
    }
    assert ingest.post(f"{session}/events", body).status_code == 204
    record = ingest.events(session)[1]
    aid = pseudonym(KEY, "device", "canary")
    assert record["data"]["customMetadata"] == {"analytics.visitorId": pseudonym(KEY, "user", "canary")}
    assert record["data"]["analytics.aid"] == record["data"]["qoeData"]["analytics.aid"] == aid


@pytest.mark.parametrize(
    "body",
    [
        {"params": IDENTITIES},
        {"eventType": "play", "params": [IDENTITIES, {"visitor.customerIDs": [["canary"]]}]},
        [session_start(**IDENTITIES), {"params": IDENTITIES}],
        {"deep": [[{"x": IDENTITIES}]]},
        {"params": json.dumps(IDENTITIES)},
        {"params": "analytics.visitorId=canary"},
        {"name": "analytics.visitorId", "value": "canary"},
        ["analytics.visitorId", "canary", ["canary"]],
        {"Analytics.VisitorID": "canary", "USER_ID": "canary"},
        {"user_id": {"id": "canary"}, "userId": ["canary"], "x": 1},
        {"tracking_session_id": "canary", "customMetadata": {"jay_tracking": "canary"}},
        b"{analytics.visitorId: canary}",
        b'{"analytics.visitorId": "canary',
    ],
    ids=str,
)
def test_refused_bodies_are_kept_without_identities(ingest: Ingest, body: object) -> None:
    """Whatever shape the mistake has, the refused body in the log names nobody."""
    for path in ("/api/v1/sessions", "/api/v1/downloaded", TRACKING):
        before = len(ingest.records())
        reply = ingest.post(path, body, headers=API)
        ingest.client.cookies.clear()
        if reply.status_code == 200:
            continue  # the tracking API takes an object that says nothing to it
        assert reply.status_code == 400
        until(partial(ingest.holds, before + 1))
        assert "canary" not in json.dumps(ingest.records()[-1]).lower()


def test_a_denial_counts_for_refused_bodies_too() -> None:
    """Where consent is denied, by the caller or by the body itself, a refused body has no pseudonyms either."""
    body = {**session_start(**IDENTITIES), "eventType": "nonsense"}
    veil = RefusedVeil(KEY, links_devices=True)
    kept = body_to_keep(json.dumps(body).encode(), veil, denied=False)
    assert kept["params"]["analytics.visitorId"] == pseudonym(KEY, "user", "canary-visitor")
    assert kept["params"]["media.id"] == "film-1"
    for denied, said in ((True, {}), (False, {"customMetadata": {"consent": "no"}})):
        kept = body_to_keep(json.dumps({**body, **said}).encode(), veil, denied=denied)
        assert not IDENTITIES.keys() & kept["params"].keys()


def test_tokens_cookies_and_queries_are_not_written(ingest: Ingest) -> None:
    """What names the viewer in a header, a cookie, a query or custom metadata stays out of log and output."""
    made = ingest.post(TRACKING, {"user_id": "canary-token"}, headers=API)
    ingest.client.cookies.clear()
    token = made.headers["x-jay-tracking"]
    foreign = base64.b64encode(
        json.dumps({"session_id": "s", "start_time": "2025-01-01", "source": "x", "user_id": "canary"}).encode()
    ).decode()
    for text in (token, foreign, token[:-8]):
        cookie = {"Cookie": f"__Secure-jay_tracking={text}"}
        ingest.start(
            session_start(),
            headers={"X-JAY-TRACKING": text, **cookie, "User-Agent": "canary", "Referer": "canary"},
        )
        ingest.start({**session_start(), "customMetadata": {"jay_tracking": text}})
        ingest.client.get(f"{TRACKING}?user_id=canary", headers={**API, **cookie})
        ingest.client.delete(f"{TRACKING}?user_id=canary", headers={**API, **cookie})
        ingest.post("/api/v1/sessions?user_id=canary", b"{", headers={"X-JAY-TRACKING": text})
        written = ingest.bytes_of_log() + ingest.output.encode()
        assert text.encode() not in written


@pytest.mark.parametrize(
    "text",
    [
        "denied",
        "0",
        "false",
        "No",
        "opt-out",
        "analytics=0",
        "analytics:no",
        "a=1,analytics=off",
        "consent = declined",
    ],
)
def test_texts_that_deny(text: str) -> None:
    """The ways of saying no."""
    assert denies(text)


@pytest.mark.parametrize(
    "text", ["", "granted", "1", "true", "analytics=1", "ads=0", "analytics=granted; ads=denied"]
)
def test_texts_that_do_not(text: str) -> None:
    """Other purposes' denials, permissions, and nothing at all are no denial of analytics."""
    assert not denies(text)


def test_signals_are_on_at_1_only() -> None:
    """`DNT: 0` and `Sec-GPC: 0` are no denials; one denial among several X-Consent headers is one."""
    assert not headers_deny({b"dnt": b"0", b"sec-gpc": b"0", b"x-consent": b"granted"})
    assert headers_deny({b"x-consent": b"granted, denied"})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*IDENTITIES, "id", "x"]), inner, max_size=4)
    ),
)


@given(
    event=st.dictionaries(st.sampled_from(["params", "qoeData", *IDENTITIES]), json_values), denied=st.booleans()
)
def test_veiling_leaves_what_it_is_given_alone(event: dict[str, Any], denied: bool) -> None:
    """The event given is not changed, and its other parts come out as they went in."""
    before = copy.deepcopy(event)
    veiled = Veil(KEY, links_devices=True).over(event, denied=denied)
    assert event == before
    if not any(name in json.dumps(event) for name in IDENTITIES):
        assert veiled.value == event


@given(value=st.text(min_size=1), other=st.text(min_size=1))
def test_pseudonyms_are_equal_for_equal_values_only(value: str, other: str) -> None:
    """32 hex characters, the same each time, different for another value, namespace or key."""
    made = pseudonym(KEY, "user", value)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert (made == pseudonym(KEY, "user", other)) is (value == other)
    assert made not in (pseudonym(KEY, "device", value), pseudonym(b"another", "user", value))
