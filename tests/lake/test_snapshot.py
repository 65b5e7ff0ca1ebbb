"""Who reads one snapshot sees it whole, though upkeep merges files and expires snapshots meanwhile."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rigs.lake import Lake
from rigs.upkept import AS_SHIPPED, SHRUNK, insert, kept_up, many_files

from lake.backup import back_up
from lake.backup_folder import LocalFolder
from lake.catalog import connect
from lake.errors import with_cure
from lake.snapshot import in_snapshot


def test_a_backup_is_whole_though_files_are_merged_while_it_is_made(tmp_path: Path) -> None:
    """Upkeep of the worker runs beside it; no table loses the rows of files that were merged before its turn."""
    lake = Lake(tmp_path)
    merged: list[str] = []

    @contextlib.contextmanager
    def upkeep_meanwhile(_connection: duckdb.DuckDBPyConnection, _table: str) -> Iterator[None]:
        if not merged:
            merged.extend(kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables)
        yield

    many_files(lake.place)
    _, manifest = back_up(
        lake.place, LocalFolder(tmp_path, "backups"), now=datetime.now(UTC), watch=upkeep_meanwhile
    )
    assert merged == ["duplicates"]
    assert manifest.rows["duplicates"] == 25


def test_a_reader_of_one_snapshot_sees_neither_merges_nor_what_is_written(tmp_path: Path) -> None:
    """Statement by statement it sees the lake as it was."""
    lake = Lake(tmp_path)
    many_files(lake.place)
    with contextlib.closing(connect(lake.place, read_only=True, one_snapshot=True)) as reader:
        assert reader.execute("SELECT count(*) FROM ledger").fetchone() == (1,)
        assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables == ["duplicates"]
        insert(lake.place, 99)
        assert reader.execute("SELECT count(*), max(log_offset) FROM duplicates").fetchone() == (25, 24)


def test_a_snapshot_that_expires_while_it_is_read_is_an_error_that_says_so(tmp_path: Path) -> None:
    """No table of it looks emptier than it was."""
    lake = Lake(tmp_path)
    many_files(lake.place)
    with contextlib.closing(connect(lake.place, read_only=True, one_snapshot=True)) as reader:
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
    many_files(lake.place)
    with contextlib.closing(connect(lake.place, read_only=True)) as reader:

        def read() -> tuple[Any, ...] | None:
            reader.execute("SELECT count(*) FROM ledger").fetchall()
            if not merged:
                merged.append(kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables)
            return reader.execute("SELECT count(*) FROM duplicates").fetchone()

        assert in_snapshot(reader, read) == (25,)
    assert merged == [["duplicates"]]
