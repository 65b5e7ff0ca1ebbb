"""Modes of files and folders: which only their owner reads, and which a group may.

Only the owner may read log, secrets and logs. PLAYHEAD_LAKE_GROUP_READ lets a group read the lake and its backups:
the umask of the process then keeps the group's bits, also in files that DuckDB and SQLite make.
"""

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PRIVATE_FILE: Final = 0o600
PRIVATE_FOLDER: Final = 0o700
UMASK: Final = 0o077
UMASK_WITH_READERS: Final = 0o027


def make_private(path: Path) -> None:
    """Create an empty file that only its owner can read, whatever the umask, unless it exists."""
    # An existing file is never opened: closing it would drop locks of this process that SQLite may hold on it.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))


def give_mode(paths: Iterable[Path], mode: int) -> None:
    """Set the mode of files or folders, except set-id and sticky bits; skip those missing or owned by others."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if status.st_uid == os.geteuid() and status.st_mode & 0o777 != mode:
                path.chmod(stat.S_IMODE(status.st_mode) & ~0o777 | mode)


def give_modes_below(folder: Path, *, umask: int) -> None:
    """Give a folder and its contents the modes that a umask allows; quick if the folder has its mode already."""
    with contextlib.suppress(FileNotFoundError):
        if folder.stat().st_mode & 0o777 == 0o777 & ~umask:
            return
        for parent, _, names in os.walk(folder, topdown=False):
            give_mode((Path(parent, name) for name in names), 0o666 & ~umask)
            give_mode([Path(parent)], 0o777 & ~umask)
