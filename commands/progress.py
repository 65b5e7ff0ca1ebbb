"""How far long work is: bars on a terminal, else a line in the log every half a minute."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import duckdb
import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lake.watch import Watch

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
