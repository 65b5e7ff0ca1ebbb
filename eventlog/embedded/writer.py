"""Append to the embedded log: one thread commits whatever waits, in groups."""

import asyncio
import contextlib
import functools
import sqlite3
import threading
import time
from collections.abc import Callable

import structlog

from eventlog import Receipt
from eventlog.appends import Append, Appends
from eventlog.embedded.file import OFFSET_BITS, RETRY_S, LogFile, _identify, _turn, path_of_log
from schemas.faults import Fault, LogUnavailable
from schemas.settings import Settings

logger = structlog.get_logger(__name__)

Clock = Callable[[], float]

GROUP_RECORDS_MAX = 8192
GROUP_BYTES_MAX = 16_777_216
INSERT_ROWS_MAX = 4096
PROBE = -1  # the lane of `check()`: a write and an fsync without a record


class EmbeddedWriter:
    """Writes into the file; see `Writer`. Make it with `open_embedded_writer`."""

    def __init__(self, settings: Settings, *, clock: Clock) -> None:
        self._loop = asyncio.get_running_loop()
        self._path = path_of_log(settings)
        self._clock = clock
        self._timeout_s = settings.log_append_timeout_s
        self._appends = Appends(
            timeout_s=settings.log_append_timeout_s,
            queue_max=settings.log_queue_max,
            queue_bytes_max=settings.log_queue_bytes_max,
            record_bytes_max=settings.log_record_bytes_max,
            wake=self._wake_thread,
        )
        self._wake = threading.Event()
        self._closing = False
        self._partitions = 0
        self._ended = asyncio.Event()
        self._log_id = ""
        self._file: LogFile | None = None
        # A daemon, because a disk that hangs must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)

    async def start(self) -> None:
        """Check that the log is there, and begin. Raises NotReady or LogUnavailable."""
        try:
            async with asyncio.timeout(self._timeout_s):
                self._log_id, self._partitions = await asyncio.to_thread(_identify, self._path)
        except TimeoutError:
            raise LogUnavailable(f"{self._path} did not answer within {self._timeout_s:g} s") from None
        self._thread.start()

    @property
    def partitions(self) -> int:
        return self._partitions

    @property
    def waiting(self) -> int:
        return self._appends.count

    async def append(self, partition: int, *, key: bytes, value: bytes) -> Receipt:
        if not 0 <= partition < self._partitions:
            raise LogUnavailable(f"the log has {self._partitions} partitions, and no partition {partition}")
        return await self._appends.append(partition, key=key, value=value)

    async def check(self) -> None:
        await self._appends.append(PROBE, key=b"", value=b"")

    async def close(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._appends.close()
                self._closing = True
                self._wake.set()
                await self._ended.wait()
        except TimeoutError:
            logger.warning("log writer left behind", path=str(self._path), after_s=self._timeout_s)

    def _wake_thread(self, _partition: int) -> None:
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        """Commit group after group until closed; an error ends the group and the connection, not the thread."""
        failing = False
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            while self._appends.waiting() and not self._closing:
                try:
                    self._commit_group()
                    failing = False
                except Exception as error:  # noqa: BLE001  (a thread that died would take the log with it)
                    if not failing:
                        logger.warning("log write failed", path=str(self._path), error=str(error))
                    failing = True
                    self._disconnect()
                    if isinstance(error, Fault):  # the log is gone: no deadline will help
                        self._fail_what_waits(str(error))
                    # else the queue is left alone, so what comes may still make it within its deadline
                    time.sleep(RETRY_S)
        self._disconnect()
        self._report(self._ended.set)

    def _report(self, report: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: no task waits for a result
            self._loop.call_soon_threadsafe(report, *arguments)

    def _commit_group(self) -> None:
        """Take a group while holding the write lock, make it durable in one transaction, and report it."""
        file = self._connected()
        with _turn(self._path):
            file.check()
            if self._begin(file.connection):
                self._commit_what_waits(file)

    def _connected(self) -> LogFile:
        if self._file is None:
            self._file = LogFile(self._path, is_reopened=True)
        if self._file.log_id != self._log_id:
            raise LogUnavailable(
                f"{self._path} is another log than before ({self._file.log_id}, and before {self._log_id}); "
                "restart this process to write into it"
            )
        return self._file

    def _fail_what_waits(self, reason: str) -> None:
        for lane in self._appends.waiting():
            self._report(self._appends.fail, self._take(lane), reason)

    def _commit_what_waits(self, file: LogFile) -> None:
        connection = file.connection
        groups: list[tuple[int, list[Append]]] = []
        try:
            ends = dict(connection.execute("SELECT partition, next_offset FROM partitions").fetchall())
            groups = [(lane, self._take(lane)) for lane in self._appends.waiting()]
            now_ms = int(self._clock() * 1000)
            for lane, group in groups:
                if lane == PROBE:
                    connection.execute("UPDATE probe SET checked_ms = ?", (now_ms,))
                elif group:
                    _insert(connection, lane, ends[lane], group, now_ms)
            connection.execute("COMMIT")
            file.check()  # records in a file that nobody will find are not acknowledged
        except BaseException as error:
            for _lane, group in groups:
                self._report(self._appends.fail, group, f"the log could not be written: {error}")
            raise
        self._partitions = len(ends)
        for lane, group in groups:
            self._report(functools.partial(self._appends.settle, group, first_offset=ends.get(lane, 0)))

    def _take(self, lane: int) -> list[Append]:
        return self._appends.take(lane, records_max=GROUP_RECORDS_MAX, bytes_max=GROUP_BYTES_MAX)

    def _begin(self, connection: sqlite3.Connection) -> bool:
        """Get the write lock; return False when no append waits any more."""
        began = time.monotonic()
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
                return True
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() - began > self._timeout_s:
                    raise  # said once, by the caller
            if self._closing or not self._appends.waiting():
                return False

    def _disconnect(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _insert(
    connection: sqlite3.Connection, partition: int, next_offset: int, group: list[Append], now_ms: int
) -> None:
    """Insert a group in as few statements as SQLite's limit on parameters allows, sizes being powers of two."""
    row_id = (partition << OFFSET_BITS) + next_offset
    done = 0
    while done < len(group):
        size = min(INSERT_ROWS_MAX, 1 << (len(group) - done).bit_length() - 1)
        values: list[int | bytes] = []
        for row, append in enumerate(group[done : done + size], row_id + done):
            values += (row, now_ms, append.key, append.value)
        connection.execute(_insert_of(size), values)
        done += size
    connection.execute(
        "UPDATE partitions SET next_offset = ? WHERE partition = ?", (next_offset + len(group), partition)
    )


@functools.lru_cache
def _insert_of(rows: int) -> str:
    return "INSERT INTO records VALUES " + ",".join(["(?,?,?,?)"] * rows)


async def open_embedded_writer(settings: Settings, *, clock: Clock = time.time) -> EmbeddedWriter:
    """Open the log for appending. Raises NotReady if there is none, LogUnavailable if it does not answer."""
    writer = EmbeddedWriter(settings, clock=clock)
    await writer.start()
    return writer
