"""Upkeep: what it expires and deletes, and when its clock forbids it."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from rigs.lake import Lake, do, playhead
from rigs.upkept import (
    AS_SHIPPED,
    NOTHING,
    SCHEDULED,
    SHRUNK,
    insert,
    kept_up,
    live_files,
    many_files,
    offsets_of,
    plant,
)
from structlog.testing import capture_logs

from lake.catalog import METADATA, location
from lake.tables import initialize
from lake.verify import verify
from schemas.faults import NotReady
from schemas.settings import Settings, read_settings


def test_no_snapshot_younger_than_an_hour_is_forgotten(tmp_path: Path) -> None:
    """The ledger's fence is as old as the snapshots; beyond an hour one a day is enough, beyond 30 days none."""
    lake = Lake(tmp_path)
    snapshots = "SELECT count(*) FROM ducklake_snapshots('lake')"
    many_files(lake.place, 5)
    (before,) = lake.ask(snapshots)[0]
    later = timedelta(minutes=50)
    assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=later).snapshots_expired == 0
    assert lake.ask(snapshots) == [(before + 1,)]  # the one of the round itself
    kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=timedelta(hours=2))
    assert lake.ask(snapshots)[0][0] < before
    kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=timedelta(days=40))
    assert lake.ask("SELECT count(*) FROM duplicates") == [(5,)]
    insert(lake.place, 9)


def test_a_scheduled_file_that_a_snapshot_needs_is_not_deleted(tmp_path: Path) -> None:
    """Before files are deleted their names are looked up: one that is still listed is logged, and stays."""
    lake = Lake(tmp_path)
    insert(lake.place, 0, 1)
    file = Path(do(lake.place, "SELECT data_file FROM ducklake_list_files('lake', 'duplicates')")[0][0])
    old = "'2026-01-01 00:00:00+00'"
    do(lake.place, f"INSERT INTO {SCHEDULED} VALUES (1000, 'main/duplicates/{file.name}', 1, {old})")
    with capture_logs() as logs:
        kept_up(lake.place, SHRUNK, tmp_path / "orphans")
    assert [file.name in str(entry["files"]) for entry in logs if entry["log_level"] == "error"] == [True]
    assert do(lake.place, f"SELECT count(*) FROM {SCHEDULED}") == [(0,)]
    assert file.exists()
    assert offsets_of(lake.place) == [0, 1]


@pytest.mark.parametrize("name", ["lake_snapshots_kept_s", "lake_orphan_age_s"])
def test_nothing_is_kept_for_less_time_than_a_transaction_may_take(name: str) -> None:
    """A transaction that outlives its snapshots passes the fence, one that outlives its files has none."""
    variables = {f"PLAYHEAD_{name.upper()}": "59", "PLAYHEAD_WORKER_TRANSACTION_TIMEOUT_S": "30"}
    with pytest.raises(NotReady, match=f"PLAYHEAD_{name.upper()} must be at least twice as long, got 59"):
        read_settings(variables)
    read_settings({**variables, f"PLAYHEAD_{name.upper()}": "60"})
    with pytest.raises(NotReady, match="at least twice as long"):
        read_settings({f"PLAYHEAD_{name.upper()}": "39"})  # the default is 20 s


def test_upkeep_on_postgresql_keeps_what_is_in_use(tmp_path: Path, catalog: str) -> None:
    """The same rules as on SQLite, with a catalogue of other types."""
    settings = Settings(data_dir=tmp_path, lake_catalog=catalog, lake_files=f"{tmp_path}//files")
    place = location(settings)
    initialize(place, partitions=1)
    insert(place, *range(22))
    name = live_files(place)[0]
    do(place, f"INSERT INTO {SCHEDULED} VALUES (1000, 'main/duplicates/{name}', true, '2026-01-01 00:00:00+00')")
    orphan = plant(Path(place.files))
    with capture_logs() as logs:
        assert kept_up(place, SHRUNK, settings.orphans).orphans.aside == 1
        assert kept_up(place, SHRUNK, settings.orphans).merged_tables == []
    assert [entry["event"] for entry in logs] == ["files of the lake were scheduled for deletion"]
    assert not orphan.exists()
    assert verify(place).findings == []
    assert offsets_of(place) == list(range(22))


@pytest.mark.parametrize("off", [timedelta(minutes=-2), timedelta(minutes=2), timedelta(days=1)])
def test_upkeep_refuses_when_its_clock_differs_from_that_of_postgresql(
    tmp_path: Path, catalog: str, off: timedelta
) -> None:
    """A fast clock would take the snapshots of the fence, and the files of open transactions."""
    settings = Settings(data_dir=tmp_path, lake_catalog=catalog)
    place = location(settings)
    initialize(place, partitions=1)
    insert(place, 0, 1)
    orphan = plant(Path(place.files))
    snapshots = "SELECT count(*) FROM ducklake_snapshots('lake')"
    before = do(place, snapshots)
    with pytest.raises(NotReady, match=r"clock is \d+ s (ahead of|behind) PostgreSQL's clock"):
        kept_up(place, SHRUNK, settings.orphans, after=off)
    assert (do(place, snapshots), orphan.exists()) == (before, True)
    kept_up(place, SHRUNK, settings.orphans, after=timedelta(seconds=50) * (1 if off > NOTHING else -1))


def test_the_command_refuses_under_a_wrong_clock_and_says_so(tmp_path: Path, catalog: str) -> None:
    """`playhead upkeep` exits with 2 where PostgreSQL's clock is a day behind."""
    settings = Settings(data_dir=tmp_path, lake_catalog=catalog)
    initialize(location(settings), partitions=1)
    connection = catalog.removeprefix("postgres:")
    user = psycopg.conninfo.conninfo_to_dict(connection)["user"]
    with psycopg.connect(connection, autocommit=True) as database:
        database.execute(
            "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE sql "
            "AS $$ SELECT pg_catalog.clock_timestamp() - interval '1 day' $$"
        )
        database.execute(f"ALTER ROLE {user} SET search_path = public, pg_catalog".encode())
    with playhead(settings, "upkeep") as process:
        assert process.wait(60) == 2
    assert re.search(r"clock is 864\d\d s ahead of PostgreSQL's clock", (tmp_path / "upkeep.stderr").read_text())


def test_upkeep_refuses_while_a_snapshot_is_from_the_future(tmp_path: Path) -> None:
    """On SQLite the newest snapshot is the only other clock there is."""
    lake = Lake(tmp_path)
    insert(lake.place, 0)
    do(
        lake.place,
        f"UPDATE {METADATA}.ducklake_snapshot SET snapshot_time = '{datetime.now(UTC) + timedelta(hours=1)}' "
        f"WHERE snapshot_id = (SELECT max(snapshot_id) FROM {METADATA}.ducklake_snapshot)",
    )
    with playhead(lake.settings, "upkeep") as process:
        assert process.wait(60) == 2
    assert "behind the newest snapshot of the lake" in (tmp_path / "upkeep.stderr").read_text()
    kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=timedelta(minutes=59, seconds=30))


def test_upkeep_works_again_once_a_commit_was_made_by_the_right_clock(tmp_path: Path) -> None:
    """Snapshots of a clock that was ahead stay until their time; the newest one shows which clock is in use."""
    lake = Lake(tmp_path)
    insert(lake.place, 0)
    ahead = datetime.now(UTC) + timedelta(hours=2)
    do(lake.place, f"UPDATE {METADATA}.ducklake_snapshot SET snapshot_time = '{ahead}'")
    with pytest.raises(NotReady, match="behind the newest snapshot of the lake"):
        kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans")
    insert(lake.place, 1)
    kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans")
    assert verify(lake.place).findings == []
