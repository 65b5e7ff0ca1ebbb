"""`playhead export`: sessions and all that belongs to them, as a DuckDB file or Parquet files, with progress."""

import contextlib
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import duckdb
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from commands.durations import parse_moment
from lake.catalog import location
from lake.export import Choice, export
from schemas.settings import Settings

SHOWN_EVERY_S = 0.2


def export_sessions(
    settings: Settings, target: Path, *, since: str | None, until: str | None, where: str | None, overwrite: bool
) -> None:
    """Write the file or folder, and print what is in it. Raises typer.BadParameter if a time is not one."""
    now = datetime.now(UTC)
    first, last = (None if text is None else parse_moment(text, now=now) for text in (since, until))
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        choice, watch = Choice(first, last, where), partial(_shown, progress)
        done = export(location(settings), target, choice, now=now, overwrite=overwrite, watch=watch)
    print(  # noqa: T201
        f"{done.rows['sessions']:,} sessions with {done.rows['events']:,} events are in {target}: "
        f"{done.size_bytes / 1e6:,.1f} MB, of snapshot {done.snapshot}"
    )


@contextlib.contextmanager
def _shown(progress: Progress, connection: duckdb.DuckDBPyConnection, what: str) -> Iterator[None]:
    """Show the progress of a statement until it ends; the percentage is DuckDB's, which may not know it."""
    task = progress.add_task(what, total=100)
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(SHOWN_EVERY_S):
            progress.update(task, completed=max(connection.query_progress(), 0))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    progress.update(task, completed=100)
