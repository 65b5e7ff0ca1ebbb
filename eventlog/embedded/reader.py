"""Read the embedded log: one owner of all partitions at a time."""

import asyncio
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from eventlog import Chunk, Owner, Record
from eventlog.embedded.file import (
    OFFSET_BITS,
    OFFSET_MASK,
    LogFile,
    _identify,
    _turn,
    path_of_log,
    take_reader_lock,
)
from schemas.faults import LogGap, LogTruncated, LogUnavailable, NotReady
from schemas.settings import Settings

T = TypeVar("T")

READ_BYTES_MAX = 33_554_432
RETAIN_STEP_RECORDS = 5_000
POLL_S = 0.02
STANDBY_POLL_S = 0.1


class Look(msgspec.Struct):
    """The result of one look into the file: chunks, faults, and partitions not acquired yet."""

    chunks: list[Chunk]
    faults: list[LogGap | LogTruncated]
    new: list[int]


class EmbeddedReader:
    """Reads the file; see `Reader`. Make it with `open_embedded_reader`."""

    def __init__(self, settings: Settings, owner: Owner) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path_of_log(settings)
        self._owner = owner
        self._lock_descriptor: int | None = None
        self._held: set[int] = set()
        self._positions: dict[int, int] = {}
        self._stopped: set[int] = set()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="log-reader")
        self._file: LogFile | None = None
        self._turn = 0

    async def start(self) -> None:
        """Check that the log is there. Raises NotReady or LogUnavailable."""
        await self._in_thread(_identify, self._path)

    async def read(self, *, records_max: int, timeout_s: float) -> list[Chunk]:
        deadline = time.monotonic() + timeout_s
        if not await self._hold_lock(deadline):
            return []
        await self._in_thread(self._connected)
        while True:
            for partition in sorted(self._held - self._positions.keys()):
                self._positions[partition] = await self._owner.acquire(partition)
                self._stopped.discard(partition)
            wanted = {p: o for p, o in self._positions.items() if p not in self._stopped}
            found = await self._look_in_thread(wanted, records_max, deadline)
            self._held.update(found.new)
            for fault in found.faults:
                self._stopped.add(fault.partition)
                raise fault
            if not found.new:
                break
        # A position that is gone, or another one, was given up meanwhile: then the owner is asked again.
        chunks = [
            chunk for chunk in found.chunks if self._positions.get(chunk.partition) == wanted[chunk.partition]
        ]
        for chunk in chunks:
            self._positions[chunk.partition] += len(chunk.records)
        return chunks

    def seek(self, partition: int, offset: int) -> None:
        if partition in self._held:
            self._positions[partition] = offset
            self._stopped.discard(partition)

    def pause(self, partition: int) -> None:
        if partition in self._held:
            self._stopped.add(partition)

    def reposition(self, partition: int) -> None:
        self._positions.pop(partition, None)
        self._stopped.discard(partition)

    def clock_ms(self) -> int | None:
        return int(time.time() * 1000)  # writers and reader are on one machine

    async def commit_offsets(self, positions: Mapping[int, int]) -> None:
        """Do nothing: this log has no tools that ask for it."""

    async def retain(self, *, older_than_ms: int, below: Mapping[int, int]) -> int:
        return await self._in_thread(self._retain, older_than_ms, dict(below))

    async def close(self) -> None:
        try:
            if self._held:
                await self._owner.release(sorted(self._held))
        finally:
            self._held.clear()
            self._positions.clear()
            if self._lock_descriptor is not None:
                os.close(self._lock_descriptor)
                self._lock_descriptor = None
            self._executor.submit(self._disconnect)
            self._executor.shutdown(wait=False)

    async def _hold_lock(self, deadline: float) -> bool:
        """Become the only reader, or return False at the deadline."""
        while self._lock_descriptor is None:
            self._lock_descriptor = take_reader_lock(self._path)
            if self._lock_descriptor is None:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                await asyncio.sleep(min(STANDBY_POLL_S, left_s))
        return True

    async def _look_in_thread(self, wanted: dict[int, int], records_max: int, deadline: float) -> Look:
        """Look; a read that is cancelled does not keep the thread waiting."""
        interrupt = threading.Event()
        try:
            return await self._in_thread(
                self._look, wanted, frozenset(self._held), records_max, deadline, interrupt
            )
        except asyncio.CancelledError:
            interrupt.set()
            raise

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await self._loop.run_in_executor(self._executor, work, *arguments)
        except (sqlite3.Error, LogUnavailable) as error:
            await self._loop.run_in_executor(self._executor, self._disconnect)
            # What the path names next may be another log, and the owner decides what its positions mean there.
            self._positions.clear()
            self._stopped.clear()
            if isinstance(error, LogUnavailable):
                raise
            raise LogUnavailable(f"{self._path} cannot be read: {error}") from error

    def _connected(self) -> LogFile:
        if self._file is None:
            try:
                self._file = LogFile(self._path, is_reopened=True)
            except NotReady as error:
                raise LogUnavailable(str(error)) from error
        return self._file

    def _disconnect(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _look(
        self,
        wanted: dict[int, int],
        held: frozenset[int],
        records_max: int,
        deadline: float,
        interrupt: threading.Event,
    ) -> Look:
        """Look until there is something to return, or until the deadline."""
        file = self._connected()
        connection = file.connection
        seen = -1
        found = Look([], [], [])
        while True:
            file.check()
            version = connection.execute("PRAGMA data_version").fetchone()[0]
            if version != seen:
                seen = version
                found = self._find(connection, wanted, held, records_max)
            left_s = deadline - time.monotonic()
            if left_s <= 0 or found.faults or found.new or any(chunk.records for chunk in found.chunks):
                return found
            if interrupt.wait(min(POLL_S, left_s)):
                return Look([], [], [])

    def _find(
        self, connection: sqlite3.Connection, wanted: dict[int, int], held: frozenset[int], records_max: int
    ) -> Look:
        """Read in one transaction: where partitions begin and end, and the records from the wanted offsets on."""
        found = Look([], [], [])
        connection.execute("BEGIN")
        try:
            bounds = connection.execute("SELECT partition, first_offset, next_offset FROM partitions").fetchall()
            records_left, bytes_left = records_max, READ_BYTES_MAX
            self._turn += 1  # so that a busy partition does not use up every read
            turn = self._turn % len(bounds)
            for partition, first, end in bounds[turn:] + bounds[:turn]:
                if partition not in held:
                    found.new.append(partition)
                elif partition in wanted:
                    asked = wanted[partition]
                    records = _select(connection, partition, asked, end, records_left, bytes_left)
                    if records_left > 0 and bytes_left > 0 and not records and asked != end:
                        found.faults.append(_fault_at(connection, partition, asked, first, end))
                        continue
                    records_left -= len(records)
                    bytes_left -= sum(len(record.value) for record in records)
                    found.chunks.append(Chunk(partition, records, end))
        finally:
            connection.execute("ROLLBACK")
        return found

    def _retain(self, older_than_ms: int, below: dict[int, int]) -> int:
        connection = self._connected().connection
        dropped = 0
        for partition, end in below.items():
            while step := self._drop_step(connection, partition, older_than_ms, end):
                dropped += step
        return dropped

    def _drop_step(self, connection: sqlite3.Connection, partition: int, older_than_ms: int, below: int) -> int:
        try:
            with _turn(self._path):
                return _drop(connection, partition, older_than_ms, below)
        except OSError as error:
            raise LogUnavailable(f"{self._path}.writer cannot be opened: {error}") from error


def _select(
    connection: sqlite3.Connection, partition: int, asked: int, end: int, records_max: int, bytes_max: int
) -> list[Record]:
    """Read from an offset on, without gaps; at least one record if there is any."""
    base = partition << OFFSET_BITS
    records: list[Record] = []
    if records_max <= 0 or bytes_max <= 0 or asked >= end:
        return records
    rows = connection.execute(
        "SELECT id, key, value, appended_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
        (base + asked, base + end, records_max),
    )
    for row_id, key, value, appended_ms in rows:
        offset = row_id & OFFSET_MASK
        if offset != asked + len(records):
            break
        records.append(Record(partition, offset, key, value, appended_ms))
        bytes_max -= len(value)
        if bytes_max <= 0:
            break
    rows.close()
    return records


def _fault_at(
    connection: sqlite3.Connection, partition: int, asked: int, first: int, end: int
) -> LogGap | LogTruncated:
    """Say why there is no record at an offset that is not the end."""
    if asked > end:
        return LogTruncated(partition, asked, end)
    base = partition << OFFSET_BITS
    row = connection.execute(
        "SELECT min(id) FROM records WHERE id > ? AND id < ?", (base + asked, base + end)
    ).fetchone()
    return LogGap(partition, asked, end if row[0] is None else max(first, row[0] & OFFSET_MASK))


def _drop(connection: sqlite3.Connection, partition: int, older_than_ms: int, below: int) -> int:
    """Drop old records from the front of a partition, so few that writers hardly wait; return how many."""
    base = partition << OFFSET_BITS
    connection.execute("BEGIN IMMEDIATE")
    try:
        first, end = connection.execute(
            "SELECT first_offset, next_offset FROM partitions WHERE partition = ?", (partition,)
        ).fetchone() or (0, 0)
        limit = min(first + RETAIN_STEP_RECORDS, below, end)
        kept = connection.execute(
            "SELECT min(id) FROM records WHERE id >= ? AND id < ? AND appended_ms >= ?",
            (base + first, base + limit, older_than_ms),
        ).fetchone()[0]
        until = limit if kept is None else kept & OFFSET_MASK
        if until <= first:
            return 0
        connection.execute("DELETE FROM records WHERE id >= ? AND id < ?", (base + first, base + until))
        connection.execute("UPDATE partitions SET first_offset = ? WHERE partition = ?", (until, partition))
        connection.execute("COMMIT")
        return int(until - first)
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


async def open_embedded_reader(settings: Settings, owner: Owner) -> EmbeddedReader:
    """Open the log for reading. Raises NotReady if there is none, LogUnavailable if it does not answer."""
    reader = EmbeddedReader(settings, owner)
    await reader.start()
    return reader
