"""How far long work is: bars on a terminal, else a line in the log every half a minute."""

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import Final

import duckdb
import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from eventlog.adapters import read_ends
from lake.watch import Watch
from schemas.settings import Settings

SHOWN_EVERY_S: Final = 0.2
LOGGED_EVERY_S: Final = 30.0

logger = structlog.get_logger(__name__)


@contextlib.contextmanager
def shown_statements(verb: str) -> Iterator[Watch]:
    """Show each statement that is watched in the block; what is done is the verb's name in the log."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield partial(_logged, verb)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield partial(_drawn, progress)


@contextlib.contextmanager
def _drawn(progress: Progress, connection: duckdb.DuckDBPyConnection, what: str) -> Iterator[None]:
    """Draw a bar; the percentage is DuckDB's, which may not know it."""
    task = progress.add_task(what, total=100)
    with _looking(
        lambda: progress.update(task, completed=max(connection.query_progress(), 0)), every_s=SHOWN_EVERY_S
    ):
        yield
    progress.update(task, completed=100)


@contextlib.contextmanager
def _logged(verb: str, connection: duckdb.DuckDBPyConnection, what: str) -> Iterator[None]:
    def look() -> None:
        percent = connection.query_progress()
        logger.info("progress", doing=verb, part=what, percent=round(percent) if percent >= 0 else None)

    with _looking(look, every_s=LOGGED_EVERY_S):
        yield


@contextlib.contextmanager
def _looking(look: Callable[[], None], *, every_s: float) -> Iterator[None]:
    is_over = threading.Event()

    def run() -> None:
        while not is_over.wait(every_s):
            look()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Counted:
    """Shows a count as it grows: on a terminal with each change, else in the log every half a minute."""

    def __init__(self, verb: str) -> None:
        self._verb = verb
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console, transient=True) if console.is_terminal else None
        self._task = self._progress.add_task(verb, total=None) if self._progress else None
        self._logged_s = time.monotonic()

    def __enter__(self) -> "Counted":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, **counts: int) -> None:
        """Show how far it is."""
        if self._progress is not None and self._task is not None:
            said = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
            self._progress.update(self._task, description=f"{self._verb}: {said}")
        elif time.monotonic() - self._logged_s >= LOGGED_EVERY_S:
            self._logged_s = time.monotonic()
            logger.info("progress", doing=self._verb, **counts)


@contextlib.asynccontextmanager
async def shown_reading(
    verb: str, settings: Settings, positions: Callable[[], Mapping[int, int]]
) -> AsyncIterator[None]:
    """Show how many records of the log, as it is now, are still to be read; `positions` says what was read."""
    ends = await read_ends(settings)

    async def look(counted: Counted) -> None:
        while True:
            await asyncio.sleep(SHOWN_EVERY_S)
            reached = positions()
            left = sum(max(0, end - reached[number]) for number, end in ends.items() if number in reached)
            if reached:
                counted.show(records_left=left)

    with Counted(verb) as counted:
        looking = asyncio.create_task(look(counted))
        try:
            yield
        finally:
            looking.cancel()
