"""The command `playhead`: everybody's verbs put together."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from commands.durations import parse_duration_s
from commands.extras import lake_errors, remedy
from commands.logs import log_as_json
from schemas.faults import Fault
from schemas.settings import Settings, describe, read_settings
from schemas.terminal import printable_lines

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Take the events of media players, lose none, query them while they come.",
)
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
    except ModuleNotFoundError as error:
        if (message := remedy(error)) is None:
            raise
        _refuse(message)
    except _refusals() as fault:
        _refuse(str(fault))


def _refusals() -> tuple[type[Exception], ...]:
    """Return what ends a command with a line; looked up when something is raised, and the lake may be loaded."""
    return (Fault, OSError, *lake_errors())


def _refuse(message: str) -> NoReturn:
    print(f"playhead: {printable_lines(message)}", file=sys.stderr)  # noqa: T201
    sys.exit(2)


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
    from commands.init import make_log_and_lake

    settings = _settings()
    asyncio.run(make_log_and_lake(settings))
    print(f"log and lake are ready in {settings.data_dir}")  # noqa: T201


@app.command()
def topics(
    partitions: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Raise the number of partitions to this, while all runs.")
    ] = None,
) -> None:
    """Make the log (Kafka: the topic), or compare it with the settings; add partitions."""
    from commands.topics import make_topic

    print(f"the log has {asyncio.run(make_topic(_settings(), partitions))} partitions")  # noqa: T201


@app.command()
def ingest() -> None:
    """Serve the HTTP APIs until told to stop."""
    from commands.ingest import run_ingest

    run_ingest(_settings())


@app.command()
def worker(
    accept_gap: Annotated[
        list[str] | None,
        typer.Option(help="Go on behind lost offsets, partition:first-last; leaves a row in `gaps`."),
    ] = None,
    new_log: NewLog = None,
) -> None:
    """Move the log into the lake until told to stop."""
    from commands.worker import run_worker

    asyncio.run(run_worker(_settings(), accept_gap or [], new_log))


@app.command()
def upkeep(
    every: Annotated[str | None, typer.Option(help="Go on with a round so often, such as 60s.")] = None,
    when_told: Annotated[bool, typer.Option(help="Say `ready`, and begin at a line on standard input.")] = False,
) -> None:
    """Do a round of the lake's upkeep: merge small files, forget old snapshots, delete what nothing names."""
    from commands.upkeep import do_round, repeat_upkeep

    if every is None:
        do_round(_settings(), when_told=when_told)
    else:
        asyncio.run(repeat_upkeep(_settings(), parse_duration_s(every)))


@app.command()
def backup(
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many backups stay; else PLAYHEAD_LAKE_BACKUPS_KEPT.")
    ] = None,
    data: Data = None,
) -> None:
    """Back up the lake while all runs: every table as Parquet, of one moment."""
    from commands.backup import make_backup

    settings = _settings(data)
    path, rows = make_backup(settings, keep=keep or settings.lake_backups_kept)
    print(f"{rows} rows are in {path}")  # noqa: T201


@app.command()
def rebuild(new_log: NewLog = None, data: Data = None) -> None:
    """Make the lake anew where there is none: from the newest backup, and the log from there on."""
    from commands.rebuild import rebuild_lake

    backup = rebuild_lake(_settings(data), new_log)
    print(f"rebuilt {'from the log alone' if backup is None else f'from {backup}'}")  # noqa: T201


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
    asyncio.run(play(url, viewers=viewers, for_s=parse_duration_s(for_), seed=seed, api_key=key, report=report))


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
    from commands.verify import print_recount, print_verdict

    settings = _settings(data)
    if metrics:
        is_well = print_recount(settings, sample=sample, seed=seed, as_json=as_json)
    else:
        within_s = None if lake_only else parse_duration_s(within)
        is_well = print_verdict(settings, within_s=within_s, as_json=as_json)
    if not is_well:
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
    from commands.show import print_session

    print_session(_settings(data), id, as_json=as_json)


@app.command()
def sql(
    statement: str,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    data: Data = None,
) -> None:
    """Ask the lake in SQL, read only, while everything runs."""
    from commands.sql import print_answer

    print_answer(_settings(data), statement, as_json=as_json, as_csv=as_csv)


@app.command()
def attach(data: Data = None) -> None:
    """Print the SQL with which any DuckDB client attaches this lake."""
    from lake.catalog import location, paste_sql

    print(paste_sql(location(_settings(data))))  # noqa: T201


@app.command()
def pseudonym(namespace: Literal["user", "device"], value: str, data: Data = None) -> None:
    """Print what stands in the lake for an identity; NAMESPACE is `user` or `device`."""
    from commands.own_secrets import with_kept_secrets
    from ingest.identity import pseudonym as make

    settings = with_kept_secrets(_settings(data))
    print(make(settings.key_of_pseudonyms(), namespace, value))  # noqa: T201


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
    viewers: Annotated[int, typer.Option(min=0, help="Simulated viewers; 0 for none.")] = 0,
    for_: Annotated[str | None, typer.Option("--for", help="End after this, such as 30s; else at Ctrl-C.")] = None,
    data: Data = None,
    port: Annotated[int | None, typer.Option(help="Port of the HTTP APIs.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the viewers.")] = 1,
) -> None:
    """Run everything on this machine: ingest, worker and viewers; compare the lake with the truth at the end."""
    from commands.up import Plan, run_all

    plan = Plan(viewers=viewers, for_s=parse_duration_s(for_) if for_ is not None else None, seed=seed)
    chosen = {} if port is None else {"http_port": port}
    if not run_all(_settings(data).model_copy(update=chosen), plan):
        raise typer.Exit(1)


if __name__ == "__main__":
    main()
