"""Flush files and folders to a local disk: DuckDB does so for its catalogue, and for no file that it names."""

import os
from collections.abc import Iterable
from pathlib import Path


def flush(paths: Iterable[str | Path]) -> None:
    """Return once these files and folders survive a power cut; a file does so with its folder alone."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
