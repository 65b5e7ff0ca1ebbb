"""The command `playhead` as a person types it, as child processes with nothing but the settings they are given."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from commands.ending import SERVICES
from lake.catalog import connect, location
from rigs.processes import Process
from schemas.settings import read_settings

PLAYHEAD = Path(sys.executable).parent / "playhead"
SECRETS = {
    "PLAYHEAD_API_KEYS": "string,your_api_key_here",
    "PLAYHEAD_MAC_KEY": "mac key of the tests, of 32 characters and more",
    "PLAYHEAD_PSEUDONYM_KEY": "pseudonym key of the tests, also long enough",
}


Settings = Mapping[str, str]


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with these PLAYHEAD_* settings and no others.

    `playhead up` serves no pages then, which take seconds to begin; metrics have any port that is free.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")}
    return {**kept, "COLUMNS": "100", "PLAYHEAD_UP_NOTEBOOKS": "off", "PLAYHEAD_METRICS_PORT": "0", **settings}


def playhead(
    *arguments: str, cwd: Path, settings: Settings | None = None, timeout_s: float = 120, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    """Run `playhead` with these arguments to its end, in the folder `cwd`."""
    return subprocess.run(
        [PLAYHEAD, *arguments],
        cwd=cwd,
        env=environment(settings or {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        umask=umask,
    )


def ask(statement: str, *, cwd: Path) -> list[dict[str, Any]]:
    """Return what the lake of a folder answers, in this process: starting `playhead sql` takes half a second."""
    place = location(read_settings({"PLAYHEAD_DATA_DIR": str(cwd / "data")}))
    with contextlib.closing(connect(place, read_only=True)) as connection:
        answer = connection.execute(statement)
        names = [column[0] for column in answer.description or []]
        return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


class Running(Process):
    """A `playhead` that runs."""

    def by_verb(self) -> dict[str, int]:
        """Return the process ids of its children by their verb."""
        found = {}
        for child in self.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                words = child.cmdline()
                if "playhead" in words:
                    found[words[words.index("playhead") + 1]] = child.pid
        return found


@contextlib.contextmanager
def started(*arguments: str, cwd: Path, settings: Settings | None = None, umask: int = -1) -> Iterator[Running]:
    """Start `playhead` with these arguments; whatever of it still runs at the end is killed."""
    log = cwd / f"{arguments[0]}.{time.monotonic_ns()}.out"
    running = Running([PLAYHEAD, *arguments], log=log, env=environment(settings or {}), cwd=cwd, umask=umask)
    try:
        yield running
    finally:
        running.kill_all()


URL = re.compile(r"Playhead listens on (http://\S+);")
METRICS_URL = re.compile(r"Metrics and health: ingest (http://[^\s,]+)")


def failed(done: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """Return the sentence that a refused command wrote; of a service, that in the last line of its log."""
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout == ""
    if done.args[1] in SERVICES:
        *_, last = map(json.loads, done.stderr.splitlines())
        assert (last["event"], last["level"]) == ("ended", "error")
        return str(last["error"])
    (line,) = done.stderr.splitlines()
    assert line.startswith("playhead: ")
    return line.removeprefix("playhead: ")
