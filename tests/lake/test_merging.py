"""Which files upkeep merges and when, and that readers keep the old ones for a while."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from rigs.lake import Lake
from rigs.upkept import AS_SHIPPED, kept_up, many_files

from lake.merging import MERGED, MIDDLE_BYTES, REPLACED, SMALL_BYTES, bytes_below
from lake.tables import sql_text


def files_of(lake: Lake, table: str) -> set[str]:
    """Return the paths of the files that the newest snapshot of a table consists of."""
    return {path for (path,) in lake.ask(f"SELECT data_file FROM ducklake_list_files('lake', '{table}')")}


def test_merged_files_stay_for_an_hour_under_the_eyes_of_readers(tmp_path: Path) -> None:
    """A reader that began before the merge still finds its files; later they go, and no row with them."""
    lake = Lake(tmp_path)
    files = many_files(lake.place)
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


def test_large_files_are_written_again_only_once_their_day_is_over(tmp_path: Path) -> None:
    """Small ones are merged beside one of ten megabytes; the first round of the next day merges both."""
    lake = Lake(tmp_path)
    assert kept_up(lake.place, AS_SHIPPED, tmp_path / "orphans").merged_tables == []
    lake.do("INSERT INTO duplicates SELECT 0, 1000 + range, uuid()::VARCHAR, 'b' FROM range(400_000)")
    (large,) = files_of(lake, "duplicates")
    many_files(lake.place)
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
