"""A refused body is kept with what is known of its sender: the name of its API key, the player and its version."""

from collections.abc import Iterator
from typing import Any

import pytest
from rigs.ingest import Ingest, running, session_start
from rigs.waiting import until

WEB = {"media.playerName": "web", "media.sdkVersion": "7.11.0"}
NOBODY = {"key_name": None, "player_name": None, "app_version": None}


@pytest.fixture(scope="module")
def ingest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingest]:
    """An ingest with two keys."""
    with running(tmp_path_factory.mktemp("senders") / "data") as running_ingest:
        yield running_ingest


def bad(**params: object) -> dict[str, Any]:
    """Return a sessionStart that is refused, with these params."""
    start = session_start(**params)
    del start["playerTime"]
    return start


def kept(ingest: Ingest, body: object, **options: Any) -> dict[str, Any]:
    """Post a body that is refused; return what its record says of the sender."""
    count = len(ingest.records())
    assert ingest.post("/api/v1/sessions", body, **options).status_code == 400
    until(lambda: ingest.holds(count + 1))
    record = ingest.newest()
    assert record["type"] == "playhead.rejected"
    return {name: record["data"].get(name) for name in NOBODY}


def test_the_sender_is_named_as_far_as_it_is_known(ingest: Ingest) -> None:
    """By the name of its key, never the key, and by what the body says."""
    key = {"X-API-Key": "your_api_key_here"}
    web = {"player_name": "web", "app_version": "7.11.0"}
    assert kept(ingest, bad(**WEB), headers=key) == {"key_name": "settings-2", **web}
    assert kept(ingest, [bad(**WEB)]) == {"key_name": None, **web}
    assert kept(ingest, b"{", headers={"X-API-Key": "a key of somebody else"}) == NOBODY | {"key_name": "unknown"}
    log = ingest.bytes_of_log()
    assert b"your_api_key_here" not in log
    assert b"a key of somebody else" not in log


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"[1]",
        b"7",
        {"params": []},
        {"params": {"media.playerName": 7, "media.sdkVersion": "x" * 300}},
    ],
)
def test_a_body_that_names_no_player_is_kept_without_one(ingest: Ingest, body: object) -> None:
    """Whatever its shape."""
    assert kept(ingest, body) == NOBODY


def test_no_identity_passes_for_a_player(ingest: Ingest) -> None:
    """What the stored body does not have is not beside it either."""
    named = kept(
        ingest, bad(**{"media.playerName": "anna@example.com", "media.sdkVersion": "of anna@example.com"})
    )
    assert named["player_name"] != "anna@example.com"
    assert named["app_version"] is None
    assert b"anna@example.com" not in ingest.bytes_of_log()


def test_refusals_are_counted_by_the_name_of_the_key(ingest: Ingest) -> None:
    """Wrong keys together, since anybody may invent some; requests without a key are not among them."""
    series = 'playhead_ingest_refused_of_key_total{code="key_refused",key="unknown"}'
    for key in ("invented", "another"):
        reply = ingest.post("/v1/playouts/tracking/session", b"", headers={"X-API-Key": key})
        assert reply.status_code == 401
    assert ingest.post("/v1/playouts/tracking/session", b"").status_code == 401
    assert ingest.count(series) == 2
    assert kept(ingest, b"{", headers={"X-API-Key": "string"})["key_name"] == "settings-1"
    assert ingest.count('playhead_ingest_refused_of_key_total{code="not_json",key="settings-1"}') == 1


def test_a_refused_event_keeps_its_session(ingest: Ingest) -> None:
    """The one that its path names, if it is one of ours; anything else in a path may be anything."""
    session = ingest.start(session_start())
    for path, status, kept_id in (
        (f"{session}/events", 400, session.rpartition("/")[2]),
        ("/api/v1/sessions/somebody@mail.example/events", 404, None),
        (f"/api/v1/sessions/{'0' * 64}/events", 404, None),
        ("/api/v1/sessions", 400, None),
    ):
        count = len(ingest.records())
        assert ingest.post(path, {"eventType": "Play"}).status_code == status
        until(lambda count=count: ingest.holds(count + 1))  # type: ignore[misc]
        assert ingest.newest()["data"].get("session_id") == kept_id
    assert b"somebody@mail.example" not in ingest.bytes_of_log()
