"""`playhead topics`: creates the log, compares it with the settings or alters it, adds partitions."""

import asyncio

from eventlog.adapters import add_partitions, create_log
from schemas.settings import Settings


async def make_topic(settings: Settings, partitions: int | None, *, alter: bool) -> int:
    """Create the log if it is missing, add partitions up to this number, and return how many it has.

    With `alter`, give it the settings that it should have. Only adding partitions needs the lake.
    """
    there = await create_log(settings, alter=alter)
    if partitions is None or partitions <= there:
        return there
    from lake.catalog import location
    from lake.tables import initialize

    # Tables first: a worker that is assigned a partition expects them.
    await asyncio.to_thread(initialize, location(settings), partitions=partitions, migrate=False)
    return await add_partitions(settings, partitions=partitions)
