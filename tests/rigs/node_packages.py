"""Packages of npm that tests need: what minifies and types the client for web players, and players to try it with.

They are those of `clients/web/package-lock.json`, by their hashes; `npm ci` puts them into `build/`.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from rigs.processes import ROOT
from rigs.programs import tool

WEB = ROOT / "clients" / "web"
INSTALL_S_MAX = 240


@functools.cache
def node_modules() -> Path:
    """Return the folder of the packages; they are installed once for each lock file.

    Without npm or its registry the test is skipped, unless `CI` is set.
    """
    lock = (WEB / "package-lock.json").read_bytes()
    folder = ROOT / "build" / "npm" / hashlib.sha256(lock).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as only_one:
        fcntl.flock(only_one, fcntl.LOCK_EX)
        done = folder / "done"
        if not done.exists():
            if why := _install(folder):
                assert not os.environ.get("CI"), why
                pytest.skip(why)
            done.touch()
    return folder / "node_modules"


def _install(folder: Path) -> str:
    """Install the packages; return why not, if they cannot be."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(WEB / name, folder)
    command = [tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_S_MAX, check=False
        )
    except subprocess.TimeoutExpired:
        return f"npm ci takes more than {INSTALL_S_MAX} s"
    return "" if done.returncode == 0 else f"npm ci: {done.stderr[-500:]}"


def run_node_tool(name: str, *arguments: str | Path) -> bytes:
    """Run a program of these packages, and return what it prints."""
    done = subprocess.run(
        [node_modules() / ".bin" / name, *arguments], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return done.stdout
