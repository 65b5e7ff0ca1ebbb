"""The command `playhead` as a person types it, as child processes with nothing but the settings they are given."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PLAYHEAD = Path(sys.executable).parent / "playhead"
SECRETS = {
    "PLAYHEAD_API_KEYS": "string,your_api_key_here",
    "PLAYHEAD_MAC_KEY": "mac key of the tests, of 32 characters and more",
    "PLAYHEAD_PSEUDONYM_KEY": "pseudonym key of the tests, also long enough",
}


Settings = Mapping[str, str]


def environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with these PLAYHEAD_* settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")}
    return {**kept, "COLUMNS": "100", **settings}


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


def ask(statement: str, *, cwd: Path, settings: Settings | None = None) -> list[dict[str, Any]]:
    """Return what `playhead sql --json` answers."""
    done = playhead("sql", "--json", statement, cwd=cwd, settings=settings)
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


class Running:
    """A `playhead` that runs, and what it has written so far."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self._output = output

    @property
    def output(self) -> str:
        """What it has written to stdout and stderr."""
        return self._output.read_text(errors="replace")

    def wait_for(self, condition: Callable[[], Any], *, timeout_s: float = 60) -> Any:
        """Wait until the condition is true while it runs; return its value."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            assert self.process.poll() is None, self.output
            assert time.monotonic() < deadline, self.output
            time.sleep(0.05)
        return value

    def end(self, number: int = signal.SIGTERM, *, timeout_s: float = 20) -> int:
        """Send a signal, and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout_s)

    def children(self) -> dict[str, int]:
        """Return the process ids of the children by their verb."""
        found = {}
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            with contextlib.suppress(FileNotFoundError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if "playhead" in words:
                    found[words[words.index("playhead") + 1]] = int(pid)
        return found


@contextlib.contextmanager
def started(*arguments: str, cwd: Path, settings: Settings | None = None, umask: int = -1) -> Iterator[Running]:
    """Start `playhead` with these arguments; whatever of it still runs at the end is killed."""
    output = cwd / f"{arguments[0]}.{time.monotonic_ns()}.out"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [PLAYHEAD, *arguments],
            cwd=cwd,
            env=environment(settings or {}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            umask=umask,
        )
    running = Running(process, output)
    try:
        yield running
    finally:
        if process.poll() is None:
            children = running.children()
            process.kill()
            for pid in children.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.wait()
