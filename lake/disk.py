"""Flushes files and folders to a local disk; DuckDB flushes its catalogue, but not the files that it lists."""

import os
import uuid
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from pathlib import Path

from lake.catalog import Location

CLOCK_STEP_MS = 10_000  # how far the clock may step back within a transaction
EPOCH = date(1970, 1, 1)


def flush(paths: Iterable[str | Path]) -> None:
    """Flush files and folders; a file survives a power cut only if its folder is flushed too."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def flush_new_files(
    place: Location, tables: Collection[str], *, days: Collection[int] = (), since_ms: int
) -> None:
    """Flush a transaction's new files and their folders to a local disk: DuckLake flushes only its catalogue.

    DuckLake names no file before the COMMIT, and `SELECT filename` costs a plan over all files of a table. But new
    files are in the folders of their tables (those of `events` in folders of the `days` since 1970 on which they
    arrived), and their names begin with the millisecond that they were made in (UUIDv7).
    """
    if not place.is_local:
        return
    root = Path(place.files, "main")
    folders = [root / table for table in tables]
    for day in (EPOCH + timedelta(number) for number in days):
        folders.append(root / "events" / f"year={day.year}" / f"month={day.month}" / f"day={day.day}")
    first = f"ducklake-{uuid.UUID(int=max(since_ms - CLOCK_STEP_MS, 0) << 80)}"
    paths: set[str] = set()
    for folder in folders:
        made = [entry.path for entry in os.scandir(folder) if entry.name >= first]
        # Parents too: the first file of a day creates the folders of its year, month and day.
        paths.update(made, map(str, [folder, *list(folder.parents)[:4]]))
    flush(paths)
