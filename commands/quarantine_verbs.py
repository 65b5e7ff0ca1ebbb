"""The verbs of `playhead quarantine` and their options; what they do is in `quarantine.py`."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands.options import Data, Json, settings_of_process

if TYPE_CHECKING:
    from lake.quarantine import Choice

app = typer.Typer(
    no_args_is_help=True, help="Look at records that are no events, put them back, or be done with them."
)
Records = Annotated[list[str] | None, typer.Argument(metavar="[PARTITION:OFFSET]...", help="Only these records.")]
OfReason = Annotated[str | None, typer.Option("--reason", help="Only this reason, such as not_json.")]
OfSource = Annotated[
    Literal["worker", "ingest"] | None,
    typer.Option("--source", help="worker: records that cannot be decoded; ingest: bodies that were refused."),
]
OfPartition = Annotated[int | None, typer.Option("--partition", min=0, help="Only this partition.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Only what arrived at or after 2026-11-28T12:00 (UTC), or 7d ago.")
]
Dry = Annotated[bool, typer.Option("--dry-run", help="Only count.")]


def _choice(
    reason: str | None,
    source: Literal["worker", "ingest"] | None,
    partition: int | None,
    since: str | None,
    at: list[str],
) -> "Choice":
    from commands.quarantine import choose

    return choose(reason=reason, source=source, partition=partition, since=since, at=at)


@app.command("list")
def list_(
    reason: OfReason = None,
    source: OfSource = None,
    partition: OfPartition = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many reasons.")] = 100,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Count the records in quarantine by reason, with the newest open one as an example."""
    from commands.quarantine import print_reasons

    print_reasons(
        settings_of_process(data), _choice(reason, source, partition, since, []), limit=limit, as_json=as_json
    )


@app.command()
def show(
    record: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="The record.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show one record: its bytes, why it is here, whether it can be decoded now, what was decided."""
    from commands.quarantine import print_entry

    print_entry(settings_of_process(data), record, as_json=as_json)


@app.command()
def replay(
    records: Records = None,
    reason: OfReason = None,
    source: OfSource = None,
    partition: OfPartition = None,
    since: Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Put back at most so many, the oldest first.")] = None,
    dry_run: Dry = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Append to the log what can be decoded now; everything may keep running.

    Upgrade the workers first. What still cannot be decoded stays as it is. Bodies that the ingest refused are
    not replayed.
    """
    from commands.quarantine import print_replay

    choice = _choice(reason, source, partition, since, records or [])
    asyncio.run(print_replay(settings_of_process(data), choice, limit=limit, is_dry=dry_run, as_json=as_json))


@app.command()
def discard(
    why: Annotated[str, typer.Option(help="Why nothing more is to be done with them.")],
    records: Records = None,
    reason: OfReason = None,
    source: OfSource = None,
    partition: OfPartition = None,
    since: Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many, the oldest first.")] = None,
    dry_run: Dry = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Mark records as dealt with, with the reason and the time; nothing is deleted."""
    from commands.quarantine import print_discard

    choice = _choice(reason, source, partition, since, records or [])
    print_discard(settings_of_process(data), choice, why, limit=limit, is_dry=dry_run, as_json=as_json)
