"""Keeps a SQLite catalogue open, so that no transaction is the last to close it.

DuckDB opens and closes the catalogue for each transaction. The last connection to close a SQLite database
checkpoints and deletes its write-ahead log under an exclusive lock. A reader that arrives then is refused, and
DuckDB's SQLite, built without sleeps shorter than a second, retries a second later. While another process keeps
the catalogue open, readers are never refused, and a commit does not checkpoint the whole log.

This needs a separate process, because two SQLite libraries in one process drop each other's locks (see
`catalog.connect`).
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from lake.catalog import Location
from schemas.settings import without_settings

END_S_MAX = 5.0
KEEP = """
import pathlib, signal, sqlite3, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # sent to the whole terminal; this process ends with its parent
catalog = sqlite3.connect(pathlib.Path(sys.argv[1]).as_uri() + "?mode=rw", uri=True)
catalog.execute("SELECT count(*) FROM sqlite_master").fetchall()
print("open", flush=True)
sys.stdin.read()
catalog.close()
"""


@contextlib.contextmanager
def kept_open(place: Location) -> Iterator[None]:
    """Keep the catalogue of a lake open during a `with` block; on PostgreSQL this does nothing."""
    if place.kind != "sqlite":
        yield
        return
    command = [sys.executable, "-I", "-S", "-c", KEEP, place.catalog]
    environment = without_settings(os.environ)
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as keeper:
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        keeper.stdout.readline()
        try:
            yield
        finally:
            keeper.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                keeper.wait(END_S_MAX)
            keeper.kill()
