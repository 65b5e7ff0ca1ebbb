"""`playhead worker`: applies an operator's decisions, then runs the worker until stopped."""

import asyncio
from functools import partial

from commands.children import stopped_by_signals
from commands.logs import log_settings
from commands.progress import shown_reading
from commands.rounds import Rounds
from commands.upkeep import start_upkeep
from consumers.decisions import accept_gaps, accept_new_logs, parse_partitions
from consumers.worker import Worker
from lake.transaction import Gap
from observability.meter import Meter
from observability.port import Health, serving
from schemas.garbage import collect_rarely
from schemas.settings import Settings


async def run_worker(
    settings: Settings, gaps: list[str], new_log: str | None, *, until_read: bool = False
) -> None:
    """Accept lost offsets and a new log, if given; then move the log into the lake until SIGTERM or SIGINT.

    Or, `until_read`, until the log as it is now is in the lake; raises NotReady if a partition is halted.
    """
    log_settings(settings)
    if gaps:
        await asyncio.to_thread(accept_gaps, settings, [Gap.parse(gap) for gap in gaps])
    if new_log is not None:
        await accept_new_logs(settings, parse_partitions(new_log))

    collect_rarely()
    meter = Meter("worker")
    rounds = Rounds(settings, meter)
    upkeep = partial(start_upkeep, settings, rounds) if settings.worker_does_upkeep else None
    worker = Worker(settings, upkeep=upkeep, meter=meter)
    health = Health(ready=worker.metrics.ready, flow=worker.metrics.flow)
    if until_read:
        async with shown_reading("worker", settings, worker.positions):
            await worker.run(stopped_by_signals(), until_read=True)
        return
    with serving(settings, "worker", meter, health) as log_address:
        await worker.run(stopped_by_signals(), opened=log_address)
