"""Metrics by any dimensions: equal to what grouping and filtering by hand gives; and two times compared."""

import contextlib
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest
from rigs.answers import is_equal, old_columns, old_definitions
from rigs.big_lake import Shape, fill
from rigs.lake import Lake
from rigs.scans import scans

from lake.catalog import connect
from lake.dimensions import COLUMNS, TIMES
from lake.metrics import read_catalogue

A_WEEK = "'2026-08-08'", "'2026-08-15'"
THE_NEXT = "'2026-08-15'", "'2026-08-22'"
METRICS = [metric.name for metric in read_catalogue().metric]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with everything odd that three weeks bring, half of whose sessions are in a test group."""
    made = Lake(tmp_path_factory.mktemp("cut"))
    fill(made.place, Shape(1_500, 20, days_a_file=2, small_files=2))
    made.do(
        "UPDATE session_versions SET dims = MAP {'group': chr(65 + (hash(session_id) % 3)::INT)}, cdn = 'fast' "
        "WHERE hash(session_id) % 2 = 0"
    )
    return made


@pytest.fixture(scope="module")
def connection(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(connect(lake.place, read_only=True, threads=2)) as opened:
        yield opened


def rows(connection: duckdb.DuckDBPyConnection, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Return the rows of a query, sorted by what they are cut by."""
    return sorted(connection.execute(query, list(values)).fetchall(), key=repr)


def by_hand(dims: list[str], condition: str = "true", since: str = A_WEEK[0], until: str = A_WEEK[1]) -> str:
    """Return a query of all metrics, grouped and filtered by hand."""
    listed = "".join(f"{dim}, " for dim in dims)
    return (
        f"SELECT {listed} count(DISTINCT user_id), {old_columns()} FROM counted_sessions "
        f"WHERE started_at >= {since} AND started_at < {until} AND {condition} GROUP BY ALL"
    )


@pytest.mark.parametrize(
    ("dims", "grouped"),
    [
        ([], []),
        (["player_name"], ["player_name"]),
        (["app_version", "is_live", "player_name"], ["is_live", "player_name", "app_version"]),
        (["cdn", "channel"], ["channel", "cdn"]),
        (["day"], ["(started_at AT TIME ZONE 'UTC')::DATE"]),
        (["hour_of_day", "content_type"], ["content_type", "hour(started_at AT TIME ZONE 'UTC')"]),
        (["dims.group"], ["MAP {'group': dims['group']}"]),
        (["dims.group", "player_name"], ["player_name", "MAP {'group': dims['group']}"]),
    ],
)
def test_any_dimensions(connection: duckdb.DuckDBPyConnection, dims: list[str], grouped: list[str]) -> None:
    """Each group has the metrics that grouping by hand gives."""
    own = "" if any(dim.startswith("dims.") for dim in dims) else ' EXCLUDE ("cut")'
    found = rows(connection, f"SELECT *{own} FROM metrics_by({dims}, {', '.join(A_WEEK)})")
    expected = rows(connection, by_hand(grouped))
    assert len(found) > 0
    assert is_equal(found, expected)


@pytest.mark.parametrize(
    ("filters", "condition"),
    [
        ("{player_name: 'web'}", "player_name = 'web'"),
        ("MAP {'player_name': 'tv', 'channel': ''}", "player_name = 'tv' AND channel IS NULL"),
        ("{is_live: true}", "is_live"),
        ("{\"dims.group\": 'B', cdn: 'fast'}", "dims['group'] = 'B' AND cdn = 'fast'"),
        ("{\"dims.group\": ''}", "dims['group'] IS NULL"),
        (
            "{player_name: ['web', 'tv'], is_live: [false], cdn: ['', 'it''s, [odd] \"here\"']}",
            "player_name IN ('web', 'tv') AND NOT is_live AND cdn IS NULL",
        ),
        ("{\"dims.group\": ['A', ''], cdn: ['fast', 'nowhere']}", "dims['group'] = 'A' AND cdn = 'fast'"),
    ],
)
def test_any_filters(connection: duckdb.DuckDBPyConnection, filters: str, condition: str) -> None:
    """Only sessions with these values; an empty text matches those without a value, a list any of its values."""
    query = (
        f"SELECT * EXCLUDE (\"cut\") FROM metrics_by(['stream_type'], {', '.join(A_WEEK)}, filters := {filters})"
    )
    found = rows(connection, query)
    assert len(found) > 0
    assert is_equal(found, rows(connection, by_hand(["stream_type"], condition)))


def test_dimensions_may_be_a_parameter(connection: duckdb.DuckDBPyConnection) -> None:
    """As a notebook passes them; and none for everything."""
    asked = f"SELECT sessions FROM metrics_by(?, {', '.join(A_WEEK)}, filters := ?)"
    tv, everything = {"player_name": "tv"}, f"SELECT sessions FROM metrics_between({', '.join(A_WEEK)})"
    assert len(rows(connection, asked, ["player_name"], {})) == 4
    assert rows(connection, asked, [], {}) == rows(connection, everything)
    assert rows(connection, asked, ["player_name"], tv) == rows(connection, asked, [], tv)


@pytest.mark.parametrize(
    "question",
    [
        "FROM metrics_by(['player'])",
        "FROM metrics_by(['content_time_s'])",
        "FROM metrics_by([], filters := {player: 'web'})",
        f"FROM compare(['player'], {', '.join(A_WEEK + THE_NEXT)})",
    ],
)
def test_an_unknown_dimension_is_refused(connection: duckdb.DuckDBPyConnection, question: str) -> None:
    """The message lists those there are."""
    with pytest.raises(duckdb.Error, match=r"no dimension (player|content_time_s)\.") as refused:
        connection.execute(question)
    assert all(name in str(refused.value) for name in (*COLUMNS, "dims.<key>"))


def test_every_dimension_is_one(connection: duckdb.DuckDBPyConnection) -> None:
    """All at once, each is a column of the result."""
    names = [*COLUMNS, *TIMES]
    connection.execute(f"SELECT * EXCLUDE (known_viewers) FROM metrics_by({names}, {', '.join(A_WEEK)})")
    found = [column[0] for column in connection.description or []]
    assert sorted(found) == sorted([*names, "cut", *METRICS])


def test_a_day_reads_what_the_day_costs(lake: Lake) -> None:
    """The time reaches the scan of the sessions, which skips the files of other days."""
    day = "'2026-08-10 00:00:00+00', '2026-08-11 00:00:00+00'"
    (every,) = lake.ask("SELECT count(*) FROM ducklake_list_files('lake', 'session_versions')")[0]
    for question in (f"metrics_by(['player_name'], {day}, filters := {{cdn: 'fast'}})", f"metrics_between({day})"):
        found = [scan for scan in scans(lake, f"FROM {question}") if "started_at" in scan.filters]
        assert 0 < sum(scan.files for scan in found) <= every / 2


def test_days_are_those_of_utc_or_of_a_zone(lake: Lake) -> None:
    """Whatever the time zone of the client is."""
    days = "SELECT day, sessions FROM metrics_by_day{} ORDER BY day"
    with contextlib.closing(connect(lake.place, read_only=True)) as client:
        in_utc = client.execute(days.format("")).fetchall()
        week = client.execute(days.format("('2026-08-08 00:00:00Z', '2026-08-15 00:00:00Z')")).fetchall()
        cohorts = client.execute("SELECT cohort_week::VARCHAR FROM cohorts_by_week").fetchall()
        client.execute("SET TimeZone = 'Pacific/Auckland'")
        assert client.execute(days.format("")).fetchall() == in_utc
        assert client.execute("SELECT cohort_week::VARCHAR FROM cohorts_by_week").fetchall() == cohorts
        asked = days.format("('2026-08-08 00:00:00Z', '2026-08-15 00:00:00Z', zone := 'Asia/Tokyo')")
        in_tokyo = client.execute(asked).fetchall()
    assert len(week) == 7
    assert set(week) <= set(in_utc)
    assert len(in_tokyo) == 8  # midnight in UTC is 9 in the morning there
    assert sum(sessions for _, sessions in in_tokyo) == sum(sessions for _, sessions in week)


# ---- other questions of a time, with filters


@pytest.mark.parametrize(
    ("asked", "of_all"),
    [
        ("funnel({times})", "start_funnel"),
        ("error_ranking({times})", "error_ranking"),
        ("ad_delivery({times})", "ad_delivery"),
        ("ad_break_delivery({times})", "ad_break_delivery"),
        ("leaving_points('{content}', {times})", "leaving_points('{content}')"),
        ("retention('{content}', {times}, bucket_s := 60)", "retention('{content}', bucket_s := 60)"),
        ("heat_map('{content}', {times}, bucket_s := 60)", "heat_map('{content}', bucket_s := 60)"),
        (
            "relative_retention('{content}', {times}, buckets := 9)",
            "relative_retention('{content}', buckets := 9)",
        ),
    ],
)
def test_it_answers_as_if_there_were_no_other_sessions(
    lake: Lake, connection: duckdb.DuckDBPyConnection, asked: str, of_all: str
) -> None:
    """As its first definition does over these sessions alone; and reads their days alone."""
    since, until = "'2026-08-10 00:00:00Z'", "'2026-08-16 12:00:00Z'"
    condition = f"started_at >= {since} AND started_at < {until} AND stream_type = 'video'"
    arguments = f"since := {since}, until := {until}, filters := {{stream_type: 'video'}}"
    (content,) = rows(
        connection,
        "SELECT content_id FROM counted_sessions WHERE recorded_length_s > 0 AND NOT is_completed "
        f"AND {condition} GROUP BY ALL ORDER BY count(*) DESC LIMIT 1",
    )[0]
    question = f"FROM {asked.format(content=content, times=arguments)}"
    found = rows(connection, question)
    with contextlib.closing(connect(lake.place, read_only=True)) as old:
        old.execute(old_definitions(1, sessions=condition))
        expected = rows(old, f"FROM {of_all.format(content=content)}")
    assert len(expected) > 0
    assert is_equal(expected, found)
    (every,) = lake.ask("SELECT count(*) FROM ducklake_list_files('lake', 'session_versions')")[0]
    read = [scan for scan in scans(lake, question) if "started_at" in scan.filters]
    assert 0 < max(scan.files for scan in read) < every


def test_the_funnel_of_a_content_is_that_of_a_filter(connection: duckdb.DuckDBPyConnection) -> None:
    """`start_funnel_of` is a shorter way to ask."""
    by_filter = rows(connection, "FROM funnel(filters := {content_id: 'content-1'})")
    assert rows(connection, "FROM start_funnel_of('content-1')") == by_filter
    assert by_filter[0][2] > 0


# ---- two times


def test_two_times_are_compared_metric_by_metric(connection: duckdb.DuckDBPyConnection) -> None:
    """Each value is that of metrics_by for its time; the difference is the first less the second."""
    asked = f"FROM compare(['player_name'], {', '.join(THE_NEXT + A_WEEK)}, sample_min := 1)"
    found = {
        (player, metric): (a, b, difference, change)
        for player, metric, a, b, difference, change in rows(
            connection, f"SELECT player_name, metric, a, b, difference, change_ratio {asked}"
        )
    }
    sides = [
        {
            player: dict(zip(METRICS, values, strict=True))
            for player, _, *values in rows(connection, by_hand(["player_name"], "true", *side))
        }
        for side in (THE_NEXT, A_WEEK)
    ]
    assert found.keys() == {(player, metric) for player in sides[0] for metric in METRICS}
    for (player, metric), (a, b, difference, change) in found.items():
        assert is_equal([a, b], [side[player][metric] for side in sides])
        if difference is not None:
            assert is_equal(difference, a - b)
            assert change is None if b == 0 else is_equal(change, (a - b) / abs(b))


def test_a_small_sample_has_no_difference(connection: duckdb.DuckDBPyConnection) -> None:
    """The values are shown, and how many sessions they are of."""
    asked = (
        "SELECT a, b, difference, change_ratio, a_sample, b_sample, is_small "
        "FROM compare([], {}, sample_min := {}) WHERE metric = 'sessions'"
    )
    times = ", ".join(THE_NEXT + A_WEEK)
    ((a, b, *_, a_sample, b_sample, is_small),) = rows(connection, asked.format(times, 30))
    assert (a, b, is_small) == (a_sample, b_sample, False)
    ((*_, difference, change, _, _, is_small),) = rows(
        connection, asked.format(", ".join(THE_NEXT + A_WEEK), 100_000)
    )
    assert (difference, change, is_small) == (None, None, True)


def test_what_only_one_time_has_is_compared_with_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """No session was there before the lake began."""
    asked = (
        "SELECT a, b, difference, b_sample, is_small FROM compare(['stream_type'], {}) "
        "WHERE metric = 'content_time_s'"
    )
    found = rows(connection, asked.format(", ".join((*A_WEEK, "'2001-01-01'", "'2001-01-02'"))))
    assert len(found) == 2
    assert [row[1:] for row in found] == [(None, None, 0, True)] * 2


def test_a_sample_is_what_a_metric_is_computed_from(connection: duckdb.DuckDBPyConnection) -> None:
    """The startup of plays, not of all sessions."""
    asked = (
        f"SELECT a_sample FROM compare([], {', '.join(A_WEEK + THE_NEXT)}) WHERE metric = 'startup_s_p95_newrelic'"
    )
    plays = (
        "SELECT count(startup_s) FROM counted_sessions "
        f"WHERE is_started AND started_at >= {A_WEEK[0]} AND started_at < {A_WEEK[1]}"
    )
    assert rows(connection, asked) == rows(connection, plays)
