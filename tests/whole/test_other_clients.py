"""What clients of others send (clients/README.md): taken without a flag, and counted as it was."""

import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rigs.whole import Stack, running

Body = dict[str, Any]
JSON = {"Content-Type": "application/json"}
ANALYTICS = {"analytics.trackingServer": "tracking.example", "analytics.reportSuite": "suite"}
OF_ADOBE: Body = {
    **ANALYTICS,
    "analytics.enableSSL": True,
    "analytics.aid": "2EA305ED051D3FC9-60000106A0000B1E",
    "visitor.marketingCloudOrgId": "1234@AdobeOrg",
    "visitor.marketingCloudUserId": "74617638240123456789012345678901234567",
    "visitor.aamLocationHint": 6,
    "visitor.customerIDs": {"crm": {"id": "viewer-1", "authState": 1}},
    "media.id": "film-1",
    "media.name": "A film",
    "media.length": 30,
    "media.contentType": "vod",
    "media.streamType": "video",
    "media.resume": False,
    "media.channel": "unknown",
    "media.playerName": "player",
    "media.sdkVersion": "1.2.3",
    "media.libraryVersion": "js-3.0.2",
    "media.show": "Films",
}
OF_THEOPLAYER: Body = {
    **ANALYTICS,
    "media.channel": "N/A",
    "media.contentType": "VOD",
    "media.id": "film-1",
    "media.length": 30,
    "media.playerName": "THEOplayer",
    "visitor.marketingCloudOrgId": "1234@AdobeOrg",
}
AD_OF_ADOBE = {
    "media.ad.name": "An ad",
    "media.ad.id": "ad-1",
    "media.ad.length": 5,
    "media.ad.podPosition": 1,
    "media.ad.playerName": "player",
}
BREAK_OF_ADOBE = {"media.ad.podFriendlyName": "preroll", "media.ad.podIndex": 1, "media.ad.podSecond": 0}
AD_OF_THEOPLAYER = {
    "media.ad.podPosition": 1,
    "media.ad.id": "ad-1",
    "media.ad.length": 5,
    "media.ad.playerName": "THEOplayer",
}
BREAK_OF_THEOPLAYER = {"media.ad.podIndex": 0, "media.ad.podSecond": 5}

# An ad of 5 s, 20 s of content, a pause of 5 s, 10 s of content: (second, type, playhead, params).
Told = list[tuple[float, str, float, Body]]
BY_ADOBE: Told = [
    (0.0, "sessionStart", 0, OF_ADOBE),
    (0.0, "adBreakStart", 0, BREAK_OF_ADOBE),
    (0.001, "adStart", 0, AD_OF_ADOBE),
    (0.001, "play", 0, {}),
    (5.0, "adComplete", 0, {}),
    (5.001, "adBreakComplete", 0, {}),
    (5.001, "play", 0, {}),
    (15.0, "ping", 10.0, {}),
    (25.0, "pauseStart", 20.0, {}),
    (30.0, "play", 20.0, {}),
    (40.0, "sessionComplete", 30.0, {}),
]
# It starts the session after the pre-roll, and sends what it has queued since.
BY_THEOPLAYER: Told = [
    (5.002, "sessionStart", 0, OF_THEOPLAYER),
    (0.0, "adBreakStart", 0, BREAK_OF_THEOPLAYER),
    (0.001, "adStart", 0, AD_OF_THEOPLAYER),
    (0.002, "play", 0, {}),
    *[(float(second), "ping", 0, {}) for second in (1, 2, 3, 4)],
    (5.0, "adComplete", 0, {}),
    (5.001, "adBreakComplete", 0, {}),
    (5.003, "play", 0, {}),
    (15.0, "ping", 10.0, {}),
    (25.0, "pauseStart", 20.0, {}),
    (30.0, "play", 20.0, {}),
    (40.0, "sessionComplete", 30.0, {}),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An ingest and a worker."""
    with running(tmp_path_factory.mktemp("clients")) as stack:
        yield stack


def bodies(told: Told, *, always: Body) -> list[Body]:
    """Return events that ended a second ago; `always`: what each has, if it has no such thing of its own."""
    began_ms = time.time_ns() // 1_000_000 - 41_000
    return [
        {
            **always,
            "playerTime": {"playhead": head, "ts": began_ms + round(second * 1000)},
            "eventType": name,
            **({"params": params} if params else {}),
        }
        for second, name, head, params in told
    ]


def by_slashes(location: str) -> str:
    """Read the id as Adobe's JavaScript SDK does."""
    return location.split("/")[4]


def by_pattern(location: str) -> str:
    """Read the id as Adobe's mobile extensions do."""
    found = re.match("^/api/(.*)/sessions/(.*)", location)
    assert found is not None
    return found[2]


def by_last_part(location: str) -> str:
    """Read the id as THEOplayer's connector does."""
    return location.split("/sessions/")[-1]


@pytest.mark.parametrize(
    ("told", "always", "id_of", "at_once"),
    [
        pytest.param(BY_ADOBE, {}, by_slashes, 3, id="Adobe's JavaScript SDK 3, three requests at a time"),
        pytest.param(BY_ADOBE, {}, by_pattern, 1, id="Adobe's mobile extensions"),
        pytest.param(
            BY_THEOPLAYER, {"qoeData": {}, "customMetadata": {}}, by_last_part, 1, id="THEOplayer's connector"
        ),
    ],
)
def test_a_viewing_is_counted_as_it_was(
    stack: Stack, told: Told, always: Body, id_of: Callable[[str], str], at_once: int
) -> None:
    """Its sessionStart names the session in the form that the client reads; its events have no flag."""
    start, *others = bodies(told, always=always)
    reply = stack.post("/api/v1/sessions", start, headers=JSON)
    assert reply.status_code == 201
    session = id_of(reply.headers["location"])

    def post(body: Body) -> int:
        return stack.post(f"/api/v1/sessions/{session}/events", body, headers=JSON).status_code

    with ThreadPoolExecutor(at_once) as pool:
        for first in range(0, len(others), at_once):
            assert set(pool.map(post, others[first : first + at_once])) == {204}
    row = stack.session(session, events=len(told))
    assert stack.ask("SELECT 1 FROM events WHERE session_id = ? AND len(coalesce(flags, [])) > 0", session) == []
    assert (row["content_id"], row["ads_completed"], row["pauses"], row["is_completed"]) == ("film-1", 1, 1, True)
    assert row["content_time_s"] == pytest.approx(30, abs=0.01)
    assert row["ad_time_s"] == pytest.approx(5, abs=0.01)
    assert row["pause_time_s"] == pytest.approx(5, abs=0.01)


def test_a_download_of_adobe_s_extensions_is_counted_as_it_was(stack: Stack) -> None:
    """They post what was played without a network in one array, whose end they add."""
    told: Told = [
        (0.0, "sessionStart", 0, {**OF_ADOBE, "media.downloaded": True}),
        (0.0, "play", 0, {}),
        (20.0, "ping", 20.0, {}),
        (20.0, "sessionEnd", 20.0, {}),
    ]
    reply = stack.post("/api/v1/sessions", bodies(told, always={}))
    assert reply.status_code == 201
    row = stack.session(by_pattern(reply.headers["location"]), events=len(told))
    assert (row["content_time_s"], row["is_downloaded"], row["state"]) == (20.0, True, "final")
