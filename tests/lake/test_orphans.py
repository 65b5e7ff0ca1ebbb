"""Files that no snapshot lists: set aside for a week, then deleted, and nothing else with them."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from rigs.lake import Lake
from rigs.upkept import AS_SHIPPED, ORPHAN, SHRUNK, insert, kept_up, many_files, plant
from structlog.testing import capture_logs

from lake.disk import flush
from lake.orphans import MEMORY
from lake.verify import verify


def kept_orphans(folder: Path) -> list[str]:
    """Return the names of what was moved aside."""
    return sorted(path.name for path in folder.rglob("*.parquet"))


def test_orphans_are_set_aside_when_they_are_a_day_old_and_not_before(tmp_path: Path) -> None:
    """What an open transaction has written looks like an orphan: only old ones go."""
    lake = Lake(tmp_path)
    (file,) = many_files(lake.place, 1)
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
