"""The command `playhead`: everybody's verbs put together."""

import asyncio
import contextlib
import errno
import gc
import json
import math
import os
import secrets
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import duckdb
import structlog
import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from commands.logs import log_as_json
from commands.own_secrets import with_kept_secrets, with_own_secrets
from commands.upkeep import repeat_upkeep, start_upkeep, stopped_by_signals, wait_until_told
from schemas.faults import Fault, NotReady
from schemas.modes import give_modes_below
from schemas.settings import Settings, describe, read_settings
from schemas.terminal import printable, printable_lines

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take the events of media players, lose none, query them while they come.",
)
# A batch is tens of thousands of objects that live until its commit; the collector need not look at them.
GC_THRESHOLD = (50_000, 50, 100)
BACKUP_NICENESS = 10  # ingest and worker go first
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
NewLog = Annotated[
    str | None,
    typer.Option(
        metavar="PARTITIONS",
        help="Go on with a log that was made in the place of another, for these partitions (0,3 or all).",
    ),
]
Data = Annotated[Path | None, typer.Option("--data", help="Folder of log, lake and secrets.")]


def main() -> None:
    """Run the command; a fault becomes one readable line and exit status 2."""
    try:
        app()
    except (Fault, duckdb.Error, OSError) as fault:
        print(f"playhead: {printable_lines(str(fault))}", file=sys.stderr)  # noqa: T201
        sys.exit(2)


def _print_table(columns: list[str], rows: list[list[str]]) -> None:
    """Print a table; where nobody looks at a terminal, as wide as its cells are."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=100_000)
    # A cell is text, never markup: it may come from a player.
    table = Table(*(Column(Text(printable(column))) for column in columns))
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console.print(table)


def _settings(data: Path | None = None) -> Settings:
    """Read the settings, log and make files as they say; `data`, if given, goes before PLAYHEAD_DATA_DIR."""
    settings = read_settings(os.environ)
    if data is not None:
        settings = settings.model_copy(update={"data_dir": data})
    log_as_json(settings.log_level)
    os.umask(settings.umask)
    return settings


@app.command()
def init() -> None:
    """Make the log and the lake where they are missing; safe to repeat."""
    settings = _settings()
    asyncio.run(_init(settings))
    print(f"log and lake are ready in {settings.data_dir}")  # noqa: T201


async def _init(settings: Settings) -> None:
    from eventlog.adapters import create_log
    from lake.catalog import location
    from lake.tables import initialize

    partitions = await create_log(settings)
    await asyncio.to_thread(initialize, location(settings), partitions=partitions)
    for folder in (settings.data_dir / "lake", settings.data_dir / "backups"):
        give_modes_below(folder, umask=settings.umask)


@app.command()
def topics(
    partitions: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Raise the number of partitions to this, while all runs.")
    ] = None,
) -> None:
    """Make the log (Kafka: the topic), or compare it with the settings; add partitions."""
    settings = _settings()
    print(f"the log has {asyncio.run(_topics(settings, partitions))} partitions")  # noqa: T201


async def _topics(settings: Settings, partitions: int | None) -> int:
    from eventlog.adapters import add_partitions, create_log
    from lake.catalog import location
    from lake.tables import initialize

    there = await create_log(settings)
    if partitions is None or partitions <= there:
        return there
    # The tables first: a worker that is given a partition must find them.
    await asyncio.to_thread(initialize, location(settings), partitions=partitions, migrate=False)
    return await add_partitions(settings, partitions=partitions)


@app.command()
def ingest() -> None:
    """Serve the HTTP APIs until told to stop."""
    from ingest.serve import serve

    settings = _settings()
    try:
        serve(settings)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise NotReady(f"port {settings.http_port} of {settings.http_host} is in use") from None


@app.command()
def worker(
    accept_gap: Annotated[
        list[str] | None,
        typer.Option(help="Go on behind lost offsets, partition:first-last; leaves a row in `gaps`."),
    ] = None,
    new_log: NewLog = None,
) -> None:
    """Move the log into the lake until told to stop."""
    asyncio.run(_worker(_settings(), accept_gap or [], new_log))


async def _worker(settings: Settings, gaps: list[str], new_log: str | None) -> None:
    from consumers.decisions import accept_gaps, accept_new_logs, parse_partitions
    from consumers.worker import Worker
    from lake.transaction import Gap

    if gaps:
        await asyncio.to_thread(accept_gaps, settings, [Gap.parse(gap) for gap in gaps])
    if new_log is not None:
        await accept_new_logs(settings, parse_partitions(new_log))

    has_own_upkeep = settings.lake_catalog == "sqlite"
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    upkeep = partial(start_upkeep, settings) if has_own_upkeep else None
    await Worker(settings, upkeep=upkeep).run(stopped_by_signals())


@app.command()
def upkeep(
    every: Annotated[str | None, typer.Option(help="Go on with a round so often, such as 60s.")] = None,
    when_told: Annotated[bool, typer.Option(help="Say `ready`, and begin at a line on standard input.")] = False,
) -> None:
    """Do a round of the lake's upkeep: merge small files, forget old snapshots, delete what nothing names."""
    from lake.catalog import location
    from lake.upkeep import Ages, tidy

    settings = _settings()
    if every is not None:
        asyncio.run(repeat_upkeep(settings, _seconds(every)))
        return

    def now() -> datetime:
        if when_told:
            wait_until_told()
        return datetime.now(UTC)

    tidied = tidy(location(settings), Ages.of(settings), orphans=settings.orphans, now=now)
    structlog.get_logger().info(
        "upkeep",
        merged=tidied.merged_tables,
        snapshots_expired=tidied.snapshots_expired,
        files_deleted=tidied.files_deleted,
        orphans_set_aside=tidied.orphans.aside,
        orphans_deleted=tidied.orphans.deleted,
    )


@app.command()
def backup(
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many backups stay; else PLAYHEAD_LAKE_BACKUPS_KEPT.")
    ] = None,
    data: Data = None,
) -> None:
    """Back up the lake while all runs: every table as Parquet, of one moment."""
    from lake.backup import back_up, drop_older
    from lake.catalog import location

    settings = _settings(data)
    keep = keep or settings.lake_backups_kept
    os.nice(BACKUP_NICENESS)
    drop_older(settings.backups, keep=keep)  # what a killed backup left may be what fills the disk
    path, manifest = back_up(location(settings), settings.backups, now=datetime.now(UTC))
    drop_older(settings.backups, keep=keep)
    print(f"{sum(manifest.rows.values())} rows are in {path}")  # noqa: T201


@app.command()
def rebuild(new_log: NewLog = None, data: Data = None) -> None:
    """Make the lake anew where there is none: from the newest backup, and the log from there on."""
    from lake.backup import newest

    settings = _settings(data)
    found = newest(settings.backups)
    asyncio.run(_rebuild(settings, found[0] if found else None, new_log))
    print(f"rebuilt {'from ' + str(found[0]) if found else 'from the log alone'}")  # noqa: T201


async def _rebuild(settings: Settings, backup: Path | None, new_log: str | None) -> None:
    from consumers.decisions import accept_new_logs, other_logs, parse_partitions, with_remedy
    from consumers.worker import Worker
    from eventlog.adapters import create_log
    from lake.backup import ledgers_of, restore
    from lake.catalog import location
    from lake.transaction import Ledger

    if backup is not None:
        await create_log(settings)
        others = await other_logs(settings, [Ledger.of(row) for row in ledgers_of(backup)])
        accepted = parse_partitions(new_log) if new_log is not None else []
        for partition, fault in others.items():
            if accepted is not None and partition not in accepted:
                raise NotReady(f"the backup {backup} is of another log: {with_remedy(fault, verb='rebuild')}")
        await asyncio.to_thread(restore, location(settings), backup)
        if others:
            await accept_new_logs(settings, others.keys())
    await _init(settings)
    await Worker(settings).run(stopped_by_signals(), until_read=True)


@app.command()
def simulate(
    url: Annotated[str, typer.Option(help="Address of an ingest.")] = "http://127.0.0.1:8080",
    viewers: Annotated[int, typer.Option(min=1)] = 20,
    for_: Annotated[str, typer.Option("--for", help="How long, such as 30s, 5m, 1h.")] = "30s",
    seed: Annotated[int, typer.Option(help="The same seed plays the same scripts.")] = 1,
    report: Annotated[Path | None, typer.Option(help="Write what is true as JSON.")] = None,
) -> None:
    """Play viewers at an ingest, as real players would; the first key of PLAYHEAD_API_KEYS opens sessions."""
    from players.rehearsal import play

    settings = _settings()
    key = min(settings.keys_of_api()) if settings.api_keys else None
    asyncio.run(play(url, viewers=viewers, for_s=_seconds(for_), seed=seed, api_key=key, report=report))


def _seconds(text: str) -> float:
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    with contextlib.suppress(ValueError):
        seconds = float(text[:-1]) * units[text[-1]] if text[-1:] in units else float(text)
        if 0 < seconds < math.inf:
            return seconds
    raise typer.BadParameter(f"{text!r} is no duration; write 30s, 5m or 1h")


@app.command()
def verify(
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Recount a sample of closed sessions from their events instead.")
    ] = False,
    sample: Annotated[int, typer.Option(min=1, help="How many sessions --metrics recounts.")] = 200,
    seed: Annotated[int | None, typer.Option(help="Which sessions; else others each time.")] = None,
    within: Annotated[str, typer.Option(help="How long what is in the log now may take into the lake.")] = "10s",
    lake_only: Annotated[
        bool, typer.Option("--lake-only", help="Look at the lake alone, not at the log.")
    ] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Check the lake and the log, live or not: every offset exactly once, nothing double, nothing left behind.

    Exit status 1 if anything is not as promised.
    """
    import msgspec

    from consumers.waiting import look
    from lake.catalog import location
    from lake.verify import verify as verify_lake

    settings = _settings(data)
    if metrics:
        _verify_metrics(settings, sample, secrets.randbelow(1 << 32) if seed is None else seed, as_json)
        return
    waiting, findings = ([], []) if lake_only else asyncio.run(look(settings, within_s=_seconds(within)))
    verdict = verify_lake(location(settings))
    findings += verdict.findings
    if as_json:
        whole = {"partitions": verdict.partitions, "findings": findings, "log": waiting}
        print(msgspec.json.encode(whole).decode())  # noqa: T201
    else:
        console = Console(soft_wrap=True)
        for count in verdict.partitions:
            console.print(
                f"partition {count.partition}: offsets {count.first_offset} to {count.next_offset}: "
                f"{count.events} events, {count.quarantined} quarantined, {count.duplicates} duplicates, "
                f"{count.lost} lost, {count.removed} removed"
            )
        for one in waiting:
            if one.records:
                console.print(f"partition {one.partition}: {one.records} records of the log wait")
        for finding in findings:
            where = "" if finding.partition is None else f"partition {finding.partition}: "
            console.print(Text(finding.code, "red"), Text(printable(where + finding.detail)))
        console.print("broken" if findings else "all is well: every offset stands exactly once")
    if findings:
        raise typer.Exit(1)


def _verify_metrics(settings: Settings, sample: int, seed: int, as_json: bool) -> None:
    """Recount sessions by a second way; exit status 1 where the lake has other numbers."""
    import msgspec

    from lake.audit import audit
    from lake.catalog import location

    found = audit(location(settings), sample=sample, seed=seed, length_ms=int(settings.session_length_s * 1000))
    if as_json:
        print(msgspec.json.encode(found).decode())  # noqa: T201
    else:
        console = Console(soft_wrap=True)
        for one in found.differences:
            name = f"{one.session_id[:16]} version {one.version}: {one.metric}"
            told = printable(f"{name} is {one.lake} in the lake, recounted {one.recounted}")
            console.print(Text(told, "red"))
        console.print(
            f"{found.recounted} closed sessions recounted (seed {seed}), {found.numbers} numbers, "
            f"{len(found.differences)} differences; {found.passed_over} sessions passed over"
        )
    if found.differences:
        raise typer.Exit(1)


session_app = typer.Typer(no_args_is_help=True, help="Look at single sessions.")
app.add_typer(session_app, name="session")


@session_app.command()
def show(
    id: Annotated[str, typer.Argument(help="Media session id, or how it begins.")],
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Show one session: its events in order, gaps, flags, and how each number came to be."""
    import msgspec

    from commands import show as session
    from lake.catalog import location

    settings = _settings(data)
    timeline = session.show(location(settings), id, length_ms=int(settings.session_length_s * 1000))
    if as_json:
        print(msgspec.json.encode(timeline).decode())  # noqa: T201
    else:
        print("\n".join(session.describe(timeline)))  # noqa: T201


@app.command()
def sql(
    statement: str,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    data: Data = None,
) -> None:
    """Ask the lake in SQL, read only, while everything runs."""
    from lake import query
    from lake.catalog import location

    answer = query.ask(location(_settings(data)), statement)
    if as_json:
        print(query.as_json(answer))  # noqa: T201
    elif as_csv:
        print(query.as_csv(answer), end="")  # noqa: T201
    else:
        _print_table(answer.columns, query.shortened(answer.rows, characters=80))


@app.command()
def attach(data: Data = None) -> None:
    """Print the SQL with which any DuckDB client attaches this lake."""
    from lake.catalog import location, paste_sql

    print(paste_sql(location(_settings(data))))  # noqa: T201


@app.command()
def pseudonym(namespace: Literal["user", "device"], value: str, data: Data = None) -> None:
    """Print what stands in the lake for an identity; NAMESPACE is `user` or `device`."""
    from ingest.identity import pseudonym as make

    settings = with_kept_secrets(_settings(data))
    print(make(settings.key_of_pseudonyms(), namespace, value))  # noqa: T201


@app.command()
def settings(as_json: Json = False, data: Data = None) -> None:
    """Print every setting with its value, default and meaning; secrets are hidden."""
    rows = describe(_settings(data))
    if as_json:
        print(json.dumps([row._asdict() for row in rows]))  # noqa: T201
        return
    _print_table(["setting", "value", "default", "meaning"], [list(row) for row in rows])


@app.command()
def up(
    viewers: Annotated[int, typer.Option(min=0, help="Simulated viewers; 0 for none.")] = 0,
    for_: Annotated[str | None, typer.Option("--for", help="End after this, such as 30s; else at Ctrl-C.")] = None,
    data: Data = None,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP APIs.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the viewers.")] = 1,
) -> None:
    """Run everything on this machine: ingest, worker and viewers; compare the lake with the truth at the end."""
    from commands.up import Plan, run

    plan = Plan(viewers=viewers, for_s=_seconds(for_) if for_ is not None else None, seed=seed)
    chosen = {} if port is None else {"http_port": port}
    given = _settings(data).model_copy(update=chosen)
    settings = with_own_secrets(given)
    asyncio.run(_init(settings))
    console = Console()
    if given.api_keys is None:
        key = settings.data_dir / "secrets" / "api_keys"
        console.print(f"The API key of the tracking API is in {key}", highlight=False, soft_wrap=True)
    if not asyncio.run(run(settings, plan, console)):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
