"""`playhead init`: creates the log and the lake if they are missing."""

import asyncio

from eventlog.adapters import create_log
from lake.catalog import location
from lake.tables import initialize
from schemas.modes import give_modes_below
from schemas.settings import Settings


async def make_log_and_lake(settings: Settings) -> None:
    """Create or migrate log and lake, and give their files the modes of the settings."""
    partitions = await create_log(settings)
    await asyncio.to_thread(initialize, location(settings), partitions=partitions)
    for folder in (settings.data_dir / "lake", settings.data_dir / "backups"):
        give_modes_below(folder, umask=settings.umask)
