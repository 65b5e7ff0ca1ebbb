"""Child processes: started, watched and stopped; and the signals that stop this one."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.text import Text

from schemas.modes import PRIVATE_FILE, PRIVATE_FOLDER, give_mode, make_private
from schemas.settings import Settings, environment_of, without_settings
from schemas.terminal import printable, printable_lines

CHILD_END_S_MAX = 3.0
LINE_BYTES_MAX = 1_048_576
_LIBC = ctypes.CDLL(None)  # loaded here, because little is safe between fork and exec

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Make the system end a child when this process is killed; on systems that cannot, the child stays."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Failed(Exception):  # noqa: N818  (the result of a run, not a defect)
    """A run failed: a child ended that must not, or the lake is wrong; the message is one line."""

    style = "bold red"


class Stage:
    """The children of one run, and the console they share."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self._settings = settings
        self._logs = settings.data_dir / "logs"
        self._console = console
        self._children: dict[str, asyncio.subprocess.Process] = {}
        self._relays: list[asyncio.Task[None]] = []

    async def start(self, name: str, verb: str, *arguments: str, **settings: object) -> None:
        """Start `playhead <verb> ...`, with some settings of its own.

        Its output goes to a file, and warnings and worse also to the console.
        """
        child = await start_child(
            self._settings.model_copy(update=settings),
            verb,
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=LINE_BYTES_MAX,
            preexec_fn=die_with_parent,
            start_new_session=True,  # Ctrl-C reaches only this process, which stops the children in order
        )
        self._children[name] = child
        self._relays.append(asyncio.create_task(self._relay(name, child)))

    async def _relay(self, name: str, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        path = self._logs / f"{name}.log"
        self._logs.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        make_private(path)
        give_mode([path], PRIVATE_FILE)
        give_mode([self._logs], PRIVATE_FOLDER)
        with path.open("wb", buffering=0) as file:
            async for line in child.stdout:
                file.write(line)
                if text := console_text(line):
                    self.say(f"{name:9} {text}", style="yellow")

    def say(self, text: str, style: str = "") -> None:
        """Print a line, without wrapping: programs may read it."""
        self._console.print(Text(printable_lines(text), style), soft_wrap=True)

    def check(self, *may_end: str) -> None:
        """Raise Failed if a child has ended, other than those named."""
        for name, child in self._children.items():
            if child.returncode is not None and name not in may_end:
                raise Failed(
                    f"{name} ended by itself, {status_text(child.returncode)}; see {self._logs / name}.log"
                )

    def __contains__(self, name: str) -> bool:
        """Return whether a child of this name was started."""
        return name in self._children

    def ended(self) -> list[str]:
        """Return the children that are no longer running."""
        return [name for name, child in self._children.items() if child.returncode is not None]

    async def wait(self, name: str, timeout_s: float | None) -> int | None:
        """Return a child's exit status, or None if it still runs after `timeout_s`."""
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(self._children[name].wait(), timeout_s)
        return None

    async def end(self, name: str) -> int | None:
        """Terminate a child, kill it if it does not exit in time, and return its exit status."""
        child = self._children.get(name)
        if child is None:
            return 0
        if child.returncode is None:
            child.terminate()
            if await self.wait(name, CHILD_END_S_MAX) is None:
                child.kill()
                await child.wait()
        return child.returncode

    async def close(self) -> None:
        """Stop all children that still run."""
        for name in reversed(list(self._children)):
            await self.end(name)
        await asyncio.gather(*self._relays)


def console_text(line: bytes) -> str | None:
    """Return the text of a child's line for the console: of warnings, errors and lines not in JSON; else None."""
    try:
        fields = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return printable(line.decode(errors="replace").rstrip()) or None
    if fields.pop("level", "error") in ("debug", "info"):
        return None
    event = fields.pop("event", "")
    rest = [f"{name}={value}" for name, value in fields.items() if name not in ("timestamp", "logger")]
    return printable(" ".join([str(event), *rest]))


def status_text(status: int | None) -> str:
    if status is not None and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"with exit status {status}"


async def start_child(
    settings: Settings, verb: str, *arguments: str, **options: Any
) -> asyncio.subprocess.Process:
    """Start `playhead <verb> <arguments>`; `options` are those of `create_subprocess_exec`.

    With `-P`, modules are not imported from the current folder, which may contain a `schemas/` of its own.
    """
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "playhead", verb, *arguments),
        env=without_settings(os.environ) | environment_of(settings, verb=verb),
        **options,
    )


async def run_child(
    settings: Settings, verb: str, *arguments: str, stopping: "asyncio.Task[Any]"
) -> tuple[int | None, bytes]:
    """Run `playhead <verb> <arguments>`, until `stopping` is done at most; return its status and its stdout."""
    child = await start_child(settings, verb, *arguments, stdout=asyncio.subprocess.PIPE)
    ending = asyncio.create_task(child.communicate())
    await asyncio.wait({stopping, ending}, return_when="FIRST_COMPLETED")
    if not ending.done():
        child.terminate()
    output, _ = await ending
    return child.returncode, output


def stopped_by_signals() -> asyncio.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
