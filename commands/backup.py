"""`playhead backup`: backs up the running lake and drops older backups."""

import os
from datetime import UTC, datetime
from pathlib import Path

from lake.backup import back_up, drop_older
from lake.catalog import location
from schemas.settings import Settings

NICENESS = 10  # ingest and worker take precedence


def make_backup(settings: Settings, *, keep: int) -> tuple[Path, int]:
    """Back up the lake, keep this many backups, and return the new one's path and number of rows."""
    os.nice(NICENESS)
    drop_older(settings.backups, keep=keep)  # the remains of a killed backup may be what fills the disk
    path, manifest = back_up(location(settings), settings.backups, now=datetime.now(UTC))
    drop_older(settings.backups, keep=keep)
    return path, sum(manifest.rows.values())
