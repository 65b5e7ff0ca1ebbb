"""The bar of filters: periods of one's own, any dimension, and what of an address is unknown."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import msgspec
import pytest
from marimo._runtime.params import QueryParams
from rigs.browser import needs_chromium, opened
from rigs.lake import Lake, record_value, write_told
from rigs.pages import EVERY, IS_SETTLED, reading, served

from lake.reading import QueryRefused, Reader
from notebooks import asking, filters, questions
from notebooks.connect import read
from notebooks.filters import Choice

WARSAW = ZoneInfo("Europe/Warsaw")
START_MS = 1_763_712_000_000  # 2025-11-21 08:00, a minute from session to session
GENRES = ("drama", "drama", "it's", "news", None)
HOSTILE = "x'] IS NOT NULL OR true --"
SELECTED = f"{EVERY}.filter((element) => element.matches('option:checked')).map((option) => option.text)"
BAR: dict[str, Any] = {
    "period": "last hour",
    "since": "",
    "until": "",
    "compare": "the period before",
    "n": "1",
    "zone": "UTC",
    **{name: [] for name in filters.DIMENSIONS},
    "dimension": None,
    "value": "",
}


def genres(folder: Path) -> Lake:
    """Make a lake of sessions of these genres; those of drama have the group A, and all have a hostile key."""
    lake = Lake(folder)
    with lake.writer() as writer:
        held = writer.load(0, None)
        told = []
        for number, genre in enumerate(GENRES):
            at_ms = START_MS + number * 60_000
            named: dict[str, Any] = {} if genre is None else {"media.genre": genre}
            own = {"customMetadata": {"group": "A" if genre == "drama" else "B", HOSTILE: "1"}}
            event = record_value(f"e{number}", f"s{number}", "sessionStart", ts=at_ms, received_ms=at_ms, **named)
            record = msgspec.json.decode(event)
            record["data"] |= own
            told.append((at_ms, msgspec.json.encode(record)))
        write_told(writer, held, told)
    return lake


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the lake of `genres`."""
    data = tmp_path_factory.mktemp("filters") / "data"
    genres(data)
    return data


@pytest.fixture
def asked(folder: Path) -> Iterator[tuple[Reader, Choice]]:
    """The lake, and the choice of all of it."""
    with reading(folder, timedelta(hours=1)) as found:
        yield found


@pytest.mark.parametrize(
    ("text", "is_end", "known"),
    [
        ("2026-08-03", False, datetime(2026, 8, 3, tzinfo=WARSAW)),
        ("2026-08-03", True, datetime(2026, 8, 4, tzinfo=WARSAW)),
        ("2026-08-03 20:15", True, datetime(2026, 8, 3, 20, 15, tzinfo=WARSAW)),
        ("2026-08-03T20:15:30Z", False, datetime(2026, 8, 3, 20, 15, 30, tzinfo=UTC)),
        ("last Tuesday", False, None),
        ("0001-01-01", False, None),
        ("9999-12-31", True, None),
        ("2026-08-03' OR true --", False, None),
    ],
)
def test_a_moment_is_a_day_or_a_time_in_the_zone(text: str, is_end: bool, known: datetime | None) -> None:
    """A period ends with the end of its last day; text that is no time gives None."""
    assert filters.moment(text, WARSAW, is_end=is_end) == known


def chosen(newest: datetime, **of_bar: object) -> Choice:
    """Return the choice of a bar that says this."""
    address = QueryParams({})
    return filters.chosen(SimpleNamespace(query_params=lambda: address), BAR | of_bar, newest)


def test_since_and_until_are_stronger_than_a_period_and_are_compared_like_one() -> None:
    """A day that is over, and the day before it; nothing ends behind the newest moment."""
    newest = datetime(2026, 8, 20, 12, tzinfo=UTC)
    day = chosen(newest, since="2026-08-03", until="2026-08-03", zone="Europe/Warsaw")
    assert (day.since, day.until) == (datetime(2026, 8, 3, tzinfo=WARSAW), datetime(2026, 8, 4, tzinfo=WARSAW))
    assert (day.before().since, day.before().until) == (datetime(2026, 8, 2, tzinfo=WARSAW), day.since)
    assert day.now > newest
    until = chosen(newest, until="2026-08-03 20:15")
    assert until.since == until.until - timedelta(hours=1)
    open_ended = chosen(newest, since="2026-08-20", until="2026-08-20")
    assert open_ended.until == newest + timedelta(milliseconds=1)
    assert not day.remarks + until.remarks + open_ended.remarks


@pytest.mark.parametrize(
    ("of_bar", "remark"),
    [
        ({"since": "8 pm"}, "since is '8 pm', which is no time"),
        ({"since": "2026-08-05", "until": "2026-08-03"}, "nothing that has happened is between them"),
        ({"since": "2027-01-01"}, "nothing that has happened is between them"),
        ({"value": "drama"}, "choose another dimension"),
    ],
)
def test_what_makes_no_sense_in_the_bar_is_ignored_with_a_sentence(of_bar: dict[str, str], remark: str) -> None:
    """The usual period remains."""
    newest = datetime(2026, 8, 20, 12, tzinfo=UTC)
    choice = chosen(newest, **of_bar)
    assert (choice.since, choice.among) == (chosen(newest).since, {})
    assert remark in " ".join(choice.remarks)


@pytest.mark.parametrize(
    ("name", "value", "sessions"),
    [
        ("genre", "drama", 2),
        ("genre", "it's", 1),
        ("genre", "unknown", 1),
        ("genre", "' OR true --", 0),
        ("dims.group", "B", 3),
        (f"dims.{HOSTILE}", "1", 5),
        (f"dims.{HOSTILE}", "2", 0),
        ("is_bot", "unknown", 5),
    ],
)
def test_sessions_are_filtered_by_any_dimension(
    asked: tuple[Reader, Choice], name: str, value: str, sessions: int
) -> None:
    """Columns and keys of custom metadata, in our SQL and in macros; values and keys may have quotes."""
    lake, every = asked
    choice = msgspec.structs.replace(every, among={name: [value]})
    assert questions.metrics(lake, choice, ["sessions"])[0]["n"] == sessions
    macro = "FROM metrics_by([], since := $since, until := $until, filters := $filters)"
    assert [row["sessions"] for row in asking.answer(lake, macro, choice).to_pylist()] == [sessions] * bool(
        sessions
    )
    assert questions.scored_by(choice) is None


def test_sessions_are_cut_by_any_dimension_that_the_bar_offers(asked: tuple[Reader, Choice]) -> None:
    """Each value with its sessions; and the bar names values to choose from."""
    lake, choice = asked
    _, keys = filters.values_of(lake)
    assert set(keys) == {"dims.group", f"dims.{HOSTILE}"}
    by = {name: questions.metrics(lake, choice, [], by=filters.cut(name)) for name in ("genre", "dims.group")}
    assert {row["value"]: row["n"] for row in by["genre"]} == {"drama": 2, "it's": 1, "news": 1, "unknown": 1}
    assert {row["value"]: row["n"] for row in by["dims.group"]} == {"A": 2, "B": 3}
    every = " AND ".join(f"{filters.cut(name)} IS NOT NULL" for name in (*filters.OTHERS, *keys))
    assert read(lake, f"SELECT count(*) AS n FROM counted_sessions WHERE {every}").to_pylist() == [
        {"n": len(GENRES)}
    ]
    assert "drama, it's, news, unknown" in filters.named(lake, choice, "genre")


def test_a_point_is_whole_within_the_period(asked: tuple[Reader, Choice]) -> None:
    """A period that begins and ends within a minute draws neither of both, and says how many it left out."""
    lake, every = asked
    since = datetime.fromtimestamp(START_MS / 1000, UTC)
    choice = msgspec.structs.replace(every, since=since - timedelta(seconds=10), until=every.until)
    rows = questions.metrics(lake, choice, ["sessions"], by=choice.bucket, order="value")
    drawn = questions.points(rows, choice, {"sessions": "sessions"})
    assert len(rows) == len(GENRES)
    assert [point["at"][11:16] for point in drawn] == ["08:00", "08:01", "08:02", "08:03"]
    late = msgspec.structs.replace(choice, since=since + timedelta(microseconds=-1), until=every.until)
    assert questions.points(rows, late, {"sessions": "sessions"}) == drawn
    short = msgspec.structs.replace(choice, since=since + timedelta(microseconds=1))
    assert questions.points(rows, short, {"sessions": "sessions"}) == drawn[1:]
    assert "(2 sessions)" in questions.points_in_words(rows, short)


@pytest.mark.parametrize(
    ("sql", "answer"),
    [
        ("SELECT count(*) AS n FROM chosen_sessions", [2]),
        ("WITH a AS (FROM chosen_sessions) SELECT count(*) FROM a; ", [2]),
        ("SELECT session_id FROM Chosen_Sessions ORDER BY session_id DESC -- the last first", ["s1", "s0"]),
        ("SELECT count(*) FROM sessions WHERE started_at < $until", [5]),
        ("SELECT count(*) FROM sessions", [5]),
    ],
)
def test_sql_asks_the_sessions_that_the_bar_leaves(
    asked: tuple[Reader, Choice], sql: str, answer: list[object]
) -> None:
    """`chosen_sessions`, in any query; without that name the bar changes nothing."""
    lake, every = asked
    choice = msgspec.structs.replace(every, among={"genre": ["drama"]})
    assert [next(iter(row.values())) for row in asking.answer(lake, sql, choice).to_pylist()] == answer


@pytest.mark.parametrize(
    "sql", ["SELECT 1) FROM (FROM chosen_sessions", "FROM chosen_sessions; DELETE FROM events"]
)
def test_sql_around_the_chosen_sessions_only_reads_too(asked: tuple[Reader, Choice], sql: str) -> None:
    """It is checked as it is run."""
    lake, choice = asked
    with pytest.raises((QueryRefused, duckdb.Error)):
        asking.answer(lake, sql, choice)


def test_times_of_an_answer_are_in_the_zone_that_the_reader_chose(asked: tuple[Reader, Choice]) -> None:
    """Those with a zone; others are as they are."""
    lake, every = asked
    choice = msgspec.structs.replace(every, zone="Europe/Warsaw")
    sql = "SELECT started_at, started_at AT TIME ZONE 'UTC' AS plain FROM sessions ORDER BY 1 LIMIT 1"
    (row,) = asking.rows(asking.answer(lake, sql, choice), choice)
    assert {name: str(at) for name, at in row.items()} == {
        "started_at": "2025-11-21 09:00:00",
        "plain": "2025-11-21 08:00:00",
    }


def test_columns_have_examples_of_their_values(asked: tuple[Reader, Choice]) -> None:
    """Of a table or view, a few of each column."""
    lake, _ = asked
    assert set(asking.examples_of(lake, "sessions")["genre"].split(", ")) == {"drama", "it's", "news"}
    with pytest.raises(duckdb.Error):
        asking.examples_of(lake, 'sessions" WHERE error(1)')


@needs_chromium
def test_an_address_names_a_period_and_a_dimension_and_what_it_names_in_vain_is_said(
    folder: Path, tmp_path: Path
) -> None:
    """A view of a fixed time by any dimension can be sent; unknown names are ignored, with a sentence."""
    view = (
        "since=2025-11-21&until=2025-11-21+09:02&zone=Europe/Warsaw&dimension=genre&value=drama&by=dims.group&n=1"
    )
    with (
        served(folder, tmp_path) as (address, _),
        opened(f"{address}rebuffering/?{view}", tmp_path / "profile") as page,
    ):
        words = "Filters: 2025-11-21 00:00 to 2025-11-21 09:02 (Europe/Warsaw); genre drama"
        page.wait(lambda page: words in page.text() and page.evaluate(IS_SETTLED))
        assert "(n = 2; before: 0)" in page.text()
        page.wait(lambda page: {"genre", "dims.group"} <= set(page.evaluate(SELECTED)))
        given = "Object.fromEntries(new URLSearchParams(location.search))"
        kept = {"since": "2025-11-21", "until": "2025-11-21 09:02", "dimension": "genre", "value": "drama"}
        assert kept.items() <= page.evaluate(given).items()
        vain = "dimension=nonsense&country=nowhere&since=never&period=1&value=a&value=b"
        page.call("Page.navigate", url=f"{address}startup/?{vain}")
        page.wait(lambda page: "Filters: " in page.text() and page.evaluate(IS_SETTLED))
        for name, value in {"dimension": "nonsense", "country": "nowhere", "period": "1"}.items():
            assert f"The address has {name} '{value}', which is unknown here: it is ignored." in page.text()
        assert "since is 'never', which is no time" in page.text()
