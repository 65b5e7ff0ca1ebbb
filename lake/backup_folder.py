"""Where backups lie: a folder of this machine or, with the same methods, of S3 (`s3.py`)."""

import contextlib
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PosixPath
from typing import Protocol, Self

from lake.catalog import S3
from lake.disk import flush
from lake.draft import draft_of, is_written
from schemas.faults import NotReady


class Folder(Protocol):
    """The path of a folder of backups, or of a folder or file of one. Whatever reaches it may raise OSError."""

    @property
    def name(self) -> str:
        """The last part of its path."""

    @property
    def s3(self) -> S3 | None:
        """How S3 is reached, if it lies there."""

    def __truediv__(self, name: str, /) -> Self: ...

    def __hash__(self) -> int: ...

    def entries(self) -> list[Self]:
        """Return what is in it, in the order of names; nothing if there is no such folder."""

    def read_bytes(self) -> bytes:
        """Return the content of the file. Raises FileNotFoundError, or NotReady if it is there and unreadable."""

    def write_bytes(self, content: bytes, /) -> object:
        """Write the file."""

    def unlink(self) -> None:
        """Delete the file."""

    def rmtree(self) -> None:
        """Delete the folder and all that is in it."""

    def make(self) -> None:
        """Make the folder, if files need one to be written to."""

    def drafted(self) -> contextlib.AbstractContextManager[Self]:
        """Give a folder to fill, which is this one once the block is over; if it fails, nothing remains."""

    def may_be_written(self, now: datetime) -> bool:
        """Return whether a process may be filling it."""

    def beside(self, other: Path) -> Path:
        """Return a folder of this machine where a copy can lie: the one it lies in, or `other`."""


class LocalFolder(PosixPath):
    """A path of this machine."""

    s3 = None

    def entries(self) -> list["LocalFolder"]:
        """Return what is in it, in the order of names; nothing if there is no such folder."""
        return sorted(self.glob("*"))

    def read_bytes(self) -> bytes:
        """Return the content of the file. Raises FileNotFoundError, or NotReady if it is there and unreadable."""
        try:
            return super().read_bytes()
        except NotADirectoryError as error:
            raise FileNotFoundError(*error.args) from error
        except FileNotFoundError:
            raise
        except OSError as error:
            raise NotReady(f"{self} cannot be read: {error}") from error

    def rmtree(self) -> None:
        """Delete the folder and all that is in it."""
        shutil.rmtree(self)

    def make(self) -> None:
        """Make the folder."""
        self.mkdir()

    @contextlib.contextmanager
    def drafted(self) -> Iterator["LocalFolder"]:
        """Give a folder to fill, which gets this name, flushed to disk, once the block is over."""
        with draft_of(self) as draft:
            yield LocalFolder(draft)
            flush([draft, *draft.rglob("*")])
            flush([draft.rename(self), self.parent])

    def may_be_written(self, now: datetime) -> bool:
        """Return whether a process is filling it."""
        return is_written(self)

    def beside(self, other: Path) -> Path:
        """Return the folder that it lies in."""
        return self.parent
