"""The questions of `lake/QUESTIONS.md`: each is asked of a lake as a month of use leaves it, and gives rows."""

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rigs.big_lake import Shape, fill
from rigs.lake import ROOT, Lake

from lake.catalog import attach_sql, extension_path, quote
from lake.reading import Reader, open_reader

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
QUESTION = re.compile(r"^### (\d+)\. (.+?)\n(.*?)```sql\n(.+?)```", re.MULTILINE | re.DOTALL)
QUESTIONS = {int(number): sql for number, _, _, sql in QUESTION.findall((ROOT / "lake/QUESTIONS.md").read_text())}
YESTERDAY = f"started_at >= '{TODAY - timedelta(days=1)}' AND started_at < '{TODAY}'"
WEEK = f"started_at >= '{TODAY - timedelta(days=7)}' AND started_at < '{TODAY}'"
# What some of them must give, in plain SQL over sessions that count: by their numbers.
KNOWN = {
    2: f"SELECT count(*) FROM counted_sessions WHERE {WEEK} HAVING count(*) > 0",
    13: f"SELECT player_name FROM counted_sessions WHERE {YESTERDAY} GROUP BY ALL",
    14: f"SELECT cdn FROM counted_sessions WHERE {YESTERDAY} GROUP BY ALL",
    17: f"SELECT count(*) FROM sessions WHERE {YESTERDAY} AND errors > 0",
    22: "SELECT count(*) FROM counted_sessions "
    f"WHERE {WEEK} AND is_closed AND has_start AND progress_pct IS NOT NULL",
    37: f"SELECT sum(ads_started) FROM sessions WHERE {WEEK}",
    43: "SELECT count(*) FROM events",
}


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The last 29 days: half of the sessions in test groups, with CDN, site and show; events of the newest."""
    made = Lake(tmp_path_factory.mktemp("questions"))
    days = 29 + (datetime.now(UTC) - TODAY) / timedelta(days=1)
    fill(made.place, Shape(4_000, days, days_a_file=5, small_files=2, first=TODAY - timedelta(days=29)))
    made.do(
        "UPDATE session_versions SET dims = MAP {'group': chr(65 + (hash(session_id) % 3)::INT)}, site = 'news', "
        "\"show\" = 'A show', cdn = ['fast', 'far'][1 + (hash(session_id) % 2)::INT] "
        "WHERE hash(session_id) % 5 < 3",
        "UPDATE session_versions SET is_completed = false "
        "WHERE content_id = 'content-0' AND hash(session_id) % 2 = 0",
        # Enough in the last two hours for health to have an opinion.
        "INSERT INTO session_versions BY NAME SELECT * EXCLUDE (n) REPLACE ("
        "reverse(session_id) AS session_id, 1 AS version, now() - to_seconds(20 * n + 60) AS started_at, "
        "now() - to_seconds(20 * n) AS ended_at, now() - to_seconds(20 * n + 60) AS first_received_at, "
        "now() - to_seconds(20 * n) AS last_received_at) "
        "FROM (SELECT *, row_number() OVER () AS n FROM session_versions WHERE version = 1 LIMIT 360)",
        "INSERT INTO events BY NAME SELECT session_id || n AS event_id, session_id, "
        "['sessionStart', 'play', 'sessionEnd'][1 + n] AS event_type, start_ts + to_seconds(n) AS client_ts, "
        "last_received_at AS received_at, n::DOUBLE AS playhead_s, '{}' AS params, [] AS flags, "
        "n AS log_offset, 0 AS log_partition "
        f"FROM session_versions, range(3) AS t(n) WHERE {YESTERDAY}",
    )
    return made


@pytest.fixture(scope="module")
def reader(lake: Lake) -> Iterator[Reader]:
    """What `playhead sql` and the notebooks ask through."""
    with open_reader(lake.place) as opened:
        yield opened


def rows(reader: Reader, question: str) -> list[dict[str, Any]]:
    """Return the rows of a question by the names of its columns."""
    answer = reader.execute(question)
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def test_there_are_at_least_forty() -> None:
    """Numbered one after the other."""
    assert list(QUESTIONS) == list(range(1, len(QUESTIONS) + 1))
    assert len(QUESTIONS) >= 40


@pytest.mark.parametrize("number", list(QUESTIONS))
def test_it_gives_rows(reader: Reader, number: int) -> None:
    """As it is written, through a connection that only reads."""
    assert len(rows(reader, QUESTIONS[number])) > 0


@pytest.mark.parametrize(
    ("number", "column"),
    [(13, "player_name"), (14, "cdn")],
)
def test_it_names_what_there_is(reader: Reader, number: int, column: str) -> None:
    """Each value once, none left out."""
    found = [row[column] for row in rows(reader, QUESTIONS[number])]
    assert sorted(found, key=str) == sorted((row[column] for row in rows(reader, KNOWN[number])), key=str)


@pytest.mark.parametrize(("number", "column"), [(17, "errors"), (37, "starts"), (43, "events")])
def test_its_numbers_are_those_of_the_sessions(reader: Reader, number: int, column: str) -> None:
    """All of them together, without the limit of lines, are what the sessions have."""
    whole = re.sub(r"\nLIMIT \d+", "", QUESTIONS[number])
    ((expected,),) = reader.execute(KNOWN[number]).fetchall()
    assert sum(row[column] for row in rows(reader, whole)) == expected > 0


def test_every_metric_of_yesterday_is_over_the_sessions_of_yesterday(reader: Reader) -> None:
    """Counted and summed by hand."""
    (row,) = rows(reader, QUESTIONS[1])
    ((sessions, content_time_s),) = reader.execute(
        f"SELECT count(*), sum(content_time_s) FROM counted_sessions WHERE {YESTERDAY}"
    ).fetchall()
    assert (row["sessions"], row["content_time_s"]) == (sessions, pytest.approx(content_time_s))


def test_the_days_of_a_week_have_all_of_its_sessions(reader: Reader) -> None:
    """In any time zone: its days begin and end elsewhere."""
    days = rows(reader, QUESTIONS[2])
    assert len(days) == 8
    assert sum(day["sessions"] for day in days) == reader.execute(KNOWN[2]).fetchall()[0][0]


def test_the_funnel_begins_with_every_attempt(reader: Reader) -> None:
    """And each of them ends somewhere."""
    steps = rows(reader, QUESTIONS[22])
    assert steps[0]["sessions"] == sum(step["ended_here"] for step in steps)
    assert steps[0]["sessions"] == reader.execute(KNOWN[22]).fetchall()[0][0]


def test_test_groups_are_those_of_the_custom_metadata(reader: Reader) -> None:
    """And one of the sessions that are in none."""
    assert [row["test_group"] for row in rows(reader, QUESTIONS[11])] == ["A", "B", "C", None]


# ---- time travel


@pytest.fixture
def thinned(lake: Lake, tmp_path: Path) -> tuple[Lake, int, list[tuple[int]]]:
    """A copy of the lake that then lost rows; its newest snapshot before, and how many sessions it had then."""
    copy = lake.copy(tmp_path)
    ((snapshot,),) = copy.ask("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")
    before = copy.ask("SELECT count(*) FROM sessions")
    copy.do("DELETE FROM session_versions WHERE version = 1 AND log_partition = 0")
    return copy, snapshot, before


def test_a_query_may_ask_for_an_older_snapshot(thinned: tuple[Lake, int, list[tuple[int]]]) -> None:
    """By number and by time, tables and views alike."""
    lake, now, before = thinned
    with open_reader(lake.place) as later:
        for name in ("sessions", "session_versions"):
            ((kept,),) = later.execute(f"SELECT count(*) FROM {name} AT (VERSION => {now})").fetchall()
            ((left,),) = later.execute(f"SELECT count(*) FROM {name}").fetchall()
            assert kept > left
        assert later.execute(f"SELECT count(*) FROM sessions AT (VERSION => {now})").fetchall() == before
        ((moment,),) = later.execute(
            f"SELECT snapshot_time::VARCHAR FROM ducklake_snapshots('lake') WHERE snapshot_id = {now}"
        ).fetchall()
        by_time = f"SELECT count(*) FROM sessions AT (TIMESTAMP => TIMESTAMPTZ '{moment}')"
        assert later.execute(by_time).fetchall() == before


def test_a_client_may_attach_an_older_snapshot(thinned: tuple[Lake, int, list[tuple[int]]]) -> None:
    """Then views and macros answer as they did."""
    lake, earlier, before = thinned
    with contextlib.closing(duckdb.connect(config={"allow_unsigned_extensions": True})) as client:
        for extension in ("ducklake", "sqlite_scanner"):
            client.execute(f"LOAD {quote(extension_path(extension))}")
        first = attach_sql(lake.place, read_only=True)
        client.execute(first[:-1] + f", SNAPSHOT_VERSION {earlier})")
        client.execute("USE lake")
        assert client.execute("SELECT sessions > 0 FROM metrics_by([])").fetchall() == [(True,)]
        in_past = client.execute("SELECT count(*) FROM sessions").fetchall()
    assert in_past == lake.ask(f"SELECT count(*) FROM sessions AT (VERSION => {earlier})") == before
    assert in_past > lake.ask("SELECT count(*) FROM sessions")
