"""`playhead export`: sessions and all that belongs to them, as a DuckDB file or Parquet files, with progress."""

from datetime import UTC, datetime
from pathlib import Path

from commands.durations import parse_moment
from commands.progress import shown_statements
from lake.catalog import location
from lake.export import Choice, export
from schemas.settings import Settings
from schemas.terminal import quantity


def export_sessions(
    settings: Settings, target: Path, *, since: str | None, until: str | None, where: str | None, overwrite: bool
) -> None:
    """Write the file or folder, and print what is in it. Raises typer.BadParameter if a time is not one."""
    now = datetime.now(UTC)
    first, last = (None if text is None else parse_moment(text, now=now) for text in (since, until))
    choice = Choice(first, last, where)
    with shown_statements("export") as watch:
        done = export(location(settings), target, choice, now=now, overwrite=overwrite, watch=watch)
    sessions, verb = quantity(done.rows["sessions"], "session"), "is" if done.rows["sessions"] == 1 else "are"
    print(  # noqa: T201
        f"{sessions} with {quantity(done.rows['events'], 'event')} {verb} in {target}: "
        f"{done.size_bytes / 1e6:,.1f} MB, of snapshot {done.snapshot}"
    )
