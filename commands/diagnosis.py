"""What is wrong with a running Playhead, by what `playhead status` saw, and what to do about it. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from commands.durations import shown_s
from lake.backup import is_overdue
from lake.condition import Condition
from lake.verify import Finding
from schemas.terminal import quantity

BEHIND_S = 10.0  # a worker commits every second
CLOCKS_DIFFER_S = 2.0
SET_CLOCKS = "let a time service (NTP) set the clocks of all machines"
INGEST_CLOCKS_DIFFER_S = 3.0  # replies are dated in whole seconds
NO_TABLES = "the lake has no tables for it: run `playhead init`"
UPKEEP_LATE = timedelta(minutes=10)
FREE_PART_MIN = 0.05
FREE_BYTES_MIN = 1 << 30
CATALOGUE_LOG_BYTES_MAX = 200_000_000  # a commit adds about 0.1 MB; a backup of a large lake takes minutes


class Partition(msgspec.Struct, frozen=True):
    """One partition, in the log and in the lake. Offsets are the log's own.

    `end_offset` is None if the log is unknown, `next_offset` if the lake is, or has no tables for it. `waits_s` is
    the age of the oldest record that waits, by the log's clock; 0 if none does. `reader` is who reads it now, as
    far as the log knows; None: nobody. `written_by` is the worker of the last commit. `replaced` says that the log
    is not the one that the lake has read.
    """

    partition: int
    end_offset: int | None = None
    next_offset: int | None = None
    waiting: int = 0
    waits_s: float = 0.0
    reader: str | None = None
    written_by: str | None = None
    written_at: datetime | None = None
    halted_at: datetime | None = None
    halted_reason: str | None = None
    replaced: str | None = None


class Ingest(msgspec.Struct, frozen=True):
    """One ingest process: whether it accepts events, and what it has counted since it started.

    `fault` says why it is not ready, or does not answer. `clock_ahead_s` is how far its clock is ahead of this
    machine's.
    """

    url: str
    fault: str | None = None
    accepted: int = 0
    refused: dict[str, int] = {}
    errors: int = 0
    clock_ahead_s: float = 0.0


class Disk(msgspec.Struct, frozen=True):
    """The file system of a folder."""

    folder: str
    free_bytes: int
    total_bytes: int


class Seen(msgspec.Struct, frozen=True):
    """What `playhead status` saw at one moment.

    `log_fault`, `lake_fault` and `backup_fault` say why log, lake or backups are unknown. `has_own_upkeep`: the
    worker does the upkeep.
    """

    at: datetime
    versions: dict[str, str]
    partitions: list[Partition]
    ingests: list[Ingest]
    disks: list[Disk]
    backup_at: datetime | None
    lake: Condition | None
    log_fault: Finding | None
    lake_fault: Finding | None
    backup_fault: Finding | None
    log_retention_s: float
    has_own_upkeep: bool


def diagnose(seen: Seen) -> list[Finding]:
    """Return everything that is wrong, the cause of other findings first."""
    faults = (seen.log_fault, seen.lake_fault, seen.backup_fault)
    found = [fault for fault in faults if fault is not None]
    found += _of_disks(seen)
    for one in seen.partitions:
        found += _of_partition(one, is_log_known=seen.log_fault is None, is_lake_known=seen.lake is not None)
    for ingest in seen.ingests:
        found += _of_ingest(ingest)
    if seen.lake is not None:
        found += _of_lake(seen, seen.lake)
    return found


def _of_disks(seen: Seen) -> Iterator[Finding]:
    for disk in seen.disks:
        if disk.free_bytes < max(FREE_BYTES_MIN, FREE_PART_MIN * disk.total_bytes):
            free_mb = disk.free_bytes // 1_000_000
            yield Finding(
                "disk_full", None, f"{free_mb:,} MB are free for {disk.folder}: free some, or add a disk"
            )


def _of_partition(one: Partition, *, is_log_known: bool, is_lake_known: bool) -> Iterator[Finding]:
    if one.replaced is not None:
        yield Finding("log_replaced", one.partition, one.replaced)
    elif one.halted_reason is not None:
        yield Finding("halted", one.partition, one.halted_reason)
    if not is_log_known:
        return
    if is_lake_known and one.next_offset is None:
        yield Finding("no_tables", one.partition, NO_TABLES)
        return
    is_halted = one.replaced is not None or one.halted_reason is not None
    if one.reader is None:
        yield Finding("no_worker", one.partition, "no worker reads it: start `playhead worker`")
    elif one.waits_s > BEHIND_S and not is_halted:
        waiting = f"{quantity(one.waiting, 'record', 'wait')}, the oldest for {shown_s(one.waits_s)}"
        remedy = f"though {one.reader} reads it: look into its log, or start more workers"
        yield Finding("behind", one.partition, f"{waiting}, {remedy}")


def _of_ingest(ingest: Ingest) -> Iterator[Finding]:
    if ingest.fault is not None:
        yield Finding("ingest_not_ready", None, f"{ingest.url}: {ingest.fault}")
    if fault := fault_of_ingest_clock(ingest):
        yield Finding("clock", None, fault)


def _of_lake(seen: Seen, lake: Condition) -> Iterator[Finding]:
    if fault := fault_of_lake_clock(lake.clock_ahead_s, has_clock=lake.has_clock):
        yield Finding("clock", None, fault)
    upkeep_at = lake.upkeep.finished_at if lake.upkeep else lake.oldest_snapshot_at
    does_upkeep = not seen.has_own_upkeep or any(one.reader for one in seen.partitions)
    if does_upkeep and upkeep_at is not None and seen.at - upkeep_at > UPKEEP_LATE:
        age = shown_s((seen.at - upkeep_at).total_seconds())
        who = "the worker's log" if seen.has_own_upkeep else "the log of `playhead upkeep --every 60s`"
        yield Finding("upkeep_late", None, f"no round of upkeep was completed for {age}: {who} says why")
    if lake.catalogue_log_bytes > CATALOGUE_LOG_BYTES_MAX:
        pids = ", ".join(map(str, lake.held_by))
        held = {0: "no process of this machine has", 1: f"process {pids} has"}.get(
            len(lake.held_by), f"processes {pids} have"
        )
        size = f"the catalogue's write-ahead log has {lake.catalogue_log_bytes // 1_000_000:,} MB"
        remedy = "let them read their results to the end, or end them"
        yield Finding(
            "query_open", None, f"{size}, and grows while a query is open; {held} one open now: {remedy}"
        )
    bad = sum(each.last_hour for each in lake.quarantine if each.source == "worker")
    if bad:
        yield Finding(
            "quarantine",
            None,
            f"{quantity(bad, 'record')} of the last hour cannot be decoded: see `playhead quarantine list`",
        )
    retention = timedelta(seconds=seen.log_retention_s)
    watched_since = lake.oldest_snapshot_at or seen.at
    if seen.backup_fault is None and is_overdue(
        seen.backup_at, now=seen.at, retention=retention, watched_since=watched_since
    ):
        yield Finding(
            "backup_overdue", None, "no backup is younger than the log's retention: run `playhead backup`"
        )


def fault_of_ingest_clock(ingest: Ingest) -> str | None:
    """Return how far the clock of an ingest is off, and what to do; None if it is right or unknown."""
    if abs(ingest.clock_ahead_s) <= INGEST_CLOCKS_DIFFER_S:
        return None
    return f"the clock of {ingest.url} is {_off(ingest.clock_ahead_s)} this machine's: {SET_CLOCKS}"


def fault_of_lake_clock(ahead_s: float, *, has_clock: bool) -> str | None:
    """Return how far this machine's clock is off, and what to do; None if it is right or nobody can know.

    `ahead_s` and `has_clock` are those of a lake's `Condition`.
    """
    if ahead_s >= -CLOCKS_DIFFER_S and not (has_clock and ahead_s > CLOCKS_DIFFER_S):
        return None
    other = "PostgreSQL's" if has_clock else "the newest snapshot of the lake"
    return f"this machine's clock is {_off(ahead_s)} {other}: {SET_CLOCKS}"


def fault_of_log_clock(newest_age_s: float) -> str | None:
    """Return how far this machine's clock is behind the log's newest record, and what to do; None if it is not."""
    if newest_age_s >= -CLOCKS_DIFFER_S:
        return None
    return f"this machine's clock is {_off(newest_age_s)} the newest record of the log: {SET_CLOCKS}"


def _off(ahead_s: float) -> str:
    return f"{shown_s(abs(ahead_s))} {'ahead of' if ahead_s > 0 else 'behind'}"
