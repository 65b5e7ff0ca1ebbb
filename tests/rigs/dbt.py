"""The program dbt in an environment of its own: the packages of `dbt.lock`, by their hashes, in `build/`."""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rigs.processes import ROOT

LOCK = Path(__file__).with_name("dbt.lock")
INSTALL_S_MAX = 240


@functools.cache
def dbt_programs() -> Path:
    """Return the folder of the program `dbt`; it is installed once for each lock file.

    Without a registry of packages the test is skipped, unless `CI` is set.
    """
    key = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = ROOT / "build" / "dbt" / key
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as only_one:
        fcntl.flock(only_one, fcntl.LOCK_EX)
        done = folder / "done"
        if not done.exists():
            if why := _install(folder / "venv"):
                assert not os.environ.get("CI"), why
                pytest.skip(why)
            done.touch()
    return folder / "venv" / "bin"


def _install(venv: Path) -> str:
    """Install the packages; return why not, if they cannot be."""
    uv = shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    commands: list[list[str | Path]] = [
        ["venv", "--quiet", "--clear", "--python", sys.executable, venv],
        ["pip", "sync", "--quiet", "--require-hashes", "--python", venv / "bin" / "python", LOCK],
    ]
    for command in commands:
        try:
            done = subprocess.run(
                [uv, *command], capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False
            )
        except subprocess.TimeoutExpired:
            return f"uv {command[0]} takes more than {INSTALL_S_MAX} s"
        if done.returncode:
            return f"uv {command[0]}: {done.stderr[-500:]}"
    return ""
