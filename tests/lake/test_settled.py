"""Settled sessions: what upkeep copies into a table by day, and the view that has the same sessions throughout."""

import contextlib
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pytest
from rigs.answers import answers, is_equal
from rigs.big_lake import DAY_MS, Shape, fill, pass_time
from rigs.lake import ROOT, Lake
from rigs.mortal import Mortal, dies_before, statements_of

from lake import rolling
from lake.backup import back_up, restore
from lake.backup_folder import LocalFolder
from lake.catalog import location
from lake.schema import open_to_write
from lake.settled import is_far_behind, reset, settle
from lake.upkeep import Ages, maintain
from lake.verify import verify
from schemas.settings import Settings

SHAPE = Shape(1_500, 9, partitions=2, days_a_file=4, small_files=2, has_more=True)
ROWS = "SELECT * FROM sessions ORDER BY session_id"
ALL_ROWS = "SELECT count(*), bit_xor(hash(sessions)) FROM sessions"
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with every oddity, settled again and again while it filled."""
    lake = Lake(tmp_path_factory.mktemp("month"), partitions=2)

    def settle_each(connection: duckdb.DuckDBPyConnection, until_ms: int) -> None:
        pass_time(connection, SHAPE, until_ms)
        settle(connection, lake.place, now=NOW)

    fill(lake.place, SHAPE, after=settle_each)
    return lake


@pytest.fixture
def lake(month: Lake, tmp_path: Path) -> Lake:
    """A copy of it."""
    return month.copy(tmp_path)


@pytest.fixture(scope="module")
def all_settled_once(month: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The month, two days later: everything is settled."""
    settle_everything(lake := month.copy(tmp_path_factory.mktemp("settled")))
    return lake


@pytest.fixture
def all_settled(all_settled_once: Lake, tmp_path: Path) -> Lake:
    """A copy of that."""
    return all_settled_once.copy(tmp_path)


def settled(lake: Lake) -> int:
    """Do a round of settling."""
    with contextlib.closing(open_to_write(lake.place)) as connection:
        return settle(connection, lake.place, now=NOW)


def close_everything(connection: duckdb.DuckDBPyConnection) -> None:
    """No session is open, and no start waits to be judged."""
    connection.execute("DELETE FROM start_requests")
    for partition in range(SHAPE.partitions):
        connection.execute(f"DELETE FROM open_sessions_p{partition:03}")


def settle_everything(lake: Lake) -> None:
    """Two days pass without an event, and everything closed is settled."""
    with contextlib.closing(open_to_write(lake.place)) as connection:
        close_everything(connection)
        pass_time(connection, SHAPE, SHAPE.until_ms + 2 * DAY_MS)
        assert settle(connection, lake.place, now=NOW)


def test_every_view_and_macro_answers_as_its_first_definition_with_settled_sessions(month: Lake) -> None:
    """Most sessions are settled, many of them after their day had been; none is lost and none counts twice."""
    ((settled_rows, sessions),) = month.ask(
        "SELECT (SELECT count(*) FROM settled_sessions), count(*) FROM sessions"
    )
    assert settled_rows > sessions * 0.8
    expected, found = answers(month.place, by_schema_2=True), answers(month.place, by_schema_2=False)
    assert [name for name, rows in expected.items() if not rows] == []
    assert [name for name in expected if not is_equal(expected[name], found[name])] == []


def test_a_day_has_files_of_its_own_and_an_invented_one_has_none(month: Lake) -> None:
    """Whole files are replaced, so no row is marked as deleted; starts that no clock can mean share null."""
    files = month.ask("SELECT delete_file FROM ducklake_list_files('lake', 'settled_sessions')")
    assert files
    assert {file for (file,) in files} == {None}
    days = month.ask(
        "SELECT filename, count(DISTINCT settled_day) + max((settled_day IS NULL)::INTEGER) "
        "FROM settled_sessions GROUP BY filename"
    )
    assert {count for _, count in days} == {1}
    assert month.ask(
        "SELECT count(*) FROM settled_sessions "
        "WHERE settled_day IS NULL AND abs(epoch(started_at) - epoch(first_received_at)) < 86400"
    ) == [(0,)]
    ((invented,),) = month.ask("SELECT count(*) FROM settled_sessions WHERE settled_day IS NULL")
    assert invented > 0


def test_a_file_of_a_day_is_sorted_by_id_and_derived_ids_are_in_others(month: Lake) -> None:
    """So the time in an id finds its rows."""
    rows = month.ask("SELECT filename, session_id FROM settled_sessions ORDER BY filename, file_row_number")
    files: dict[str, list[str]] = {}
    for file, id in rows:
        files.setdefault(file, []).append(id)
    assert all(ids == sorted(ids) for ids in files.values())
    assert all(len({id < f"{1:012x}" for id in ids}) == 1 for ids in files.values())


def test_files_of_settled_sessions_are_compressed_for_reading(month: Lake) -> None:
    """ZSTD, since they are written once and read often."""
    files = f"{month.place.files}/main/settled_sessions/**/*.parquet"
    found = duckdb.sql(f"SELECT DISTINCT compression FROM parquet_metadata('{files}')").fetchall()
    assert found == [("ZSTD",)]


def test_a_day_is_settled_an_hour_after_its_end_and_once(all_settled: Lake) -> None:
    """By the newest watermark, not by the clock of a machine."""
    lake = all_settled
    assert settled(lake) == 0
    next_day_ms = SHAPE.until_ms + 3 * DAY_MS
    for minutes, wanted in ((59, "2026-08-14"), (60, "2026-08-15")):
        with contextlib.closing(open_to_write(lake.place)) as connection:
            pass_time(connection, SHAPE, next_day_ms + minutes * 60_000)
            settle(connection, lake.place, now=NOW)
        assert lake.ask("SELECT day::VARCHAR FROM settled_upto") == [(wanted,)]


def test_a_restored_lake_settles_in_order_whatever_the_order_of_its_backup(lake: Lake, tmp_path: Path) -> None:
    """A backup is written by several threads, so a later version may come before an earlier one."""
    before = lake.ask(ROWS)
    backup, _ = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOW)
    saved = [str(file) for file in (backup / "session_versions").iterdir()]
    rows = duckdb.read_parquet(saved).order("version DESC, hash(session_id)").to_arrow_table()
    for file in saved:
        Path(file).unlink()
    duckdb.from_arrow(rows).write_parquet(saved[0])
    (other := tmp_path / "other").mkdir()
    copy = Lake(other, partitions=2)
    shutil.rmtree(other / "lake")
    restore(copy.place, backup)
    assert settled(copy) > 0
    assert copy.ask("SELECT count(*) > 0 FROM young_versions") == [(True,)]
    assert copy.ask(ROWS) == before


def test_a_lake_far_behind_is_settled_in_bounded_rounds(lake: Lake) -> None:
    """Each settles so many versions and no more; sessions stay the same, and the last one settles all."""
    with contextlib.closing(open_to_write(lake.place)) as connection:
        close_everything(connection)
        pass_time(connection, SHAPE, SHAPE.until_ms + 2 * DAY_MS)
        reset(connection)
    before = lake.ask(ALL_ROWS)
    ((versions,),) = lake.ask("SELECT count(*) FROM session_versions")
    rounds, bound = 0, versions // 3
    with contextlib.closing(open_to_write(lake.place)) as connection:
        while is_far_behind(connection, sessions_max=bound):
            settle(connection, lake.place, now=NOW, sessions_max=bound)
            rounds += 1
            ((young,),) = lake.ask("SELECT count(*) FROM young_versions")
            assert young >= versions - rounds * bound
            assert lake.ask(ALL_ROWS) == before
        assert settle(connection, lake.place, now=NOW, sessions_max=bound)
        assert not settle(connection, lake.place, now=NOW, sessions_max=bound)
    assert rounds >= 2
    assert lake.ask("SELECT count(*) FROM young_versions") == [(0,)]
    assert lake.ask(ALL_ROWS) == before


def test_roll_ups_wait_until_a_lake_far_behind_is_settled(lake: Lake, tmp_path: Path) -> None:
    """A day of sessions that are not settled may take more memory than upkeep has."""
    with contextlib.closing(open_to_write(lake.place)) as connection:
        close_everything(connection)
        pass_time(connection, SHAPE, SHAPE.until_ms + 2 * DAY_MS)
        reset(connection)
    maintained = partial(maintain, lake.place, Ages.of(Settings()), orphans=tmp_path / "orphans")
    with patch("lake.upkeep.is_far_behind", partial(is_far_behind, sessions_max=10)):
        assert maintained(now=lambda: datetime.now(UTC)).periods_rolled_up == 0
    assert maintained(now=lambda: datetime.now(UTC)).periods_rolled_up > 0


def test_what_is_settled_is_no_longer_read_from_the_versions(lake: Lake) -> None:
    """Once everything is settled, no version is young, and the sessions are the same."""
    with contextlib.closing(open_to_write(lake.place)) as connection:
        close_everything(connection)
    before = lake.ask(ROWS)
    settle_everything(lake)
    assert lake.ask("SELECT count(*) FROM young_versions") == [(0,)]
    assert lake.ask(ROWS) == before


def test_settled_sessions_can_be_rebuilt_at_any_time(lake: Lake) -> None:
    """From nothing, in one round, with the same rows as by many."""
    before = lake.ask(ROWS)
    rows = "SELECT * EXCLUDE (settled_round) FROM settled_sessions ORDER BY session_id"
    with contextlib.closing(open_to_write(lake.place)) as connection:
        pass_time(connection, SHAPE, SHAPE.until_ms)
        settle(connection, lake.place, now=NOW)
    filled = lake.ask(rows)
    with contextlib.closing(open_to_write(lake.place)) as connection:
        reset(connection)
    assert lake.ask("SELECT count(*) FROM settled_sessions") == [(0,)]
    assert lake.ask(ROWS) == before
    assert settled(lake) == len(filled)
    assert lake.ask(rows) == filled
    assert lake.ask(ROWS) == before


def test_merging_rewriting_and_expiring_files_changes_no_session(lake: Lake) -> None:
    """Maintenance gives rows new files and new snapshots; what is settled stays settled."""
    before = lake.ask(ROWS)
    for table in ("session_versions", "tracking_events", "start_copies"):
        lake.do(
            f"CALL ducklake_merge_adjacent_files('lake', '{table}')",
            "CALL ducklake_expire_snapshots('lake', older_than => now())",
        )
        assert lake.ask(ROWS) == before
    tables = ("session_versions", *(f"open_sessions_p{partition:03}" for partition in range(SHAPE.partitions)))
    lake.do(
        *(f"DELETE FROM {table} WHERE content_id = 'content-0'" for table in tables),
        "CALL ducklake_rewrite_data_files('lake', 'session_versions', delete_threshold => 0)",
    )
    kept = [row for row in lake.ask("SELECT session_id, content_id FROM sessions") if row[1] != "content-0"]
    with contextlib.closing(open_to_write(lake.place)) as connection:
        reset(connection)
    assert sorted(lake.ask("SELECT session_id, content_id FROM sessions")) == sorted(kept)


def test_a_late_version_replaces_a_settled_one_at_once_and_after_the_next_round(all_settled: Lake) -> None:
    """A late event reopens a session of weeks ago: the view has the new version, then so has its day."""
    lake = all_settled
    ((id, version),) = lake.ask(
        "SELECT session_id, version FROM settled_sessions WHERE settled_day = '2026-08-05' AND events > 1 LIMIT 1"
    )
    ((count,),) = lake.ask("SELECT count(*) FROM sessions")
    lake.do(
        "INSERT INTO open_sessions_p000 BY NAME SELECT * REPLACE (version + 1 AS version, 77 AS seeks, "
        f"'provisional' AS state) FROM session_versions WHERE session_id = '{id}' AND version = {version}"
    )
    asked = f"SELECT version, seeks, state FROM sessions WHERE session_id = '{id}'"
    assert lake.ask(asked) == [(version + 1, 77, "provisional")]
    lake.do(
        "DELETE FROM open_sessions_p000",
        "INSERT INTO session_versions BY NAME SELECT * REPLACE (version + 1 AS version, 78 AS seeks, "
        "(SELECT max(partition_time) FROM ledger) AS as_of) FROM session_versions "
        f"WHERE session_id = '{id}' AND version = {version}",
    )
    assert lake.ask(asked) == [(version + 1, 78, "final")]
    with contextlib.closing(open_to_write(lake.place)) as connection:
        pass_time(connection, SHAPE, SHAPE.until_ms + 4 * DAY_MS)
        assert settle(connection, lake.place, now=NOW)
    assert lake.ask("SELECT count(*) FROM young_versions") == [(0,)]
    assert lake.ask(asked) == [(version + 1, 78, "final")]
    assert lake.ask(f"SELECT version FROM settled_sessions WHERE session_id = '{id}'") == [(version + 1,)]
    assert lake.ask("SELECT count(*) FROM sessions") == [(count,)]


def test_a_denial_that_comes_when_a_session_is_settled_takes_its_user_away(all_settled: Lake) -> None:
    """A request for the tracking session denies consent a month later: at once, and after the next round."""
    lake = all_settled
    ((tracking,),) = lake.ask(
        "SELECT tracking_session_id FROM sessions WHERE user_id_source = 'tracking_session' "
        "AND started_at < '2026-08-06' LIMIT 1"
    )
    lake.do(
        "INSERT INTO tracking_events BY NAME SELECT 'late' AS event_id, 'deleted' AS event_type, "
        f"'{tracking}' AS tracking_session_id, 'denied' AS consent, 0 AS log_partition, 1000000 AS log_offset"
    )
    named = (
        f"SELECT DISTINCT user_id, user_id_source FROM sessions WHERE tracking_session_id = '{tracking}' AND NOT "
        "coalesce(user_id_source, '') = 'visitor.customerIDs'"
    )
    assert lake.ask(named) == [(None, None)]
    with contextlib.closing(open_to_write(lake.place)) as connection:
        pass_time(connection, SHAPE, SHAPE.until_ms + 3 * DAY_MS)
        assert settle(connection, lake.place, now=NOW)
    assert lake.ask(named) == [(None, None)]


def test_a_session_that_is_still_listed_as_open_is_not_settled(lake: Lake) -> None:
    """Its worker stopped between closing it and writing the open sessions; the closed row counts, once."""
    with contextlib.closing(open_to_write(lake.place)) as connection:
        connection.execute("DELETE FROM start_requests")
        pass_time(connection, SHAPE, SHAPE.until_ms + 2 * DAY_MS)
        before = connection.execute(ROWS).fetchall()
        settle(connection, lake.place, now=NOW)
        assert connection.execute(ROWS).fetchall() == before
    assert lake.ask("SELECT count(*) > 0 FROM young_versions JOIN open_sessions USING (session_id, version)") == [
        (True,)
    ]
    assert lake.ask("SELECT count(*) FROM settled_sessions JOIN open_sessions USING (session_id, version)") == [
        (0,)
    ]


def test_two_rounds_at_once_settle_once(lake: Lake) -> None:
    """The second is refused, even if nothing was settled before."""
    with contextlib.closing(open_to_write(lake.place)) as one:
        reset(one)
        before = one.execute("SELECT count(*) FROM sessions").fetchall()
        one.execute("SET ducklake_max_retry_count = 2")
        one.execute("BEGIN")
        one.execute("FROM settled_upto").fetchall()
        code = f"""
            from pathlib import Path
            from datetime import UTC, datetime
            from lake.catalog import location
            from lake.schema import open_to_write
            from lake.settled import settle
            from schemas.settings import Settings
            place = location(Settings(data_dir=Path({str(lake.settings.data_dir)!r})))
            print(settle(open_to_write(place), place, now=datetime.now(UTC)))
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, capture_output=True, text=True
        )
        assert int(done.stdout) > 0, done.stderr
        one.execute("DELETE FROM settled_upto")
        one.execute("INSERT INTO settled_upto (round) VALUES (7)")
        with pytest.raises(duckdb.Error):
            one.execute("COMMIT")
    assert lake.ask("SELECT count(*) FROM sessions") == before
    assert "double" not in {finding.code for finding in verify(lake.place).findings}


def test_a_backup_leaves_out_what_is_settled_and_a_restored_lake_settles_it_again(
    lake: Lake, tmp_path: Path
) -> None:
    """It is derived, and refers to rows of its own lake."""
    before = lake.ask(ROWS)
    backup, manifest = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOW)
    assert "session_versions" in manifest.rows
    assert not {"settled_sessions", "settled_upto"} & manifest.rows.keys()
    other = tmp_path / "other"
    other.mkdir()
    copy = Lake(other, partitions=2)
    shutil.rmtree(other / "lake")
    restore(copy.place, backup)
    assert copy.ask(ROWS) == before
    assert settled(copy) > 0
    assert copy.ask(ROWS) == before


def settle_in_upkeep(mortal: Mortal, settings: Settings) -> None:
    """Do a round of upkeep, and count the statements of settling."""

    def counted(*args: Any, **kwargs: Any) -> int:
        with mortal:
            return settle(*args, **kwargs)

    # Rolling up takes long, and is another test's.
    with patch("lake.upkeep.settle", counted), patch("lake.rolling.prepare", lambda _: rolling.NOTHING):
        maintain(
            location(settings),
            Ages.of(settings),
            orphans=settings.data_dir / "orphans",
            now=lambda: datetime.now(UTC),
        )


def kills(count: int, *, is_long: bool) -> Sequence[int]:
    """Return the statements to die before: the first and last ones, and some between; or all of them."""
    if is_long:
        return range(count)
    return [0, 1, 5, *range(8, count - 4, max(1, count // 3)), count - 3, count - 1]


def test_upkeep_that_is_killed_while_it_settles_leaves_every_session_as_it_was(
    lake: Lake, tmp_path: Path, is_long: bool
) -> None:
    """At whichever statement: the next round settles everything, and nothing is there twice."""
    with contextlib.closing(open_to_write(lake.place)) as connection:
        close_everything(connection)
        pass_time(connection, SHAPE, SHAPE.until_ms + 2 * DAY_MS)
    before = lake.ask(ROWS)
    statements = statements_of(settle_in_upkeep, lake.copy(tmp_path / "whole").settings)
    assert statements[-1] == "COMMIT"
    for last in kills(len(statements), is_long=is_long):
        assert dies_before(last, settle_in_upkeep, lake.settings)
        assert lake.ask(ROWS) == before
    assert settled(lake) > 0
    assert lake.ask(ROWS) == before
    assert lake.ask("SELECT count(*) FROM young_versions") == [(0,)]
