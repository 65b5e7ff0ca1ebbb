"""Upkeep: what it merges, expires and deletes, and what it leaves alone however a path is spelled."""

import contextlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import psycopg
import pytest
from rigs import s3
from rigs.brokers import free_ports
from rigs.lake import Lake, make_spelled, playhead
from structlog.testing import capture_logs

from lake.backup import back_up
from lake.backup_folder import LocalFolder
from lake.catalog import METADATA, Location, check_new, connect, location
from lake.disk import flush
from lake.errors import with_cure
from lake.merging import MERGED, MIDDLE_BYTES, REPLACED, SMALL_BYTES, bytes_below
from lake.orphans import MEMORY, twice_listed
from lake.snapshot import in_snapshot
from lake.tables import initialize, sql_text
from lake.upkeep import Ages, Maintenance, maintain
from lake.verify import verify
from schemas.faults import NotReady
from schemas.settings import Settings, read_settings

AS_SHIPPED = Ages.of(Settings())
NOTHING = timedelta(0)
SHRUNK = Ages(
    NOTHING, NOTHING, NOTHING, orphans=NOTHING, orphans_aside=timedelta(days=7), orphans_interval=NOTHING
)
ORPHAN = "ducklake-01a22243-65fb-7d5f-a17a-571aed63d6b3.parquet"
SCHEDULED = f"{METADATA}.ducklake_files_scheduled_for_deletion"


def kept_up(place: Location, ages: Ages, folder: Path, *, after: timedelta = timedelta(seconds=1)) -> Maintenance:
    """Do a round of upkeep, as if some time had gone by."""
    return maintain(place, ages, orphans=folder, now=lambda: datetime.now(UTC) + after)


def do(place: Location, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements on a lake; return the rows of the last."""
    with contextlib.closing(connect(place, read_only=False)) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


def insert(place: Location, *offsets: int) -> None:
    """Write one small file a row, and the ledger at the end."""
    rows = [f"INSERT INTO duplicates VALUES (0, {offset}, 'a', 'b')" for offset in offsets]
    counted = f"UPDATE ledger_p000 SET next_offset = {offsets[-1] + 1}, duplicates = {offsets[-1] + 1}"
    do(place, *rows, counted)


def offsets_of(place: Location) -> list[int]:
    """Return what `insert` wrote."""
    return [row[0] for row in do(place, "SELECT log_offset FROM duplicates ORDER BY 1")]


def live_files(place: Location) -> list[str]:
    """Return the names of all files of the newest snapshot."""
    return [
        path for (path,) in do(place, f"SELECT path FROM {METADATA}.ducklake_data_file WHERE end_snapshot IS NULL")
    ]


def kept_orphans(folder: Path) -> list[str]:
    """Return the names of what was moved aside."""
    return sorted(path.name for path in folder.rglob("*.parquet"))


@contextlib.contextmanager
def many_files(lake: Lake, count: int = 25) -> Iterator[list[Path]]:
    """Write many small files into a table."""
    insert(lake.place, *range(count))
    yield list(Path(lake.place.files).glob("**/duplicates/*.parquet"))


def files_of(lake: Lake, table: str) -> set[str]:
    """Return the paths of the files that the newest snapshot of a table consists of."""
    return {path for (path,) in lake.ask(f"SELECT data_file FROM ducklake_list_files('lake', '{table}')")}


def plant(files: Path, name: str = ORPHAN, *, age: timedelta = timedelta(hours=25)) -> Path:
    """Put a file among a lake's, as a killed transaction leaves it."""
    path = files / "main" / "duplicates" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1")
    then_s = time.time() - age.total_seconds()
    os.utime(path, (then_s, then_s))
    return path


# ---- merging, expiring, deleting


def test_merged_files_stay_for_an_hour_under_the_eyes_of_readers(tmp_path: Path) -> None:
    """A reader that began before the merge still finds its files; later they go, and no row with them."""
    lake = Lake(tmp_path)
    with many_files(lake) as files:
        tidied = kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans")
        assert tidied.merged_tables == ["duplicates"]
        assert tidied.files_deleted == 0
        assert all(file.exists() for file in files)
        later = timedelta(minutes=59)
        assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=later).files_deleted == 0
        later = timedelta(minutes=62)
        assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=later).files_deleted >= len(files)
        assert not any(file.exists() for file in files)
    assert lake.ask("SELECT count(*), sum(log_offset) FROM duplicates") == [(25, 300)]


def test_a_backup_is_whole_though_files_are_merged_while_it_is_made(tmp_path: Path) -> None:
    """Upkeep of the worker runs beside it; no table loses the rows of files that were merged before its turn."""
    lake = Lake(tmp_path)
    merged: list[str] = []

    @contextlib.contextmanager
    def upkeep_meanwhile(_connection: duckdb.DuckDBPyConnection, _table: str) -> Iterator[None]:
        if not merged:
            merged.extend(kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables)
        yield

    with many_files(lake):
        _, manifest = back_up(
            lake.place, LocalFolder(tmp_path, "backups"), now=datetime.now(UTC), watch=upkeep_meanwhile
        )
    assert merged == ["duplicates"]
    assert manifest.rows["duplicates"] == 25


def test_a_reader_of_one_snapshot_sees_neither_merges_nor_what_is_written(tmp_path: Path) -> None:
    """Statement by statement it sees the lake as it was."""
    lake = Lake(tmp_path)
    with many_files(lake), contextlib.closing(connect(lake.place, read_only=True, one_snapshot=True)) as reader:
        assert reader.execute("SELECT count(*) FROM ledger").fetchone() == (1,)
        assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables == ["duplicates"]
        insert(lake.place, 99)
        assert reader.execute("SELECT count(*), max(log_offset) FROM duplicates").fetchone() == (25, 24)


def test_a_snapshot_that_expires_while_it_is_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    """No table of it looks emptier than it was."""
    lake = Lake(tmp_path)
    with many_files(lake), contextlib.closing(connect(lake.place, read_only=True, one_snapshot=True)) as reader:
        assert reader.execute("SELECT count(*) FROM duplicates").fetchone() == (25,)
        insert(lake.place, 99)
        kept_up(lake.place, SHRUNK, tmp_path / "orphans")
        with pytest.raises(duckdb.Error) as raised:
            reader.execute("SELECT count(*) FROM duplicates")
    assert "expired while it was read" in with_cure(raised.value)


def test_who_reads_in_a_snapshot_reads_again_once_files_were_merged(tmp_path: Path) -> None:
    """Else it would find none, as might a worker that takes over a partition beside an operator's upkeep."""
    lake = Lake(tmp_path)
    merged: list[list[str]] = []
    with many_files(lake), contextlib.closing(connect(lake.place, read_only=True)) as reader:

        def read() -> tuple[Any, ...] | None:
            reader.execute("SELECT count(*) FROM ledger").fetchall()
            if not merged:
                merged.append(kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables)
            return reader.execute("SELECT count(*) FROM duplicates").fetchone()

        assert in_snapshot(reader, read) == (25,)
    assert merged == [["duplicates"]]


def test_large_files_are_written_again_only_once_their_day_is_over(tmp_path: Path) -> None:
    """Small ones are merged beside one of ten megabytes; the first round of the next day merges both."""
    lake = Lake(tmp_path)
    assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables == []
    lake.do("INSERT INTO duplicates SELECT 0, 1000 + range, uuid()::VARCHAR, 'b' FROM range(400_000)")
    (large,) = files_of(lake, "duplicates")
    with many_files(lake):
        assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables == ["duplicates"]
        assert large in files_of(lake, "duplicates")
        assert len(files_of(lake, "duplicates")) == 2
    tomorrow = kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=timedelta(days=1))
    assert tomorrow.merged_tables == ["duplicates"]
    assert len(files_of(lake, "duplicates")) == 1
    assert lake.ask("SELECT count(*) FROM duplicates") == [(400_025,)]


@pytest.mark.parametrize("bytes_a_minute", [50_000, 500_000, 5_000_000, 50_000_000])
def test_what_merging_writes_grows_with_what_arrives(bytes_a_minute: int) -> None:
    """A day of a commit each second: a round writes the small files again, and each byte twice besides."""
    files: list[int] = []
    written, most = 0, 0
    for minute in range(1, 24 * 60):
        files += [bytes_a_minute // 60] * 60
        most = max(most, len(files))
        if (below := bytes_below(files, is_first_of_day=False)) is not None:
            merged = [size for size in files if size < below]
            files = [*(size for size in files if size >= below), sum(merged)]
            written += sum(merged)
        assert written <= minute * (SMALL_BYTES + 2 * bytes_a_minute) + MIDDLE_BYTES
    assert most < 100 + 24 * 60 * bytes_a_minute / MIDDLE_BYTES


def test_every_table_that_grows_is_merged() -> None:
    """A new one has to be named with those that are merged, or with those whose rows each write replaces."""
    tables = re.findall(r"CREATE TABLE IF NOT EXISTS (\w+)", sql_text("tables"))
    assert sorted((*MERGED, *REPLACED)) == sorted(tables)


def test_decisions_about_quarantined_records_are_merged(tmp_path: Path) -> None:
    """Each replay or discard writes a file."""
    lake = Lake(tmp_path)
    decided = "INSERT INTO quarantine_decisions (log_partition, log_offset, decision) VALUES (0, {}, 'discarded')"
    lake.do(*(decided.format(offset) for offset in range(25)))
    assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables == ["quarantine_decisions"]
    assert lake.ask("SELECT count(*), sum(log_offset) FROM quarantine_decisions") == [(25, 300)]


def test_no_snapshot_younger_than_an_hour_is_forgotten(tmp_path: Path) -> None:
    """The ledger's fence is as old as the snapshots; beyond an hour one a day is enough, beyond 30 days none."""
    lake = Lake(tmp_path)
    snapshots = "SELECT count(*) FROM ducklake_snapshots('lake')"
    with many_files(lake, 5):
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


# ---- the spelling of paths


SPELLINGS = {
    "two slashes": "{base}//files",
    "three slashes and a slash at the end": "{base}///deep//files//",
    "a slash at the end": "{base}/files/",
    "dot": "{base}/./files",
    "dots": "{base}/other/../files",
    "a link": "{base}/link/files",
    "relative": "files",
    "relative with dots": "../{name}/files",
    "spaces": "{base}/my files /of the lake",
    "percent": "{base}/100%/a%20b/files",
    "hash and question mark": "{base}/a#b?c=d&e/files",
    "star": "{base}/a*/files",
    "bracket": "{base}/a[bc]/files",
    "quotes": '{base}/it\'s "quoted"/files',
    "not ASCII": "{base}/Zoë/ファイル",
    "in two code points": "{base}/Zoe\N{COMBINING DIAERESIS}/files",
}


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a link to a folder elsewhere."""
    folder = tmp_path / "base"
    for path in (folder, folder / "other", tmp_path / "elsewhere" / "below"):
        path.mkdir(parents=True)
    (folder / "link").symlink_to(tmp_path / "elsewhere" / "below")
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("name", SPELLINGS)
def test_upkeep_leaves_every_live_file_however_the_path_is_spelled(base: Path, name: str) -> None:
    """A lake whose path was taken as it was spelled, as by release 0.1.0, goes on; only an orphan is moved."""
    spelling = SPELLINGS[name].format(base=base, name=base.name)
    settings = Settings(data_dir=base / "data", lake_files=spelling)
    place = location(settings)
    Path(place.catalog).parent.mkdir(parents=True)
    as_spelled = msgspec.structs.replace(place, files=spelling)
    make_spelled(as_spelled)
    insert(as_spelled, *range(20))
    assert Path(place.files) == Path(spelling).resolve()
    insert(place, 20, 21)
    orphan = plant(Path(place.files))
    with capture_logs() as logs:
        tidied = kept_up(place, SHRUNK, settings.orphans)
        kept_up(place, SHRUNK, settings.orphans)
    assert tidied.merged_tables == ["duplicates"]
    assert (tidied.orphans.aside, orphan.exists()) == ((0, True) if name == "bracket" else (1, False))
    assert {entry["log_level"] for entry in logs} == ({"warning"} if name == "bracket" else set())
    assert verify(place).findings == []
    assert offsets_of(place) == list(range(22))


@pytest.mark.parametrize("name", ["two slashes", "three slashes and a slash at the end"])
def test_live_files_that_are_listed_as_orphans_stay_and_are_said(base: Path, name: str) -> None:
    """Even where paths are compared as text: the names decide, and the wrong list is an error by name."""
    place = Location("sqlite", str(base / "catalog.sqlite"), SPELLINGS[name].format(base=base))
    initialize(place, partitions=1)
    insert(place, 0, 1, 2)
    live = set(live_files(place))
    with capture_logs() as logs:
        tidied = kept_up(place, SHRUNK, base / "orphans")
    assert tidied.orphans.aside == 0
    (error,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert error["event"] == "files of the lake were listed as orphans"
    assert error["count"] == len(live)
    assert {Path(file).name for file in error["files"]} == live
    assert verify(place).findings == []


def test_a_star_in_the_path_touches_no_other_folder(base: Path) -> None:
    """DuckLake lists orphans by a pattern; what is in another folder that it matches is not the lake's."""
    place = location(Settings(data_dir=base, lake_files=str(base / "a*" / "files")))
    initialize(place, partitions=1)
    neighbour, own = plant(base / "ab" / "files"), plant(Path(place.files))
    assert kept_up(place, SHRUNK, base / "orphans").orphans.aside == 1
    assert (neighbour.exists(), own.exists()) == (True, False)


def test_dots_behind_a_link_lead_where_the_system_goes(base: Path) -> None:
    """Not to the folder that the link is in. DuckDB alone finds no way there."""
    place = location(Settings(data_dir=base, lake_files=f"{base}/link/../files"))
    initialize(place, partitions=1)
    insert(place, 0)
    assert Path(place.files) == base.parent / "elsewhere" / "files"
    assert verify(place).findings == []


def test_a_path_that_starts_with_a_tilde_is_in_the_home_folder(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As DuckDB reads it."""
    monkeypatch.setenv("HOME", str(base))
    assert location(Settings(data_dir=base, lake_files="~/files")).files == str(base / "files")


def test_the_shipped_programs_keep_a_lake_behind_two_slashes(base: Path) -> None:
    """`init`, `upkeep` and `verify`, with PLAYHEAD_LAKE_FILES=$BASE/files and a BASE that ends in a slash."""
    settings = Settings(
        data_dir=base,
        lake_files=f"{base}//files",
        lake_snapshots_kept_s=0.2,
        lake_files_kept_s=0.1,
        lake_orphan_age_s=0.2,
        lake_orphans_interval_s=0.1,
        worker_transaction_timeout_s=0.1,
    )
    for verb in ("init", "upkeep", "upkeep", "verify"):
        with playhead(settings, verb) as process:
            assert process.wait(60) == 0, (base / f"{verb}.stderr").read_text()
    upkeep = (base / "upkeep.stderr").read_text()
    assert '"orphans_set_aside": 0' in upkeep
    assert '"level": "error"' not in upkeep
    assert {Path(file).exists() for file in (base / "files").rglob("*.parquet")} == {True}


def test_a_new_lake_refuses_a_path_that_duckdb_cannot_have(base: Path) -> None:
    """A backslash: DuckDB would fail at the first folder."""
    settings = Settings(data_dir=base, lake_files=f"{base}/a\\b")
    with pytest.raises(NotReady, match="backslash"):
        initialize(location(settings), partitions=1)
    assert not Path(location(settings).catalog).exists()


# ---- orphans


def test_orphans_are_set_aside_when_they_are_a_day_old_and_not_before(tmp_path: Path) -> None:
    """What an open transaction has written looks like an orphan: only old ones go."""
    lake = Lake(tmp_path)
    with many_files(lake, 1) as (file,):
        young = plant(Path(lake.place.files), ORPHAN.replace("01a2", "01a3"), age=timedelta(hours=23))
        old = plant(Path(lake.place.files))
        os.utime(file, (0, 0))
        kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans")
    assert (young.exists(), old.exists(), file.exists()) == (True, False, True)
    assert kept_orphans(tmp_path / "orphans") == [ORPHAN]


def test_orphans_stay_aside_for_a_week_and_are_then_deleted(tmp_path: Path) -> None:
    """They lie by their path below the folder of the time they were moved, so that they can be moved back."""
    lake = Lake(tmp_path)
    orphan = plant(Path(lake.place.files))
    assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").orphans.aside == 1
    (moved,) = (tmp_path / "orphans").glob("*/main/duplicates/*")
    assert moved.read_bytes() == b"PAR1"
    assert moved.name == orphan.name
    kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=timedelta(days=6, hours=23))
    assert moved.exists()
    tidied = kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=timedelta(days=7, hours=1))
    assert tidied.orphans.deleted == 1
    assert kept_orphans(tmp_path / "orphans") == []


def test_orphans_are_looked_for_once_an_interval(tmp_path: Path) -> None:
    """Looking lists every file of the lake; a round each minute must not."""
    lake = Lake(tmp_path)
    kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans")
    orphan = plant(Path(lake.place.files))
    kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=timedelta(minutes=59))
    assert orphan.exists()
    kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans", after=timedelta(minutes=62))
    assert not orphan.exists()


def test_a_memory_that_is_damaged_or_from_the_future_keeps_no_orphan_for_ever(tmp_path: Path) -> None:
    """A clock that was ahead, or a disk that was full, is not remembered for ever."""
    lake = Lake(tmp_path)
    folder = tmp_path / "orphans"
    folder.mkdir()
    for text in ('{"looked_at": "2999-01-01T00:00:00Z"}', "{"):
        (folder / MEMORY).write_text(text)
        orphan = plant(Path(lake.place.files))
        kept_up(lake.place, AS_SHIPPED, folder)
        assert not orphan.exists()


@pytest.mark.parametrize("name", ["data_0.parquet", "manifest.json", "notes.txt", "old.parquet"])
def test_files_that_ducklake_did_not_name_are_nobodys_orphans(tmp_path: Path, name: str) -> None:
    """A folder may hold more than one lake's files: backups, or somebody's own."""
    lake = Lake(tmp_path)
    path = plant(Path(lake.place.files), name, age=timedelta(days=99))
    assert kept_up(lake.place, SHRUNK, tmp_path / "orphans").orphans.aside == 0
    assert path.exists()


def test_what_was_set_aside_below_the_files_is_not_set_aside_again(tmp_path: Path) -> None:
    """Whoever puts the folder of orphans among the lake's files gets it kept for a week as well."""
    lake = Lake(tmp_path)
    folder = Path(lake.place.files) / "orphans"
    plant(Path(lake.place.files))
    assert kept_up(lake.place, SHRUNK, folder).orphans.aside == 1
    assert kept_up(lake.place, SHRUNK, folder).orphans.aside == 0
    assert kept_orphans(folder) == [ORPHAN]


def test_no_orphan_is_touched_while_a_live_file_is_missing(tmp_path: Path) -> None:
    """Then the folder may be another lake's, or half of it is not mounted: nothing there can be judged."""
    lake = Lake(tmp_path)
    orphan = plant(Path(lake.place.files))
    insert(lake.place, 0)
    (file,) = (path for path in orphan.parent.iterdir() if path != orphan)
    elsewhere = file.rename(tmp_path / file.name)
    with capture_logs() as logs:
        assert kept_up(lake.place, SHRUNK, tmp_path / "orphans").orphans.aside == 0
    assert [entry["files"] for entry in logs if entry["log_level"] == "error"] == [[file.name]]
    assert orphan.exists()
    with capture_logs() as logs:  # nor listed and said in each round
        kept_up(
            lake.place, msgspec.structs.replace(SHRUNK, orphans_interval=timedelta(hours=1)), tmp_path / "orphans"
        )
    assert logs == []
    elsewhere.rename(file)
    assert kept_up(lake.place, SHRUNK, tmp_path / "orphans").orphans.aside == 1


def test_a_lake_with_the_files_of_another_deletes_none_of_them(tmp_path: Path) -> None:
    """PLAYHEAD_LAKE_FILES was set to the folder of another lake."""
    one, other = Lake(tmp_path / "one"), Lake(tmp_path / "other")
    insert(one.place, 0, 1)
    insert(other.place, 0, 1)
    mistaken = msgspec.structs.replace(other.place, files=one.place.files)
    with capture_logs() as logs:
        assert kept_up(mistaken, SHRUNK, tmp_path / "orphans").orphans.aside == 0
    assert "error" in {entry["log_level"] for entry in logs}
    assert verify(one.place).findings == []


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)


def test_orphans_are_set_aside_on_another_disk_too(tmp_path: Path, other_disk: Path) -> None:
    """A rename cannot do that: the copy is whole before the orphan goes."""
    lake = Lake(tmp_path)
    orphan = plant(Path(lake.place.files))
    assert kept_up(lake.place, SHRUNK, other_disk / "orphans").orphans.aside == 1
    (moved,) = (other_disk / "orphans").glob("*/main/duplicates/*")
    assert (moved.read_bytes(), moved.name, orphan.exists()) == (b"PAR1", ORPHAN, False)


@pytest.mark.parametrize("across_disks", [False, True])
def test_killed_at_any_step_an_orphan_is_in_place_or_aside(
    tmp_path: Path, other_disk: Path, across_disks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of moving is cut off once, at the flush that ends it; the next round finishes what was begun."""
    lake = Lake(tmp_path / "lake")
    folder = (other_disk if across_disks else tmp_path) / "orphans"
    steps = 0

    class Killed(BaseException):
        pass

    for cut_off in range(10):
        orphan = plant(Path(lake.place.files))
        steps = 0

        def killing(paths: list[Path], cut_off: int = cut_off) -> None:
            nonlocal steps
            flush(paths)
            steps += 1
            if steps > cut_off:
                raise Killed

        monkeypatch.setattr("lake.orphans.flush", killing)
        try:
            kept_up(lake.place, SHRUNK, folder)
            break
        except Killed:
            copies = [path for path in folder.rglob("*.parquet") if path.read_bytes() == b"PAR1"]
            assert orphan.exists() or copies
        monkeypatch.setattr("lake.orphans.flush", flush)
        kept_up(lake.place, SHRUNK, folder)
        assert not orphan.exists()
        assert ORPHAN in kept_orphans(folder)
        shutil.rmtree(folder)
    assert steps == cut_off >= 3
    assert verify(lake.place).findings == []


# ---- S3


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ("s3://lake/of//playhead", "empty"),
        ("s3://lake//playhead", "empty"),
        ("s3://lake/playhead//", "empty"),
        ("s3://lake/./playhead", "empty"),
        ("s3://lake/a/../playhead", "empty"),
        ("s3://lake/what?", r"contains a \?,"),
        ("s3://lake/a*", r"contains a \*,"),
        ("s3://lake/a[b]", r"contains a \[,"),
        ("s3:///playhead", "a folder or s3://"),
        ("file:///playhead", "a folder or s3://"),
    ],
)
def test_a_new_lake_refuses_an_odd_address(tmp_path: Path, files: str, fault: str) -> None:
    """`//` is part of a key on S3, and so no two programs would agree where files are."""
    with pytest.raises(NotReady, match=fault):
        check_new(location(Settings(data_dir=tmp_path, lake_files=files)))
    check_new(location(Settings(data_dir=tmp_path, lake_files="s3://lake/of playhead/100%")))
    check_new(location(Settings(data_dir=tmp_path, lake_files="s3://lake/")))


def test_init_refuses_an_odd_address_and_leaves_nothing(tmp_path: Path) -> None:
    """The command says which setting, exits with 2, and the next try starts from nothing."""
    settings = Settings(data_dir=tmp_path, lake_files="s3://lake/of//playhead")
    with playhead(settings, "init") as process:
        assert process.wait(60) == 2
    assert "PLAYHEAD_LAKE_FILES" in (tmp_path / "init.stderr").read_text()
    assert not Path(location(settings).catalog).exists()


def test_an_orphan_on_s3_is_confirmed_by_a_listing_a_week_later() -> None:
    """Between two listings it must not have been away: then the week begins again."""
    monday, week = datetime(2026, 1, 5, tzinfo=UTC), timedelta(days=7)
    confirmed, since = twice_listed({}, ["a", "b"], now=monday, apart=week)
    assert (confirmed, since) == ([], {"a": monday, "b": monday})
    confirmed, since = twice_listed(since, ["a"], now=monday + timedelta(days=3), apart=week)
    assert (confirmed, since) == ([], {"a": monday})
    confirmed, since = twice_listed(since, ["a", "b"], now=monday + week, apart=week)
    assert (confirmed, since) == (["a"], {"b": monday + week})


@pytest.fixture(scope="module")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an S3 server."""
    (port,) = free_ports(1)
    with s3.moto_server(tmp_path_factory.mktemp("s3"), port):
        yield port


@pytest.mark.parametrize("prefix", ["plain/files", "at the end/100%/", "two//slashes"])
def test_upkeep_on_s3_deletes_orphans_after_two_listings_and_nothing_else(
    tmp_path: Path, s3_port: int, prefix: str
) -> None:
    """On every spelling that a lake of release 0.1.0 may have."""
    settings = Settings(data_dir=tmp_path, lake_files=f"s3://{s3.BUCKET}/{prefix}", **s3.settings_of(s3_port))
    place = location(settings)
    make_as_0_1_0_did(place)
    insert(place, *range(22))
    key = f"{prefix.rstrip('/')}/main/duplicates/{ORPHAN}"
    with s3.client(s3_port) as client:
        client.put_object(Bucket=s3.BUCKET, Key=key, Body=b"PAR1")

        def is_there() -> bool:
            listed = client.list_objects_v2(Bucket=s3.BUCKET, Prefix=key)
            return bool(listed["KeyCount"])

        assert kept_up(place, SHRUNK, settings.orphans).merged_tables == ["duplicates"]
        kept_up(place, SHRUNK, settings.orphans, after=timedelta(days=6, hours=23))
        assert is_there()
        later = timedelta(days=7, minutes=1)
        assert kept_up(place, SHRUNK, settings.orphans, after=later).orphans.aside == 1
        kept_up(place, SHRUNK, settings.orphans, after=later + timedelta(minutes=1))
        assert not is_there()
    assert verify(place).findings == []
    assert offsets_of(place) == list(range(22))


def test_upkeep_on_s3_deletes_nothing_where_client_and_server_spell_keys_differently(
    tmp_path: Path, s3_port: int
) -> None:
    """A `.` is lost on the way to the server: what is listed is not what the catalogue names."""
    settings = Settings(data_dir=tmp_path, lake_files=f"s3://{s3.BUCKET}/a/./b", **s3.settings_of(s3_port))
    place = location(settings)
    make_as_0_1_0_did(place)
    insert(place, *range(5))
    for days in (0, 8, 16):
        assert kept_up(place, SHRUNK, settings.orphans, after=timedelta(days=days, seconds=1)).orphans.aside == 0
    assert offsets_of(place) == list(range(5))


@pytest.mark.parametrize(("damage", "code"), [("cut", "file_unreadable"), ("gone", "file_missing")])
def test_a_damaged_object_of_a_lake_on_s3_and_postgresql_is_named(
    tmp_path: Path, s3_port: int, catalog: str, damage: str, code: str
) -> None:
    """`verify` reads the footer of every object, however many are whole, and names the one."""
    address = f"s3://{s3.BUCKET}/{damage}/files"
    settings = Settings(data_dir=tmp_path, lake_catalog=catalog, lake_files=address, **s3.settings_of(s3_port))
    place = location(settings)
    initialize(place, partitions=1)
    insert(place, *range(5))
    assert verify(place).findings == []
    with s3.client(s3_port) as client:
        listed = client.list_objects_v2(Bucket=s3.BUCKET, Prefix=f"{damage}/files/main/duplicates/")["Contents"]
        key = listed[2]["Key"]
        if damage == "gone":
            client.delete_object(Bucket=s3.BUCKET, Key=key)
        else:
            whole = client.get_object(Bucket=s3.BUCKET, Key=key)["Body"].read()
            client.put_object(Bucket=s3.BUCKET, Key=key, Body=whole[:-8] + b"12345678")
    found = [finding for finding in verify(place).findings if finding.code == code]
    assert any(key.rpartition("/")[2] in finding.detail for finding in found)


def make_as_0_1_0_did(place: Location) -> None:
    """Make a lake at any address; today's `init` refuses odd ones."""
    Path(place.catalog).parent.mkdir(parents=True)
    plain = msgspec.structs.replace(place, files=f"s3://{s3.BUCKET}/plain")
    path = place.files.rstrip("/") + "/"
    with contextlib.closing(connect(plain, read_only=False, create=True)) as connection:
        connection.execute(f"UPDATE {METADATA}.ducklake_metadata SET value = '{path}' WHERE key = 'data_path'")
    initialize(place, partitions=1)


# ---- clocks


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
