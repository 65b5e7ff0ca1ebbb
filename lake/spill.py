"""Where queries put what exceeds their memory: a folder for each connection, below one of this process.

DuckDB's own choice is `.tmp` in the working directory, under the same file names in every process. Two that spill
at once overwrite each other's rows: queries fail, crash or answer wrongly
(https://github.com/duckdb/duckdb/issues/15173).
"""

import atexit
import contextlib
import fcntl
import functools
import os
import shutil
import tempfile
import uuid
from pathlib import Path

from lake.draft import is_written

PREFIX = "playhead-spilled-"
_NEW = "playhead-spilling-"  # until it is locked


def spill_folder(parent: Path | None) -> Path:
    """Return where a new connection puts what exceeds its memory; DuckDB makes it on first use and deletes it.

    It is in the folder of this process in `parent`. If that cannot be made (there is no such folder, this process
    may not write to it, its disk is full or has no locks), it is in the system's folder for temporary files.
    """
    name = uuid.uuid4().hex
    if parent is not None:
        with contextlib.suppress(OSError):
            return _folder_of_process(parent) / name
    return _folder_of_process(Path(tempfile.gettempdir())) / name


@functools.cache
def _folder_of_process(parent: Path) -> Path:
    """Make this process's folder, which is locked until the process ends; delete those of killed ones."""
    for left in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # it is another user's, or has just been deleted
            if not is_written(left):
                shutil.rmtree(left)
    made = Path(tempfile.mkdtemp(prefix=_NEW, dir=parent))
    try:
        fcntl.flock(os.open(made, os.O_RDONLY | os.O_DIRECTORY), fcntl.LOCK_EX)
        folder = made.rename(parent / made.name.replace(_NEW, PREFIX, 1))
    except OSError:
        made.rmdir()
        raise
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
