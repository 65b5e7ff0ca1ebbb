"""What the page about releases says, over a lake where a new version fails far more often than the one before."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rigs.lake import Lake, told_values, write_told
from rigs.pages import reading, text_of

from lake.reading import Reader
from notebooks import releases
from notebooks.connect import read
from notebooks.filters import Choice

APP = '<img src="http://site.example/a.png">'
START_MS = int(datetime(2026, 8, 3, 12, tzinfo=UTC).timestamp() * 1000)
MINUTE_MS = 60_000
BESIDE_FROM_MS = START_MS + 40 * MINUTE_MS
STARTUP_S = {"9.0": 1.0, "10.0": 3.0}
FAILS_ONE_IN = {"9.0": 20, "10.0": 3}
NAMES = ["start_failure_ratio_conviva", "startup_s_median_newrelic", "rebuffer_ratio_cta2066"]
IS_MORE_WORSE = dict.fromkeys(NAMES, True)


def told(version: str | None, number: int) -> Iterator[tuple[float, str, float, dict[str, Any]]]:
    """What one player says: seconds from its start, event, playhead, and what else is in it."""
    yield 0, "sessionStart", 0, {"media.playerName": APP} | ({"media.sdkVersion": version} if version else {})
    startup_s = STARTUP_S.get(version or "", 1.0) + number % 5 / 10
    if number % FAILS_ONE_IN.get(version or "", 1000) == 0:
        error = {"media.qoe.errorID": f"E-{version}", "media.qoe.errorSource": "player"}
        yield startup_s, "error", 0, {"qoeData": error}
        yield startup_s + 1, "sessionEnd", 0, {}
    else:
        yield startup_s, "play", 0, {}
        yield startup_s + 10, "ping", 10, {}
        yield startup_s + 20, "sessionEnd", 20, {}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A session of 9.0 two days before and in each of 120 minutes, of 10.0 in the last 80 of them.

    Two are of 8.0, and five of no version.
    """
    made = Lake(tmp_path_factory.mktemp("releases") / "data")
    starts: list[tuple[str | None, int]] = [("9.0", START_MS - 2880 * MINUTE_MS)]
    starts += [("9.0", START_MS + minute * MINUTE_MS) for minute in range(119)]
    starts += [("10.0", BESIDE_FROM_MS + minute * MINUTE_MS) for minute in range(80)]
    starts += [(version, START_MS) for version in ("8.0", "8.0", *[None] * 5)]
    values = sorted(
        value
        for number, (version, start_ms) in enumerate(starts)
        for value in told_values(number, start_ms, told(version, number))
    )
    with made.writer() as writer:
        write_told(writer, writer.load(0, None), values)
    return made


@pytest.fixture(scope="module")
def asked(lake: Lake) -> Iterator[tuple[Reader, Choice]]:
    """A reader of it, and the choice of all of it."""
    with reading(lake.settings.data_dir, timedelta(days=7), sample_min=10) as found:
        yield found


def test_versions_are_in_the_order_of_their_numbers(asked: tuple[Reader, Choice]) -> None:
    """10.0 comes after 9.0, and is compared with it; 8.0 has too few sessions to be compared with."""
    found = releases.versions(*asked, is_at_once=False)
    assert [(row["app"], row["version"], row["n"], row["older"]) for row in found] == [
        (APP, "8.0", 2, None),
        (APP, "9.0", 120, None),
        (APP, "10.0", 80, "9.0"),
    ]


@pytest.mark.parametrize("is_at_once", [True, False])
def test_numbers_of_both_versions_are_those_of_the_catalogue(
    asked: tuple[Reader, Choice], is_at_once: bool
) -> None:
    """Each with the sessions of its time: of the older one all, or those since the newer one appeared."""
    lake, choice = asked
    every = releases.versions(lake, choice, is_at_once=is_at_once)
    since = datetime.fromtimestamp(BESIDE_FROM_MS / 1000, UTC) if is_at_once else choice.since
    assert every[-1]["from_at"] == since
    found = releases.changes(lake, choice, every, NAMES)
    assert len(found) == len(NAMES)
    for side, version in (("newer", "10.0"), ("older", "9.0")):
        (by_macro,) = read(
            lake,
            f"SELECT {', '.join(NAMES)} FROM metrics_by([], $since, $until, filters := $filters)",
            since=since,
            until=choice.until,
            filters={"app_version": version},
        ).to_pylist()
        assert {row["metric"]: row[side]["value"] for row in found} == pytest.approx(by_macro)


def test_a_worse_version_is_named_with_the_metrics_that_say_so(asked: tuple[Reader, Choice]) -> None:
    """It fails to start and starts later; rebuffering does not differ."""
    lake, choice = asked
    changed = releases.changes(lake, choice, releases.versions(lake, choice, is_at_once=False), NAMES)
    (verdict,) = releases.verdicts(changed, IS_MORE_WORSE)
    assert (verdict["newest"], verdict["before"], verdict["better"]) == ("10.0", "9.0", [])
    assert {row["metric"] for row in verdict["worse"]} == {
        "start_failure_ratio_conviva",
        "startup_s_median_newrelic",
    }
    for row in verdict["worse"]:
        assert 0 < row["change"]["low"] < row["change"]["difference"] < row["change"]["high"]
    (other,) = releases.verdicts(changed, dict.fromkeys(NAMES, False))  # as if less of it were worse
    assert (other["worse"], other["better"]) == ([], verdict["worse"])


def test_too_few_sessions_are_not_compared(asked: tuple[Reader, Choice]) -> None:
    """Nothing is said about 80 sessions if the reader asks for a hundred."""
    lake, choice = asked
    few = msgspec.structs.replace(choice, sample_min=100)
    every = releases.versions(lake, few, is_at_once=False)
    assert [row["older"] for row in every] == [None, None, None]
    assert releases.changes(lake, few, every, NAMES) == []


def test_over_time_the_shares_of_all_versions_are_the_whole(asked: tuple[Reader, Choice]) -> None:
    """Every stretch that is over has each version, also where it has no session."""
    lake, choice = asked
    day = msgspec.structs.replace(choice, since=choice.until - timedelta(hours=2))
    every = releases.versions(lake, day, is_at_once=False)
    stretches, length = releases.over_time(lake, day, every, NAMES[0])
    assert length == timedelta(minutes=4)
    by_time: dict[datetime, float] = {}
    for row in stretches:
        by_time[row["at"]] = by_time.get(row["at"], 0) + row["share"]
    assert len(by_time) > 20
    assert all(share == pytest.approx(1) for share in by_time.values())
    assert max(by_time) + length <= day.until


def test_errors_that_a_version_brought_come_first(asked: tuple[Reader, Choice]) -> None:
    """With how many sessions of both versions had each, and when it was first seen."""
    lake, choice = asked
    pair = releases.versions(lake, choice, is_at_once=False)[-1]
    newer_n, older_n, ranked = releases.errors(lake, choice, pair)
    assert (newer_n, older_n) == (80, 120)
    expected = [("E-10.0", sum(number % 3 == 0 for number in range(120, 200)), 0), ("E-9.0", 0, 6)]
    assert [(row["error"], row["newer"], row["older"]) for row in ranked] == expected


def test_the_page_says_which_version_is_worse_first(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a sentence with the difference and its interval; names from players are text."""
    monkeypatch.setenv("PLAYHEAD_DATA_DIR", str(lake.settings.data_dir))
    shown = text_of("releases")
    assert re.search(r"<b>&lt;img [^<]* 10\.0 is worse than 9\.0</b>", shown)
    assert re.search(r">failed to start</b>: 33.\d% instead of \d.\d+%: \+[\d.]+ points \(\+[\d.]+ to \+", shown)
