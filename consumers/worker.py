"""The worker: read -> decode -> fold -> one transaction -> advertise, for the partitions it is given.

The next batch is read and decoded while the last one is written. Positions come from the lake's ledger alone;
after a refused or unknown outcome the state of its partitions is thrown away, and reading goes on from the ledger.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime, timedelta

import duckdb
import structlog

from consumers.decisions import with_remedy
from consumers.floods import bad_offsets, is_flooded, newest_bad
from consumers.halts import Halts
from consumers.lake_writer import Decoded, Held, LakeWriter
from consumers.log_clock import LogClock
from consumers.open_session import Limits
from consumers.share import Share
from eventlog import Chunk, Reader
from eventlog.adapters import open_inspector, open_reader
from lake.backup import Manifest, is_overdue, last_made_at, newest
from lake.catalog import location
from lake.keeper import kept_open
from lake.marks import replaced
from lake.transaction import Fenced
from schemas.faults import LogCorrupt, LogGap, LogReplaced, LogTruncated, LogUnavailable, NotReady, SchemaMismatch
from schemas.settings import Settings

log = structlog.get_logger(__name__)

RETRY_S_MAX = 5.0
START_S_MAX = 60.0  # a log or lake that does not answer has this long at the start
NOT_READY_S_MAX = 30.0  # `playhead init` has this long to make the tables of a partition that was added
BATCH_BYTES_MAX = 33_554_432
RECORDS_READ_MAX = 10_000  # at a time
FOLDING_AGAIN_PART = 0.25  # of a worker's time at most, whatever comes late
OPEN_SESSION_S = 0.0001  # between two writes for each open session, whose row costs a quarter of that
OVERDUE_ALARM_S = 3600.0  # a backup that is overdue is named so often
LOG_COMPARED_EVERY_S = 5.0  # with what the lake has read of it
STUCK_STATUS = 3
# Gets a round of the lake's upkeep ready; what it returns lets that round begin, and waits for its end.
Upkeep = Callable[[], Awaitable[Callable[[], Awaitable[None]]]]


class Worker:
    """Moves the log into the lake until it is told to stop. Is the Owner of the partitions its reader holds."""

    def __init__(self, settings: Settings, *, upkeep: Upkeep | None = None) -> None:
        self._settings = settings
        self._upkeep = upkeep
        limits = Limits(
            idle_ms=int(settings.session_idle_s * 1000),
            stuck_ms=int(settings.session_stuck_s * 1000),
            length_ms=int(settings.session_length_s * 1000),
        )
        self._lake = LakeWriter(settings, limits=limits)
        self._inspector = open_inspector(settings)
        self._folding_again = Share(FOLDING_AGAIN_PART, clock_s=time.monotonic)
        self._held: dict[int, Held] = {}
        self._kept: dict[int, Held] = {}
        self._turn = asyncio.Lock()  # one transaction or load at a time works the lake
        self._inspecting = asyncio.Lock()
        self._written_at = 0.0
        self._log_clock = LogClock()
        self._failures = 0
        self._doubted: set[int] = set()  # partitions to be positioned anew, before the next read
        self._bad: dict[int, list[int]] = {}  # the newest offsets that were bad
        self._halts = Halts()
        self._heard: set[int] = set()  # partitions that were read since they were assigned, if only to their end
        self._waits_since: float | None = None
        self._began_at = datetime.now(UTC)
        self._overdue_said_at: float | None = None
        self._until_read = False
        self._is_replayed = False

    async def run(self, stop: asyncio.Event, *, until_read: bool = False) -> None:
        """Work until `stop` is set; or, `until_read`, until the log as it is now is in the lake.

        Raises NotReady or LedgerBroken where it must not go on: `until_read`, also where a partition is halted.
        Where lake or log keep it from ending in time it ends the process: nothing is lost by that.
        """
        self._until_read = until_read
        if until_read:
            self._folding_again = Share(1.0, clock_s=time.monotonic)  # nobody waits for the rest
        ending = asyncio.create_task(self._end_in_time(stop))
        try:
            await self._run(stop)
        finally:
            ending.cancel()

    async def _end_in_time(self, stop: asyncio.Event) -> None:
        """End the process if it does not do so by itself: nobody can stop a thread that waits for a server."""
        await stop.wait()
        await asyncio.sleep(self._settings.worker_stop_timeout_s)
        waited_for = "the lake" if self._lake.is_busy() else "the log"
        log.error("not ended in time", waited_for=waited_for, within_s=self._settings.worker_stop_timeout_s)
        os._exit(STUCK_STATUS)

    async def _run(self, stop: asyncio.Event) -> None:
        reader = await self._open(stop)
        if reader is not None:
            with kept_open(location(self._settings)):
                await self._work(reader, stop)

    async def _work(self, reader: Reader, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        reading = asyncio.create_task(self._collect(reader))
        tidying = asyncio.create_task(self._keep_tidy(reader))
        comparing = asyncio.create_task(self._keep_comparing())
        try:
            while not stop.is_set():
                await asyncio.wait((reading, stopping, tidying, comparing), return_when=asyncio.FIRST_COMPLETED)
                for failed in (task for task in (tidying, comparing) if task.done()):
                    await failed
                if not reading.done():
                    break
                batch = reading.result()
                reading = asyncio.create_task(self._collect(reader))
                await self._write(reader, batch)
                if self._settings.worker_alive_file is not None:
                    self._settings.worker_alive_file.touch()
                if self._until_read and batch and self._is_read(batch):
                    self._is_replayed = True
                    await self._write(reader, [])
                    break
        finally:
            for task in (stopping, reading, tidying, comparing):
                task.cancel()
            await asyncio.gather(reading, stopping, tidying, comparing, return_exceptions=True)
            await reader.close()
            await self._inspector.close()
            await asyncio.to_thread(self._lake.close)

    async def _open(self, stop: asyncio.Event) -> Reader | None:
        """Open the lake, then the log; either may take a while to answer. None where told to stop meanwhile."""
        until = time.monotonic() + START_S_MAX
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._lake.check)
                return await open_reader(self._settings, self)
            except (duckdb.Error, OSError, LogUnavailable) as error:
                if time.monotonic() > until:
                    raise
                if isinstance(error, LogUnavailable):
                    await self._wait_for_log(error)
                else:
                    await self._recover(error)
        return None

    async def position(self, partition: int) -> int:
        """Answer the reader: where the ledger stands."""
        async with self._turn:
            kept = self._kept.get(partition) or self._held.get(partition)
            held = self._kept[partition] = await asyncio.to_thread(self._lake.load, partition, kept)
        fault = (await self._compare([held])).get(partition)
        if fault is not None and self._until_read:
            raise NotReady(with_remedy(fault)) from fault
        async with self._turn:
            self._held[partition] = self._kept.pop(partition, held)
            self._halts.discard(partition)
            self._heard.discard(partition)
            if fault is not None:
                self._halts.add(partition, code=fault.code, reason=with_remedy(fault))
            self._log_clock.learn(held.ledger.time_ms, monotonic_ms=_monotonic_ms())
        log.info("partition assigned", partition=partition, next_offset=held.ledger.next_offset)
        return held.next_in_log

    async def _compare(self, every: Collection[Held]) -> dict[int, LogReplaced]:
        """Find the partitions whose log is another one than the lake has read; of the others more is proven.

        Raises LogUnavailable or NotReady.
        """
        marks = {held.ledger.log_partition: held.ledger.mark for held in every}
        seen = {held.ledger.log_partition: held.last for held in every}  # before the log is looked at
        at = {
            held.ledger.log_partition: mark.offset - held.ledger.log_base
            for held in every
            if (mark := held.ledger.mark)
        }
        async with self._inspecting:
            views = await self._inspector.look(at)
        faults = {}
        for held in every:
            partition = held.ledger.log_partition
            view = views.get(partition)
            if view is None:
                continue  # it is new, and not known to all brokers yet
            fault = replaced(
                partition, mark=marks[partition], base=held.ledger.log_base, log_id=held.ledger.log_id, view=view
            )
            if fault is not None:
                faults[partition] = fault
            else:
                held.proven, held.log_id = seen[partition], view.log_id
        return faults

    async def _keep_comparing(self) -> None:
        """Compare the log with what the lake has read, and ledgers of what is halted, time and again."""
        while True:
            await asyncio.sleep(LOG_COMPARED_EVERY_S)
            if self._until_read:
                continue  # it was compared at the beginning, which is a moment ago
            try:
                await self._compare_held()
            except (LogUnavailable, NotReady, duckdb.Error, OSError) as error:
                log.debug("log not compared", error=str(error))  # who reads and writes says so

    async def _compare_held(self) -> None:
        every = {partition: held for partition, held in self._held.items() if partition not in self._halts}
        faults = await self._compare(every.values())
        async with self._turn:
            for partition, fault in faults.items():
                if self._held.get(partition) is every[partition]:
                    self._halts.add(partition, code=fault.code, reason=with_remedy(fault))
            for partition in set(self._halts) & self._held.keys():
                if await asyncio.to_thread(self._lake.has_moved, self._held[partition]):
                    self._doubted.add(partition)

    async def release(self, partitions: Collection[int]) -> None:
        """Let the transaction in flight end, and give the partitions up."""
        async with self._turn:
            for partition in partitions:
                self._halts.discard(partition)
                self._log_clock.forget(partition)
                if partition in self._held:
                    self._kept[partition] = self._held.pop(partition)
                    log.info("partition released", partition=partition)

    async def _collect(self, reader: Reader) -> list[Decoded]:
        """Read until the next commit is due: at once after a quiet time, at the interval under load."""
        interval_s = self._settings.worker_commit_interval_s
        # Where the lake refuses again and again, maybe it is the size of the transaction.
        wanted = max(1, self._settings.worker_batch_records >> min(self._failures, 20))
        batch: list[Decoded] = []
        records = size_bytes = 0
        until = time.monotonic() + interval_s
        while True:
            due = min(until, max(self._written_at + interval_s, time.monotonic())) if records else until
            left_s = max(due - time.monotonic(), 0.0)
            for chunk in await self._read(reader, min(wanted - records, RECORDS_READ_MAX), left_s):
                self._log_clock.hear(chunk, monotonic_ms=_monotonic_ms())
                ledger = self._held[chunk.partition].ledger
                batch.append(Decoded.of(chunk, base=ledger.log_base, log_number=ledger.log_number))
                records += len(chunk.records)
                size_bytes += sum(len(record.value) for record in chunk.records)
            now = time.monotonic()
            if (
                records >= wanted
                or size_bytes >= BATCH_BYTES_MAX
                or now >= until
                or (records and now >= self._written_at + interval_s)
            ):
                return batch

    async def _read(self, reader: Reader, records_max: int, timeout_s: float) -> list[Chunk]:
        while self._doubted:
            partition = self._doubted.pop()
            self._halts.discard(partition)
            reader.reposition(partition)
        for partition in self._halts:
            reader.pause(partition)
        try:
            chunks = await reader.read(records_max=records_max, timeout_s=timeout_s)
            self._waits_since = None
            # What was just assigned may have been halted at once, or given up meanwhile.
            chunks = [
                each for each in chunks if each.partition in self._held and each.partition not in self._halts
            ]
            self._heard.update(chunk.partition for chunk in chunks)
            return chunks
        except (LogGap, LogTruncated, LogCorrupt) as found:
            held = self._held.get(found.partition)
            fault = _as_in_lake(found, held.ledger.log_base if held else 0)
            if self._until_read:
                raise NotReady(with_remedy(fault)) from fault
            if fault.partition not in self._halts:
                self._halts.add(fault.partition, code=fault.code, reason=with_remedy(fault))
        except LogUnavailable as fault:
            await self._wait_for_log(fault)
        except SchemaMismatch:
            raise
        except NotReady as fault:
            now = time.monotonic()
            self._waits_since = self._waits_since or now
            if now - self._waits_since > NOT_READY_S_MAX:
                raise
            log.error("not ready", code=fault.code, message=str(fault))
            await asyncio.sleep(0.5)
        except (duckdb.Error, OSError) as error:
            await self._recover(error)
        return []

    async def _write(self, reader: Reader, batch: list[Decoded]) -> None:
        by_partition: dict[int, list[Decoded]] = {}
        for decoded in batch:
            by_partition.setdefault(decoded.partition, []).append(decoded)
        now_ms = reader.clock_ms()
        if now_ms is None:
            now_ms = self._log_clock.now_ms(monotonic_ms=_monotonic_ms())
        async with self._turn:
            self._halt_floods(by_partition)
            self._say_halts()
            parts = [
                (held, [] if number in self._halts else by_partition.get(number, []))
                for number, held in self._held.items()
            ]
            try:
                written = await asyncio.to_thread(
                    self._lake.write,
                    parts,
                    now_ms=now_ms,
                    renew_open=self._is_open_due,
                    folding_again=self._folding_again,
                )
                await asyncio.to_thread(self._note_halts, datetime.now(UTC))
            except Fenced as fault:
                log.warning("fenced", message=str(fault))
                failed = True
            except (duckdb.Error, OSError) as error:
                await self._recover(error)
                failed = True
            else:
                failed = False
                self._failures //= 2
            if failed:
                self._doubted.update(self._held)
                self._held.clear()
                return
        if written:
            self._written_at = time.monotonic()
            await reader.commit_offsets({held.ledger.log_partition: held.next_in_log for held in written})

    def _halt_floods(self, by_partition: dict[int, list[Decoded]]) -> None:
        """Give up, until a restart, the partitions where most is bad; what was read of them stays in the log."""
        bad_max = self._settings.worker_bad_max
        if not bad_max or self._until_read:
            return
        for partition in by_partition.keys() & self._held.keys():
            found = bad_offsets(entry for decoded in by_partition[partition] for entry in decoded.entries)
            if found:
                self._bad[partition] = newest_bad(self._bad.get(partition, ()), found, bad_max=bad_max)
                if is_flooded(self._bad[partition], bad_max=bad_max):
                    reason = (
                        f"{bad_max} of {2 * bad_max} records are bad; a worker that understands them, or "
                        "PLAYHEAD_WORKER_BAD_MAX=0, goes on"
                    )
                    self._halts.add(partition, code="flood", reason=reason)

    def _say_halts(self) -> None:
        for partition, halt in self._halts.take_due(time.monotonic()):
            held = self._held.get(partition)
            log.error(
                "partition halted",
                code=halt.code,
                partition=partition,
                next_offset=held.ledger.next_offset if held else None,
                message=halt.reason,
            )

    def _note_halts(self, now: datetime) -> None:
        """Let the ledgers say which partitions are halted; one that nothing was heard of yet may be so still."""
        for partition, held in self._held.items():
            if partition in self._halts or partition in self._heard:
                self._lake.note_halt(held, self._halts.reason(partition), now=now)

    def _is_read(self, batch: list[Decoded]) -> bool:
        """Return whether every partition held stands where the log ended."""
        ends = {decoded.partition: decoded.end_offset for decoded in batch}
        return ends.keys() == self._held.keys() and all(
            self._held[number].ledger.next_offset >= end for number, end in ends.items()
        )

    def _is_open_due(self, held: Held) -> bool:
        now = time.monotonic()
        rows = sum(len(each.sessions.open) for each in self._held.values())
        interval_s = max(self._settings.worker_open_sessions_interval_s, rows * OPEN_SESSION_S)
        if now - held.opened_at < interval_s and not self._is_replayed:
            return False
        held.opened_at = now
        return True

    async def _wait_for_log(self, fault: LogUnavailable) -> None:
        log.warning("log unavailable", code=fault.code, message=str(fault))
        await asyncio.sleep(0.5)

    async def _recover(self, error: duckdb.Error | OSError) -> None:
        """After the lake refused: wait a little longer each time; a broken connection is opened anew.

        Raises SchemaMismatch where the reason is that the lake lacks a column: that does not pass like an outage.
        """
        self._failures += 1
        wait_s = min(0.05 * 2**self._failures, RETRY_S_MAX)
        log.warning("lake refused", error=str(error).splitlines()[0][:1000], failures=self._failures)
        if not isinstance(error, duckdb.TransactionException):
            await asyncio.to_thread(self._lake.close)
        if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
            with contextlib.suppress(duckdb.Error, OSError):  # unreachable just now: the next round meets it again
                await asyncio.to_thread(self._lake.check)
        await asyncio.sleep(wait_s)

    async def _keep_tidy(self, reader: Reader) -> None:
        """Let the lake and the log be tidied up between two commits, time and again."""
        while True:
            await asyncio.sleep(self._settings.worker_upkeep_interval_s)
            begin = await self._upkeep() if self._upkeep is not None else None
            async with self._turn:
                if begin is not None:
                    await begin()
                below = {number: held.ledger.next_offset for number, held in self._held.items()}
            await self._drop_records(reader, below)

    async def _drop_records(self, reader: Reader, below: dict[int, int]) -> None:
        """Let the log forget records that are old, and in the lake, and in a backup unless none is wanted."""
        if not self._settings.log_drop_without_backup:
            backup = await self._newest_backup()
            below = backup.next_offsets if backup else {}
            await self._warn_of_overdue_backup()
        # A backup of a time before the log was replaced knows nothing of this one: its offsets come out as none.
        in_log = {
            partition: offset - held.ledger.log_base
            for partition, offset in below.items()
            if (held := self._held.get(partition)) is not None
        }
        older_than_ms = int((time.time() - self._settings.log_retention_s) * 1000)
        dropped = await reader.retain(older_than_ms=older_than_ms, below=in_log)
        if dropped:
            log.info("log records dropped", records=dropped)

    async def _newest_backup(self) -> Manifest | None:
        try:
            found = await asyncio.to_thread(newest, self._settings.backups)
        except NotReady as fault:
            log.warning("backup unreadable", message=str(fault))
            return None
        return found[1] if found else None

    async def _warn_of_overdue_backup(self) -> None:
        """Say that the embedded log drops nothing more until there is a backup."""
        retention = timedelta(seconds=self._settings.log_retention_s)
        now = datetime.now(UTC)
        made_at = await asyncio.to_thread(last_made_at, self._settings.backups, now=now)
        if self._settings.log != "embedded" or not is_overdue(
            made_at, now=now, retention=retention, watched_since=self._began_at
        ):
            return
        if self._overdue_said_at is None or time.monotonic() - self._overdue_said_at >= OVERDUE_ALARM_S:
            self._overdue_said_at = time.monotonic()
            log.warning(
                "backup overdue: the log drops no record that no backup holds; run `playhead backup`",
                newest_backup=made_at.isoformat() if made_at else None,
                retention_s=self._settings.log_retention_s,
            )


def _as_in_lake(fault: LogGap | LogTruncated | LogCorrupt, base: int) -> LogGap | LogTruncated | LogCorrupt:
    """Return a fault with the lake's offsets instead of the log's own."""
    if isinstance(fault, LogGap):
        return LogGap(fault.partition, fault.asked + base, fault.found + base)
    if isinstance(fault, LogCorrupt):
        return LogCorrupt(fault.partition, fault.asked + base, fault.following + base, fault.why)
    return LogTruncated(fault.partition, fault.asked + base, fault.end + base)


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
