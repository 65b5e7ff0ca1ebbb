"""An operator's decisions: that offsets are lost, and that a replaced log is to be read."""

import contextlib
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import structlog

from eventlog import View
from eventlog.adapters import open_inspector
from lake.catalog import location
from lake.marks import replaced
from lake.schema import open_to_write, partitions_of
from lake.transaction import Gap, Ledger, LogChange, accept_gap, change_log, read_ledgers
from schemas.faults import LogCorrupt, LogGap, LogReplaced, LogTruncated, NotReady
from schemas.settings import Settings

logger = structlog.get_logger(__name__)


def with_remedy(fault: LogGap | LogTruncated | LogCorrupt | LogReplaced, *, verb: str = "worker") -> str:
    """Return a fault's message, and the option of a verb with which an operator accepts it."""
    if isinstance(fault, LogGap | LogCorrupt):
        following = fault.found if isinstance(fault, LogGap) else fault.following
        gap = f"{fault.partition}:{fault.asked}-{following - 1}"
        return f"{fault}; `playhead worker --accept-gap {gap}` skips them"
    return f"{fault}; `playhead {verb} --new-log {fault.partition}` continues with this log, from its first record"


def accept_gaps(settings: Settings, gaps: Iterable[Gap]) -> None:
    """Record in the lake that these offsets are lost, so that reading continues after them. Raises NotReady."""
    place = location(settings)
    with contextlib.closing(open_to_write(place)) as connection:
        for gap in gaps:
            ledger = accept_gap(connection, gap, now=datetime.now(UTC), place=place)
            logger.warning("gap accepted", partition=gap.partition, next_offset=ledger.next_offset)


def parse_partitions(text: str) -> list[int] | None:
    """Read partitions separated by commas, or `all`, which is None. Raises NotReady for anything else."""
    if text == "all":
        return None
    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise NotReady(f"{text!r} names no partitions; write them with commas, such as 0,3, or `all`") from None


async def accept_new_logs(settings: Settings, partitions: Collection[int] | None) -> None:
    """Let the lake continue with replaced logs, for these partitions (None: all that changed).

    Each is read from its first record. Raises NotReady, and changes nothing, if there is no such partition,
    where one that was named still has the log that the lake has read, or where all have.
    """
    place = location(settings)
    with contextlib.closing(open_to_write(place)) as connection:
        known = partitions_of(connection)
        if unknown := sorted(set(partitions or ()) - set(known)):
            raise NotReady(f"the lake has no partition {unknown[0]}, only {known[0]} to {known[-1]}")
        ledgers = read_ledgers(connection, known if partitions is None else partitions)
        changes = {}
        for ledger, view in await _views(settings, ledgers):
            if not _is_known_again(ledger, view):
                why = str(_difference(ledger, view) or "the log does not show whether it is the one that was read")
                changes[ledger.log_partition] = LogChange(
                    ledger.log_partition, view.first_offset, view.log_id, why
                )
            elif partitions is not None:
                still = f"partition {ledger.log_partition} still has the log that the lake has read"
                raise NotReady(f"{still}: nothing was changed")
        if not changes:
            raise NotReady("all partitions still have the log that the lake has read: nothing was changed")
        for ledger in ledgers:
            change = changes.get(ledger.log_partition)
            if change is not None:
                after = change_log(connection, ledger, change, now=datetime.now(UTC), place=place)
                logger.warning(
                    "new log accepted",
                    partition=change.partition,
                    log_number=after.log_number,
                    first_offset=after.next_offset,
                    log_first_offset=change.first_offset,
                    why=change.why,
                )


async def other_logs(settings: Settings, ledgers: Collection[Ledger]) -> dict[int, LogReplaced | LogTruncated]:
    """Return the partitions whose log is not the one of these ledgers, and what shows it."""
    found = {ledger.log_partition: _difference(ledger, view) for ledger, view in await _views(settings, ledgers)}
    return {partition: fault for partition, fault in found.items() if fault is not None}


async def _views(settings: Settings, ledgers: Collection[Ledger]) -> list[tuple[Ledger, View]]:
    """Look at the log of each ledger, at its mark. Raises NotReady if a partition is missing from the log."""
    inspector = open_inspector(settings)
    try:
        views = await inspector.look(
            {ledger.log_partition: ledger.mark.offset - ledger.log_base for ledger in ledgers if ledger.mark}
        )
    finally:
        await inspector.close()
    missing = [ledger.log_partition for ledger in ledgers if ledger.log_partition not in views]
    if missing:
        raise NotReady(
            f"the log has no partition {missing[0]}, and the lake has: `playhead topics` adds partitions"
        )
    return [(ledger, views[ledger.log_partition]) for ledger in ledgers]


def _difference(ledger: Ledger, view: View) -> LogReplaced | LogTruncated | None:
    """Return the fault that shows that a log is not the one that the lake has read, if any."""
    partition, base = ledger.log_partition, ledger.log_base
    fault = replaced(partition, mark=ledger.mark, base=base, log_id=ledger.log_id, view=view)
    if fault is None and view.end_offset + base < ledger.next_offset:
        return LogTruncated(partition, ledger.next_offset, view.end_offset + base)
    return fault


def _is_known_again(ledger: Ledger, view: View) -> bool:
    """Return whether a log is certainly the one that the lake has read, or nothing of it was read yet."""
    if _difference(ledger, view) is not None:
        return False
    return view.record is not None or ledger.next_in_log <= view.first_offset
