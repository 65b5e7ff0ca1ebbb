"""Keep a SQLite catalogue open, so that nobody who closes it is the last.

DuckDB opens the catalogue for each transaction and closes it again. Whoever closes a SQLite database as the last
one writes its log back and deletes it, under an exclusive lock; who would read just then is refused, and DuckDB's
SQLite, built without any sleep shorter than a second, looks again a second later. While somebody keeps it open,
readers are never refused, and a commit does not write the whole log back.

A process of its own does, because two SQLite libraries in one process drop each other's locks (`catalog.connect`).
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
signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a whole terminal; this process ends with the one that started it
catalog = sqlite3.connect(pathlib.Path(sys.argv[1]).as_uri() + "?mode=rw", uri=True)
catalog.execute("SELECT count(*) FROM sqlite_master").fetchall()
print("open", flush=True)
sys.stdin.read()
catalog.close()
"""


@contextlib.contextmanager
def kept_open(place: Location) -> Iterator[None]:
    """Keep the catalogue of a lake open for a while; one on PostgreSQL needs nobody for that."""
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
