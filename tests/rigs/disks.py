"""Disks of the test's own: small ones that fill up."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def mounted(folder: Path, *, size_mb: int) -> Iterator[Path]:
    """Mount a small file system for the length of the block."""
    sudo = [] if os.geteuid() == 0 else ["sudo", "--non-interactive"]
    options = f"size={size_mb}m,uid={os.geteuid()},mode=0711"
    command = [*sudo, "mount", "-t", "tmpfs", "-o", options, "playhead-test", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = f"no file system can be mounted here: {done.stderr}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run([*sudo, "umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Write until the disk is full; return the file to remove."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast
