"""Who a viewer is never reaches the log, and nothing of it does where consent is denied."""

import base64
import copy
import json
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rigs.ingest import SECRETS, Ingest, event, running, session_start
from rigs.waiting import until

from ingest.accept import refused_to_keep
from ingest.identity import Pseudonymizer, RefusedPseudonymizer, pseudonym
from ingest.names import DOCUMENTED_IDENTITIES, LEARNT_MAX, Names
from schemas.faults import InvalidEvent
from schemas.vocabulary import EVENT_TYPES, QOE
from sessions.params import read_start

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


def keep(body: object, pseudonymizer: RefusedPseudonymizer, *, denied: bool = False) -> Any:
    """Return what is kept of a refused body."""
    return refused_to_keep(InvalidEvent("x"), json.dumps(body).encode(), pseudonymizer, denied=denied).body


def refuse(ingest: Ingest, body: object, *, headers: dict[str, str] | None = None) -> Any:
    """Post a body that is refused; return the data of its record."""
    before = ingest.newest()["id"] if ingest.records(newest=1) else None
    reply = ingest.post("/api/v1/downloaded" if type(body) is list else "/api/v1/sessions", body, headers=headers)
    assert reply.status_code == 400
    return until(lambda: (record := ingest.newest())["id"] != before and record)["data"]


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


# Keys that identify a user, or a device, in spellings that players were seen to use and others like them.
USER_KEYS = [
    *(
        "user_id",
        "userId",
        "USERID",
        "User-ID",
        "user.id",
        "user id",
        "uid",
        "currentUserId",
        "app.user_id",
        "user",
    ),
    *("email", "e-mail", "E_Mail", "userEmail", "customer.email", "email_address", "mail", "contactMail", "phone"),
    *("homePhone", "phone_number", "msisdn", "MSISDN", "username", "login", "visitorId", "analytics.visitorid"),
    *(
        "Analytics.VisitorID",
        "analytics_visitor_id",
        "viewer_id",
        "customerId",
        "customer_id",
        "subscriberId",
        "crmId",
    ),
    *("visitor.customerIDs.crm.id", "visitor.customerids.mail", "VISITOR.CUSTOMERIDS", "accountId", "firstName"),
    *("\uff55\uff53\uff45\uff52_id", "user\u00a0id", "context.data.profile.user.id"),
]
DEVICE_KEYS = [
    *(
        "deviceId",
        "device_id",
        "DEVICE-ID",
        "device.id",
        "idfa",
        "IDFV",
        "my_gaid",
        "advertisingId",
        "advertising_id",
    ),
    *(
        "ipAddress",
        "ip_address",
        "ip",
        "clientIp",
        "client.ip",
        "macAddress",
        "androidId",
        "imei",
        "clientId",
        "ecid",
    ),
    *(
        "visitor.marketingclouduserid",
        "marketingCloudVisitorId",
        "analytics.AID",
        "app_installation_id",
        "cookieId",
    ),
]
# Keys that look a little like identities, and are content: the protocol's own, and others.
CONTENT_KEYS = [
    *(
        "media.id",
        "media.showId",
        "media.ad.id",
        "media.ad.siteId",
        "media.assetId",
        "media.ad.campaignId",
        "adId",
    ),
    *("visitor.marketingCloudOrgId", "analytics.reportSuite", "content_uid", "videoId", "playlist.id", "cloudId"),
    *(
        "headphones",
        "microphone",
        "phoneModel",
        "deviceType",
        "ipVersion",
        "studioId",
        "episodeFullName",
        "userAgent",
    ),
    *("session.id", "visitor.aamLocationHint", "guide", "advertiserId", "description"),
]


@pytest.mark.parametrize(
    ("key", "namespace"), [*((key, "user") for key in USER_KEYS), *((key, "device") for key in DEVICE_KEYS)]
)
def test_identities_are_found_by_any_name(ingest: Ingest, key: str, namespace: str) -> None:
    """In every part of an event, and in refused bodies, with the pseudonym of the known key of their kind."""
    wanted = pseudonym(KEY, namespace, "canary-by-name")
    named = {key: "canary-by-name"}
    body = {**session_start(**named), "customMetadata": named, "qoeData": named, **named}
    (record,) = ingest.events(ingest.start(body))
    data = record["data"]
    assert [data[key], *(data[part][key] for part in ("params", "customMetadata", "qoeData"))] == [wanted] * 4
    assert "consent" not in record  # the documented keys alone say that consent was given
    for mistake in (body | {"eventType": "none"}, [[named]], {"x": {"y": [named, {"z": named}]}}):
        kept = refuse(ingest, mistake)
        assert "canary" not in json.dumps(kept)
        assert wanted in json.dumps(kept["body"])


@pytest.mark.parametrize("key", [*USER_KEYS, *DEVICE_KEYS])
def test_a_denial_drops_identities_of_any_name(ingest: Ingest, key: str) -> None:
    """Their keys are gone, in accepted and in refused bodies."""
    body = {**session_start(), "customMetadata": {key: "canary-denied", "plan": "gold"}}
    (record,) = ingest.events(ingest.start(body, headers={"X-Consent": "no"}))
    assert record["data"]["customMetadata"] == {"plan": "gold"}
    kept = refuse(ingest, body | {"eventType": "none"}, headers={"X-Consent": "no"})
    assert kept["body"]["customMetadata"] == {"plan": "gold"}


@pytest.mark.parametrize("key", CONTENT_KEYS)
def test_content_keys_are_left_alone(ingest: Ingest, key: str) -> None:
    """What the protocol documents, and what only sounds like an identity."""
    (record,) = ingest.events(ingest.start({**session_start(), "customMetadata": {key: "as it was"}}))
    assert record["data"]["customMetadata"] == {key: "as it was"}


def test_every_documented_key_is_content_or_one_of_the_five_identities() -> None:
    """No name of the vocabulary is taken for another's identity."""
    names = Names()
    documented = {param.key for row in EVENT_TYPES.values() for param in (*row.params, *QOE)}
    assert {key for key in documented if names.meaning(key) != "content"} == DOCUMENTED_IDENTITIES.keys()


def test_other_spellings_of_a_user_become_no_user_of_the_session(ingest: Ingest) -> None:
    """The pseudonym is the same; the lake reads the documented spelling alone."""
    body = session_start(**{"analytics.visitorid": "canary-visitor", "userId": "canary-visitor"})
    (record,) = ingest.events(ingest.start(body))
    assert set(record["data"]["params"].values()) >= {pseudonym(KEY, "user", "canary-visitor")}
    assert read_start(record["data"]["params"], {}, source="").user_id is None


ADDRESSES = [
    "canary@mail.example",
    "Canary+tag@sub.mail.example",
    "canary%40mail.example",
    "c\u00e4nary@m\u00fcnchen.example",
]


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "form", ["{}", "mailto:{}", "write to {} today", "<{}>", "https://x.example/?to={}&a=1", "a,{},b"]
)
@pytest.mark.parametrize("headers", [{}, {"X-Consent": "no"}], ids=["", "denied"])
def test_mail_addresses_are_replaced_wherever_they_stand(
    ingest: Ingest, address: str, form: str, headers: dict[str, str]
) -> None:
    """Under any key, escaped or not; a whole address has its pseudonym unless consent is denied."""
    text = form.format(address)
    is_whole = form == "{}" and "%" not in address and not headers
    wanted = pseudonym(KEY, "user", text) if is_whole else "(removed)"
    body = {**session_start(**{"media.name": text}), "customMetadata": {"note": text, text: "x"}, "top": text}
    for raw in (json.dumps(body), json.dumps(body, ensure_ascii=False), json.dumps(body).replace("@", "\\u0040")):
        (record,) = ingest.events(ingest.start(raw.encode(), headers=headers))
        data = record["data"]
        found = [data["params"]["media.name"], data["customMetadata"].pop("note"), data["top"]]
        assert found == [wanted] * 3
        assert data["customMetadata"] == {}
    kept = refuse(ingest, body | {"eventType": text}, headers=headers)
    assert not re.search("(?i)c.{0,6}nary", json.dumps(kept))


@pytest.mark.parametrize(
    "text",
    ["poster@2x.png", "Live @ arena.tv", "@handle", "hls.js@1.5.13", "me@home", "a@b", "5@7.30", "Ich&Du", "50%"],
)
def test_what_only_has_an_at_sign_is_left_alone(ingest: Ingest, text: str) -> None:
    """Pictures, versions, handles."""
    (record,) = ingest.events(ingest.start(session_start(**{"media.name": text})))
    assert record["data"]["params"]["media.name"] == text


@pytest.mark.parametrize(
    "text",
    [
        "https://x.example/watch?v=1&user_id=canary",
        "deviceId=canary; path=/",
        json.dumps({"user": {"id": "x", "userId": "canary"}}),
        json.dumps(json.dumps({"email": "canary"})),
        '{"visitor.customerIDs": {"crm": {"id": "canary"}}}',
        "__Secure-jay_tracking=canary",
    ],
)
def test_texts_that_name_an_identity_are_removed(ingest: Ingest, text: str) -> None:
    """A query, a cookie or JSON inside a text of an accepted event; what names none is kept."""
    body = {**session_start(), "customMetadata": {"note": text, "page": "https://x.example/watch?v=1&t=7"}}
    (record,) = ingest.events(ingest.start(body))
    assert record["data"]["customMetadata"] == {"note": "(removed)", "page": "https://x.example/watch?v=1&t=7"}


def test_the_names_of_customer_ids_are_no_place_for_an_address(ingest: Ingest) -> None:
    """They become the source of a session's user id."""
    (record,) = ingest.events(
        ingest.start(session_start(**{"visitor.customerIDs": {"canary@a.example": {"id": "x"}}}))
    )
    assert record["data"]["params"]["visitor.customerIDs"] == {"(removed)": {"id": pseudonym(KEY, "user", "x")}}


NOBODY = [
    *(
        "",
        " ",
        "\t",
        "-",
        "--",
        "0",
        "00",
        "0000",
        "00000000-0000-0000-0000-000000000000",
        "0.0",
        "undefined",
        "null",
    ),
    *(
        "NULL",
        " Null ",
        "(null)",
        "<none>",
        "None",
        "none",
        "nil",
        "nan",
        "NaN",
        "N/A",
        "anonymous",
        "Anonymous",
        "ANON",
    ),
    *("unknown", "Unknown", "xxxx", "XxXx", "aaaaaaaa", "11111111", "ffffffff-ffff-ffff-ffff-ffffffffffff", "***"),
    *("not set", "(not set)", "[object Object]", "_", "???"),
]


@pytest.mark.parametrize("nobody", [*NOBODY, 0, 0.0, None, True, False, 1111], ids=repr)
def test_what_is_nobodys_id_is_no_identity(ingest: Ingest, nobody: object) -> None:
    """It is not stored, says nothing of consent and makes no user, in either API."""
    for params in (
        {"analytics.visitorId": nobody},
        {"visitor.customerIDs": {"crm": {"id": nobody, "authState": 1}}},
        {"visitor.customerIDs": nobody},
        {"analytics.aid": nobody},
    ):
        (record,) = ingest.events(ingest.start(session_start(**params)))
        assert "consent" not in record
        assert not params.keys() & record["data"]["params"].keys()
    if isinstance(nobody, str) and "\t" not in nobody:
        made = ingest.post(TRACKING, {"user_id": nobody}, headers=API)
        ingest.client.cookies.clear()
        assert "user_id" not in made.json()
        (created,) = ingest.events(made.json()["session_id"])
        assert not {"user_id", "consent"} & (created["data"].keys() | created.keys())


@pytest.mark.parametrize("somebody", ["u", "7", "canary 0000", "10", "unknown-7", "nullsoft", "anonymous1"])
def test_short_ids_and_longer_words_are_somebodys(ingest: Ingest, somebody: str) -> None:
    """Only the whole value is compared."""
    (record,) = ingest.events(ingest.start(session_start(**{"analytics.visitorId": somebody})))
    assert record["data"]["params"]["analytics.visitorId"] == pseudonym(KEY, "user", somebody)
    assert record["consent"] == "given"


@pytest.mark.parametrize(
    ("body", "is_identity"),
    [
        ({**session_start(), "eventType": "quoted"}, False),
        ([session_start(), {**event("ping"), "eventType": "a ' - at `$.x` quoted"}], False),
        ({**session_start(), "eventType": "user_id=quoted"}, True),
        ({**session_start(), "eventType": "x" * 40 + "quoted@mail.example"}, True),
        ({**session_start(), "customMetadata": {"quoted@mail.example": {"a": 1}}}, True),
        ({**session_start(), "quoted@mail.example": [1]}, True),
    ],
    ids=str,
)
def test_details_of_refusals_quote_no_identity(ingest: Ingest, body: object, is_identity: bool) -> None:
    """Under a denial they quote nothing that was sent; without one, no address and no named identity."""
    assert "quoted" not in refuse(ingest, body, headers={"DNT": "1"})["detail"]
    assert ("quoted" in refuse(ingest, body)["detail"]) is not is_identity


def test_a_detail_still_tells_what_was_expected(ingest: Ingest) -> None:
    """Without a denial it quotes what was wrong; with one it gives the reason without a quotation."""
    body = {**session_start(), "eventType": "wrongType"}
    assert refuse(ingest, body)["detail"].endswith("got 'wrongType'")
    denied = refuse(ingest, body, headers={"X-Consent": "0"})["detail"]
    assert denied.startswith("Expected `eventType` to be one of sessionStart")
    assert denied.endswith("got (removed)")
    del body["playerTime"]["playhead"]
    body["eventType"] = "sessionStart"
    assert "playhead" in refuse(ingest, body, headers={"X-Consent": "0"})["detail"]


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


@pytest.mark.parametrize(
    "text",
    [
        "a" * 60000,
        "a@" * 30000,
        "@a." * 20000,
        "a=" * 30000,
        '"a":' * 15000,
        "\\" * 60000,
        " " * 60000,
        "." * 60000,
        "a@" + "a." * 29000 + "1",
        "%40" * 20000,
        "a" + " " * 59000 + ":",
        "-_" * 30000,
    ],
    ids=lambda text: text[:4],
)
def test_reading_a_text_takes_time_linear_in_its_length(text: str) -> None:
    """Whatever a text of 60 kB is, as a value and as a key: a few milliseconds, where quadratic were seconds."""
    pseudonymizer = RefusedPseudonymizer(KEY, links_devices=True)
    began_s = time.process_time()
    pseudonymizer.over({text: {"x": text, "user_id": text}}, denied=False)
    pseudonymizer.has_to_read(json.dumps(text).encode())
    assert time.process_time() - began_s < 0.5


def test_many_different_names_cost_little_and_take_bounded_memory() -> None:
    """100,000 names that nobody uses twice: what is remembered has an end, and known names stay known."""
    names = Names()
    began_s = time.process_time()
    for number in range(100_000):
        names.meaning(f"key{number}")
    assert time.process_time() - began_s < 10
    assert len(names.content) <= LEARNT_MAX
    assert (names.meaning("media.id"), names.meaning("user_id")) == ("content", "user")


near_addresses = st.lists(
    st.sampled_from(
        [
            "a",
            "Z",
            "7",
            "_",
            "-",
            ".",
            "@",
            "%40",
            "é",
            "例",
            "\u3002",
            "\\",
            '"',
            "/",
            " ",
            "\n",
            "=",
            "email",
            "user",
        ]
    ),
    max_size=12,
).map("".join)


@given(text=near_addresses, escaped=st.sampled_from(["no", "above ASCII", "everything"]))
@example(text="a@b.cc", escaped="no")
@example(text="a@é.cc", escaped="above ASCII")
def test_texts_that_are_not_read_hold_no_identity(text: str, escaped: str) -> None:
    """Whether the texts of an event are read goes by the bytes of its body, and changes nothing that is stored."""
    body = session_start(**{"media.name": text}) | {"customMetadata": {"x": text}}
    if escaped == "everything":
        sent = json.dumps(body).replace(json.dumps(text), '"' + "".join(map(_escape, text)) + '"').encode()
    else:
        sent = json.dumps(body, ensure_ascii=escaped == "above ASCII").encode()
    assert json.loads(sent) == body
    pseudonymizer = Pseudonymizer(KEY, links_devices=True)
    reads_texts = pseudonymizer.has_to_read(sent)
    stored = pseudonymizer.over_event(body, denied=False, reads_texts=reads_texts)
    assert stored == pseudonymizer.over_event(body, denied=False, reads_texts=True)


def _escape(character: str) -> str:
    return f"\\u{ord(character):04x}"


def test_the_organization_of_a_session_start_is_no_reason_to_read_its_texts() -> None:
    """`...@AdobeOrg` is in every sessionStart; reading all of its texts took 8 of 50 us of a request."""
    body = session_start(**{"visitor.marketingCloudOrgId": "0123456789ABCDEF01234567@AdobeOrg"})
    assert not Pseudonymizer(KEY, links_devices=True).has_to_read(json.dumps(body).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*IDENTITIES, "id", "x"]), inner, max_size=4)
    ),
)


@given(
    event=st.dictionaries(st.sampled_from(["params", "qoeData", *IDENTITIES]), json_values), denied=st.booleans()
)
def test_pseudonymizing_leaves_what_it_is_given_alone(event: dict[str, Any], denied: bool) -> None:
    """The event given is not changed, and its other parts come out as they went in."""
    before = copy.deepcopy(event)
    stored, _ = Pseudonymizer(KEY, links_devices=True).over(event, denied=denied)
    assert event == before
    if not any(name in json.dumps(event) for name in IDENTITIES):
        assert stored == event


@given(value=st.text(min_size=1), other=st.text(min_size=1))
def test_pseudonyms_are_equal_for_equal_values_only(value: str, other: str) -> None:
    """32 hex characters, the same each time, different for another value, namespace or key."""
    made = pseudonym(KEY, "user", value)
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert (made == pseudonym(KEY, "user", other)) is (value == other)
    assert made not in (pseudonym(KEY, "device", value), pseudonym(b"another", "user", value))
