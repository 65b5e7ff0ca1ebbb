"""Backups: whole or not there at all, of our tables alone, and made in time."""

import asyncio
import contextlib
import json
import shutil
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from rigs.commands import started
from rigs.disks import mounted
from rigs.lake import Lake, playhead, write
from rigs.session_model import make_bad, make_event
from rigs.waiting import until

from eventlog.adapters import create_log
from lake.backup import (
    MANIFEST,
    Manifest,
    back_up,
    check,
    drop_older,
    folder_of_backups,
    is_due,
    is_overdue,
    last_made_at,
    newest,
    restore,
)
from lake.backup_folder import Folder, LocalFolder
from lake.catalog import location
from lake.draft import locked
from lake.upkeep import Ages, maintain
from lake.verify import verify
from schemas.faults import NotReady
from schemas.settings import Settings

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
# Foreign tables in a lake: dbt makes schemas, people make views, and names are arbitrary.
FOREIGN = (
    "CREATE SCHEMA dbt",
    "CREATE TABLE dbt.events AS SELECT 1 AS log_partition, 2 AS log_offset",
    "CREATE TABLE dbt.ledger_p000 AS SELECT 1 AS next_offset",
    "CREATE TABLE dbt.ledger_p001 AS SELECT 1 AS next_offset",
    "CREATE TABLE dbt.open_sessions_p007 AS SELECT 1 AS session_id",
    'CREATE SCHEMA "it\'s ""quoted"""',
    'CREATE TABLE "it\'s ""quoted"""."a \'table\' of ""theirs""" AS SELECT 1 AS one',
    'CREATE TABLE main."it\'s ""theirs""" AS SELECT 1 AS one',
    "CREATE TABLE main.ledger_prices AS SELECT 9.99 AS price",
    "CREATE TABLE main.ledger_p0001 AS SELECT 1 AS one",
    "CREATE TABLE main.open_sessions_copy AS SELECT 1 AS one",
    'CREATE VIEW main."their view\'s" AS SELECT 1 AS one',
    "CREATE VIEW dbt.sessions AS SELECT 1 AS one",
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake with an event and a bad record."""
    made = Lake(tmp_path / "data")
    with made.writer() as writer:
        write(writer, writer.load(0, None), [make_event("sessionStart", offset=0), make_bad(offset=1)])
    return made


# ---- with foreign tables


def test_tables_of_others_break_neither_verify_nor_backup_nor_upkeep(lake: Lake, tmp_path: Path) -> None:
    """In another schema or in ours, with our names or names with quotes; only ours are backed up."""
    ours, before = back_up(lake.place, LocalFolder(tmp_path, "before"), now=NOON)
    lake.do(*FOREIGN)
    path, manifest = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON)
    assert manifest == before
    assert sorted(entry.name for entry in path.iterdir()) == sorted(entry.name for entry in ours.iterdir())
    assert verify(lake.place).findings == []
    assert [count.partition for count in verify(lake.place).partitions] == [0]
    moment = datetime.now(UTC) + timedelta(seconds=1)
    ages = msgspec.structs.replace(Ages.of(Settings()), orphans=timedelta(0), orphans_interval=timedelta(0))
    swept = maintain(lake.place, ages, orphans=tmp_path / "orphans", now=lambda: moment).orphans
    assert swept.aside == 0
    assert lake.ask("SELECT price FROM main.ledger_prices") != []
    restored = location(Settings(data_dir=tmp_path / "restored"))
    restore(restored, path)
    assert verify(restored).findings == []
    assert verify(restored).partitions == verify(lake.place).partitions


def test_a_file_that_others_lost_is_no_finding_of_ours(lake: Lake) -> None:
    """A table of somebody else's may be broken."""
    lake.do(*FOREIGN)
    for folder in ("dbt", "main/ledger_prices"):
        shutil.rmtree(Path(lake.place.files) / folder)
    assert verify(lake.place).findings == []


def test_a_worker_goes_on_beside_the_tables_of_others(lake: Lake) -> None:
    """It finds its partitions among them."""
    lake.do(*FOREIGN)
    with lake.writer() as writer:
        write(writer, writer.load(0, None), [make_bad(offset=2)])
    assert lake.ask("SELECT next_offset FROM ledger") == [(3,)]


# ---- whole or not at all


def test_a_backup_that_fails_leaves_nothing(lake: Lake, tmp_path: Path) -> None:
    """A file of the lake cannot be read: the backup ends with an error, and its folder is gone."""
    (path, *_) = sorted(Path(lake.place.files).glob("main/quarantine/*.parquet"))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(duckdb.Error):
        back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON)
    assert list((tmp_path / "backups").iterdir()) == []
    assert newest(LocalFolder(tmp_path, "backups")) is None


def test_a_backup_without_room_says_so_and_leaves_nothing(lake: Lake, tmp_path: Path) -> None:
    """The folder of backups is on a disk that is too small."""
    lake.do("INSERT INTO duplicates SELECT 0, range, uuid(), 'b' FROM range(100_000)")
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, size_mb=1):
        with playhead(lake.settings.model_copy(update={"lake_backups": str(disk)}), "backup") as process:
            assert process.wait(60) == 2
        assert list(disk.iterdir()) == []
    assert "No space left" in (lake.settings.data_dir / "backup.stderr").read_text()


def test_what_a_killed_backup_left_is_no_backup_and_is_dropped_by_the_next(lake: Lake, tmp_path: Path) -> None:
    """Killed while it writes, as by a power cut; the folder's name shows that it is unfinished."""
    folder = LocalFolder(tmp_path, "data", "backups")
    rows = "SELECT 0, range, 'a', 'b' FROM range(3_000_000)"
    lake.do(f"INSERT INTO duplicates {rows}", "UPDATE ledger_p000 SET duplicates = 3_000_000")
    with playhead(lake.settings, "backup") as process:
        until(lambda: any(folder.glob("*/*")))
        process.send(signal.SIGKILL)
        process.wait()
    (left,) = folder.iterdir()
    assert left.name.endswith(".unfinished")
    assert newest(folder) is None
    with playhead(lake.settings, "backup") as process:
        assert process.wait(60) == 0
    assert not left.exists()
    assert newest(folder) is not None


def test_a_checked_backup_was_restored_and_leaves_nothing_beside_it(lake: Lake, tmp_path: Path) -> None:
    """The lake that it was restored into is deleted."""
    with playhead(lake.settings, "backup", "--checked", "--to", str(tmp_path / "elsewhere")) as process:
        assert process.wait(60) == 0
        said = process.output
    found = newest(LocalFolder(tmp_path, "elsewhere"))
    assert found is not None
    path, manifest = found
    assert list(path.parent.iterdir()) == [path]
    assert said == f"{sum(manifest.rows.values())} rows are in {path}, restored and verified\n"


@pytest.mark.parametrize("part", ["a file of events", "half a file of events", "the rows of a ledger"])
def test_a_backup_that_lacks_something_fails_its_check(lake: Lake, tmp_path: Path, part: str) -> None:
    """As if the disk had lost it since; what was restored for the check is deleted."""
    path, _ = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON)
    (file,) = sorted(path.glob("ledger_p000/*.parquet" if "ledger" in part else "events/*.parquet"))
    if "half" in part:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    elif "ledger" in part:
        wrong = "UPDATE ledger SET inserted = inserted + 1"
        duckdb.sql(f"CREATE TABLE ledger AS FROM '{file}'; {wrong}; COPY ledger TO '{file}'")
    else:
        file.unlink()
    with pytest.raises(NotReady, match=r"cannot be restored|not complete|damaged"):
        check(path, data=tmp_path)
    assert list((tmp_path / "backups").iterdir()) == [path]


def test_backups_are_made_whenever_one_is_due_until_stopped(lake: Lake) -> None:
    """The newest ones are kept, and each is told in the log."""
    folder = lake.settings.data_dir / "backups"
    with playhead(lake.settings, "backup", "--every", "1s", "--keep", "2") as process:
        first = process.wait_for(lambda: next(folder.glob("*Z"), None))
        process.wait_for(lambda: not first.exists() and len(list(folder.glob("*Z"))) == 2)
        assert process.end() == 0
        log = process.output
    assert {json.loads(line)["event"] for line in log.splitlines()} == {"settings", "backup made"}


def test_a_backup_that_fails_is_made_again_later(lake: Lake, tmp_path: Path) -> None:
    """A file is where the folder should be, until somebody moves it away."""
    folder = tmp_path / "backups"
    folder.write_text("in the way")
    with playhead(lake.settings, "backup", "--every", "1s", "--to", str(folder)) as process:
        process.wait_for(lambda: "backup failed" in process.output)
        folder.unlink()
        process.wait_for(lambda: "backup made" in process.output)
        assert process.end() == 0


def test_an_old_backup_that_is_dropped_halfway_is_no_backup(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It loses its name first, then its files."""

    class Killed(BaseException):
        pass

    def killed(path: Path) -> None:
        raise Killed

    made = [back_up(lake.place, LocalFolder(tmp_path), now=NOON + hours * HOUR)[0] for hours in range(3)]
    with monkeypatch.context() as patched:
        patched.setattr("lake.backup_folder.shutil.rmtree", killed)
        with pytest.raises(Killed):
            drop_older(LocalFolder(tmp_path), keep=1, now=NOON)
    assert [path.parent for path in sorted(tmp_path.glob(f"2*Z/{MANIFEST}"))] == made[2:]
    assert len(drop_older(LocalFolder(tmp_path), keep=1, now=NOON)) == 2
    assert sorted(path for path in tmp_path.iterdir() if path.name.startswith("2")) == made[2:]


def test_a_backup_that_is_being_written_is_not_dropped(lake: Lake, tmp_path: Path) -> None:
    """Two backups at once: the one that ends first drops what was killed, not the other."""
    running = tmp_path / "backups" / "20260101T110000.000000Z.unfinished"
    killed = tmp_path / "backups" / "20260101T100000.000000Z.unfinished"
    half_of_0_1_0 = tmp_path / "backups" / "20260101T090000.000000Z"
    for folder in (running, killed, half_of_0_1_0):
        (folder / "events").mkdir(parents=True)
    path, _ = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON)
    with locked(running):
        assert drop_older(LocalFolder(tmp_path, "backups"), keep=2, now=NOON) == [half_of_0_1_0, killed]
    assert sorted((tmp_path / "backups").iterdir()) == [running, path]
    assert drop_older(LocalFolder(tmp_path, "backups"), keep=2, now=NOON) == [running]


@pytest.mark.parametrize("name", ["0 my own", "2025", "20260101", "20260101T120000.000000Z-copy"])
def test_folders_that_are_no_backups_stay(lake: Lake, tmp_path: Path, name: str) -> None:
    """Other files in the folder of backups belong to somebody."""
    (tmp_path / "backups" / name).mkdir(parents=True)
    for hours in range(3):
        back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON + hours * HOUR)
    assert len(drop_older(LocalFolder(tmp_path, "backups"), keep=1, now=NOON)) == 2
    assert (tmp_path / "backups" / name).is_dir()


@pytest.mark.parametrize("name", ['it\'s "quoted"', "a*b?[c]", "100% #1", "Zoë", " spaces "])
def test_a_backup_is_restored_from_a_folder_of_any_name(lake: Lake, tmp_path: Path, name: str) -> None:
    """DuckDB takes some characters as patterns, and SQL takes others as quotes."""
    path, manifest = back_up(lake.place, LocalFolder(tmp_path, name, "backups"), now=NOON)
    restored = location(Settings(data_dir=tmp_path / name))
    assert restore(restored, path) == manifest
    assert verify(restored).findings == []
    assert verify(restored).partitions == verify(lake.place).partitions


# ---- in time


def test_a_backup_is_due_when_none_is_younger_than_the_interval(lake: Lake, tmp_path: Path) -> None:
    """Also if there are no backups, or only one from the future."""

    def due(now: datetime) -> bool:
        return is_due(last_made_at(LocalFolder(tmp_path, "backups"), now=now), now=now, interval=HOUR)

    assert due(NOON)
    back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON)
    back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON + timedelta(days=365))
    assert due(NOON - HOUR)
    assert not due(NOON + timedelta(minutes=59))
    assert due(NOON + HOUR)


def test_a_backup_made_under_a_fast_clock_is_not_the_newest_for_ever(lake: Lake, tmp_path: Path) -> None:
    """How much of the log a backup holds decides which is restored and which are kept."""
    fast, _ = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON + timedelta(days=365))
    with lake.writer() as writer:
        write(writer, writer.load(0, None), [make_bad(offset=2)])
    later, manifest = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON)
    assert newest(LocalFolder(tmp_path, "backups")) == (later, manifest)
    assert len(drop_older(LocalFolder(tmp_path, "backups"), keep=1, now=NOON)) == 1
    assert (fast.exists(), later.exists()) == (False, True)


def test_a_damaged_backup_hides_no_other_and_stays(lake: Lake, tmp_path: Path) -> None:
    """It is an error only if no other backup is left, since the log alone may not be enough."""
    good, manifest = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON)
    damaged, _ = back_up(lake.place, LocalFolder(tmp_path, "backups"), now=NOON + HOUR)
    (damaged / MANIFEST).write_bytes(b"{")
    assert newest(LocalFolder(tmp_path, "backups")) == (good, manifest)
    drop_older(LocalFolder(tmp_path, "backups"), keep=1, now=NOON)
    assert (good.exists(), damaged.exists()) == (True, True)
    shutil.rmtree(good)
    with pytest.raises(NotReady, match="is not a complete backup"):
        newest(LocalFolder(tmp_path, "backups"))


def test_a_backup_is_overdue_when_none_is_younger_than_the_retention() -> None:
    """A lake without backups does not show its age, so the worker waits an hour."""
    week = timedelta(days=7)

    def overdue(made_at: datetime | None, *, watched: timedelta, retention: timedelta = week) -> bool:
        return is_overdue(made_at, now=NOON, retention=retention, watched_since=NOON - watched)

    assert not overdue(NOON - week, watched=week * 2)
    assert overdue(NOON - week - HOUR, watched=timedelta(0))
    assert not overdue(None, watched=HOUR)
    assert overdue(None, watched=HOUR * 2)
    assert overdue(None, watched=timedelta(minutes=2), retention=timedelta(minutes=1))


@contextlib.contextmanager
def working(lake: Lake, **changes: Any) -> Iterator[Path]:
    """Run a worker with its own log; return the file of its output."""
    settings = lake.settings.model_copy(update={"worker_upkeep_interval_s": 0.2, **changes})
    asyncio.run(create_log(settings))
    with playhead(settings, "worker"):
        yield settings.data_dir / "worker.stderr"


def lines_of(log: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a log."""
    return [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("}\n")]


def overdue_lines(log: Path) -> list[dict[str, Any]]:
    """Return a worker's messages about backups."""
    return [line for line in lines_of(log) if line["event"].startswith("backup overdue")]


def age_backup(path: Folder, by: timedelta) -> None:
    """Make a backup as old as that."""
    manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
    older = msgspec.structs.replace(manifest, made_at=datetime.now(UTC) - by)
    (path / MANIFEST).write_bytes(msgspec.json.encode(older))


def test_a_worker_warns_once_when_the_newest_backup_is_older_than_the_retention(tmp_path: Path) -> None:
    """The embedded log then drops nothing; one warning an hour, though upkeep runs five times a second."""
    lake = Lake(tmp_path)
    path, _ = back_up(lake.place, folder_of_backups(lake.settings), now=datetime.now(UTC))
    age_backup(path, timedelta(days=8))
    with working(lake) as log:
        until(lambda: overdue_lines(log))
        rounds = len([line for line in lines_of(log) if line["event"] == "upkeep done"])
        until(lambda: len([line for line in lines_of(log) if line["event"] == "upkeep done"]) >= rounds + 2)
        (warning,) = overdue_lines(log)
    assert (warning["level"], warning["retention_s"]) == ("warning", 604_800.0)
    assert warning["newest_backup"].startswith(str(datetime.now(UTC).year))


@pytest.mark.parametrize("case", ["young", "unwanted"])
def test_a_worker_does_not_warn_where_all_is_well(tmp_path: Path, case: str) -> None:
    """A backup is young enough, or the log may drop without one."""
    lake = Lake(tmp_path)
    path, _ = back_up(lake.place, folder_of_backups(lake.settings), now=datetime.now(UTC))
    age_backup(path, timedelta(days=6 if case == "young" else 8))
    with working(lake, log_drop_without_backup=case == "unwanted") as log:
        until(lambda: len([line for line in lines_of(log) if line["event"] == "upkeep done"]) >= 3)
        assert overdue_lines(log) == []


def test_up_backs_up_by_itself_and_keeps_as_many_as_are_set(tmp_path: Path) -> None:
    """One soon after the start, then one each interval; and none of a lake that is empty."""
    settings = {
        "PLAYHEAD_LAKE_BACKUP_INTERVAL_S": "1",
        "PLAYHEAD_LAKE_BACKUPS_KEPT": "2",
        "PLAYHEAD_LAKE_BACKUPS": str(tmp_path / "kept"),
    }
    with started("up", "--viewers", "3", "--port", "0", cwd=tmp_path, settings=settings) as running:
        first = running.wait_for(lambda: newest(LocalFolder(tmp_path, "kept")))
        assert sum(first[1].next_offsets.values()) > 0
        running.wait_for(lambda: len({line for line in running.output.splitlines() if "rows are in" in line}) >= 4)
        assert running.end(signal.SIGINT, within_s=60) == 0
    complete = [path for path in (tmp_path / "kept").iterdir() if not path.name.endswith(".unfinished")]
    assert 2 <= len(complete) <= 3  # the last may have been told to end before it dropped one
    assert first[0] not in complete


@pytest.mark.parametrize(("interval_s", "viewers"), [("0.2", "0"), ("0", "2")])
def test_up_makes_no_backup_of_an_empty_lake_nor_where_none_is_wanted(
    tmp_path: Path, interval_s: str, viewers: str
) -> None:
    """No viewer, no event; or an interval of 0."""
    settings = {"PLAYHEAD_LAKE_BACKUP_INTERVAL_S": interval_s}
    Lake(tmp_path / "data")
    with started("up", "--viewers", viewers, "--port", "0", cwd=tmp_path, settings=settings) as running:
        running.wait_for(lambda: running.output.count(" being watched") >= 2)  # 5 s apart
        assert running.end(signal.SIGINT, within_s=60) == 0
    assert not (tmp_path / "data" / "backups").exists()


def test_up_says_that_a_backup_failed_and_goes_on(tmp_path: Path) -> None:
    """The folder of backups cannot be made: a file is in its place."""
    (tmp_path / "kept").write_text("")
    settings = {"PLAYHEAD_LAKE_BACKUP_INTERVAL_S": "1", "PLAYHEAD_LAKE_BACKUPS": str(tmp_path / "kept")}
    Lake(tmp_path / "data")
    with started("up", "--viewers", "2", "--port", "0", cwd=tmp_path, settings=settings) as running:
        running.wait_for(lambda: "the backup ended with exit status 2" in running.output)
        assert running.end(signal.SIGINT, within_s=60) == 0


def test_a_backup_that_is_damaged_stops_no_worker(tmp_path: Path) -> None:
    """Its manifest is empty: the worker reports it, and drops nothing from the log."""
    lake = Lake(tmp_path)
    path, _ = back_up(lake.place, folder_of_backups(lake.settings), now=datetime.now(UTC))
    (path / MANIFEST).write_bytes(b"")
    with pytest.raises(NotReady):
        newest(folder_of_backups(lake.settings))
    with working(lake) as log:
        until(lambda: [line for line in lines_of(log) if line["event"] == "backup unreadable"])
        until(lambda: len([line for line in lines_of(log) if line["event"] == "upkeep done"]) >= 3)
