"""The worker: read -> decode -> fold -> commit -> advance, for the partitions it is given (`Worker._move`).

The next batch is read and decoded while the last one is folded and committed. Positions come from the lake's
ledger alone; after a refused or unknown outcome the state of all partitions is thrown away, and reading goes on
from the ledger.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime

import duckdb
import structlog

from consumers.alive import Alive
from consumers.batch import Batch, DecodedChunk
from consumers.closing import Limits
from consumers.decisions import with_remedy
from consumers.expiry import Expiry
from consumers.floods import Floods
from consumers.folding import fold
from consumers.halts import Halts, log_halts
from consumers.held_partition import HeldPartition, as_in_lake
from consumers.lake_writer import LakeWriter
from consumers.log_clock import LogClock
from consumers.log_comparison import LOG_COMPARED_EVERY_S, LogComparison
from consumers.metrics import WorkerMetrics
from consumers.share import Share
from eventlog import Chunk, Reader
from eventlog.adapters import open_reader
from eventlog.outage import Outage
from lake.catalog import location
from lake.errors import cause
from lake.keeper import kept_open
from lake.transaction import Fenced
from observability.meter import Meter
from schemas.faults import LogCorrupt, LogGap, LogReplaced, LogTruncated, LogUnavailable, NotReady, SchemaMismatch
from schemas.process_name import process_name
from schemas.settings import Settings

logger = structlog.get_logger(__name__)

RETRY_S_MAX = 5.0
START_S_MAX = 60.0  # a log or lake that does not answer has this long at the start
NOT_READY_S_MAX = 30.0  # `playhead init` has this long to make the tables of a partition that was added
FOLDING_AGAIN_PART = 0.25  # of a worker's time at most, whatever comes late
STUCK_STATUS = 3
# Gets a round of the lake's upkeep ready; what it returns lets that round begin, and waits for its end.
Upkeep = Callable[[], Awaitable[Callable[[], Awaitable[None]]]]


class Worker:
    """Moves the log into the lake until stopped. It is the Owner of the partitions that its reader is assigned."""

    def __init__(self, settings: Settings, *, upkeep: Upkeep | None = None, meter: Meter | None = None) -> None:
        self._settings = settings
        self._upkeep = upkeep
        self._lake = LakeWriter(settings, limits=Limits.of(settings))
        self._comparison = LogComparison(settings)
        self._expiry = Expiry(settings)
        self._folding_again = Share(FOLDING_AGAIN_PART, clock_s=time.monotonic)
        self._held: dict[int, HeldPartition] = {}
        self._kept: dict[int, HeldPartition] = {}  # released, in case they come back unchanged
        self._turn = asyncio.Lock()  # one transaction or load at a time works the lake
        self._committed_s = 0.0
        self._alive = Alive(settings)
        self._log_clock = LogClock()
        self._log_outage = Outage("read")
        self._failures = 0
        self._doubted: set[int] = set()  # partitions to be positioned again, before the next read
        self._floods = Floods(bad_max=settings.worker_bad_max)
        self._halts = Halts()
        self._heard: set[int] = set()  # partitions that were read since they were assigned, if only to their end
        self.metrics = WorkerMetrics(
            meter or Meter("worker"),
            held=self._held,
            halts=self._halts,
            now_ms=self._now_ms,
        )
        self._waits_since: float | None = None
        self._until_read = False
        self._open_sessions_s = settings.worker_open_sessions_interval_s

    async def run(
        self, stop: asyncio.Event, *, until_read: bool = False, opened: Callable[[], None] = lambda: None
    ) -> None:
        """Work until `stop` is set; or, `until_read`, until the log as it is now is in the lake.

        `opened` is called when log and lake are open. Raises NotReady or LedgerBroken if it must not go on;
        `until_read`, also where a partition is halted. Where lake or log keep it from ending in time it ends the
        process: nothing is lost by that.
        """
        self._until_read = until_read
        if until_read:
            self._folding_again = Share(1.0, clock_s=time.monotonic)  # nobody waits for the rest
        ending = asyncio.create_task(self._end_in_time(stop))
        try:
            reader = await self._open(stop)
            if reader is not None:
                opened()
                with kept_open(location(self._settings)), self._alive.watched():
                    await self._work(reader, stop)
        finally:
            ending.cancel()

    async def _end_in_time(self, stop: asyncio.Event) -> None:
        """End the process if it does not exit by itself: a thread that waits for a server cannot be stopped."""
        await stop.wait()
        await asyncio.sleep(self._settings.worker_stop_timeout_s)
        waited_for = "the lake" if self._lake.is_busy() else "the log"
        logger.error("not ended in time", waited_for=waited_for, within_s=self._settings.worker_stop_timeout_s)
        os._exit(STUCK_STATUS)

    async def _work(self, reader: Reader, stop: asyncio.Event) -> None:
        stopping = asyncio.create_task(stop.wait())
        chores = [asyncio.create_task(each) for each in (self._keep_maintained(reader), self._keep_comparing())]
        try:
            await self._move(reader, stopping, chores)
        finally:
            for task in (stopping, *chores):
                task.cancel()
            await asyncio.gather(stopping, *chores, return_exceptions=True)
            await reader.close()
            await self._comparison.close()
            await asyncio.to_thread(self._lake.close)

    async def _move(
        self, reader: Reader, stopping: "asyncio.Task[bool]", chores: Collection["asyncio.Task[None]"]
    ) -> None:
        """Move batches from the log into the lake until stopped: read, decode, fold, commit, advance.

        The next batch is read while the last one is folded and committed, in a thread that works the lake.
        """

        async def read_batch() -> Batch:
            batch = self._new_batch()
            while True:
                for chunk in await self._read(reader, batch):  # read
                    batch.add(self._decode(chunk))  # decode
                if batch.is_due(now_s=time.monotonic(), committed_s=self._committed_s):
                    self.metrics.decoded(batch)
                    return batch

        async def write_batch(batch: Batch) -> None:
            async with self._turn:
                self._halt_floods(batch)
                log_halts(self._halts, self._next_offsets(), now_s=time.monotonic())
                began_s = time.monotonic()
                try:
                    changes = await asyncio.to_thread(  # fold
                        fold,
                        self._parts(batch),
                        self._lake,
                        log_now_ms=self._log_now_ms(reader),
                        share=self._folding_again,
                        open_sessions_s=self._open_sessions_s,
                    )
                    folded_s = time.monotonic()
                    ledgers = await asyncio.to_thread(self._lake.commit, changes)  # commit
                    for each, ledger in zip(changes, ledgers, strict=True):
                        each.advance(ledger)  # advance
                    fold_s, commit_s = folded_s - began_s, time.monotonic() - folded_s
                    self.metrics.committed(changes, batch, fold_s=fold_s, commit_s=commit_s)
                    await asyncio.to_thread(self._note_halts, datetime.now(UTC))
                    self._failures //= 2
                except (Fenced, duckdb.Error, OSError) as failure:
                    changes = []
                    await self._start_again(failure)
            if changes:
                self._committed_s = time.monotonic()
                await reader.commit_offsets({each.partition: each.held.ledger.next_in_log for each in changes})

        reading = asyncio.create_task(read_batch())
        try:
            while not stopping.done() and await _wait_for_batch(reading, stopping, chores):
                batch = reading.result()
                reading = asyncio.create_task(read_batch())
                await write_batch(batch)
                self._alive.touch()
                if self._until_read and batch.is_stored(self._next_offsets()):
                    self._open_sessions_s = 0.0  # the last transaction writes them, whenever they were written
                    await write_batch(self._new_batch())
                    break
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _open(self, stop: asyncio.Event) -> Reader | None:
        """Open the lake, then the log; either may take a while to answer. Return None if stopped meanwhile."""
        until = time.monotonic() + START_S_MAX
        while not stop.is_set():
            try:
                await asyncio.to_thread(self._lake.check)
                self.metrics.lake_answered()
                return await open_reader(self._settings, self)
            except (duckdb.Error, OSError, LogUnavailable) as error:
                if time.monotonic() > until:
                    raise
                if isinstance(error, LogUnavailable):
                    await self._wait_for_log(error)
                else:
                    await self._recover(error)
        return None

    async def acquire(self, partition: int) -> int:
        """Load a partition that was assigned; return the offset to read next, as its ledger has it."""
        async with self._turn:
            kept = self._kept.get(partition) or self._held.get(partition)
            held = self._kept[partition] = await asyncio.to_thread(self._lake.load, partition, kept)
            self.metrics.lake_answered()
        fault = (await self._comparison.compare([held])).get(partition)
        if fault is not None and self._until_read:
            raise NotReady(with_remedy(fault)) from fault
        async with self._turn:
            self._held[partition] = self._kept.pop(partition, held)
            self.metrics.assigned(partition)
            self._halts.discard(partition)
            self._heard.discard(partition)
            if fault is not None:
                self._halt(partition, fault)
            self._log_clock.learn(held.ledger.time_ms, monotonic_ms=_monotonic_ms())
        owner, before = process_name(), held.ledger.written_by
        taken = {} if before in (None, owner) else {"owner_before": before}
        next_offset = held.ledger.next_offset
        logger.info("partition assigned", partition=partition, next_offset=next_offset, owner=owner, **taken)
        return held.ledger.next_in_log

    async def _keep_comparing(self) -> None:
        """Repeatedly compare the log with what the lake has read, and check the ledgers of halted partitions."""
        while True:
            await asyncio.sleep(LOG_COMPARED_EVERY_S)
            if self._until_read:
                continue  # it was compared at the beginning, which is a moment ago
            try:
                await self._compare_held()
            except (LogUnavailable, NotReady, duckdb.Error, OSError) as error:
                logger.debug("log not compared", error=str(error))  # reading and writing report it

    async def _compare_held(self) -> None:
        every = {partition: held for partition, held in self._held.items() if partition not in self._halts}
        faults = await self._comparison.compare(every.values())
        async with self._turn:
            for partition, fault in faults.items():
                if self._held.get(partition) is every[partition]:
                    self._halt(partition, fault)
            for partition in set(self._halts) & self._held.keys():
                if await asyncio.to_thread(self._lake.has_moved, self._held[partition]):
                    self._doubted.add(partition)

    async def release(self, partitions: Collection[int]) -> None:
        """Let the transaction in flight end, and release the partitions."""
        async with self._turn:
            for partition in partitions:
                self._halts.discard(partition)
                self._log_clock.forget(partition)
                if partition in self._held:
                    self._kept[partition] = self._held.pop(partition)
                    self.metrics.released(partition)
                    logger.info("partition released", partition=partition)

    def _new_batch(self) -> Batch:
        # If the lake refuses again and again, maybe it is the size of the transaction.
        records_max = max(1, self._settings.worker_batch_records >> min(self._failures, 20))
        interval_s = self._settings.worker_commit_interval_s
        return Batch(records_max=records_max, interval_s=interval_s, began_s=time.monotonic())

    def _decode(self, chunk: Chunk) -> DecodedChunk:
        ledger = self._held[chunk.partition].ledger
        began_s = time.monotonic()
        decoded = DecodedChunk.of(chunk, base=ledger.log_base, log_number=ledger.log_number)
        self.metrics.read(decoded, decode_s=time.monotonic() - began_s)
        return decoded

    async def _read(self, reader: Reader, batch: Batch) -> list[Chunk]:
        """Return the next records of the partitions that are held and not halted; none after a failure."""
        while self._doubted:
            partition = self._doubted.pop()
            self._halts.discard(partition)
            reader.reposition(partition)
        for partition in self._halts:
            reader.pause(partition)
        try:
            timeout_s = batch.wait_s(now_s=time.monotonic(), committed_s=self._committed_s)
            chunks = await reader.read(records_max=batch.records_wanted, timeout_s=timeout_s)
            self._waits_since = None
            self._log_outage.worked(now_s=time.monotonic())
            self.metrics.log_answered()
            # What was just assigned may have been halted at once, or given up meanwhile.
            chunks = [
                each for each in chunks if each.partition in self._held and each.partition not in self._halts
            ]
            for chunk in chunks:
                self._heard.add(chunk.partition)
                self._log_clock.hear(chunk, monotonic_ms=_monotonic_ms())
            return chunks
        except (LogGap, LogTruncated, LogCorrupt) as found:
            held = self._held.get(found.partition)
            fault = as_in_lake(found, held.ledger.log_base if held else 0)
            if self._until_read:
                raise NotReady(with_remedy(fault)) from fault
            if fault.partition not in self._halts:
                self._halt(fault.partition, fault)
        except LogUnavailable as fault:
            await self._wait_for_log(fault)
        except SchemaMismatch:
            raise
        except NotReady as fault:
            now = time.monotonic()
            self._waits_since = self._waits_since or now
            if self._until_read or now - self._waits_since > NOT_READY_S_MAX:
                raise
            self.metrics.failed("not_ready")
            logger.error("not ready", code=fault.code, message=str(fault))
            await asyncio.sleep(0.5)
        except (duckdb.Error, OSError) as error:
            await self._recover(error)
        return []

    def _halt_floods(self, batch: Batch) -> None:
        """Halt, until a restart, the partitions with mostly bad records; those records stay in the log."""
        watched = () if self._until_read else batch.by_partition.keys() & self._held.keys()
        for partition in watched:
            entries = [entry for chunk in batch.by_partition[partition] for entry in chunk.entries]
            reason = self._floods.add(partition, entries)
            if reason is not None:
                self._halts.add(partition, code="flood", reason=reason)

    def _parts(self, batch: Batch) -> list[tuple[HeldPartition, list[DecodedChunk]]]:
        """Return every held partition, with the records of the batch to fold into it."""
        return [
            (held, [] if self._halts.spoils(number) else batch.by_partition.get(number, []))
            for number, held in self._held.items()
        ]

    async def _start_again(self, failure: Fenced | duckdb.Error | OSError) -> None:
        """Discard the state of all partitions; their ledgers are read again before the next read."""
        if isinstance(failure, Fenced):
            self.metrics.failed("fenced")
            logger.warning("fenced", message=str(failure))
        else:
            self.metrics.refused()
            await self._recover(failure)
        self._doubted.update(self._held)
        self._held.clear()
        self.metrics.start_again()

    def positions(self) -> dict[int, int]:
        """Return the next offset of the log of each partition that it holds."""
        return {number: held.ledger.next_in_log for number, held in self._held.items()}

    def _next_offsets(self) -> dict[int, int]:
        return {number: held.ledger.next_offset for number, held in self._held.items()}

    def _log_now_ms(self, reader: Reader) -> int | None:
        now_ms = reader.clock_ms()
        return self._log_clock.now_ms(monotonic_ms=_monotonic_ms()) if now_ms is None else now_ms

    def _now_ms(self) -> int:
        """Return the time by which records have an age: a log that is far ahead of what was read shows no time."""
        return max(time.time_ns() // 1_000_000, self._log_clock.now_ms(monotonic_ms=_monotonic_ms()) or 0)

    def _halt(self, partition: int, fault: LogGap | LogTruncated | LogCorrupt | LogReplaced) -> None:
        self._halts.add(partition, code=fault.code, reason=with_remedy(fault))

    def _note_halts(self, now: datetime) -> None:
        """Write into the ledgers which partitions are halted; one that was not read yet may still be."""
        for partition, held in self._held.items():
            if partition in self._halts or partition in self._heard:
                self._lake.note_halt(held, self._halts.reason(partition), now=now)

    async def _wait_for_log(self, fault: LogUnavailable) -> None:
        self.metrics.failed("log")
        self._log_outage.failed(str(fault), now_s=time.monotonic())
        await asyncio.sleep(0.5)

    async def _recover(self, error: duckdb.Error | OSError) -> None:
        """After the lake refused: wait a little longer each time; a broken connection is opened again.

        Raises SchemaMismatch if the reason is that the lake lacks a column: that does not pass like an outage.
        """
        self._failures += 1
        self.metrics.failed("lake")
        wait_s = min(0.05 * 2**self._failures, RETRY_S_MAX)
        logger.warning("lake refused", error=cause(error), failures=self._failures)
        if not isinstance(error, duckdb.TransactionException):
            await asyncio.to_thread(self._lake.close)
        if isinstance(error, duckdb.BinderException | duckdb.CatalogException):
            with contextlib.suppress(duckdb.Error, OSError):  # unreachable just now: the next round meets it again
                await asyncio.to_thread(self._lake.check)
        await asyncio.sleep(wait_s)

    async def _keep_maintained(self, reader: Reader) -> None:
        """Repeatedly run maintenance of the lake and the log between two commits."""
        while True:
            await asyncio.sleep(self._settings.worker_upkeep_interval_s)
            begin = await self._upkeep() if self._upkeep is not None else None
            async with self._turn:
                if begin is not None:
                    with self._alive.waiting():
                        await begin()
                below = self._next_offsets()
            await self._expiry.drop_records(reader, below, self._held)


async def _wait_for_batch(
    reading: "asyncio.Task[Batch]", stopping: "asyncio.Task[bool]", chores: Collection["asyncio.Task[None]"]
) -> bool:
    """Wait for a batch; return False if stopped first. Raises what a background task raised."""
    await asyncio.wait((reading, stopping, *chores), return_when=asyncio.FIRST_COMPLETED)
    for task in chores:
        if task.done():
            task.result()
    return reading.done()


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000
