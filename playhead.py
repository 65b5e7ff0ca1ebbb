"""The command `playhead`: each verb and its options; what a verb does is in `commands/`. For Python: `connect`."""

import asyncio
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from commands import keys_verbs, player_verbs, quarantine_verbs, session_verbs
from commands.durations import parse_duration_s
from commands.ending import run
from commands.options import Data, Json
from commands.options import settings_of_process as _settings
from commands.unneeded import leave_out_unneeded
from schemas.faults import NotReady
from schemas.settings import Settings, describe
from schemas.terminal import quantity

if TYPE_CHECKING:
    from commands.connect import Reader

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take the events of media players, lose none, and query them as they arrive.",
)
NewLog = Annotated[
    str | None,
    typer.Option(
        metavar="PARTITIONS",
        help="Accept that the log was replaced by another, for these partitions (0,3 or all).",
    ),
]


def connect(data: Path | str | None = None, **settings: str) -> "Reader":
    """Open a lake from Python, for queries only. Workers may run meanwhile.

    `data` is the folder that `--data` names. Settings are those of the environment, or given by their names in
    lower case: `connect(lake_catalog="postgres:host=db dbname=playhead", lake_files="s3://bucket/playhead")`. All
    calls for one lake in a process share a connection. Table names need no prefix, and times are UTC.

    Raises NotReady if there is no lake, if a setting is wrong, or if this DuckDB cannot read the lake.
    """
    from commands.connect import open_for_queries

    return open_for_queries(os.environ, data, settings)


@app.callback()
def before_each(context: typer.Context) -> None:
    """Prepare the process for a verb; only the pages may use whatever is installed."""
    if context.invoked_subcommand != "notebooks":
        leave_out_unneeded()


def main() -> None:
    """Run the command; a fault becomes one readable line and exit status 2."""
    run(app)


@app.command()
def init(data: Data = None) -> None:
    """Create the log and the lake if they are missing, and migrate an older lake; safe to repeat."""
    from commands.init import make_log_and_lake

    settings = _settings(data)
    asyncio.run(make_log_and_lake(settings))
    print(f"log and lake are ready in {settings.data_dir}")  # noqa: T201


@app.command()
def topics(
    partitions: Annotated[
        int | None,
        typer.Option(min=1, max=1000, help="Raise the number of partitions to this, while everything runs."),
    ] = None,
    alter: Annotated[
        bool, typer.Option("--alter", help="Give the topic the settings that differ, such as the retention.")
    ] = False,
) -> None:
    """Create the log (with Kafka: the topic), or compare it with the settings; alter it, add partitions."""
    from commands.topics import make_topic

    there = asyncio.run(make_topic(_settings(), partitions, alter=alter))
    print(f"the log has {quantity(there, 'partition')}")  # noqa: T201


@app.command()
def ingest(
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Processes that share the port; one that dies is replaced.")
    ] = 1,
) -> None:
    """Serve the HTTP APIs until stopped."""
    if workers == 1:
        from commands.ingest import run_ingest

        run_ingest(_settings())
    else:
        from commands.ingest_pool import run_ingests

        run_ingests(_settings(), workers)


@app.command()
def worker(
    accept_gap: Annotated[
        list[str] | None,
        typer.Option(help="Skip lost offsets, partition:first-last, and leave a row in `gaps`."),
    ] = None,
    new_log: NewLog = None,
    until_read: Annotated[
        bool, typer.Option("--until-read", help="Stop when the log, as it is now, is in the lake.")
    ] = False,
    data: Data = None,
) -> None:
    """Move the log into the lake until stopped."""
    import uvloop  # a twentieth less CPU for an event than asyncio's own loop

    from commands.worker import run_worker

    uvloop.run(run_worker(_settings(data), accept_gap or [], new_log, until_read=until_read))


@app.command()
def upkeep(
    every: Annotated[str | None, typer.Option(help="Repeat at this interval, such as 60s.")] = None,
    when_told: Annotated[
        bool, typer.Option(help="Print `ready`, and begin when a line arrives on standard input.")
    ] = False,
    data: Data = None,
) -> None:
    """Maintain the lake once: compact small files, expire old snapshots, delete unreferenced files."""
    from commands.upkeep import do_round, repeat_upkeep

    settings = _settings(data)
    if every is None:
        do_round(settings, when_told=when_told)
    else:
        asyncio.run(repeat_upkeep(settings, parse_duration_s(every)))


@app.command()
def backup(
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many backups to keep; default PLAYHEAD_LAKE_BACKUPS_KEPT.")
    ] = None,
    every: Annotated[
        str | None,
        typer.Option(help="Make one whenever the newest is older than this, such as 24h."),
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="Folder or s3:// address of backups; default PLAYHEAD_LAKE_BACKUPS.")
    ] = None,
    checked: Annotated[
        bool,
        typer.Option("--checked", help="Restore it beside itself, and verify that."),
    ] = False,
    data: Data = None,
) -> None:
    """Back up the running lake: every table as Parquet, from one snapshot."""
    from commands.backup import make_backup, repeat_backup

    settings = _settings(data)
    if to is not None:
        settings = settings.model_copy(update={"lake_backups": to})
    keep = keep or settings.lake_backups_kept
    if every is not None:
        asyncio.run(repeat_backup(settings, parse_duration_s(every), keep=keep, checked=checked))
        return
    path, rows = make_backup(settings, keep=keep, checked=checked)
    print(f"{rows} rows are in {path}" + (", restored and verified" if checked else ""))  # noqa: T201


@app.command()
def rebuild(new_log: NewLog = None, data: Data = None) -> None:
    """Recreate a missing lake from the newest backup and the log after it."""
    from commands.rebuild import rebuild_lake

    backup = rebuild_lake(_settings(data), new_log)
    print(f"rebuilt {'from the log alone' if backup is None else f'from {backup}'}")  # noqa: T201


@app.command()
def simulate(
    url: Annotated[str, typer.Option(help="Address of an ingest.")] = "http://127.0.0.1:8080",
    viewers: Annotated[int, typer.Option(min=1)] = 20,
    for_: Annotated[str, typer.Option("--for", help="Duration, such as 30s, 5m, 1h.")] = "30s",
    seed: Annotated[int, typer.Option(help="The same seed plays the same scripts.")] = 1,
    report: Annotated[Path | None, typer.Option(help="Write what the viewers know to be true as JSON.")] = None,
    history: Annotated[
        str | None,
        typer.Option(help="Instead of playing now, fill a new log with a past of this length, such as 7d."),
    ] = None,
    until: Annotated[
        datetime | None,
        typer.Option(help="When that past ends, UTC; the default is now. For the same past again."),
    ] = None,
    data: Data = None,
) -> None:
    """Simulate viewers; the first key of PLAYHEAD_API_KEYS opens their tracking sessions."""
    if history is not None:
        if report is not None:
            raise typer.BadParameter("a history has no report: --report is for viewers who play now")
        _write_history(_settings(data), history, until, viewers=viewers, seed=seed)
        return
    if until is not None:
        raise typer.BadParameter("--until needs --history")
    from commands.simulate import run_viewers

    run_viewers(_settings(data), url, viewers=viewers, for_s=parse_duration_s(for_), seed=seed, report=report)


def _write_history(settings: Settings, history: str, until: datetime | None, *, viewers: int, seed: int) -> None:
    from rich.console import Console

    from commands.history import Plan, write_history

    now = datetime.now(UTC)
    end = now if until is None else until.replace(tzinfo=UTC)
    if end > now:
        raise typer.BadParameter("--until is in the future: nothing has happened there")
    plan = Plan(viewers=viewers, seed=seed, length_s=parse_duration_s(history), until=end)
    written = write_history(settings, plan, Console(stderr=True))
    print(  # noqa: T201
        f"{quantity(written.requests, 'request')} ({written.refused:,} refused) of "
        f"{quantity(written.sessions, 'session')} "
        f"are in the log, after {written.took_s:.0f} s"
    )


@app.command()
def status(
    ingest: Annotated[
        list[str] | None,
        typer.Option(help="Metrics address of an ingest; repeat it for more. Default PLAYHEAD_INGEST_URLS."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every 2 seconds, until stopped.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Check the log, lake, workers, ingests and disks: what is behind, what is halted and why.

    Each finding says what to do. Exit status 1 if anything is wrong.
    """
    from commands.status import print_status

    if not print_status(_settings(data), ingest or [], as_json=as_json, watch=watch):
        raise typer.Exit(1)


@app.command()
def doctor(as_json: Json = False, data: Data = None) -> None:
    """Check what a start needs: settings, log, lake, extensions, permissions, clocks, ports; nothing is changed.

    Whatever is wrong is printed with what to do. Exit status 1 if anything is wrong.
    """
    from commands.doctor import print_checkup

    try:
        found: Settings | NotReady = _settings(data)
    except NotReady as fault:
        found = fault
    if not print_checkup(found, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def verify(
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Recount a sample of closed sessions from their events instead.")
    ] = False,
    sample: Annotated[int, typer.Option(min=1, help="How many sessions --metrics recounts.")] = 200,
    seed: Annotated[int | None, typer.Option(help="Which sessions to draw; default: random.")] = None,
    within: Annotated[str, typer.Option(help="How long records now in the log may take into the lake.")] = "10s",
    lake_only: Annotated[bool, typer.Option("--lake-only", help="Check only the lake, not the log.")] = False,
    as_json: Json = False,
    data: Data = None,
) -> None:
    """Check the lake and the log, running or not: every offset exactly once, no duplicates, nothing left behind.

    Exit status 1 if anything is wrong.
    """
    from commands.verify import print_recount, print_verdict

    settings = _settings(data)
    if metrics:
        is_well = print_recount(settings, sample=sample, seed=seed, as_json=as_json)
    else:
        within_s = None if lake_only else parse_duration_s(within)
        is_well = print_verdict(settings, within_s=within_s, as_json=as_json)
    if not is_well:
        raise typer.Exit(1)


app.command()(player_verbs.check)
app.command()(player_verbs.tail)
app.add_typer(session_verbs.app, name="session")
app.add_typer(quarantine_verbs.app, name="quarantine")
app.add_typer(keys_verbs.app, name="keys")


@app.command()
def sql(
    statement: str,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    data: Data = None,
) -> None:
    """Query the lake in SQL, read only, while everything runs."""
    from commands.sql import print_answer

    print_answer(_settings(data), statement, as_json=as_json, as_csv=as_csv)


@app.command()
def export(
    to: Annotated[
        Path, typer.Option(help="A new DuckDB file (its name ends with .duckdb), or a folder for Parquet files.")
    ],
    since: Annotated[
        str | None,
        typer.Option(help="Only sessions that started at or after 2026-11-28T12:00 (UTC), or 7d for a week ago."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Only sessions that started before this time.")] = None,
    where: Annotated[
        str | None,
        typer.Option(help="Only sessions that fulfil a condition in SQL, such as \"content_type = 'live'\"."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what was exported there before.")
    ] = False,
    data: Data = None,
) -> None:
    """Copy sessions, their events and the views over them into a file of one's own, from one snapshot."""
    from commands.export import export_sessions

    export_sessions(_settings(data), to, since=since, until=until, where=where, overwrite=overwrite)


@app.command()
def attach(data: Data = None) -> None:
    """Print the SQL with which any DuckDB client attaches this lake."""
    from commands.attach import print_attach

    print_attach(_settings(data))


@app.command()
def notebooks(
    port: Annotated[int | None, typer.Option(help="Port of the pages; default PLAYHEAD_NOTEBOOKS_PORT.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address of the pages; one beyond this machine asks for a token.")
    ] = None,
    data: Data = None,
) -> None:
    """Serve the notebooks as pages, read only, until stopped; their address is printed once they answer."""
    from commands.notebooks import serve_notebooks

    given = {"notebooks_port": port, "notebooks_host": host}
    chosen = {name: value for name, value in given.items() if value is not None}
    serve_notebooks(_settings(data).model_copy(update=chosen))


@app.command()
def pseudonym(namespace: Literal["user", "device"], value: str, data: Data = None) -> None:
    """Print the pseudonym that the lake holds for an identity; NAMESPACE is `user` or `device`."""
    from commands.pseudonym import print_pseudonym

    print_pseudonym(_settings(data), namespace, value)


@app.command()
def settings(as_json: Json = False, data: Data = None) -> None:
    """Print every setting with its value, default and meaning; secrets are hidden."""
    from commands.tables import print_table

    rows = describe(_settings(data))
    if as_json:
        print(json.dumps([row._asdict() for row in rows]))  # noqa: T201
    else:
        print_table(["setting", "value", "default", "meaning"], [list(row) for row in rows])


@app.command()
def up(
    viewers: Annotated[int, typer.Option(min=0, help="Number of simulated viewers.")] = 0,
    for_: Annotated[
        str | None, typer.Option("--for", help="Stop after this, such as 30s; else at Ctrl-C.")
    ] = None,
    data: Data = None,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP APIs.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the viewers.")] = 1,
) -> None:
    """Run ingest, worker and viewers on this machine; at the end, compare the lake with what the viewers did."""
    from commands.up import Plan, run_all

    plan = Plan(viewers=viewers, for_s=parse_duration_s(for_) if for_ is not None else None, seed=seed)
    chosen = {} if port is None else {"http_port": port}
    if not run_all(_settings(data).model_copy(update=chosen), plan):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
