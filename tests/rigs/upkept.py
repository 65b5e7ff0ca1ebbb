"""Rounds of upkeep on a lake, with ages of hours or of nothing, and files for it to merge and to find."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lake.catalog import METADATA, Location
from lake.upkeep import Ages, Maintenance, maintain
from rigs.lake import do
from schemas.settings import Settings

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


def many_files(place: Location, count: int = 25) -> list[Path]:
    """Write many small files into a table; return their paths."""
    insert(place, *range(count))
    return list(Path(place.files).glob("**/duplicates/*.parquet"))


def plant(files: Path, name: str = ORPHAN, *, age: timedelta = timedelta(hours=25)) -> Path:
    """Put a file among a lake's, as a killed transaction leaves it."""
    path = files / "main" / "duplicates" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"PAR1")
    then_s = time.time() - age.total_seconds()
    os.utime(path, (then_s, then_s))
    return path
