"""Settled sessions by day: to which day each belongs, which files a question opens, and two upkeeps at once."""

import contextlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from rigs.big_lake import DAY_MS, FIRST, Shape, fill, pass_time
from rigs.lake import Lake
from rigs.processes import said, talking, tell
from rigs.scans import scans

from lake.schema import open_to_write
from lake.settled import settle
from lake.statistics import forget
from lake.verify import verify

NOW = datetime.now(UTC)
SHAPE = Shape(160, 8, days_a_file=1, small_files=14)
ARRIVAL = datetime(2026, 9, 21, 12, tzinfo=UTC)
DAY, MOMENT = timedelta(days=1), timedelta(milliseconds=1)
# How long before a session first arrived it started, and whether it belongs to the day of its start.
EDGES = {
    "31 days before": (31 * DAY, False),
    "a moment less": (31 * DAY - MOMENT, True),
    "when it arrived": (timedelta(0), True),
    "a day after": (-DAY, True),
    "a moment more": (-DAY - MOMENT, False),
}


@pytest.fixture(scope="module")
def edges(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake of one settled session for each edge, named by it."""
    lake = Lake(tmp_path_factory.mktemp("edges"))
    with contextlib.closing(open_to_write(lake.place)) as connection:
        for name, (before, _) in EDGES.items():
            connection.execute(
                "INSERT INTO session_versions BY NAME SELECT $name AS session_id, 1 AS version, 'final' AS state, "
                "$arrival::TIMESTAMPTZ AS first_received_at, $start::TIMESTAMPTZ AS started_at, 2 AS events, "
                "first_received_at AS as_of, 0 AS log_partition, 1 AS as_of_offset",
                {"name": name, "arrival": ARRIVAL, "start": ARRIVAL - before},
            )
        connection.execute("UPDATE ledger_p000 SET watermark = $1, partition_time = $1", [ARRIVAL + 2 * DAY])
        assert settle(connection, lake.place, now=NOW) == len(EDGES)
    return lake


@pytest.mark.parametrize("name", EDGES)
def test_a_session_belongs_to_the_day_of_its_start_if_a_clock_can_mean_it(edges: Lake, name: str) -> None:
    """If it started less than 31 days before it arrived, and at most a day after; else it belongs to no day."""
    before, has_day = EDGES[name]
    day: date | None = (ARRIVAL - before).date() if has_day else None
    assert edges.ask(f"SELECT settled_day FROM settled_sessions WHERE session_id = '{name}'") == [(day,)]


@pytest.fixture(scope="module")
def unsettled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Eight days of twenty sessions, all closed, in files enough to be merged."""
    lake = Lake(tmp_path_factory.mktemp("unsettled"))
    fill(lake.place, SHAPE)
    with contextlib.closing(open_to_write(lake.place)) as connection:
        connection.execute("DELETE FROM start_requests")
        connection.execute("DELETE FROM open_sessions_p000")
        pass_time(connection, SHAPE, SHAPE.until_ms + 2 * DAY_MS)
    return lake


@pytest.fixture(scope="module")
def week(unsettled: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The same, all settled, with the statistics that a round of upkeep leaves."""
    lake = unsettled.copy(tmp_path_factory.mktemp("week"))
    with contextlib.closing(open_to_write(lake.place)) as connection:
        assert settle(connection, lake.place, now=NOW)
        forget(connection)
    return lake


@pytest.mark.parametrize(("column", "files"), [("started_at", 2), ("last_received_at", 3), ("session_id", 2)])
def test_a_filter_on_time_or_id_opens_few_files_of_settled_sessions(week: Lake, column: str, files: int) -> None:
    """Those of its day, of starts that no clock can mean, and of late viewings; once, for its rows."""
    ((every,),) = week.ask("SELECT count(*) FROM ducklake_list_files('lake', 'settled_sessions')")
    assert every > 3 * files
    since = FIRST + 4 * DAY
    condition = f"{column} >= '{since}' AND {column} < '{since + DAY}'"
    if column == "session_id":
        ((id,),) = week.ask(f"SELECT max(session_id) FROM settled_sessions WHERE settled_day = '{since.date()}'")
        condition = f"session_id = '{id}'"
    ((sessions,),) = week.ask(f"SELECT count(*) FROM sessions WHERE {condition}")
    (scan,) = (
        each for each in scans(week, f"FROM sessions WHERE {condition}") if each.table == "settled_sessions"
    )
    assert scan.rows == sessions > 0
    assert 0 < scan.files <= files


def test_two_upkeeps_at_once_lose_nothing(unsettled: Lake, tmp_path: Path) -> None:
    """Both have sessions to settle and files to merge: one may give up, and the other does all of it."""
    lake = unsettled.copy(tmp_path)
    rows = "SELECT * FROM sessions ORDER BY session_id"
    files = "SELECT count(*) FROM ducklake_list_files('lake', 'session_versions')"
    before, ((many,),), found = lake.ask(rows), lake.ask(files), verify(lake.place).findings
    upkeep = ("-m", "playhead", "upkeep", "--data", str(tmp_path), "--when-told")
    with talking(*upkeep) as one, talking(*upkeep) as other:
        for each in (one, other):
            assert said(each) == "ready"
        for each in (one, other):
            tell(each)
        statuses = {each.wait(120) for each in (one, other)}
    assert 0 in statuses
    assert statuses <= {0, 2}
    assert lake.ask(rows) == before
    assert lake.ask(files)[0][0] < many
    assert lake.ask("SELECT count(*) FROM young_versions") == [(0,)]
    assert lake.ask("SELECT count(*) - count(DISTINCT session_id) FROM settled_sessions") == [(0,)]
    assert verify(lake.place).findings == found
