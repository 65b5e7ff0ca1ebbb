"""`playhead backup`: backs up the running lake and drops older backups, once or whenever it is due."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import duckdb
import structlog

from commands.children import run_child, status_text, stopped_by_signals
from commands.logs import log_settings
from commands.progress import shown_statements
from lake.backup import back_up, check, drop_older, folder_of_backups, is_due, last_made_at
from lake.backup_folder import Folder
from lake.behind import has_read_records
from lake.catalog import location
from lake.errors import cause
from lake.schema import check_lake
from schemas.faults import Fault
from schemas.settings import Settings

NICENESS = 10  # ingest and worker take precedence
LOOK_S = 60.0  # between two looks whether a backup is due
RETRY_S = 600.0  # after one that failed: most often a disk is full

logger = structlog.get_logger(__name__)


def make_backup(settings: Settings, *, keep: int, checked: bool = False) -> tuple[Folder, int]:
    """Back up the lake, keep this many backups, and return the new one's path and number of rows.

    If it is to be `checked`, it is restored beside itself (from S3, into the data folder) and verified before an
    older one is dropped; raises NotReady if that fails.
    """
    os.nice(NICENESS)
    folder = folder_of_backups(settings)
    drop_older(folder, keep=keep, now=datetime.now(UTC))  # the remains of a killed backup may fill the disk
    with shown_statements("backup") as watch:
        path, manifest = back_up(location(settings), folder, now=datetime.now(UTC), watch=watch)
    if checked:
        with shown_statements("restoring it for the check") as watch:
            check(path, data=settings.data_dir.resolve(), watch=watch)
    drop_older(folder, keep=keep, now=datetime.now(UTC))
    return path, sum(manifest.rows.values())


def needs_backup(settings: Settings, *, interval_s: float) -> bool:
    """Return whether the newest backup is older than the interval, and the lake has read anything."""
    now = datetime.now(UTC)
    if not is_due(
        last_made_at(folder_of_backups(settings), now=now), now=now, interval=timedelta(seconds=interval_s)
    ):
        return False
    return has_read_records(location(settings))


async def repeat_backup(settings: Settings, interval_s: float, *, keep: int, checked: bool) -> None:
    """Back up the lake whenever that is due, each time in a process of its own, until stopped.

    Raises NotReady if there is no lake to work on at first. One that does not answer is tried again.
    """
    log_settings(settings, every_s=interval_s, keep=keep, checked=checked)
    await asyncio.to_thread(check_lake, location(settings))
    arguments = ["--keep", str(keep), *(["--checked"] if checked else [])]
    stopping = asyncio.create_task(stopped_by_signals().wait())
    while not stopping.done():
        is_due_now = await asyncio.to_thread(_is_due_if_known, settings, interval_s)
        why = await _back_up_in_child(settings, arguments, stopping) if is_due_now else None
        if why is not None:
            logger.warning("backup failed", why=why, again_after_s=min(RETRY_S, interval_s))
        await asyncio.wait({stopping}, timeout=min(LOOK_S if why is None else RETRY_S, interval_s))


def _is_due_if_known(settings: Settings, interval_s: float) -> bool:
    """Return whether a backup is due, as far as the lake answers."""
    try:
        return needs_backup(settings, interval_s=interval_s)
    except (Fault, duckdb.Error, OSError) as error:
        logger.warning("lake not read", error=cause(error))
        return False


async def _back_up_in_child(
    settings: Settings, arguments: Sequence[str], stopping: "asyncio.Task[bool]"
) -> str | None:
    """Back up the lake in a child process, and log what it printed; return why that failed."""
    status, output = await run_child(settings, "backup", *arguments, stopping=stopping)
    if status == 0:
        logger.info("backup made", said=output.decode().strip())
    elif not stopping.done():
        return f"it ended {status_text(status)}"
    return None
