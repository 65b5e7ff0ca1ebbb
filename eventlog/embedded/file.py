"""The embedded log: one SQLite file for one machine, written by any number of processes, owned by one reader.

Layout 2 (`PRAGMA user_version`; release 0.1.0 had 1, and `playhead init` migrates it while writers run). Table
`records`: `id` = partition * 2**48 + offset, so that a partition is one range of the table's own key and needs no
index. Table `partitions`: the first and next offset of each; offsets are assigned from it and not from `records`,
so they continue after retention has emptied that. Table `identity`: a UUID that distinguishes the log from a
replacement.

The file. A file that is removed or replaced lives on for processes that have it open: what they write is durable,
but lost. So the path is checked before each transaction, again before it is acknowledged, and at each look of a
reader. A writer resumes by itself once the path has a log of the same UUID again; with another one it keeps
refusing until it is restarted, which counts as an operator's decision.

Durability. WAL with synchronous=FULL: COMMIT returns after fsync of the WAL, and readers see a record only after
that. A failed COMMIT is reported as LogUnavailable for its whole group, and the connection is discarded, because
SQLite's state in memory after an I/O error cannot be trusted.

Threads. Each writer and each reader has one thread, which is the only one that uses its connection. Rows are not
inserted one by one: each call into SQLite releases the interpreter lock and has to wait for it again, so a group
takes only a few calls. The writer takes a group only once it holds the file's write lock; appends that wait for
that lock are still in the queue and can be withdrawn. Processes take turns by an flock on `log.sqlite.writer`,
because SQLite waits for a lock by sleeping and retrying, which starves those that sleep.

Reading. A reader owns all partitions while it holds an flock on `log.sqlite.reader`; the kernel releases the lock
when the process dies, so a standby also takes over after kill -9. Waiting for records polls `PRAGMA data_version`,
which reads shared memory.
"""

import contextlib
import fcntl
import os
import sqlite3
import uuid
from collections.abc import Iterator
from pathlib import Path

import structlog

from eventlog import Setup
from schemas.faults import LogUnavailable, NotReady, SchemaMismatch
from schemas.modes import PRIVATE_FILE, give_mode, make_private
from schemas.settings import Settings

APPLICATION_ID = 0x506C6179  # "Play", in the file's header
LAYOUT = 2
OFFSET_BITS = 48
OFFSET_MASK = (1 << OFFSET_BITS) - 1

LOCK_WAIT_S = 0.1
RETRY_S = 0.25
WAL_BYTES_KEPT = 67_108_864


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
    """Return the path of the embedded log."""
    return settings.data_dir / "log.sqlite"


def make(path: Path, *, partitions: int) -> int:
    """Make the log with this many partitions if there is none, migrate an older one; return how many it has.

    Safe to repeat, to kill, and to run in two processes at once, while writers run. Raises NotReady if the
    file is something else, SchemaMismatch if it is of a newer layout.
    """
    with _made_by_hand(path) as connection:
        count = _count_partitions(connection)
        if not count:
            count = _add(connection, count, partitions)
        return count


def add_partitions(path: Path, *, partitions: int) -> int:
    """Raise the number of partitions to `partitions`, while writers and a reader run; return how many there are.

    Partitions are never removed: a smaller number changes nothing.
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
    """Let only the owner read the log, even one made by an older release."""
    make_private(path)  # SQLite gives its other files the mode of this one
    yield
    endings = ("", "-wal", "-shm", ".writer", ".reader")
    give_mode((path.with_name(path.name + ending) for ending in endings), PRIVATE_FILE)


@contextlib.contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    """Let one process at a time create files in the folder, and then flush the folder."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _side_files_moved(path: Path) -> Iterator[None]:
    """Move away the files that SQLite left for a lost log: a new log must not be read through them.

    The WAL may hold the last records of the lost log, so it is kept under another name.
    """
    file = path.resolve()
    if not file.exists():
        Path(f"{file}-shm").unlink(missing_ok=True)
        wal = Path(f"{file}-wal")
        if wal.exists():
            kept = wal.rename(f"{wal}.lost-{uuid.uuid4().hex[:8]}")
            logger.warning("log was lost", path=str(path), its_wal=str(kept))
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
    """Return the layout's number, 0 for an empty file. Raises NotReady if the file is not a log."""
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
    """Return what distinguishes the file at a path from others. Raises NotReady if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        raise _absent(path) from None
    return found.st_dev, found.st_ino


class LogFile:
    """A connection to an existing log: the file, and the log's id.

    Raises NotReady, LogUnavailable or sqlite3.Error; SchemaMismatch if the layout is not this program's. A
    process that had the log open before accepts a newer layout (`is_reopened`), because a migration only adds.
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
        """Raise LogUnavailable if the path is no longer this file's: records written now would be lost."""
        try:
            is_same = _file_at(self._path) == self._file
        except NotReady:
            raise LogUnavailable(f"the log {self._path} is gone, though it is open here") from None
        if not is_same:
            raise LogUnavailable(f"{self._path} is another file than the log that is open here")

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):  # closed because it failed, or at the end
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


def take_reader_lock(path: Path, *, how: int = fcntl.LOCK_EX) -> int | None:
    """Take the lock of readers; return its descriptor, or None if another process has it.

    Raises LogUnavailable if its file cannot be opened.
    """
    try:
        descriptor = os.open(f"{path}.reader", os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
    except OSError as error:
        raise LogUnavailable(f"{path}.reader cannot be opened: {error}") from error
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def has_reader(path: Path) -> bool:
    """Return whether a process holds the lock of readers; those that look do not see each other."""
    if not Path(f"{path}.reader").exists():
        return False
    descriptor = take_reader_lock(path, how=fcntl.LOCK_SH)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def _identify(path: Path) -> tuple[str, int]:
    """Return the log's id and number of partitions. Raises NotReady or LogUnavailable."""
    with _opened(path) as file:
        return file.log_id, _count_partitions(file.connection)


def setup_of(path: Path) -> Setup:
    """Return how the log is set up. Raises NotReady or LogUnavailable."""
    if not path.exists():
        raise _absent(path)
    _, partitions = _identify(path)
    locked = None
    # SQLite makes files next to it.
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)):
        locked = f"{path} and its folder cannot be written: run as the user who made the log"
    return Setup(partitions, no_append=locked, no_read=locked)  # a reader takes a lock


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[LogFile]:
    """Open the log for a moment. Raises NotReady or LogUnavailable."""
    try:
        with contextlib.closing(LogFile(path)) as file:
            yield file
    except sqlite3.Error as error:
        raise LogUnavailable(f"{path} cannot be read: {error}") from error
