"""By which names and in which texts identities are found, and what is nobody's."""

import json
import re
from collections.abc import Iterator

import pytest
from rigs.identities import API, KEY, TRACKING, linking, refuse
from rigs.ingest import Ingest, event, session_start

from ingest.identity import pseudonym
from ingest.names import DOCUMENTED_IDENTITIES, Names
from schemas.vocabulary import EVENT_TYPES, QOE
from sessions.params import read_start

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


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here."""
    with linking(tmp_path_factory.mktemp("identity") / "data") as ingest:
        yield ingest


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
        ([session_start(), {**event("ping"), "eventType": "a ' - at `/x` quoted"}], False),
        ({**session_start(), "eventType": "user_id=quoted"}, True),
        ({**session_start(), "eventType": "x" * 40 + "quoted@mail.example"}, True),
        ({**session_start(), "customMetadata": {"quoted@mail.example": {"a": 1}}}, True),
        ({**session_start(), "quoted@mail.example": [1]}, True),
        ({**session_start(), "eventType": "quoted", "playerTime": 1}, False),
        ({"eventType": "quoted", "playerTime": {"ts": "quoted=1", "playhead": "userId=quoted"}}, False),
        ({"eventType": "x", "playerTime": {"ts": "userId=quoted", "playhead": 1}}, True),
        ({"eventType": "quoted", "playerTime": {"ts": 1, "playhead": float("nan")}}, False),
    ],
    ids=str,
)
def test_details_of_refusals_quote_no_identity(ingest: Ingest, body: object, is_identity: bool) -> None:
    """Under a denial they quote nothing that was sent; without one, no address and no named identity."""
    assert "quoted" not in refuse(ingest, body, headers={"DNT": "1"})["detail"]
    assert ("quoted" in refuse(ingest, body)["detail"]) is not is_identity


def test_a_denial_in_a_body_that_is_not_json_counts(ingest: Ingest) -> None:
    """Of one with a `NaN` in it no quotation is kept, and nothing of the body."""
    body = {"eventType": "quoted", "playerTime": {"ts": 1, "playhead": float("nan")}}
    denied = refuse(ingest, {**body, "customMetadata": {"consent": "denied"}})
    assert (denied["reason"], denied.get("body")) == ("not_json", None)
    assert "Unknown `eventType` (removed)" in denied["detail"]
    assert "Unknown `eventType` 'quoted'" in refuse(ingest, body)["detail"]


def test_a_detail_still_tells_what_was_expected(ingest: Ingest) -> None:
    """Without a denial it quotes what was wrong; with one it gives the reason without a quotation."""
    body = {**session_start(), "eventType": "wrongType"}
    assert refuse(ingest, body)["detail"].startswith("Unknown `eventType` 'wrongType'")
    denied = refuse(ingest, body, headers={"X-Consent": "0"})["detail"]
    assert denied.startswith("Unknown `eventType` (removed). Known are sessionStart")
    del body["playerTime"]["playhead"]
    body["eventType"] = "sessionStart"
    assert "playhead" in refuse(ingest, body, headers={"X-Consent": "0"})["detail"]
