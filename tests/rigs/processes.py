"""Start a process and know it: what it has written, whether it runs, how it ends. The one way to start one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil

from rigs.waiting import WITHIN_S, until

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
END_S_MAX = 20.0


class Process:
    """A process of a group of its own, whose output goes into a file; see `started`.

    What it wrote, and others before it into the same file, is `output`. `options` are those of Popen.
    """

    def __init__(
        self, command: Iterable[object], *, log: Path, env: Mapping[str, str] | None = None, **options: Any
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._child = psutil.Popen(
                [str(part) for part in command],
                **{"env": env, "stdin": subprocess.DEVNULL, "stdout": output, "stderr": output}
                | {"start_new_session": True}
                | options,
            )
        self.started_s = time.monotonic()

    @property
    def pid(self) -> int:
        return int(self._child.pid)

    @property
    def output(self) -> str:
        """What it has written to stdout and stderr so far."""
        return self._log.read_text(errors="replace")

    def is_alive(self) -> bool:
        """Return whether it runs."""
        return self._child.poll() is None

    def resident_bytes(self) -> int:
        """Return how much memory it holds."""
        return int(self._child.memory_info().rss)

    def cpu_s(self) -> float:
        """Return how much CPU time it has used, seconds."""
        times = self._child.cpu_times()
        return float(times.user + times.system)

    def is_connected(self, port: int) -> bool:
        """Return whether it has a connection to this port."""
        return any(line.raddr and line.raddr.port == port for line in self._child.net_connections("tcp"))

    def ports(self) -> list[int]:
        """Return the TCP ports that it listens on."""
        return [line.laddr.port for line in self._child.net_connections("tcp") if line.status == "LISTEN"]

    def children(self, *, recursive: bool = False) -> list[psutil.Process]:
        """Return the processes that it has started and that run."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return list(self._child.children(recursive=recursive))
        return []

    def wait_for(self, condition: Callable[[], T | None], complaint: str = "", *, within_s: float = WITHIN_S) -> T:
        """Return the condition's value once it is true; fail at once where the process ends before that."""

        def is_so() -> T | None:
            assert self.is_alive(), f"ended with {self.wait(0)}: {self.output[-3000:]}"
            return condition()

        return until(is_so, lambda: f"{complaint} {self.output[-3000:]}", within_s=within_s)

    def wait(self, within_s: float = END_S_MAX) -> int | None:
        """Return its exit status; None where it still runs after the time."""
        with contextlib.suppress(psutil.TimeoutExpired):
            return int(self._child.wait(within_s))
        return None

    def send(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self._child.send_signal(number)

    def end(self, number: int = signal.SIGTERM, *, within_s: float = END_S_MAX) -> int | None:
        """Tell it to end, and return its exit status; None where it does not end in time."""
        self.send(number)
        return self.wait(within_s)

    def pause(self) -> None:
        """SIGSTOP, and return when all of its threads have stopped, unless they had before."""
        if self._child.status() == psutil.STATUS_STOPPED:
            return
        self._child.suspend()
        os.waitpid(self.pid, os.WUNTRACED)

    def resume(self) -> None:
        """SIGCONT."""
        self._child.resume()

    def kill(self) -> None:
        """SIGKILL to the process alone."""
        self.send(signal.SIGKILL)
        self._child.wait()

    def kill_all(self) -> None:
        """SIGKILL to it, its group and whatever it has started: nothing is left behind."""
        children = self.children(recursive=True)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._child.wait()


@contextlib.contextmanager
def started(
    command: Iterable[object], *, log: Path, env: Mapping[str, str] | None = None, **options: Any
) -> Iterator[Process]:
    """Start a process for the length of the block; whatever of it still runs at the end is killed."""
    process = Process(command, log=log, env=env, **options)
    try:
        yield process
    finally:
        process.kill_all()


@contextlib.contextmanager
def talking(*arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    """Run Python with these arguments, spoken to through its pipes; it is killed at the end of the block."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()
            process.communicate()


def tell(process: "subprocess.Popen[str]", line: str = "") -> None:
    """Send a line to a process that `talking` started."""
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def said(process: "subprocess.Popen[str]") -> str:
    """Return the next line of a process that `talking` started; empty if it ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()
