"""`playhead status`: looks at log, lake, workers, ingests and disks, and prints what is wrong and what to do."""

import asyncio
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import duckdb
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table
from rich.text import Text

from commands.as_json import print_json
from commands.diagnosis import Disk, Ingest, Partition, Seen, diagnose
from commands.durations import shown_s
from commands.ingests import ask_ingests
from commands.tables import table_of
from consumers.decisions import with_remedy
from eventlog import View
from eventlog.adapters import open_inspector
from lake.backup import folder_of_backups, last_made_at
from lake.backup_folder import Folder
from lake.catalog import Location, location
from lake.condition import Condition, Quarantined, read_condition
from lake.errors import with_cure
from lake.marks import replaced
from lake.transaction import Ledger
from lake.verify import Finding
from schemas.faults import Fault, LogUnavailable, NotReady
from schemas.settings import Settings
from schemas.terminal import printable, quantity

LOOK_AGAIN_S = 2.0
WIDTH_NO_TERMINAL = 200


def print_status(settings: Settings, ingest_urls: Sequence[str], *, as_json: bool, watch: bool) -> bool:
    """Look once, print, and return whether all is well; with `watch`, look again until stopped."""
    urls = list(ingest_urls) or settings.ingests()
    console = Console(soft_wrap=True)
    if not console.is_terminal:
        console = Console(width=WIDTH_NO_TERMINAL, soft_wrap=True)
    if watch and not as_json:
        with Live(console=console, auto_refresh=False, screen=console.is_terminal) as live:
            while True:
                seen = asyncio.run(look(settings, urls))
                live.update(_picture(seen, diagnose(seen)), refresh=True)
                time.sleep(LOOK_AGAIN_S)
    seen = asyncio.run(look(settings, urls))
    findings = diagnose(seen)
    if as_json:
        print_json({"seen": seen, "findings": findings})
    else:
        console.print(_picture(seen, findings))
    return not findings


async def look(settings: Settings, urls: Sequence[str]) -> Seen:
    """Return what can be seen now of everything that the settings name. Never raises for what is broken.

    Raises NotReady if the settings name no lake.
    """
    place, backups = location(settings), folder_of_backups(settings)
    (lake, lake_fault), ingests, (backup_at, backup_fault) = await asyncio.gather(
        _lake(place), ask_ingests(urls), asyncio.to_thread(_backup, backups)
    )
    partitions, log_fault = await _partitions(settings, lake.ledgers if lake else {})
    now = datetime.now(UTC)
    return Seen(
        at=now,
        versions={"playhead": version("playhead"), "duckdb": duckdb.__version__},
        partitions=partitions,
        ingests=ingests,
        disks=_disks(
            {
                settings.data_dir,
                *([Path(place.files)] if place.is_local else []),
                *([settings.local_backups] if settings.local_backups else []),
            }
        ),
        backup_at=backup_at,
        lake=lake,
        log_fault=log_fault,
        lake_fault=lake_fault,
        backup_fault=backup_fault,
        log_retention_s=settings.log_retention_s,
        has_own_upkeep=settings.worker_does_upkeep,
    )


async def _lake(place: Location) -> tuple[Condition | None, Finding | None]:
    try:
        return await asyncio.to_thread(read_condition, place, clock=lambda: datetime.now(UTC)), None
    except Fault as fault:
        return None, Finding(fault.code, None, str(fault))
    except duckdb.Error as error:
        return None, Finding("lake_unreachable", None, with_cure(error))


def _backup(folder: Folder) -> tuple[datetime | None, Finding | None]:
    """Return when the newest backup was made, or why that is not known."""
    try:
        return last_made_at(folder, now=datetime.now(UTC)), None
    except OSError as error:
        return None, Finding("backups_unreachable", None, str(error))


async def _partitions(settings: Settings, ledgers: Mapping[int, Ledger]) -> tuple[list[Partition], Finding | None]:
    """Compare each partition of the log with its ledger; without a log, return what the ledgers say."""
    inspector = open_inspector(settings)
    marks = {p: mark.offset - ledger.log_base for p, ledger in ledgers.items() if (mark := ledger.mark)}
    seen: dict[int, View] = {}
    oldest: dict[int, View] = {}
    readers: dict[int, str] = {}
    log_fault = None
    try:
        seen = await inspector.look(marks)
        waiting = {
            p: ledger.next_in_log
            for p, ledger in ledgers.items()
            if p in seen and ledger.next_in_log < seen[p].end_offset
        }
        oldest = await inspector.look(waiting) if waiting else {}
        readers = await inspector.owners()
    except (LogUnavailable, NotReady) as fault:
        seen, oldest = {}, {}
        code = "log_unreachable" if isinstance(fault, LogUnavailable) else fault.code
        log_fault = Finding(code, None, str(fault))
    finally:
        await inspector.close()
    return [
        _partition(p, ledgers.get(p), seen.get(p), oldest.get(p), readers.get(p))
        for p in sorted(seen.keys() | ledgers.keys())
    ], log_fault


def _partition(
    partition: int, ledger: Ledger | None, view: View | None, oldest: View | None, reader: str | None
) -> Partition:
    """`view` is of the mark of the ledger, `oldest` of the first record that waits."""
    end_offset = view.end_offset if view else None
    if ledger is None:
        return Partition(partition, end_offset, waiting=end_offset or 0, reader=reader)
    next_offset = ledger.next_in_log
    fault = view and replaced(partition, mark=ledger.mark, base=ledger.log_base, log_id=ledger.log_id, view=view)
    waits_s = time.time() - oldest.record.appended_ms / 1000 if oldest and oldest.record else 0.0
    return Partition(
        partition=partition,
        end_offset=end_offset,
        next_offset=next_offset,
        waiting=max(0, end_offset - next_offset) if end_offset is not None else 0,
        waits_s=max(0.0, waits_s),
        reader=reader,
        written_by=ledger.written_by,
        written_at=ledger.written_at,
        halted_at=ledger.halted_at,
        halted_reason=ledger.halted_reason,
        replaced=with_remedy(fault) if fault else None,
    )


def _disks(folders: Iterable[Path]) -> list[Disk]:
    """Return the file systems of these folders, each once."""
    found: dict[int, Disk] = {}
    for folder in sorted(folders):
        if folder.exists():
            usage = shutil.disk_usage(folder)
            found.setdefault(folder.stat().st_dev, Disk(str(folder), usage.free, usage.total))
    return list(found.values())


def _picture(seen: Seen, findings: Sequence[Finding]) -> Group:
    """Return everything as it is printed: what is wrong comes last, where the eye is."""
    versions = ", ".join(f"{name} {number}" for name, number in seen.versions.items())
    parts: list[RenderableType] = [Text(f"{seen.at:%Y-%m-%d %H:%M:%S} UTC, {versions}")]
    parts += [_line(f"ingest {each.url}", _of_ingest(each)) for each in seen.ingests]
    parts.append(_table(seen))
    if seen.lake is not None:
        upkeep = seen.lake.upkeep
        parts.append(_line("lake", _of_lake(seen.lake)))
        parts.append(_line("upkeep", _age(seen, upkeep.finished_at if upkeep else None, "none yet")))
        if seen.lake.quarantine:
            parts.append(_line("quarantine", "; ".join(map(_of_quarantine, seen.lake.quarantine))))
    parts.append(_line("backup", _age(seen, seen.backup_at, "none")))
    parts += [
        _line(f"disk of {disk.folder}", f"{decimal(disk.free_bytes)} of {decimal(disk.total_bytes)} free")
        for disk in seen.disks
    ]
    parts += [
        Text.assemble((f"{finding.code}: ", "red"), printable(finding.where_and_what)) for finding in findings
    ]
    if not findings:
        parts.append(Text("all is well", "green"))
    return Group(*parts)


def _table(seen: Seen) -> Table:
    rows = (
        (
            str(one.partition),
            "unknown" if one.end_offset is None else f"{one.end_offset:,}",
            "unknown" if one.next_offset is None else f"{one.next_offset:,}",
            f"{one.waiting:,}",
            shown_s(one.waits_s),
            one.reader or "nobody",
            _age(seen, one.written_at, "none") + (f" by {one.written_by}" if one.written_by else ""),
        )
        for one in seen.partitions
    )
    return table_of(("partition", "end of log", "read to", "waiting", "oldest", "read by", "last commit"), rows)


def _line(name: str, text: str) -> Text:
    return Text.assemble((f"{name}: ", "bold"), printable(text))


def _age(seen: Seen, moment: datetime | None, otherwise: str) -> str:
    return otherwise if moment is None else f"{shown_s((seen.at - moment).total_seconds())} ago"


def _of_ingest(one: Ingest) -> str:
    refused = ", ".join(f"{code} {count:,}" for code, count in sorted(one.refused.items()))
    state = "ready" if one.fault is None else "not ready"
    errors = quantity(one.errors, "internal error")
    return f"{state}; {one.accepted:,} accepted, refused: {refused or 'none'}; {errors}"


def _of_lake(lake: Condition) -> str:
    foreign = f"; foreign schemas: {', '.join(lake.foreign_schemas)}" if lake.foreign_schemas else ""
    return (
        f"schema {lake.schema}, {quantity(lake.open_sessions, 'open session')}, {quantity(lake.files, 'file')} of "
        f"{decimal(lake.files_bytes)}, catalogue of {decimal(lake.catalogue_bytes)}, "
        f"{quantity(lake.snapshots, 'snapshot')}{foreign}"
    )


def _of_quarantine(one: Quarantined) -> str:
    return f"{one.reason} ({one.source}) {one.total:,}, {one.last_hour:,} of them in the last hour"
