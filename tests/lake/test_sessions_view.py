"""The view `sessions`: it answers as its first definition did, and reads only what a filter asks for."""

from typing import Any

import msgspec
import pytest
from rigs.answers import answers, is_equal
from rigs.big_lake import Shape, fill
from rigs.lake import Lake
from rigs.scans import scans

SHAPE = Shape(4_000, 40, partitions=2, days_a_file=4, small_files=4, requests_kept_h=48)
DAY = ">= '2026-08-20 00:00:00+00' AND {} < '2026-08-21 00:00:00+00'"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with everything odd that a month brings."""
    made = Lake(tmp_path_factory.mktemp("odd"), partitions=2)
    fill(made.place, msgspec.structs.replace(SHAPE, has_more=True))
    return made


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake in which most files have the sessions of their days alone."""
    made = Lake(tmp_path_factory.mktemp("month"), partitions=2)
    fill(made.place, SHAPE)
    return made


@pytest.fixture(scope="module")
def expected(lake: Lake) -> dict[str, list[tuple[Any, ...]]]:
    return answers(lake.place, by_schema_2=True)


def test_every_view_and_macro_answers_as_its_first_definition(
    lake: Lake, expected: dict[str, list[tuple[Any, ...]]]
) -> None:
    """On a lake with every oddity, each row that the first definitions gave, and no other."""
    found = answers(lake.place, by_schema_2=False)
    assert [name for name in expected if not is_equal(expected[name], found[name])] == []


def test_no_answer_that_is_compared_is_empty(expected: dict[str, list[tuple[Any, ...]]]) -> None:
    """Nothing would be equal to nothing whatever a definition says; and no metric is null or zero."""
    assert [name for name, rows in expected.items() if not rows] == []
    (metrics,) = expected["metrics"]
    assert all(metrics), str(metrics)


def test_the_lake_of_these_tests_has_every_oddity(lake: Lake) -> None:
    """So that the comparison compares something."""
    (counts,) = lake.ask(
        """
        SELECT
            count(*) FILTER (WHERE version = 2), count(*) FILTER (WHERE version = 3),
            count(*) FILTER (WHERE version > 1 AND state = 'provisional'),
            count(*) FILTER (WHERE is_retried_start), count(*) FILTER (WHERE user_id_source = 'tracking_session'),
            count(*) FILTER (WHERE tracking_verified AND user_id IS NULL AND consent IS DISTINCT FROM 'denied'),
            count(*) FILTER (WHERE starts_with(session_id, '000000000000')),
            count(*) FILTER (WHERE abs(epoch(started_at) - epoch(first_received_at)) > 31 * 86400),
            count(*) FILTER (WHERE started_at > first_received_at + INTERVAL 1 DAY),
            count(*) FILTER (WHERE is_capped), count(*) FILTER (WHERE NOT has_start),
            count(*) FILTER (WHERE len(clocks) = 1), count(*) FILTER (WHERE len(clocks) = 2),
            count(*) FILTER (WHERE clock_offset_ms < -60000), count(*) FILTER (WHERE clock_spread_ms > 60000),
            (SELECT count(*) FROM events_checked WHERE after_end),
            (SELECT count(*) FROM events_checked WHERE NOT after_end AND list_contains(flags, 'future_ts')),
            (SELECT count(*) FROM judged_starts WHERE is_copy),
            (SELECT count(*) FROM session_versions AS v JOIN open_sessions_p000 AS o USING (session_id, version))
        FROM sessions
        """
    )
    assert all(counts), str(counts)


@pytest.mark.parametrize(
    ("view", "column", "condition"),
    [
        *(
            ("sessions", column, f"{column} {DAY.format(column)}")
            for column in ("started_at", "first_received_at", "last_received_at")
        ),
        *(
            (view, "started_at", f"{column} {DAY.format(column)}")
            for view, column in (
                ("counted_sessions", "started_at"),
                ("ads", "session_started_at"),
                ("ad_breaks", "session_started_at"),
                ("chapters", "session_started_at"),
                ("spans", "session_started_at"),
                ("player_states", "started_at"),
                ("played_intervals", "started_at"),
                ("playback_errors", "started_at"),
            )
        ),
    ],
)
def test_a_question_about_a_day_reads_the_files_of_that_day(
    month: Lake, view: str, column: str, condition: str
) -> None:
    """A filter on the session's times reaches the files, in views over sessions too."""
    (every,) = month.ask("SELECT count(*) FROM ducklake_list_files('lake', 'session_versions')")[0]
    found = [
        scan for scan in scans(month, f"SELECT count(*) FROM {view} WHERE {condition}") if column in scan.filters
    ]
    (of_day,) = month.ask(f"SELECT count(*) FROM session_versions WHERE {column} {DAY.format(column)}")[0]
    assert sum(scan.rows for scan in found) <= of_day + 20
    assert 0 < sum(scan.files for scan in found) <= every / 2


@pytest.mark.parametrize(
    "asked",
    [
        "concurrency_between({})",
        "timeline_between({})",
        "audience_by_minute({})",
        "seeks_between({})",
        "programme_audience([{{programme: 'p', since: {}, until: {}}}])",
    ],
)
def test_what_happened_on_a_day_is_read_from_the_files_of_that_day(month: Lake, asked: str) -> None:
    """The times that a macro is given reach the files, so a day costs the same in a lake of a month."""
    times = ("TIMESTAMPTZ '2026-08-20 00:00:00+00'", "TIMESTAMPTZ '2026-08-21 00:00:00+00'")
    (every,) = month.ask("SELECT count(*) FROM ducklake_list_files('lake', 'session_versions')")[0]
    named = asked.format(*times) if asked.count("{}") == 2 else asked.format(", ".join(times))
    found = [scan for scan in scans(month, f"SELECT count(*) FROM {named}") if "ended_at" in scan.filters]
    (of_day,) = month.ask(
        f"SELECT count(*) FROM session_versions WHERE ended_at >= {times[0]} AND started_at < {times[1]}"
    )[0]
    assert sum(scan.rows for scan in found) <= of_day + 20
    assert 0 < sum(scan.files for scan in found) <= every / 2


def test_the_look_up_of_a_session_reads_the_files_of_its_time(month: Lake) -> None:
    """An id begins with its time."""
    (every,) = month.ask("SELECT count(*) FROM ducklake_list_files('lake', 'session_versions')")[0]
    (id,) = month.ask(
        "SELECT session_id FROM session_versions WHERE started_at > '2026-08-20 00:00:00+00' AND events > 1 "
        "AND NOT is_downloaded ORDER BY session_id LIMIT 1"
    )[0]
    found = [
        scan for scan in scans(month, f"FROM sessions WHERE session_id = '{id}'") if f"='{id}'" in scan.filters
    ]
    assert max(scan.rows for scan in found) == 1
    assert 0 < max(scan.files for scan in found) <= every / 2


def test_a_content_is_looked_up_where_it_was_played(month: Lake) -> None:
    """A filter on the content reaches the scan, which skips what statistics exclude."""
    found = [
        scan
        for scan in scans(month, "FROM sessions WHERE content_id = 'content-7'")
        if "content-7" in scan.filters
    ]
    (played,) = month.ask("SELECT count(*) FROM session_versions WHERE content_id = 'content-7'")[0]
    assert 0 < sum(scan.rows for scan in found) <= played + 20
