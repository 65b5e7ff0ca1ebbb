"""`playhead rebuild`: recreates the lake from the newest backup and the log after it."""

import asyncio

import uvloop

from commands.children import stopped_by_signals
from commands.init import make_log_and_lake
from commands.progress import shown_reading, shown_statements
from consumers.decisions import accept_new_logs, other_logs, parse_partitions, with_remedy
from consumers.worker import Worker
from eventlog.adapters import create_log
from lake.backup import folder_of_backups, ledgers_of, newest, restore
from lake.backup_folder import Folder
from lake.catalog import location
from lake.transaction import Ledger
from schemas.faults import NotReady
from schemas.garbage import collect_rarely
from schemas.settings import Settings


def rebuild_lake(settings: Settings, new_log: str | None) -> Folder | None:
    """Recreate the lake; return the backup that was restored, or None if only the log was used.

    Raises NotReady if the backup is of another log and `new_log` does not accept that.
    """
    found = newest(folder_of_backups(settings))
    backup = found[0] if found else None
    uvloop.run(_rebuild(settings, backup, new_log))  # as the worker
    return backup


async def _rebuild(settings: Settings, backup: Folder | None, new_log: str | None) -> None:
    if backup is not None:
        await create_log(settings)
        others = await other_logs(settings, [Ledger.of(row) for row in ledgers_of(backup)])
        accepted = parse_partitions(new_log) if new_log is not None else []
        for partition, fault in others.items():
            if accepted is not None and partition not in accepted:
                raise NotReady(f"the backup {backup} is of another log: {with_remedy(fault, verb='rebuild')}")
        with shown_statements("restore") as watch:
            await asyncio.to_thread(restore, location(settings), backup, watch=watch)
        if others:
            await accept_new_logs(settings, others.keys())
    await make_log_and_lake(settings)
    collect_rarely()
    worker = Worker(settings)
    async with shown_reading("rebuild", settings, worker.positions):
        await worker.run(stopped_by_signals(), until_read=True)
