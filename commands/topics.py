"""`playhead topics`: the log made, compared with the settings, and given more partitions."""

import asyncio

from eventlog.adapters import add_partitions, create_log
from schemas.settings import Settings


async def make_topic(settings: Settings, partitions: int | None) -> int:
    """Make the log if it is missing, raise its partitions to this number, and return how many it has.

    Only more partitions need the lake.
    """
    there = await create_log(settings)
    if partitions is None or partitions <= there:
        return there
    from lake.catalog import location
    from lake.tables import initialize

    # The tables first: a worker that is given a partition must find them.
    await asyncio.to_thread(initialize, location(settings), partitions=partitions, migrate=False)
    return await add_partitions(settings, partitions=partitions)
