"""Consent is never guessed: what is not on the list of grants is a denial, whoever says it, in whatever body."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from rigs.ingest import SECRETS, Ingest, event, running, session_start
from rigs.waiting import until

from ingest.identity import pseudonym

KEY = SECRETS["PLAYHEAD_PSEUDONYM_KEY"].encode()
API = {"X-API-Key": "string"}
TRACKING = "/v1/playouts/tracking/session"
USER = "canary-of-consent"
HASHED = pseudonym(KEY, "user", USER)

# Texts, which X-Consent and custom metadata read alike.
GRANTING_TEXTS = [
    *(
        "granted",
        "GRANTED",
        " Granted ",
        '"granted"',
        "'granted'",
        "grant",
        "given",
        "1",
        "true",
        "True",
        "yes",
        "Y",
    ),
    *(
        "on",
        "ok",
        "allow",
        "allowed",
        "accept",
        "accepted",
        "agree",
        "agreed",
        "consented",
        "permitted",
        "enabled",
    ),
    *(
        "opt-in",
        "optin",
        "opt_in",
        "granted,",
        "granted, granted",
        "analytics=1",
        "analytics:yes",
        "ANALYTICS=Granted",
    ),
    *("analytics = granted", "statistics=granted", "measurement=1", "performance=true", "tracking=on", "all=1"),
    *("consent=yes", "analytics=1; ads=0", "ads=denied, analytics=granted", "marketing=no&statistics=yes"),
    *('"analytics=1; ads=0"', "analytics_storage=granted; ad_storage=denied", '{"analytics": true}'),
    *('{"statistics": "granted", "marketing": false}', '{"analytics": 1, "ads": null}'),
]
DENYING_TEXTS = [
    *(
        "denied",
        "DENIED",
        " Denied ",
        '"denied"',
        "0",
        "false",
        "no",
        "none",
        "off",
        "n",
        "opt-out",
        "optout",
        "opt_out",
    ),
    *(
        "deny",
        "declined",
        "refuse",
        "refused",
        "rejected",
        "revoked",
        "withdrawn",
        "withheld",
        "withhold",
        "pending",
    ),
    *(
        "unknown",
        "undefined",
        "null",
        "garbage",
        "maybe",
        "2",
        "-1",
        "10",
        "1.5",
        "not granted",
        "granted not",
        "yesno",
    ),
    *(
        "analytics",
        "all",
        "analytics=",
        "analytics=0",
        "analytics=n",
        "analytics:no",
        "analytics=denied",
        "Analytics=NO",
    ),
    *(
        "statistics=denied",
        "measurement=0",
        "performance=refuse",
        "tracking=withheld",
        "all=0",
        "consent = declined",
    ),
    *("ads=1", "ads=granted; marketing=granted", "ads=0", "ads=1; analytics=denied", "a=1,analytics=off"),
    *(
        "analytics=1; analytics=0",
        "analytics=1; statistics=0",
        "granted, denied",
        "granted; analytics=0",
        "yes, but no",
    ),
    *(
        "granted=1",
        "analytics=granted=denied",
        "analytics==1",
        '{"analytics": false}',
        '{"analytics": [true]}',
        "[true]",
    ),
    *(
        '{"analytics": true, "tracking": 0}',
        "{}",
        '{"ads": true}',
        '{"analytics": true',
        '{"status": "granted"}',
        ";",
    ),
    *("CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA", "1YNN", "1---", "\u00e9", "grant\u00e9", "\u0131"),
]
EMPTY_TEXTS = ["", " ", '""', ","]
GRANTING_VALUES = [True, 1, 1.0]
DENYING_VALUES: list[object] = [False, None, 0, 2, -1, 0.5, 1e300]

SPELLINGS: list[tuple[object, str | None]] = [
    *((text, "given") for text in (*GRANTING_TEXTS, *GRANTING_VALUES)),
    *((text, "denied") for text in (*DENYING_TEXTS, *EMPTY_TEXTS, *DENYING_VALUES)),
]


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """One ingest for all tests here."""
    with running(tmp_path_factory.mktemp("consent") / "data", rejected_per_s=10_000) as ingest:
        yield ingest


def accepted(ingest: Ingest, headers: dict[str, Any], metadata: dict[str, object] | None = None) -> dict[str, Any]:
    """Post a sessionStart that names a user; return its record."""
    body = session_start(**{"analytics.visitorId": USER})
    if metadata is not None:
        body["customMetadata"] = metadata
    session = ingest.start(body, headers=headers)
    record = ingest.newest()
    assert record["subject"] == session.rpartition("/")[2]
    assert USER not in json.dumps(record)
    return record


def refused(ingest: Ingest, headers: dict[str, Any], metadata: dict[str, object] | None = None) -> dict[str, Any]:
    """Post a body that is refused and names a user; return its record."""
    body = {**session_start(**{"analytics.visitorId": USER}), "eventType": "noSuchType"}
    if metadata is not None:
        body["customMetadata"] = metadata
    before = ingest.newest()["id"]
    assert ingest.post("/api/v1/sessions", body, headers=headers).status_code == 400
    until(lambda: ingest.newest()["id"] != before)
    record = ingest.newest()
    assert USER not in json.dumps(record)
    return record


def made(ingest: Ingest, headers: dict[str, Any], body: dict[str, object] | None = None) -> dict[str, Any]:
    """Make a tracking session with a user id; return its record."""
    reply = ingest.post(TRACKING, {"user_id": USER, **(body or {})}, headers={**API, **headers})
    ingest.client.cookies.clear()
    record = ingest.newest()
    assert record["subject"] == reply.json()["session_id"]
    assert ("user_id" in reply.json()) is ("user_id" in record["data"])
    return record


def check(ingest: Ingest, wanted: str | None, headers: dict[str, Any], metadata: dict[str, object] | None) -> None:
    """Hold all three ways of writing a user id against what a signal means."""
    user = {"analytics.visitorId": HASHED} if wanted == "given" else {}
    record = accepted(ingest, headers, metadata)
    assert record.get("consent") == wanted
    assert record["data"]["params"].items() >= user.items()
    assert ("analytics.visitorId" in record["data"]["params"]) is bool(user)
    kept = refused(ingest, headers, metadata)["data"]
    assert ("analytics.visitorId" in kept["body"]["params"]) is bool(user)
    assert ("noSuchType" in kept["detail"]) is bool(user)
    if metadata is None or "consent" in metadata:
        created = made(ingest, headers, metadata)
        assert (created.get("consent"), created["data"].get("user_id")) == (wanted, HASHED if user else None)


@pytest.mark.parametrize(("text", "wanted"), [row for row in SPELLINGS if isinstance(row[0], str)])
def test_a_header_gives_consent_in_the_listed_words_only(ingest: Ingest, text: str, wanted: str) -> None:
    """X-Consent, on accepted and refused events and on tracking sessions."""
    check(ingest, wanted, {"X-Consent": text.strip(" ").encode("latin-1", "replace")}, None)


@pytest.mark.parametrize(("value", "wanted"), SPELLINGS, ids=repr)
def test_metadata_gives_consent_in_the_listed_words_only(ingest: Ingest, value: object, wanted: str) -> None:
    """The key `consent` of custom metadata, and of the tracking API's body."""
    check(ingest, wanted, {}, {"consent": value})


def test_the_table_has_at_least_80_spellings() -> None:
    """Of grants and denials together, each once."""
    assert len({repr(value) for value, _ in SPELLINGS}) == len(SPELLINGS) >= 80


@pytest.mark.parametrize(
    "key",
    [
        "Consent",
        "CONSENT",
        "user_consent",
        "userConsent",
        "X-Consent",
        "analytics_consent",
        "consent.analytics",
        "consentStatus",
        "has_consent",
        "privacy.consent",
        "consent.statistics",
        "trackingConsent",
    ],
)
def test_the_key_of_consent_may_have_any_spelling(ingest: Ingest, key: str) -> None:
    """Without case and separators, with the purpose before or behind it."""
    check(ingest, "denied", {}, {key: "withheld"})
    check(ingest, "given", {}, {key: "granted"})


def test_consent_to_other_purposes_under_keys_of_their_own_is_none_of_ours(ingest: Ingest) -> None:
    """A denial of advertising takes nothing, and its grant gives nothing back."""
    check(ingest, "given", {}, {"consent.ads": "denied", "adsConsent": False})
    check(ingest, "denied", {"X-Consent": "denied"}, {"consent.ads": "granted"})


@pytest.mark.parametrize("part", ["params", "qoeData", None])
def test_a_denial_counts_wherever_it_stands(ingest: Ingest, part: str | None) -> None:
    """In params, in qoeData, and at the top level."""
    for value, wanted in (("denied", "denied"), (True, "given")):
        body = session_start(**{"analytics.visitorId": USER})
        target = body if part is None else body.setdefault(part, {})
        target["consent"] = value
        (record,) = ingest.events(ingest.start(body))
        assert record["consent"] == wanted


@pytest.mark.parametrize("name", ["Sec-GPC", "DNT"])
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("1", "denied"),
        ("1 , 1", "denied"),
        ("1, 1", "denied"),
        ("0, 1", "denied"),
        ("1,", "denied"),
        ('"1"', "denied"),
        ("true", "denied"),
        ("yes", "denied"),
        ("?1", "denied"),
        ("2", "denied"),
        ("1x", "denied"),
        ("0", "given"),
        ("", "given"),
        ("0, 0", "given"),
        ("0 ,0", "given"),
    ],
)
def test_a_signal_is_off_at_0_or_empty_only(ingest: Ingest, name: str, value: str, wanted: str) -> None:
    """Global Privacy Control and Do Not Track; 0 does not give consent, and leaves the other signals in force."""
    check(ingest, wanted, {name: value}, None)


@pytest.mark.parametrize("name", ["Sec-GPC", "DNT", "X-Consent"])
def test_a_header_sent_twice_counts_each_time(ingest: Ingest, name: str) -> None:
    """As two header lines of one request: one of them that denies is enough."""
    deny, allow = ("denied", "granted") if name == "X-Consent" else ("1", "0")
    body = session_start(**{"analytics.visitorId": USER})
    for values, wanted in (((deny, deny), "denied"), ((allow, deny), "denied"), ((deny, allow), "denied")):
        reply = ingest.client.post("/api/v1/sessions", json=body, headers=[(name, value) for value in values])
        (record,) = ingest.events(reply.headers["location"])
        assert record["consent"] == wanted
    reply = ingest.client.post("/api/v1/sessions", json=body, headers=[(name, allow), (name, allow)])
    assert ingest.events(reply.headers["location"])[0]["consent"] == "given"


@pytest.mark.parametrize(
    ("headers", "metadata"),
    [
        ({"X-Consent": "granted"}, {"consent": "denied"}),
        ({"X-Consent": "denied"}, {"consent": "granted"}),
        ({"X-Consent": "granted", "Sec-GPC": "1"}, {"consent": "granted"}),
        ({"X-Consent": "granted", "DNT": "1"}, None),
        ({"X-Consent": "granted"}, {"consent": "granted", "Consent": "denied"}),
        ({}, {"consent": True, "user_consent": "n"}),
    ],
)
def test_one_denial_among_several_signals_denies(
    ingest: Ingest, headers: dict[str, str], metadata: dict[str, object] | None
) -> None:
    """Whichever of them it is."""
    check(ingest, "denied", headers, metadata)


def test_without_a_signal_a_user_id_means_consent(ingest: Ingest) -> None:
    """And without a user id nothing is known, whatever is granted."""
    check(ingest, "given", {}, None)
    for headers in ({}, {"X-Consent": "granted"}):
        (record,) = ingest.events(ingest.start(session_start(), headers=headers))
        assert "consent" not in record


@pytest.mark.parametrize("denied_at", [0, 1, 2])
def test_an_event_that_denies_denies_for_its_whole_array(ingest: Ingest, denied_at: int) -> None:
    """An offline session is one request: no event of it names the user, whichever of them denies."""
    events = [
        session_start(**{"analytics.visitorId": USER, "media.downloaded": True}),
        event("play"),
        event("ping"),
    ]
    events[denied_at]["customMetadata"] = {"consent": "withdrawn"}
    reply = ingest.post("/api/v1/downloaded", events)
    records = ingest.events(reply.headers["location"])
    assert [record["consent"] for record in records] == ["denied"] * 3
    assert HASHED not in json.dumps(records)


@pytest.mark.parametrize("kind", ["start", "event", "offline"])
def test_a_request_repeated_with_a_denial_is_no_repetition(ingest: Ingest, kind: str) -> None:
    """It goes to the same session under ids of its own, so the denial is read; those are repeated as they are."""
    body: Any = session_start(**{"analytics.visitorId": USER})
    path, key = "/api/v1/sessions", {"Idempotency-Key": f"key of {kind}"}
    if kind == "event":
        path, body = f"{ingest.start(body)}/events", event("ping")
    if kind == "offline":
        path, body = "/api/v1/downloaded", [body, event("ping")]
    replies = [ingest.post(path, body, headers=key | more) for more in ({}, {"DNT": "1"}, {"DNT": "1"})]
    assert len({reply.headers.get("location") for reply in replies}) == 1
    records = ingest.events(path.removesuffix("/events") if kind == "event" else replies[0].headers["location"])
    records = records[1:] if kind == "event" else records
    events = len(records) // 3
    first, denied, again = ({record["id"] for record in records[n * events :][:events]} for n in range(3))
    assert denied == again
    assert not first & denied
    assert {record["consent"] for record in records[events:]} == {"denied"}


def test_the_site_says_that_it_respects_global_privacy_control(ingest: Ingest) -> None:
    """`/.well-known/gpc.json`, as the specification of Sec-GPC has it, is in the OpenAPI document as well."""
    reply = ingest.client.get("/.well-known/gpc.json")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json() == {"gpc": True, "lastUpdate": "2026-11-28"}
    assert "/.well-known/gpc.json" in ingest.client.get("/schema/openapi.json").json()["paths"]
