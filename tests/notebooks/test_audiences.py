"""How many watch, over three days with ads: the numbers are those of the catalogue's macro, minute by minute."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from rigs.pages import reading
from rigs.told_lake import DAY_S, told_lake

from lake.reading import Reader
from notebooks import audiences, pictures
from notebooks.connect import read
from notebooks.filters import Choice

START = datetime(2026, 8, 3, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, Choice]]:
    """A reader of the lake, and the choice of its last day, which ends within a minute."""
    folder = tmp_path_factory.mktemp("audiences") / "data"
    told_lake(folder, start_ms=int(START.timestamp() * 1000))
    with reading(folder, timedelta(seconds=DAY_S)) as found:
        yield found


def by_minute(lake: Reader, choice: Choice, content: str = "") -> list[tuple[datetime, float]]:
    """Return the whole minutes of a period and their audience, by the lake's macro."""
    since = choice.since.replace(second=0, microsecond=0) + MINUTE
    until = choice.until.replace(second=0, microsecond=0)
    rows = read(
        lake,
        "FROM audience_by_minute($since, $until, content := $content)",
        since=since,
        until=until,
        content=content,
    ).to_pylist()
    return [(row["minute"], row["average_audience"]) for row in rows]


@pytest.mark.parametrize("content", ["", "next"])
def test_the_audience_is_that_of_the_catalogue(asked: tuple[Reader, Choice], content: str) -> None:
    """Its mean, its largest minute and each minute of the chart; also of what the filters leave."""
    lake, choice = asked
    chosen = msgspec.structs.replace(choice, among={"content": [content]} if content else {})
    found = audiences.watched(lake, chosen, START)
    minutes = by_minute(lake, choice, content)
    assert found.minutes == len(minutes)
    assert found.average == pytest.approx(sum(viewers for _, viewers in minutes) / len(minutes))
    assert found.peak == max(viewers for _, viewers in minutes)
    assert (found.peak_at, found.peak) in minutes
    assert [(row["begins"], row["viewers"]) for row in found.drawn] == minutes
    (plain,) = read(
        lake,
        "SELECT count(DISTINCT session_id) AS sessions FROM spans "
        "WHERE doing = 'playing' AND ended_at > started_at "
        "AND ended_at > $since AND started_at < $until AND content_id LIKE $content",
        since=minutes[0][0],
        until=minutes[-1][0] + MINUTE,
        content=content or "%",
    ).to_pylist()
    assert found.sessions == plain["sessions"]


def test_ads_are_in_a_number_of_their_own(asked: tuple[Reader, Choice]) -> None:
    """It is larger by the time that ads played, by the clock of the sessions."""
    lake, choice = asked
    found = audiences.watched(lake, choice, START)
    (plain,) = read(
        lake,
        "SELECT sum(epoch_ms(ended_at) - epoch_ms(started_at)) AS ms FROM spans "
        "WHERE doing IN ('ad', 'ad_outside') AND started_at >= $since",
        since=choice.since,
    ).to_pylist()
    assert found.average is not None
    assert found.with_ads is not None
    assert (found.with_ads - found.average) * found.minutes == pytest.approx(int(plain["ms"]) / 60_000)


def test_of_a_longer_period_the_least_and_the_largest_minute_are_drawn(asked: tuple[Reader, Choice]) -> None:
    """As a band around the mean; a stretch of which the period has only a part is not drawn."""
    lake, choice = asked
    longer = msgspec.structs.replace(choice, since=choice.since - timedelta(days=1), back=timedelta(days=2))
    found = audiences.watched(lake, longer, START)
    assert found.width == timedelta(seconds=longer.bucket_s)
    minutes = by_minute(lake, longer)
    for row in found.drawn:
        within = [viewers for at, viewers in minutes if row["begins"] <= at < row["begins"] + found.width]
        assert len(within) == longer.bucket_s // 60
        assert (row["low"], row["high"]) == (min(within), max(within))
    before = audiences.watched(lake, longer.before(), START)
    rows = audiences.lines(longer, found, before)
    assert [row for row in rows if "low" in row] == [row for row in rows if row["series"] == "this period"]
    assert len(pictures.over_time(rows, title="", note="UTC").to_dict()["layer"]) == 2


def test_what_was_before_the_lake_began_has_no_minutes(asked: tuple[Reader, Choice]) -> None:
    """It is not nobody who watched."""
    lake, choice = asked
    found = audiences.watched(lake, choice.before(), choice.since)
    assert (found.minutes, found.average, found.peak, found.peak_at) == (0, None, None, None)
    assert (found.sessions, found.drawn) == (0, [])


def test_the_parts_of_the_audience_are_its_whole(asked: tuple[Reader, Choice]) -> None:
    """Main content alone in both, so that what is cut by a dimension adds up to the mean."""
    lake, choice = asked
    parts = audiences.by_value(lake, choice, "content_id")
    minutes = by_minute(lake, choice)
    bucket = timedelta(seconds=choice.bucket_s)
    whole = [viewers for at, viewers in minutes if any(row["at"] <= at < row["at"] + bucket for row in parts)]
    assert sum(row["viewers"] for row in parts) * choice.bucket_s / 60 == pytest.approx(sum(whole))
