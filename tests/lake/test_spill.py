"""What exceeds the memory of a query is on disk, where no other process overwrites it, and nothing of it stays."""

import contextlib
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.lake import Lake
from rigs.processes import said, talking, tell

from lake.reading import open_reader
from lake.spill import PREFIX, spill_folder

MEMORY = "100MB"
# Sorts 2 million texts, which need more; counts them, and those that are not of whoever asks.
SORTED = (
    "SELECT count(*), count(*) FILTER (NOT starts_with(text, '{name}')) "
    "FROM (SELECT '{name}' || md5(number::VARCHAR) AS text FROM range(2_000_000) AS numbers(number) ORDER BY text)"
)
CHILD = f"""
import pathlib, sys
from lake.catalog import Location, connect
catalog, files, spills = sys.argv[1:]
lake = connect(Location("sqlite", catalog, files, spills=pathlib.Path(spills)), read_only=True, memory="{MEMORY}")
print("open", flush=True)
for name in sys.stdin:
    print(*lake.execute("{SORTED}".replace("{{name}}", name.strip())).fetchall(), flush=True)
"""


@contextlib.contextmanager
def opened(lake: Lake) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that has the lake open, and sorts once for each name that it is told."""
    with talking("-c", CHILD, lake.place.catalog, lake.place.files, str(lake.place.spills)) as process:
        assert said(process) == "open"
        yield process


def test_processes_that_spill_at_once_do_not_read_each_other_s_rows(tmp_path: Path) -> None:
    """As a backup and the upkeep of a large lake, which were started in the same folder."""
    lake = Lake(tmp_path)
    with opened(lake) as one, opened(lake) as other:
        tell(one, "one")
        tell(other, "other")
        assert (said(one), said(other)) == ("(2000000, 0)", "(2000000, 0)")


def test_a_process_that_ends_leaves_nothing_that_it_spilled(tmp_path: Path) -> None:
    """Else rows of the lake would lie where nobody looks for them."""
    lake = Lake(tmp_path)
    with opened(lake) as process:
        (folder,) = tmp_path.glob(f"{PREFIX}*")
        tell(process, "one")
        assert said(process) == "(2000000, 0)"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        process.communicate()
    assert list(tmp_path.iterdir()) == [tmp_path / "lake"]


def test_what_a_killed_process_spilled_is_deleted_by_the_next(tmp_path: Path) -> None:
    """And nothing of one that runs."""
    lake = Lake(tmp_path)
    with opened(lake) as running:
        (in_use,) = tmp_path.glob(f"{PREFIX}*")
        with opened(lake) as killed:
            tell(killed, "killed")
            (left,) = (path for path in tmp_path.glob(f"{PREFIX}*") if path != in_use)
        assert left.exists()
        with opened(lake):
            assert in_use.exists()
            assert not left.exists()
        tell(running, "running")
        assert said(running) == "(2000000, 0)"


def test_who_may_not_write_there_spills_into_the_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an analyst who may only read the lake, or one whose lake is on another machine; nobody else may look."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = spill_folder(tmp_path / "elsewhere").parent
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_reader_that_may_reach_only_the_lake_spills_too(tmp_path: Path) -> None:
    """Its own folder is DuckDB's to use, whatever SQL may reach."""
    with open_reader(Lake(tmp_path).place, memory=MEMORY) as reader:
        assert reader.execute(SORTED.replace("{name}", "one")).fetchall() == [(2_000_000, 0)]
