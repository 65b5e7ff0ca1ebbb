"""Upkeep keeps the statistics of the columns by which questions skip files, and answers stay what they were."""

import re
from pathlib import Path

import pytest
from rigs.lake import Lake, do
from rigs.upkept import AS_SHIPPED, kept_up

from lake.catalog import METADATA, Location, location
from lake.statistics import SKIPPED_BY
from lake.tables import initialize
from schemas.settings import Settings

DAYS = 4
INSERT = """
INSERT INTO session_versions BY NAME SELECT
    'day {day} session ' || range AS session_id, 1 AS version, 'country {day}' AS country,
    [{{'ad_id': 'a', 'time_s': {day}}}] AS ads,
    TIMESTAMPTZ '2026-11-0{day} 12:00:00+00' AS started_at, TIMESTAMPTZ '2026-11-0{day} 13:00:00+00' AS as_of
FROM range(3)
"""
QUESTIONS = (
    "SELECT session_id FROM session_versions WHERE country = 'country 2' ORDER BY 1",
    "SELECT count(*) FROM session_versions WHERE country IS NULL",
    "SELECT count(*) FROM session_versions WHERE country IS NOT NULL AND ads[1].time_s > 1",
    "SELECT min(country), max(country), count(country), count(*) FROM session_versions",
    "SELECT country FROM session_versions ORDER BY country DESC LIMIT 1",
    "SELECT session_id FROM session_versions ORDER BY started_at DESC, session_id LIMIT 1",
    "SELECT session_id, country FROM session_versions WHERE started_at >= '2026-11-03' ORDER BY 1",
    "SELECT count(*) FROM sessions",
)


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Location:
    """A lake in which four days of sessions have a file each."""
    catalog = request.getfixturevalue("catalog") if request.param == "postgres" else "sqlite"
    place = location(Settings(data_dir=tmp_path, lake_catalog=catalog))
    initialize(place, partitions=1)
    do(place, *(INSERT.format(day=day) for day in range(1, DAYS + 1)))
    return place


def rows_a_file(place: Location) -> int:
    """Return how many columns a file of sessions has statistics of, at most."""
    ((found,),) = do(
        place,
        f"""
        SELECT coalesce(max(columns), 0) FROM (
            SELECT count(*) AS columns FROM {METADATA}.ducklake_file_column_stats
            JOIN {METADATA}.ducklake_data_file USING (data_file_id) WHERE record_count = 3 GROUP BY data_file_id
        )
        """,
    )
    return int(found)


def files_read(place: Location, question: str) -> int:
    """Return how many files a question opens."""
    ((_, plan),) = do(place, f"EXPLAIN ANALYZE {question}")
    return sum(int(number) for number in re.findall(r"Total Files Read:\s*(\d+)", plan))


def test_a_round_leaves_statistics_of_few_columns_and_no_answer_changes(place: Location, tmp_path: Path) -> None:
    """Filters, nulls, extremes and orders of columns that have no statistics any more are among the questions."""
    before = [do(place, question) for question in QUESTIONS]
    assert rows_a_file(place) > 100
    kept_up(place, AS_SHIPPED, tmp_path / "orphans")
    assert 0 < rows_a_file(place) <= len(SKIPPED_BY)
    assert [do(place, question) for question in QUESTIONS] == before
    do(place, INSERT.format(day=DAYS + 1))
    assert do(place, "SELECT count(*) FROM session_versions WHERE country = 'country 5'") == [(3,)]


@pytest.mark.parametrize(
    "condition", ["started_at >= '2026-11-04'", "session_id = 'day 4 session 1'", "as_of > '2026-11-04'"]
)
def test_files_are_skipped_as_before(place: Location, tmp_path: Path, condition: str) -> None:
    """By times, and by ids, which begin with theirs."""
    question = f"SELECT count(country) FROM session_versions WHERE {condition}"
    assert files_read(place, question) == 1
    kept_up(place, AS_SHIPPED, tmp_path / "orphans")
    assert files_read(place, question) == 1
    assert files_read(place, "SELECT count(country) FROM session_versions WHERE true") == DAYS


def test_every_column_by_which_files_are_skipped_exists(tmp_path: Path) -> None:
    """A name that no table has any more would keep nothing."""
    columns = {name for (name,) in Lake(tmp_path).ask("SELECT column_name FROM duckdb_columns()")}
    assert set(SKIPPED_BY) <= columns
