"""The rounds of upkeep that a process starts, as numbers of its meter, and the lake as they leave it."""

import contextlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from lake.backup import folder_of_backups, last_made_at
from lake.catalog import location
from lake.upkeep import Maintenance
from observability import catalogue
from observability.disks import watch_folders
from observability.meter import Labels, Meter
from schemas.settings import Settings

LOOK_S = 60.0  # between two looks at backups on S3
LATE = timedelta(minutes=10)  # a round starts every minute, and has to end well within this


class Rounds:
    """Counts rounds as they end; shows the age of the newest backup and the room on the disks."""

    def __init__(self, settings: Settings, meter: Meter) -> None:
        self._meter, self._backups = meter, folder_of_backups(settings)
        self._backup_seen: tuple[float, datetime | None] | None = None  # when it was looked, and what was found
        self._outcomes = {name: meter.number(catalogue.ROUNDS, name) for name in ("done", "failed")}
        self._well_s = time.monotonic()
        meter.at_scrape(catalogue.BACKUP_AT, self._backup_at)
        place = location(settings)
        lake = {"lake": Path(place.files)} if place.is_local else {}
        backups = {"backups": self._backups} if isinstance(self._backups, Path) else {}
        watch_folders(meter, {"data": settings.data_dir, **backups, **lake})

    def _backup_at(self) -> Mapping[Labels, float]:
        """Return the age of the newest backup; S3 is not asked at every scrape, and may not answer."""
        seen_s, made_at = self._backup_seen or (None, None)
        if isinstance(self._backups, Path) or seen_s is None or time.monotonic() - seen_s >= LOOK_S:
            with contextlib.suppress(OSError):
                made_at = last_made_at(self._backups, now=datetime.now(UTC))
            self._backup_seen = time.monotonic(), made_at
        return {} if made_at is None else {(): made_at.timestamp()}

    def ended(self, output: bytes) -> None:
        """Count a round by what its process wrote last: what it did, or nothing if it failed."""
        try:
            done = msgspec.json.decode(output.strip().rpartition(b"\n")[2], type=Maintenance)
        except msgspec.DecodeError:
            self._outcomes["failed"].value += 1
            return
        self._outcomes["done"].value += 1
        self._well_s = time.monotonic()
        number = self._meter.number
        self._meter.histogram(catalogue.ROUND_SECONDS).observe(done.took_s)
        number(catalogue.UPKEEP_DELETED).value += done.files_deleted
        number(catalogue.UPKEEP_EXPIRED).value += done.snapshots_expired
        number(catalogue.UPKEEP_AT).value = time.time()
        number(catalogue.LAKE_FILES).value = done.size.files
        number(catalogue.LAKE_BYTES).value = done.size.files_bytes
        number(catalogue.CATALOGUE_BYTES).value = done.size.catalogue_bytes
        number(catalogue.SNAPSHOTS).value = done.size.snapshots

    async def flow(self) -> list[str]:
        """Return that no round has ended well for long, if so."""
        late_s = time.monotonic() - self._well_s
        return [f"no round has ended well for {late_s:.0f} s"] if late_s > LATE.total_seconds() else []
