"""Who keeps a query of the lake open: a SQLite catalogue's write-ahead log grows until it is closed.

A query whose result was not read to its end keeps its snapshot, and so does a program that waits in the middle of
one. SQLite starts its log over only when no reader needs what is in it.
"""

import re
from pathlib import Path

from lake.catalog import Location

_LOCKS = Path("/proc/locks")
_READ_MARKS = range(123, 128)  # bytes of the shared-memory file: https://www.sqlite.org/walformat.html#wal_locks
_HELD = re.compile(r"READ +(\d+) [0-9a-f]+:[0-9a-f]+:(\d+) (\d+) ")


def log_bytes(place: Location) -> int:
    """Return how large the catalogue's write-ahead log is; 0 with PostgreSQL, whose log is its own."""
    log = Path(f"{place.catalog}-wal")
    return log.stat().st_size if place.kind == "sqlite" and log.exists() else 0


def held_by(place: Location) -> list[int]:
    """Return the processes of this machine that have a query of the lake open now, as far as Linux tells."""
    shared = Path(f"{place.catalog}-shm")
    if place.kind != "sqlite" or not shared.exists() or not _LOCKS.exists():
        return []
    inode = shared.stat().st_ino
    held = {
        int(pid)
        for pid, of, byte in _HELD.findall(_LOCKS.read_text())
        if int(of) == inode and int(byte) in _READ_MARKS
    }
    return sorted(held - {0})  # 0: of another container
