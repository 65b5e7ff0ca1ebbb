"""What pages say of rebuffering and errors, where one CDN is bad in one country, and one version fails."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rigs.lake import Lake, told_values, write_told
from rigs.pages import reading

from lake.reading import Reader
from notebooks import failures, questions
from notebooks.connect import read
from notebooks.filters import Choice

START_MS = int(datetime(2026, 8, 3, 12, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
APART_MS = 60_000
EACH = 10  # sessions of each CDN in each country
CDNS, COUNTRIES = ("north", "south"), ("PL", "DE", None)
BAD = ("north", "PL")
NEW_MS = START_MS + len(CDNS) * len(COUNTRIES) * EACH * APART_MS  # from then on there is version 2.0


class Told(msgspec.Struct, frozen=True):
    """One session: when it began, its version, CDN and country, and the error that it had, if any."""

    start_ms: int
    version: str = "1.0"
    cdn: str = "south"
    country: str | None = "DE"
    error: str | None = None
    stalls: bool = False
    fails: bool = False

    def events(self) -> Iterator[tuple[float, str, float, dict[str, Any]]]:
        """Yield what the player says: seconds from the start, event, playhead, and what else is in it."""
        more = {} if self.error is None else {"qoeData": {"media.qoe.errorID": self.error}}
        yield 0, "sessionStart", 0, {"media.sdkVersion": self.version, "media.cdn": self.cdn}
        if self.fails:
            yield 1, "error", 0, more
            yield 2, "sessionEnd", 0, {}
            return
        yield 1, "play", 0, {}
        if self.error is not None:
            yield 6, "error", 5, more
        yield 11, "ping", 10, {}
        stalled_s = 5 * self.stalls
        if self.stalls:
            yield 12, "bufferStart", 11, {}
            yield 17, "play", 11, {}
        yield 21 + stalled_s, "ping", 20, {}
        yield 31 + stalled_s, "sessionEnd", 30, {}


def every_session() -> Iterator[Told]:
    """Yield the sessions: ten of 1.0 on every CDN in every country, then twenty of 2.0.

    OLD was there a month before and is in two sessions, MIDDLE was there 20 days before and is in one; NEW ends
    every second session of 2.0.
    """
    yield Told(NEW_MS - 30 * DAY_MS + DAY_MS // 2, error="OLD")
    yield Told(START_MS - 20 * DAY_MS, version="0.9", error="MIDDLE")
    places = [(cdn, country) for cdn in CDNS for country in COUNTRIES for _ in range(EACH)]
    for number, (cdn, country) in enumerate(places):
        error = {3: "OLD", 33: "OLD", 50: "MIDDLE"}.get(number)
        start_ms = START_MS + number * APART_MS
        yield Told(start_ms, cdn=cdn, country=country, error=error, stalls=(cdn, country) == BAD)
    for number in range(20):
        is_bad = number % 2 == 0
        yield Told(NEW_MS + number * APART_MS, "2.0", error="NEW" if is_bad else None, fails=is_bad)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The lake of these sessions."""
    made = Lake(tmp_path_factory.mktemp("troubles") / "data")
    values = []
    for number, told in enumerate(every_session()):
        (at_ms, start), *rest = told_values(number, told.start_ms, told.events())
        if told.country:
            start = msgspec.json.encode(msgspec.json.decode(start) | {"country": told.country})
        values += [(at_ms, start), *rest]
    with made.writer() as writer:
        write_told(writer, writer.load(0, None), sorted(values))
    return made


@pytest.fixture(scope="module")
def asked(lake: Lake) -> Iterator[tuple[Reader, Choice]]:
    """A reader of it, and the choice of its last two hours."""
    with reading(lake.settings.data_dir, timedelta(hours=2), sample_min=5) as found:
        yield found


# ---- rebuffering


def test_the_cdn_that_is_bad_in_one_country_is_named_first(asked: tuple[Reader, Choice]) -> None:
    """Neither the CDN, which is well elsewhere, nor the country, which is well on another CDN."""
    worst, second, *_ = questions.most_different(*asked)
    assert (worst["combination"], worst["n"], worst["share"], worst["rest_share"]) == ("north / PL", EACH, 1, 0)
    assert second["score"] < worst["score"]


def test_sessions_of_an_unknown_country_are_among_all_others(asked: tuple[Reader, Choice]) -> None:
    """What is filtered by is not what an unknown value is called in the combination."""
    lake, choice = asked
    chosen = msgspec.structs.replace(choice, among={"country": ["PL", "unknown"]})
    worst = questions.most_different(lake, chosen)[0]
    assert (worst["combination"], worst["n"], worst["rest_share"]) == ("north / PL", EACH, 0)
    unknown = msgspec.structs.replace(choice, among={"country": ["unknown", "DE"]})
    assert questions.most_different(lake, unknown) == []


# ---- failures


def test_an_error_has_the_version_that_it_is_most_often_in(asked: tuple[Reader, Choice]) -> None:
    """Half of the sessions of 2.0 have it and no other; two sessions of sixty are no difference."""
    lake, choice = asked
    ranked = {row["error"]: row for row in failures.reported(lake, choice).ranked}
    new = ranked["NEW"]
    assert [new[name] for name in ("errors", "sessions", "before_start", "ended_sessions")] == [10] * 4
    (player,) = {row["player_name"] for row in read(lake, "SELECT player_name FROM sessions").to_pylist()}
    assert (new["often_in"], new["version_n"]) == (f"{player} 2.0", 20)
    assert (new["share"], new["rest_share"]) == (0.5, 0)
    old = ranked["OLD"]
    assert (old["errors"], old["before_start"], old["ended_sessions"], old["often_in"]) == (2, 0, 0, None)
    plain = read(lake, "SELECT error_id AS error, errors FROM error_ranking($since, $until)", **_times(choice))
    assert {row["error"]: row["errors"] for row in plain.to_pylist()} == {
        name: row["errors"] for name, row in ranked.items()
    }


def _times(choice: Choice) -> dict[str, datetime]:
    return {"since": choice.since, "until": choice.until}


def test_errors_over_time_are_those_of_plain_sql_in_whole_stretches(asked: tuple[Reader, Choice]) -> None:
    """The most frequent error first; what happened at the edges is left out."""
    lake, choice = asked
    found = failures.reported(lake, choice).over_time
    plain = read(
        lake,
        f"""
        SELECT
            time_bucket(INTERVAL {choice.bucket_s} SECOND, "at") AS begins, error_id AS series, count(*) AS errors
        FROM playback_errors WHERE started_at >= $since AND started_at < $until GROUP BY ALL
        """,
        **_times(choice),
    ).to_pylist()
    width = timedelta(seconds=choice.bucket_s)
    whole = [row for row in plain if row["begins"] >= choice.since and row["begins"] + width <= choice.until]
    assert found[0]["series"] == "NEW"
    assert sorted(found, key=str) == sorted(whole, key=str)


def test_an_error_is_first_seen_in_thirty_days_whatever_the_filters(asked: tuple[Reader, Choice]) -> None:
    """One of the first of these days may be older, so no time is said; others have their moment and version."""
    lake, choice = asked
    elsewhere = msgspec.structs.replace(choice, among={"cdn": ["elsewhere"]})
    assert failures.reported(lake, elsewhere).ranked == []
    seen = failures.first_seen(lake, elsewhere)
    first = {error: (row["first_at"], row["first_in"].split()[-1]) for (error, _), row in seen.items()}
    assert first == {
        "OLD": (None, "1.0"),
        "MIDDLE": (datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(days=-20, seconds=6), "0.9"),
        "NEW": (datetime.fromtimestamp(NEW_MS / 1000, UTC) + timedelta(seconds=1), "2.0"),
    }
