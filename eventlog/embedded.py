"""The embedded log: one SQLite file for one machine, written by any number of processes, owned by one reader.

Layout 2 (`PRAGMA user_version`; 1 was release 0.1.0, and `playhead init` migrates it while writers go on). Table
`records`: `id` = partition * 2**48 + offset, so that a partition is one range of the table's own key and needs no
index. Table `partitions`: where each one begins and ends; offsets are given out from there and not from what
`records` holds, so they go on after retention has emptied it. Table `identity`: a UUID, by which the log is told
from one that is made in its place.

The file. A file that is removed or replaced lives on for those who have it open: what they write is durable, and
lost. So the path is looked at before each transaction, again before it is acknowledged, and at each look of a
reader. A writer goes on by itself once the path names a log of the same UUID again; with another one it goes on
refusing until it is restarted, which is when an operator has decided.

Durability. WAL with synchronous=FULL: COMMIT returns after fsync of the WAL, and readers see a record only after
that. A COMMIT that failed is reported as LogUnavailable for all of its group, and the connection is thrown away:
what SQLite keeps in memory after an I/O error is not worth trusting.

Threads. Each writer and each reader has one thread, which alone touches its connection. No rows are inserted one
by one: each call into SQLite gives the interpreter lock away and has to wait to get it back, so a group is a
handful of calls. The writer takes a group only once it holds the file's write lock; whatever waits for that lock
is still in the queue and can be withdrawn. Processes take turns by an flock on `log.sqlite.writer`, because SQLite
waits for a lock by sleeping and looking again, and who sleeps loses to who is awake.

Reading. A reader owns all partitions while it holds an flock on `log.sqlite.reader`; the kernel gives the lock
back when the process dies, so a standby takes over after kill -9 as well. Waiting for records is a poll of
`PRAGMA data_version`, a look at shared memory.
"""

import asyncio
import contextlib
import fcntl
import functools
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec
import structlog

from eventlog import Appended, Chunk, Owner, Record, View
from eventlog.appends import Append, Appends
from schemas.faults import Fault, LogGap, LogTruncated, LogUnavailable, NotReady, SchemaMismatch
from schemas.modes import PRIVATE_FILE, give_mode, make_private
from schemas.settings import Settings

T = TypeVar("T")
Clock = Callable[[], float]

APPLICATION_ID = 0x506C6179  # "Play", in the file's header
LAYOUT = 2
OFFSET_BITS = 48
OFFSET_MASK = (1 << OFFSET_BITS) - 1

GROUP_RECORDS_MAX = 8192
GROUP_BYTES_MAX = 16_777_216
INSERT_ROWS_MAX = 4096
READ_BYTES_MAX = 33_554_432
RETAIN_STEP_RECORDS = 5_000
LOCK_WAIT_S = 0.1
RETRY_S = 0.25
POLL_S = 0.02
STANDBY_POLL_S = 0.1
WAL_BYTES_KEPT = 67_108_864

PROBE = -1  # the lane of `check()`: a write and an fsync without a record

# What each layout adds to the one before.
STEPS = {
    1: """
CREATE TABLE partitions (
    partition INTEGER PRIMARY KEY, first_offset INTEGER NOT NULL, next_offset INTEGER NOT NULL
) STRICT;
CREATE TABLE records (
    id INTEGER PRIMARY KEY, appended_ms INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL
) STRICT;
CREATE TABLE probe (checked_ms INTEGER NOT NULL) STRICT;
INSERT INTO probe VALUES (0);
""",
    2: """
CREATE TABLE identity (id TEXT NOT NULL) STRICT;
INSERT INTO identity VALUES (:id);
""",
}

logger = structlog.get_logger(__name__)


def path_of_log(settings: Settings) -> Path:
    """Return where the embedded log of these settings lies."""
    return settings.data_dir / "log.sqlite"


def make(path: Path, *, partitions: int) -> int:
    """Make the log with this many partitions if there is none, migrate an older one; return how many it has.

    Safe to repeat, to be killed, and to run in two processes at once, beside writers. Raises NotReady where the
    file is something else, SchemaMismatch where it is of a newer layout.
    """
    with _made_by_hand(path) as connection:
        count = _count_partitions(connection)
        if not count:
            count = _add(connection, count, partitions)
        return count


def add_partitions(path: Path, *, partitions: int) -> int:
    """Raise the number of partitions to `partitions`, while writers and a reader run; return how many there are.

    Partitions are never taken away: a smaller number changes nothing.
    """
    if not path.exists():
        raise _absent(path)
    with _made_by_hand(path) as connection:
        return _add(connection, _count_partitions(connection), partitions)


@contextlib.contextmanager
def _made_by_hand(path: Path) -> Iterator[sqlite3.Connection]:
    """Open or make the file, and do the block in one transaction that makes tables or partitions."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            _folder_locked(path.parent),
            _side_files_moved(path),
            _private(path),
            contextlib.closing(_connect(path, mode="rwc", lock_wait_s=10)) as connection,
        ):
            _layout_of(connection, path, may_be_empty=True)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            found = _layout_of(connection, path, may_be_empty=True)
            _refuse_newer(path, found)
            for step in range(found + 1, LAYOUT + 1):
                for statement in STEPS[step].split(";\n"):
                    connection.execute(statement, {"id": str(uuid.uuid4())})
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {LAYOUT}")
            yield connection
            connection.execute("COMMIT")
    except (OSError, sqlite3.Error) as error:
        raise NotReady(f"the log {path} cannot be made: {error}") from error


@contextlib.contextmanager
def _private(path: Path) -> Iterator[None]:
    """Let nobody but the owner read the log, one that was made by an older release included."""
    make_private(path)  # SQLite gives its other files the mode of this one
    yield
    endings = ("", "-wal", "-shm", ".writer", ".reader")
    give_mode((path.with_name(path.name + ending) for ending in endings), PRIVATE_FILE)


@contextlib.contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    """Let one process at a time make files in the folder, and sync the folder's own entries afterwards."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _side_files_moved(path: Path) -> Iterator[None]:
    """Move away what SQLite keeps beside a log that is gone: a new log must not be read through it.

    The WAL may hold the last records of the lost log, so it is kept under another name.
    """
    file = path.resolve()
    if not file.exists():
        Path(f"{file}-shm").unlink(missing_ok=True)
        wal = Path(f"{file}-wal")
        if wal.exists():
            kept = wal.rename(f"{wal}.lost-{uuid.uuid4().hex[:8]}")
            logger.warning("log_was_lost", path=str(path), its_wal=str(kept))
    yield


def _add(connection: sqlite3.Connection, count: int, wanted: int) -> int:
    new = ((partition,) for partition in range(count, wanted))
    connection.executemany("INSERT INTO partitions VALUES (?, 0, 0)", new)
    return max(count, wanted)


def _count_partitions(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(*) FROM partitions").fetchone()[0])


def _connect(path: Path, *, mode: str, lock_wait_s: float) -> sqlite3.Connection:
    """Connect with the log's own durability. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?mode={mode}",
        uri=True,
        timeout=lock_wait_s,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _layout_of(connection: sqlite3.Connection, path: Path, *, may_be_empty: bool = False) -> int:
    """Return the layout's number, 0 for a file that has nothing in it. Raises NotReady where it is no log."""
    application, layout = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
    )
    if application == APPLICATION_ID:
        return int(layout)
    if application or layout or connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        raise NotReady(f"{path} is no log of Playhead's")
    if not may_be_empty:
        raise NotReady(f"{path} holds no log: `playhead init` makes it")
    return 0


def _refuse_newer(path: Path, layout: int) -> None:
    if layout > LAYOUT:
        raise SchemaMismatch(
            f"the log {path} has schema {layout}, and this program works with schema {LAYOUT}: "
            "use the newer release that ran `playhead init` on it"
        )


def _absent(path: Path) -> NotReady:
    return NotReady(f"there is no log at {path}: `playhead init` makes it")


def _file_at(path: Path) -> tuple[int, int]:
    """Return what tells the file at a path from any other that exists. Raises NotReady where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise _absent(path) from None
    return found.st_dev, found.st_ino


class LogFile:
    """A connection to a log that must be there: the file, and what the log calls itself.

    Raises NotReady, LogUnavailable or sqlite3.Error; SchemaMismatch where the layout is not this program's. Who
    had the log open before goes on with a newer layout (`is_reopened`): a migration only adds.
    """

    def __init__(self, path: Path, *, is_reopened: bool = False) -> None:
        self._path = path
        self._file = _file_at(path)
        self.connection = _connect(path, mode="rw", lock_wait_s=LOCK_WAIT_S)
        try:
            layout = _layout_of(self.connection, path)
            if not is_reopened:
                _refuse_newer(path, layout)
            if layout < LAYOUT:
                raise SchemaMismatch(
                    f"the log {path} has schema {layout}, and this program works with schema {LAYOUT}: "
                    "`playhead init` migrates it; ingests may run meanwhile"
                )
            self.log_id: str = self.connection.execute("SELECT id FROM identity").fetchone()[0]
            self.check()
        except BaseException:
            self.close()
            raise

    def check(self) -> None:
        """Raise LogUnavailable where the path does not name this file any more: what is written would be lost."""
        try:
            is_same = _file_at(self._path) == self._file
        except NotReady:
            raise LogUnavailable(f"the log {self._path} is gone, though it is open here") from None
        if not is_same:
            raise LogUnavailable(f"{self._path} is another file than the log that is open here")

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # it is given up because it failed already, or at the end
            self.connection.close()


@contextlib.contextmanager
def _turn(path: Path) -> Iterator[None]:
    """Wait for the other writing processes. Raises OSError."""
    descriptor = os.open(f"{path}.writer", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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

    async def append(self, partition: int, *, key: bytes, value: bytes) -> Appended:
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
            logger.warning("log_writer_left_behind", path=str(self._path), after_s=self._timeout_s)

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
                    if failing:
                        logger.info("log_available_again", path=str(self._path))
                    failing = False
                except Exception as error:  # noqa: BLE001  (a thread that died would take the log with it)
                    if not failing:
                        logger.warning("log_unavailable", path=str(self._path), error=str(error))
                    failing = True
                    self._disconnect()
                    if isinstance(error, Fault):  # the log is not there any more: no deadline will help
                        self._fail_what_waits(str(error))
                    # else the queue is left alone, so what comes may still make it within its deadline
                    time.sleep(RETRY_S)
        self._disconnect()
        self._report(self._ended.set)

    def _report(self, report: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for an answer any more
            self._loop.call_soon_threadsafe(report, *arguments)

    def _commit_group(self) -> None:
        """Take what waits once the write lock is ours, make it durable in one transaction, and report it."""
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
            file.check()  # what went into a file that nobody will find is not acknowledged
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
        """Get the write lock; False when nobody waits for it any more."""
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


def _identify(path: Path) -> tuple[str, int]:
    """Return what the log calls itself, and how many partitions it has. Raises NotReady or LogUnavailable."""
    with _opened(path) as file:
        return file.log_id, _count_partitions(file.connection)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[LogFile]:
    """Open the log for a moment. Raises NotReady or LogUnavailable."""
    try:
        with contextlib.closing(LogFile(path)) as file:
            yield file
    except sqlite3.Error as error:
        raise LogUnavailable(f"{path} cannot be read: {error}") from error


class EmbeddedInspector:
    """Looks into the file that the path names at that moment; see `Inspector`."""

    def __init__(self, settings: Settings) -> None:
        self._path = path_of_log(settings)

    async def look(self, at: Mapping[int, int]) -> dict[int, View]:
        return await asyncio.to_thread(self._look, dict(at))

    async def close(self) -> None:
        """Do nothing: the file is open only while it is looked into."""

    def _look(self, at: dict[int, int]) -> dict[int, View]:
        views = {}
        with _opened(self._path) as file:
            file.connection.execute("BEGIN")
            rows = file.connection.execute(
                "SELECT partition, first_offset, next_offset FROM partitions"
            ).fetchall()
            for partition, first, end in rows:
                asked = at.get(partition, end)
                found = _select(file.connection, partition, asked, min(asked + 1, end), 1, 1)
                views[partition] = View(first, end, found[0] if found else None, file.log_id)
        return views


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


class Found(msgspec.Struct):
    """What one look into the file found: chunks, faults, and partitions that nobody asked for yet."""

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
                self._positions[partition] = await self._owner.position(partition)
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

    async def advertise(self, positions: Mapping[int, int]) -> None:
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
        """Become the one reader, or return False at the deadline."""
        while self._lock_descriptor is None:
            try:
                descriptor = os.open(f"{self._path}.reader", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
            except OSError as error:
                raise LogUnavailable(f"{self._path}.reader cannot be opened: {error}") from error
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock_descriptor = descriptor
            except BlockingIOError:
                os.close(descriptor)
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    return False
                await asyncio.sleep(min(STANDBY_POLL_S, left_s))
        return True

    async def _look_in_thread(self, wanted: dict[int, int], records_max: int, deadline: float) -> Found:
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
    ) -> Found:
        """Look until there is something to tell, or the deadline."""
        file = self._connected()
        connection = file.connection
        seen = -1
        found = Found([], [], [])
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
                return Found([], [], [])

    def _find(
        self, connection: sqlite3.Connection, wanted: dict[int, int], held: frozenset[int], records_max: int
    ) -> Found:
        """Read in one transaction: where partitions begin and end, and the records from the wanted offsets on."""
        found = Found([], [], [])
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
    """Read from an offset on, without leaving one out; at least one record where there is one."""
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


async def open_embedded_writer(settings: Settings, *, clock: Clock = time.time) -> EmbeddedWriter:
    """Open the log for appending. Raises NotReady where there is none, LogUnavailable where it does not answer."""
    writer = EmbeddedWriter(settings, clock=clock)
    await writer.start()
    return writer


async def open_embedded_reader(settings: Settings, owner: Owner) -> EmbeddedReader:
    """Open the log for reading. Raises NotReady where there is none, LogUnavailable where it does not answer."""
    reader = EmbeddedReader(settings, owner)
    await reader.start()
    return reader
