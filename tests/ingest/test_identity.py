"""What identifies a person is replaced by pseudonyms before it is written, or dropped where consent is denied."""

import base64
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rigs.identities import API, IDENTITIES, KEY, TRACKING, keep, linking, refuse
from rigs.ingest import Ingest, event, running, session_start
from rigs.waiting import until

from ingest.identity import Pseudonymizer, RefusedPseudonymizer, pseudonym

DENIALS: list[dict[str, str]] = [
    {"X-Consent": "denied"},
    {"X-Consent": "analytics=0"},
    {"X-Consent": "ads=1; analytics=denied"},
    {"Sec-GPC": "1"},
    {"DNT": "1"},
]


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here."""
    with linking(tmp_path_factory.mktemp("identity") / "data") as ingest:
        yield ingest


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
    """Equal values in two namespaces do not look equal, and a device identity says nothing about consent."""
    body = session_start(**{"analytics.aid": "canary-visitor"})
    (record,) = ingest.events(ingest.start(body))
    assert record["data"]["params"]["analytics.aid"] != pseudonym(KEY, "user", "canary-visitor")
    assert "consent" not in record


def test_device_identities_are_dropped_unless_they_are_wanted() -> None:
    """By default the sessions of a viewer who gave no user id have nothing in common; user identities stay."""
    stored, consent = Pseudonymizer(KEY, links_devices=False).over(session_start(**IDENTITIES), denied=False)
    assert IDENTITIES.keys() & stored["params"].keys() == {
        "analytics.visitorId",
        "visitor.customerIDs",
    }
    assert consent == "given"
    pseudonymizer = RefusedPseudonymizer(KEY, links_devices=False)
    kept = keep({"x": IDENTITIES}, pseudonymizer)
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


@pytest.mark.parametrize("nested", ["statesStart", "statesEnd", "visitor.customerIDs"])
def test_what_is_nested_is_looked_at_each_time(ingest: Ingest, nested: str) -> None:
    """Names are remembered from the first event; values in lists and objects are still examined."""
    session = ingest.start(session_start())
    inner: object = [{"media.state.name": "mute", "deviceId": "canary"}]
    if nested == "visitor.customerIDs":
        inner = {"crm": {"id": "canary", "note": "canary"}}
    for _ in range(3):
        assert ingest.post(f"{session}/events", event("statesUpdate", params={nested: inner})).status_code == 204
    first, *others = [record["data"] for record in ingest.events(session)[1:]]
    assert "canary" not in json.dumps(first)
    assert others == [first, first]


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
    pseudonymizer = RefusedPseudonymizer(KEY, links_devices=True)
    kept = keep(body, pseudonymizer)
    assert kept["params"]["analytics.visitorId"] == pseudonym(KEY, "user", "canary-visitor")
    assert kept["params"]["media.id"] == "film-1"
    for denied, said in ((True, {}), (False, {"customMetadata": {"consent": "no"}})):
        kept = keep({**body, **said}, pseudonymizer, denied=denied)
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


def test_settings_add_identities_and_allow_metadata_by_name(tmp_path: Path) -> None:
    """`identity_keys` are replaced like the known ones; of custom metadata `metadata_keys` alone are stored."""
    settings = {"identity_keys": "Loyalty Card,device:box", "metadata_keys": "plan,loyalty_card,box,user_id"}
    with running(tmp_path / "data", link_devices="on", **settings) as ingest:
        metadata = {
            "plan": "gold",
            "loyaltyCard": "x",
            "loyalty_card": "card",
            "box": "b",
            "user_id": "u1",
            "z": 1,
        }
        body = {**session_start(loyaltycard="card"), "customMetadata": metadata}
        (record,) = ingest.events(ingest.start(body))
        card = pseudonym(KEY, "user", "card")
        assert record["data"]["params"]["loyaltycard"] == card
        kept = {"plan": "gold", "loyalty_card": card, "box": pseudonym(KEY, "device", "b")}
        assert record["data"]["customMetadata"] == {**kept, "user_id": pseudonym(KEY, "user", "u1")}
        assert refuse(ingest, body | {"eventType": "x"})["body"]["customMetadata"].keys() == {*kept, "user_id"}
        denied = {**session_start(), "customMetadata": {"consent": "denied", "z": 1}}
        assert ingest.events(ingest.start(denied))[0]["data"]["customMetadata"] == {"consent": "denied"}
