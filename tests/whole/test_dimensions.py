"""What a sessionStart says by which sessions are compared: from the request to columns of `sessions`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rigs.commands import playhead
from rigs.whole import Stack, running

from schemas.vocabulary import DIMENSION_KEYS

START = json.loads((Path(__file__).parents[1] / "data" / "media_timelines.json").read_text())["timelines"]["1"][0]
USER_ID, METADATA_USER_ID = "analytics.visitorId", "crm.user_id"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack whose operator names a key of the CDN, and a brand as the site."""
    columns = {"PLAYHEAD_DIMENSION_COLUMNS": "cdn=delivery.cdn, cdn=cdn, site=brand"}
    with running(tmp_path_factory.mktemp("dimensions"), **columns) as stack:
        yield stack


def started(stack: Stack, params: dict[str, Any], metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    """Post a sessionStart; return its row."""
    event = {**START, "params": {**START["params"], **params}}
    if metadata is not None:
        event["customMetadata"] = metadata
    return stack.session(stack.play([event]), events=1)


def test_each_documented_key_is_a_column(stack: Stack) -> None:
    """Codes are in lower case, titles and names as they were sent; the event keeps what was sent."""
    sent = {key: f"A {column}" for column, key in DIMENSION_KEYS.items()}
    row = started(stack, sent)
    codes = {"site", "cdn", "genre", "network", "rating", "show_type", "stream_format", "ad_load"}
    codes |= {"mvpd", "mvpd_auth", "day_part", "feed"}
    assert {name: row[name] for name in DIMENSION_KEYS} == {
        name: f"a {name}" if name in codes else f"A {name}" for name in DIMENSION_KEYS
    }
    (stored,) = stack.ask("SELECT params FROM events WHERE session_id = ?", row["session_id"])
    assert sent.items() <= json.loads(stored["params"]).items()


def test_what_is_not_said_is_null(stack: Stack) -> None:
    """Missing keys, blanks, placeholders and texts longer than 256 characters."""
    nothing = {"media.show": " ", "media.season": None, "media.artist": "x" * 257}
    row = started(stack, {"analytics.reportSuite": "-", "media.genre": "undefined", **nothing})
    assert [row[name] for name in DIMENSION_KEYS] == [None] * len(DIMENSION_KEYS)
    assert row["dims"] is None


def test_numbers_are_texts(stack: Stack) -> None:
    """A season may be sent as 3 or as "3"."""
    assert started(stack, {"media.season": 3})["season"] == started(stack, {"media.season": "3"})["season"] == "3"


def test_the_operator_names_the_keys_of_columns(stack: Stack) -> None:
    """Of several keys the first that has a value counts, before the documented key, in lower case."""
    both = started(
        stack, {"analytics.reportSuite": "suite"}, {"delivery.cdn": "Akamai", "cdn": "other", "brand": "One"}
    )
    assert (both["cdn"], both["site"]) == ("akamai", "one")
    assert started(stack, {"media.cdn": "third"}, {"delivery.cdn": "", "cdn": "Second"})["cdn"] == "second"
    assert started(stack, {"media.cdn": "Third", "analytics.reportSuite": "Suite"})["site"] == "suite"


def test_custom_metadata_of_the_start_are_dims(stack: Stack) -> None:
    """Texts, numbers and booleans, as sent; of later events none."""
    session_id = stack.play(
        [
            {**START, "customMetadata": {"test.group": "B", "tier": 2, "isKid": False, "empty": None}},
            {"eventType": "play", "playerTime": START["playerTime"], "customMetadata": {"later": "no"}},
        ]
    )
    row = stack.session(session_id, events=2)
    assert row["dims"] == {"isKid": "false", "test.group": "B", "tier": "2"}
    (asked,) = stack.ask("SELECT dims['test.group'] AS it FROM sessions WHERE session_id = ?", session_id)
    assert asked["it"] == "B"


def test_dims_are_bounded(stack: Stack) -> None:
    """The first 16 by name; long keys and long values are left out."""
    many = {f"key{n:02}": str(n) for n in range(30)}
    row = started(stack, {}, {**many, "a" * 65: "long key", "b": "v" * 257})
    assert row["dims"] == {f"key{n:02}": str(n) for n in range(16)}


def test_no_dimension_tells_who_watched(stack: Stack) -> None:
    """Neither an identity under any name, nor its pseudonym, nor a tracking session; with consent or without."""
    made = stack.post("/v1/playouts/tracking/session", {"user_id": "u"}, headers={"X-API-Key": "string"}).json()
    metadata = {
        METADATA_USER_ID: "someone",
        "mail": "someone@mail.example",
        "note": "from someone@mail.example",
        "query": "user_id=someone",
        "tracking_session_id": made["session_id"],
        "consent": True,
        "delivery.cdn": "someone@mail.example",
        "group": "B",
    }
    row = started(stack, {USER_ID: "someone"}, metadata)
    assert row["user_id"] is not None
    assert row["tracking_session_id"] == made["session_id"]
    assert (row["dims"], row["cdn"]) == ({"group": "B"}, None)


def test_a_denial_keeps_what_tells_of_nobody(stack: Stack) -> None:
    """Site, content and test group."""
    event = {**START, "customMetadata": {"group": "B"}, "params": {**START["params"], "media.show": "A show"}}
    row = stack.session(stack.play([event], headers={"Sec-GPC": "1"}), events=1)
    assert (row["consent"], row["user_id"], row["dims"], row["show"]) == ("denied", None, {"group": "B"}, "A show")


def test_the_only_keys_of_dims_may_be_named(tmp_path: Path) -> None:
    """All others stay in the events."""
    with running(tmp_path, PLAYHEAD_DIMENSION_KEYS="group, tier") as stack:
        assert started(stack, {}, {"group": "B", "noise": "x"})["dims"] == {"group": "B"}


def test_a_column_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    """The message lists those there are."""
    done = playhead("settings", cwd=tmp_path, settings={"PLAYHEAD_DIMENSION_COLUMNS": "brand=brand"})
    assert done.returncode != 0
    assert "PLAYHEAD_DIMENSION_COLUMNS" in done.stderr
    assert "site, library_version" in done.stderr
