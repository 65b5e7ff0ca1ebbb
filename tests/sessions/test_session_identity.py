"""Whose session it is: the surest identity, consent, the tracking session."""

from typing import Any

import msgspec
import pytest
from rigs.drawn_sessions import T0
from rigs.watched import START, folded, watched


@pytest.mark.parametrize(
    ("given_ids", "expected"),
    [
        ({}, (None, None, None)),
        ({"analytics.visitorId": "v"}, ("v", "analytics.visitorId", None)),
        (
            {"analytics.visitorId": "v", "visitor.customerIDs": {"crm": {"id": "c", "authState": 1}}},
            ("c", "visitor.customerIDs.crm", 1),
        ),
        (
            {"analytics.visitorId": "v", "visitor.customerIDs": {"crm": {"id": "c", "authState": 0}}},
            ("v", "analytics.visitorId", None),
        ),
        (
            {"visitor.customerIDs": {"b": {"id": "2", "authState": 2}, "z": {"id": "9"}, "a": {"id": "8"}}},
            ("8", "visitor.customerIDs.a", None),
        ),
    ],
)
def test_the_surest_user_identity_is_taken(
    given_ids: dict[str, Any], expected: tuple[str | None, str | None, int | None]
) -> None:
    """Authenticated customer id, then visitorId, then unknown state, then logged out; by name among equals."""
    facts = watched((0, "sessionStart", 0, {"params": START | given_ids}))
    assert (facts.user_id, facts.user_id_source, facts.user_id_auth_state) == expected


def test_a_denied_consent_leaves_no_user() -> None:
    """Even if the event has identities, a denial in it wins."""
    params = START | {"analytics.visitorId": "v", "analytics.aid": "d", "appInstallationId": "i"}
    facts = watched((0, "sessionStart", 0, {"params": params, "consent": "denied"}))
    assert (facts.user_id, facts.device_id, facts.device_id_source, facts.consent) == (None, None, None, "denied")
    facts = watched((0, "sessionStart", 0, {"params": params}))
    assert (facts.user_id, facts.device_id, facts.device_id_source) == ("v", "d", "analytics.aid")


DENIED = {"consent": "denied"}


@pytest.mark.parametrize(
    "denying",
    [
        (1, "ping", 0, DENIED),
        (2.5, "ping", 0, DENIED),
        (3, "sessionEnd", 0, DENIED),
        (9, "ping", 0, DENIED),
        (100_000, "ping", 0, DENIED),
        (-5, "ping", 0, DENIED),
        (2, "play", 0, DENIED | {"flags": ("repeat",)}),
    ],
    ids=["in the middle", "between", "at the end", "after the end", "a day later", "before the start", "a repeat"],
)
@pytest.mark.parametrize("place", range(4))
def test_one_denial_unlinks_the_session_whenever_it_came(denying: tuple[Any, ...], place: int) -> None:
    """No user, device or tracking session, in whatever order events were read; a later consent changes nothing."""
    params = START | {"analytics.visitorId": "v", "analytics.aid": "d"}
    linked = {"params": params, "consent": "given", "tracking_session_id": "t", "tracking_verified": True}
    rows = [(0, "sessionStart", 0, linked), (2, "play", 0, {"consent": "given"})]
    if denying[1] != "sessionEnd":
        rows.append((4, "sessionEnd", 0, {"consent": "given"}))
    facts = watched(*rows)
    assert (facts.user_id, facts.device_id, facts.tracking_session_id, facts.consent) == ("v", "d", "t", "given")
    facts = watched(*rows[:place], denying, *rows[place:])
    assert (facts.user_id, facts.user_id_source, facts.user_id_auth_state) == (None, None, None)
    assert (facts.device_id, facts.device_id_source) == (None, None)
    assert (facts.tracking_session_id, facts.tracking_verified, facts.consent) == (None, False, "denied")
    assert facts.content_id == "film"


@pytest.mark.parametrize("flag", ["over_limit", "end_ignored"])
def test_a_denial_counts_in_an_event_that_takes_no_effect(flag: str) -> None:
    """An event that changes no number denies consent: nobody is named."""
    named = {"tracking_session_id": "t", "tracking_verified": True, "consent": "given"}
    facts = folded((0, "sessionStart", 0, named), (5, "sessionEnd", 0, {"consent": "denied", "flags": (flag,)}))
    assert (facts.tracking_session_id, facts.tracking_verified, facts.consent) == (None, False, "denied")
    assert (facts.events, facts.end_ms) == (1, None)


def test_a_tracking_session_that_we_issued_is_preferred_to_one_that_came_first() -> None:
    """Unverified on the start, verified on the play, another verified later: the first verified one holds."""
    facts = watched(
        (0, "sessionStart", 0, {"tracking_session_id": "a"}),
        (1, "play", 0, {"tracking_session_id": "b", "tracking_verified": True, "consent": "given"}),
        (2, "ping", 0, {"tracking_session_id": "c", "tracking_verified": True}),
    )
    assert (facts.tracking_session_id, facts.tracking_verified, facts.consent) == ("b", True, "given")
    assert facts.flags == ["tracking_changed"]


def test_a_tracking_session_that_somebody_names_later_takes_no_effect_whatever_time_it_says() -> None:
    """The start names the viewer's; a stranger names his own later, saying the time 1, or the present."""
    start = (0, "sessionStart", 0, {"tracking_session_id": "viewer", "tracking_verified": True})
    other = {"tracking_session_id": "stranger", "tracking_verified": True}
    early = {**other, "order_ms": 1, "received_ms": T0 + 20_000}
    for row in ((20, "ping", 0, other), (20, "ping", 0, early)):
        facts = folded(start, (10, "play", 0), row)
        assert (facts.tracking_session_id, facts.flags) == ("viewer", ["tracking_changed"])


def test_a_tracking_session_named_again_by_every_event_is_no_change() -> None:
    """Players name theirs with each event; the first may still lack the proof that we issued it."""
    named = {"tracking_session_id": "a"}
    verified = named | {"tracking_verified": True}
    facts = watched((0, "sessionStart", 0, named), (1, "play", 0, verified), (2, "ping", 0, named))
    assert (facts.tracking_session_id, facts.tracking_verified, facts.flags) == ("a", True, [])


def client(**known: Any) -> dict[str, Any]:
    """Return what the ingest found in the request of a sessionStart, as a part of its row."""
    return {"client": msgspec.json.encode(known)}


def test_device_and_country_are_those_of_the_session_start() -> None:
    """A phone in Italy. Another producer's text of no length or of more than 64 characters is unknown."""
    facts = folded((0, "sessionStart", 0, client(device_type="phone", os="iOS", country="IT", browser="x" * 65)))
    assert (facts.device_type, facts.os, facts.country) == ("phone", "iOS", "IT")
    assert (facts.browser, facts.region) == (None, None)
    assert folded((0, "sessionStart", 0)).device_type is None


def test_a_denial_leaves_the_kind_of_device_and_the_country() -> None:
    """Whichever event has it."""
    known = client(device_type="phone", os="iOS", country="IT", region="IT-62")
    facts = folded((0, "sessionStart", 0, known), (1, "ping", 0, {"consent": "denied"}))
    assert (facts.device_type, facts.os, facts.country, facts.region) == ("phone", None, "IT", None)


def test_a_long_text_is_cut() -> None:
    """Ids of users have at most 1,024 characters, and no NUL."""
    params = {"params": START | {"analytics.visitorId": "\0" + "x" * 2_000}}
    assert watched((0, "sessionStart", 0, params)).user_id == "\ufffd" + "x" * 1_023
