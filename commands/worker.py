"""`playhead worker`: applies an operator's decisions, then runs the worker until stopped."""

import asyncio
from functools import partial

from commands.upkeep import start_upkeep, stopped_by_signals
from consumers.decisions import accept_gaps, accept_new_logs, parse_partitions
from consumers.worker import Worker
from lake.transaction import Gap
from schemas.garbage import collect_rarely
from schemas.settings import Settings


async def run_worker(
    settings: Settings, gaps: list[str], new_log: str | None, *, until_read: bool = False
) -> None:
    """Accept lost offsets and a new log, if given; then move the log into the lake until SIGTERM or SIGINT.

    Or, `until_read`, until the log as it is now is in the lake; raises NotReady if a partition is halted.
    """
    if gaps:
        await asyncio.to_thread(accept_gaps, settings, [Gap.parse(gap) for gap in gaps])
    if new_log is not None:
        await accept_new_logs(settings, parse_partitions(new_log))

    collect_rarely()
    upkeep = partial(start_upkeep, settings) if settings.worker_does_upkeep else None
    await Worker(settings, upkeep=upkeep).run(stopped_by_signals(), until_read=until_read)
