"""Modes of files and folders: what nobody but their owner reads, and what a group may.

Log, secrets and logs are their owner's alone. The lake and its backups may be opened to readers of a group
(PLAYHEAD_LAKE_GROUP_READ): the process's umask then leaves the group its bits, for DuckDB and SQLite as well.
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
    """Make an empty file that its owner alone reads, where there is none; whatever the umask is."""
    # Never opened where it exists: to close a file drops the process's own locks on it, which SQLite may hold.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE_FILE))


def give_mode(paths: Iterable[Path], mode: int) -> None:
    """Give files or folders a mode, set-id and sticky bits aside; pass over what is missing or others' own."""
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            if status.st_uid == os.geteuid() and status.st_mode & 0o777 != mode:
                path.chmod(stat.S_IMODE(status.st_mode) & ~0o777 | mode)


def give_modes_below(folder: Path, *, umask: int) -> None:
    """Give a folder that we made, and all in it, the modes that a umask leaves; quick where they have them."""
    with contextlib.suppress(FileNotFoundError):
        if folder.stat().st_mode & 0o777 == 0o777 & ~umask:
            return
        for parent, _, names in os.walk(folder, topdown=False):
            give_mode((Path(parent, name) for name in names), 0o666 & ~umask)
            give_mode([Path(parent)], 0o777 & ~umask)
