"""Which records the log may drop: old, in the lake, and in a backup; and the warning about missing backups."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import structlog

from consumers.held_partition import HeldPartition
from eventlog import Reader
from lake.backup import Manifest, folder_of_backups, is_overdue, last_made_at, newest
from schemas.faults import NotReady
from schemas.settings import Settings

logger = structlog.get_logger(__name__)

OVERDUE_ALARM_S = 3600.0  # between two warnings of a backup that is overdue


class Expiry:
    """Lets the log drop records that are no longer needed, for one worker."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._began_at = datetime.now(UTC)
        self._warned_s: float | None = None

    async def drop_records(
        self, reader: Reader, below: dict[int, int], every: Mapping[int, HeldPartition]
    ) -> None:
        """Let the log drop records that are old, stored (`below`), and in a backup, unless backups are off."""
        if not self._settings.log_drop_without_backup:
            backup = await self._newest_backup()
            below = backup.next_offsets if backup else {}
            await self._warn_of_overdue_backup()
        # A backup of a time before the log was replaced knows nothing of this one: its offsets are below 0 here.
        in_log = {
            partition: offset - held.ledger.log_base
            for partition, offset in below.items()
            if (held := every.get(partition)) is not None
        }
        older_than_ms = int((time.time() - self._settings.log_retention_s) * 1000)
        dropped = await reader.retain(older_than_ms=older_than_ms, below=in_log)
        if dropped:
            logger.info("log records dropped", records=dropped)

    async def _newest_backup(self) -> Manifest | None:
        try:
            found = await asyncio.to_thread(newest, folder_of_backups(self._settings))
        except (NotReady, OSError) as fault:
            logger.warning("backup unreadable", message=str(fault))
            return None
        return found[1] if found else None

    async def _warn_of_overdue_backup(self) -> None:
        """Warn that the embedded log drops nothing until there is a backup."""
        retention = timedelta(seconds=self._settings.log_retention_s)
        now = datetime.now(UTC)
        if self._settings.log != "embedded":
            return
        try:
            made_at = await asyncio.to_thread(last_made_at, folder_of_backups(self._settings), now=now)
        except OSError:  # logged already
            return
        if not is_overdue(made_at, now=now, retention=retention, watched_since=self._began_at):
            return
        if self._warned_s is None or time.monotonic() - self._warned_s >= OVERDUE_ALARM_S:
            self._warned_s = time.monotonic()
            logger.warning(
                "backup overdue: the log drops no record that no backup holds; run `playhead backup`",
                newest_backup=made_at.isoformat() if made_at else None,
                retention_s=self._settings.log_retention_s,
            )
