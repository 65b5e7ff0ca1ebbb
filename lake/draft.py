"""A folder for what is not complete; a lock tells one being written from the remains of a killed process."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from schemas.faults import NotReady

UNFINISHED = ".unfinished"  # suffix of a folder's name until everything is written


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock. Raises BlockingIOError if another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def is_written(folder: Path) -> bool:
    """Return whether a process is writing into this folder."""
    try:
        with locked(folder):
            return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def draft_of(target: Path) -> Iterator[Path]:
    """Make an empty folder next to `target` and delete it at the end; move out of it what is complete.

    Remains of a killed process are deleted first. Raises NotReady if another process is writing there.
    """
    folder = target.with_name(target.name + UNFINISHED)
    if folder.exists():
        if is_written(folder):
            raise NotReady(f"another process is writing {target}")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    with locked(folder):
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
