"""A worker in this process, for the length of a block."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from consumers.worker import Worker
from observability.meter import Meter
from schemas.settings import Settings


@contextlib.asynccontextmanager
async def working(settings: Settings, meter: Meter | None = None) -> AsyncIterator[Worker]:
    """Let a worker run, which counts into `meter`; it has stopped when the block is left."""
    stop = asyncio.Event()
    worker = Worker(settings, meter=meter)
    running = asyncio.create_task(worker.run(stop))
    try:
        yield worker
    finally:
        stop.set()
        await running
