"""Write records of the past into a new embedded log: each with its own time of append, in large transactions.

For events that nobody waits for, such as a generated history: `append` returns before its record is durable, and
`close` makes the rest durable. Meanwhile this writer has the reader's lock: a worker that has read a log to
its end goes by the clock of today, and would close sessions whose next event is not written yet. A worker that is
started in between waits, and begins when the log is complete.
"""

import os
import sqlite3
from collections.abc import Callable

from eventlog import Receipt
from eventlog.embedded.file import OFFSET_BITS, LogFile, _turn, path_of_log, take_reader_lock
from eventlog.embedded.writer import INSERT_ROWS_MAX, _insert_of
from schemas.faults import LogUnavailable, NotReady
from schemas.settings import Settings


class PastWriter:
    """A `Writer` for one task, without deadlines. `clock` returns the time of each append, seconds since 1970.

    Raises NotReady if there is no log, if it has records, or if a worker reads it.
    """

    def __init__(self, settings: Settings, *, clock: Callable[[], float]) -> None:
        self._path = path_of_log(settings)
        self._clock = clock
        self._file = LogFile(self._path)
        self._descriptor: int | None = None
        try:
            self._descriptor = take_reader_lock(self._path)
            if self._descriptor is None:
                raise NotReady(f"a worker reads the log {self._path}: stop it until the history is written")
            self._ends = self._read_ends()
            if any(self._ends.values()):
                raise NotReady(f"the log {self._path} has records: a history needs a new one")
        except BaseException:
            self._release()
            raise
        self._values: list[int | bytes] = []
        self._rows = 0

    @property
    def partitions(self) -> int:
        return len(self._ends)

    @property
    def waiting(self) -> int:
        return self._rows

    async def append(self, partition: int, *, key: bytes, value: bytes) -> Receipt:
        """Take one record. Raises LogUnavailable if those that wait cannot be written."""
        offset = self._ends[partition]
        self._ends[partition] = offset + 1
        self._values += ((partition << OFFSET_BITS) + offset, round(self._clock() * 1000), key, value)
        self._rows += 1
        if self._rows >= INSERT_ROWS_MAX:
            self._commit()
        return Receipt(offset)

    async def check(self) -> None:
        """Return at once: what is wrong with the log shows at the next append."""

    async def close(self) -> None:
        """Make durable what was appended, and release the log. Raises LogUnavailable."""
        try:
            if self._rows:
                self._commit()
        finally:
            self._release()

    def _read_ends(self) -> dict[int, int]:
        rows = self._file.connection.execute("SELECT partition, next_offset FROM partitions")
        return dict(rows.fetchall())

    def _commit(self) -> None:
        connection = self._file.connection
        try:
            with _turn(self._path):
                self._file.check()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    connection.execute(_insert_of(self._rows), self._values)
                    ends = [(end, partition) for partition, end in self._ends.items()]
                    connection.executemany("UPDATE partitions SET next_offset = ? WHERE partition = ?", ends)
                    connection.execute("COMMIT")
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except (sqlite3.Error, OSError) as error:  # an id that is taken: another process has written
            raise LogUnavailable(f"the log {self._path} could not be written: {error}") from error
        self._values.clear()
        self._rows = 0

    def _release(self) -> None:
        self._file.close()
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
