"""`playhead backup`: the lake backed up while all runs, and older backups dropped."""

import os
from datetime import UTC, datetime
from pathlib import Path

from lake.backup import back_up, drop_older
from lake.catalog import location
from schemas.settings import Settings

NICENESS = 10  # ingest and worker go first


def make_backup(settings: Settings, *, keep: int) -> tuple[Path, int]:
    """Back up the lake and keep this many backups; return where the new one is, and how many rows it has."""
    os.nice(NICENESS)
    drop_older(settings.backups, keep=keep)  # what a killed backup left may be what fills the disk
    path, manifest = back_up(location(settings), settings.backups, now=datetime.now(UTC))
    drop_older(settings.backups, keep=keep)
    return path, sum(manifest.rows.values())
