"""A folder on S3, as `backup_folder.py` wants one, for what DuckDB does not do there: list and delete."""

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lake.catalog import S3
from lake.errors import with_cure

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, S3FileSystem

SCHEME = "s3://"
# Three tries of this end within the ten seconds that `playhead status` has.
CONNECT_S_MAX = 2.0
REPLY_S_MAX = 5.0
SILENT_MAX = timedelta(days=1)  # there are no locks: a folder without a new file for so long is not being filled


class S3Folder(msgspec.Struct, frozen=True):
    """A folder of a bucket: `address` is s3://bucket/folder. What S3 does not do raises OSError, with the cure."""

    address: str
    s3: S3

    def __str__(self) -> str:
        return self.address

    def __truediv__(self, name: str) -> "S3Folder":
        return S3Folder(f"{self.address.rstrip('/')}/{name}", self.s3)

    @property
    def name(self) -> str:
        return self.address.rstrip("/").rpartition("/")[2]

    def entries(self) -> list["S3Folder"]:
        """Return the folders in it, in the order of names; none if there is no such folder."""
        from pyarrow.fs import FileType

        return [self / name for name in sorted(f.base_name for f in self._found() if f.type == FileType.Directory)]

    def read_bytes(self) -> bytes:
        """Return the content of the file of this name."""
        with self._said(), _system(self.s3).open_input_file(self._key) as file:
            content: bytes = file.read()
        return content

    def write_bytes(self, content: bytes) -> None:
        """Write the file of this name, whole or not at all."""
        with self._said(), _system(self.s3).open_output_stream(self._key) as file:
            file.write(content)

    def unlink(self) -> None:
        """Delete the file of this name, if there is one."""
        with self._said(), contextlib.suppress(FileNotFoundError):
            _system(self.s3).delete_file(self._key)

    def rmtree(self) -> None:
        """Delete all files in it."""
        with self._said():
            _system(self.s3).delete_dir(self._key)

    def make(self) -> None:
        """Do nothing: files need no folder to be written to."""

    @contextlib.contextmanager
    def drafted(self) -> Iterator["S3Folder"]:
        """Give the folder itself; if the block fails, what was written is deleted as far as that is possible."""
        self._found()  # what keeps us from S3 is said in its words, before anything is read to be written here
        try:
            yield self
        except BaseException:
            with contextlib.suppress(OSError):  # the first error counts
                self.rmtree()
            raise

    def may_be_written(self, now: datetime) -> bool:
        """Return whether a process may be filling it: it has files, and the newest is not old."""
        written = [found.mtime for found in self._found(recursive=True) if found.mtime]
        return bool(written) and now - max(written) < SILENT_MAX

    def beside(self, other: Path) -> Path:
        """Return `other`: nothing of this machine lies beside it."""
        return other

    @property
    def _key(self) -> str:
        return self.address.removeprefix(SCHEME).rstrip("/")

    def _found(self, *, recursive: bool = False) -> list["FileInfo"]:
        from pyarrow.fs import FileSelector

        selector = FileSelector(self._key, recursive=recursive, allow_not_found=True)
        with self._said():
            found: list[FileInfo] = _system(self.s3).get_file_info(selector)
        return found

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except OSError as error:
            raise OSError(f"{self.address}: {with_cure(error)}") from error


@lru_cache(maxsize=4)
def _system(s3: S3) -> "S3FileSystem":
    from pyarrow.fs import S3FileSystem  # a tenth of a second, and threads of its own

    has_key = bool(s3.access_key) and s3.secret_key is not None
    return S3FileSystem(
        access_key=s3.access_key if has_key else None,
        secret_key=s3.secret_key.get_secret_value() if has_key and s3.secret_key else None,
        region=s3.region,
        scheme="https" if s3.tls else "http",
        endpoint_override=s3.endpoint or None,
        connect_timeout=CONNECT_S_MAX,
        request_timeout=REPLY_S_MAX,
    )
