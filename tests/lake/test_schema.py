"""Lakes and backups of every release: migrated, restored, or refused by naming both numbers.

`tests/data/release_0.1.0.zip` is a data folder that release 0.1.0 left: a lake of schema 1, a backup of it, and a
log of which the last 8 records are not in the lake yet. `schema_2.zip` is the same of schema 2, from 20 s of 12
simulated viewers.
"""

import asyncio
import contextlib
import itertools
import json
import shutil
import sqlite3
import threading
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rigs.answers import answers_of, is_equal, views_of
from rigs.commands import SECRETS, environment, playhead, started
from rigs.lake import Lake
from rigs.logs import writing
from rigs.mortal import Mortal, dies_before, statements_of
from rigs.postgres import Server, new_database
from rigs.runbook import blocks, follow
from rigs.waiting import until

from consumers.decode import decode
from eventlog import Record
from eventlog.adapters import create_log
from eventlog.embedded import file as embedded
from lake.backup import MANIFEST
from lake.catalog import Location, connect
from lake.schema import SCHEMA, schema_of
from lake.tables import initialize, sql_text
from lake.verify import verify
from sessions.event import Bad, Event

RELEASE = Path(__file__).parents[1] / "data" / "release_0.1.0.zip"
SCHEMA_2 = RELEASE.with_name("schema_2.zip")
RECORDS_IN_LOG = 57
NEWER = SCHEMA + 1


@pytest.fixture
def old(tmp_path: Path) -> Lake:
    """A lake as release 0.1.0 left it, with its log and a backup."""
    folder = tmp_path / "data"
    with zipfile.ZipFile(RELEASE) as archive:
        archive.extractall(folder)
    return Lake(folder)


@pytest.fixture
def of_schema_2(tmp_path: Path) -> Lake:
    """A lake of schema 2, with its log and a backup."""
    folder = tmp_path / "data"
    with zipfile.ZipFile(SCHEMA_2) as archive:
        archive.extractall(folder)
    return Lake(folder)


@pytest.fixture
def old_on_postgres(tmp_path: Path, postgres: Server) -> Lake:
    """The same lake with PostgreSQL as its catalogue, restored from a dump that was made then."""
    folder = tmp_path / "data"
    connection = new_database(postgres)
    with zipfile.ZipFile(RELEASE.with_stem("release_0.1.0_postgres")) as archive:
        archive.extractall(folder)
    with psycopg.connect(connection, autocommit=True) as server:
        server.execute((folder / "catalog.sql").read_bytes())
    return Lake(folder, lake_catalog=f"postgres:{connection}", lake_files=str(folder / "files"))


def test_a_lake_of_0_1_0_on_postgresql_is_migrated(old_on_postgres: Lake, tmp_path: Path) -> None:
    """As one on SQLite is: the same columns as a new lake, and all that was in it."""
    lake = old_on_postgres
    before = lake.ask("SELECT count(*) FROM events")
    assert number(lake) == 1
    initialize(lake.place, partitions=2)
    assert number(lake) == SCHEMA
    assert columns(lake) == columns(Lake(tmp_path / "new", partitions=2))
    assert lake.ask("SELECT count(*) FROM events") == before != [(0,)]
    assert lake.ask("SELECT sum(next_offset) FROM ledger") == [(RECORDS_IN_LOG,)]
    assert verify(lake.place).findings == []


def settings_of(lake: Lake) -> dict[str, str]:
    """Return the settings of a `playhead` on this lake."""
    return {**SECRETS, "PLAYHEAD_DATA_DIR": str(lake.settings.data_dir)}


def columns(lake: Lake) -> list[tuple[Any, ...]]:
    """Return every column of every table and view, in their order, with type and comment."""
    return lake.ask(
        "SELECT table_name, column_name, data_type, coalesce(column_default, 'NULL'), comment "
        "FROM duckdb_columns() WHERE database_name = 'lake' AND schema_name = 'main' AND NOT internal "
        "ORDER BY table_name, column_index"
    )


def number(lake: Lake) -> int:
    """Return the schema number of a lake."""
    with contextlib.closing(connect(lake.place, read_only=True)) as connection:
        return schema_of(connection)


def renumber(lake: Lake, schema: int) -> None:
    """Make the lake one that another release has migrated."""
    lake.do("DELETE FROM schema_number", f"INSERT INTO schema_number VALUES ({schema})")


def with_log(lake: Lake) -> Lake:
    """Return a lake whose log has been made too."""
    asyncio.run(create_log(lake.settings))
    return lake


async def append_one(lake: Lake) -> None:
    """Append a record to the log."""
    async with writing(lake.settings) as writer:
        await writer.append(0, key=b"", value=b"no event")


def test_a_lake_of_0_1_0_is_migrated_by_init_and_then_equals_a_new_one(old: Lake, tmp_path: Path) -> None:
    """Tables, columns and their order, types, defaults and comments; what was in it still is."""
    before = old.ask("SELECT * FROM events ORDER BY ALL")
    assert number(old) == 1
    done = playhead("init", cwd=tmp_path, settings=settings_of(old))
    assert done.returncode == 0, done.stderr
    assert number(old) == SCHEMA
    assert columns(old) == columns(Lake(tmp_path / "new", partitions=2))
    assert [row[: len(before[0])] for row in old.ask("SELECT * FROM events ORDER BY ALL")] == before
    assert old.ask("SELECT DISTINCT log_number, log_base, halted_reason FROM ledger") == [(1, 0, None)]
    assert verify(old.place).findings == []


def test_a_migrated_lake_reads_on_where_0_1_0_had_stopped(old: Lake, tmp_path: Path) -> None:
    """A worker moves what release 0.1.0 had left in its log."""
    assert playhead("init", cwd=tmp_path, settings=settings_of(old)).returncode == 0
    with started("worker", cwd=tmp_path, settings=settings_of(old)):
        until(lambda: old.ask("SELECT sum(next_offset) FROM ledger") == [(RECORDS_IN_LOG,)])
    assert verify(old.place).findings == []
    assert old.ask("SELECT count(*) FROM sessions WHERE content_id = 'kept'") == [(4,)]


@contextlib.contextmanager
def being_read(place: Location, question: str) -> Iterator[list[Any]]:
    """Ask a question again and again until the block ends; yield the list to which each answer is added.

    By a connection that was there before, and by a new one, in turn.
    """
    answers: list[Any] = []
    is_over = threading.Event()

    def ask() -> None:
        with contextlib.closing(connect(place, read_only=True)) as known:
            while not is_over.is_set():
                answers.append(known.execute(question).fetchall())
                with contextlib.closing(connect(place, read_only=True)) as new:
                    answers.append(new.execute(question).fetchall())

    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(ask)
        try:
            until(lambda: answers or asking.done())
            yield answers
        finally:
            is_over.set()
            asking.result()


def test_a_lake_of_schema_2_is_migrated_while_it_is_read(of_schema_2: Lake, tmp_path: Path) -> None:
    """`init` gives it the tables of a new lake; readers go on meanwhile, and no answer is another one."""
    lake = of_schema_2
    slow = {f"metrics_by_{name}" for name in ("app_version", "channel", "content", "player")}
    views = {name: columns for name, columns in views_of(lake.place).items() if name not in slow}
    views["ledger"].remove("commits")  # `init` counts one, which fences workers
    before = answers_of(lake.place, views)
    assert len(before["sessions"]) == 22
    kept = f"SELECT {', '.join(views['sessions'])} FROM sessions ORDER BY session_id"
    answer = lake.ask(kept)
    with being_read(lake.place, kept) as answers:
        done = playhead("init", cwd=tmp_path, settings=settings_of(lake))
        assert done.returncode == 0, done.stderr
    assert len(answers) > 3
    assert [each for each in answers if each != answer] == []
    after = answers_of(lake.place, views)
    checks = {row[0] for row in before["data_quality"]}  # there are more since then
    after["data_quality"] = [row for row in after["data_quality"] if row[0] in checks]
    assert [name for name in views if not is_equal(before[name], after[name])] == []
    assert number(lake) == SCHEMA
    assert columns(lake) == columns(Lake(tmp_path / "new", partitions=2))
    assert verify(lake.place).findings == []


def test_a_lake_is_upgraded_as_the_runbook_says(of_schema_2: Lake, tmp_path: Path) -> None:
    """Migrated, with what waited in the log."""
    (commands,) = blocks("Upgrade to a new release")
    settings = environment(settings_of(of_schema_2))
    assert "all is well: every offset is stored exactly once" in follow(
        commands, cwd=tmp_path, environment=settings
    )
    assert number(of_schema_2) == SCHEMA


def test_a_backup_of_schema_2_is_restored_into_this_schema(of_schema_2: Lake, tmp_path: Path) -> None:
    """The lake is lost; the backup and the two starts that only the log has make all of it again."""
    lake = of_schema_2
    shutil.rmtree(lake.settings.data_dir / "lake")
    done = playhead("rebuild", cwd=tmp_path, settings=settings_of(lake))
    assert done.returncode == 0, done.stderr
    assert columns(lake) == columns(Lake(tmp_path / "new", partitions=2))
    assert lake.ask("SELECT count(*) FROM sessions") == [(24,)]
    assert verify(lake.place).findings == []


def test_init_again_changes_nothing(old: Lake) -> None:
    """A lake of this schema is not migrated once more."""
    initialize(old.place, partitions=2)
    snapshots = old.ask("SELECT max(snapshot_id) FROM lake.snapshots()")
    initialize(old.place, partitions=2)
    assert old.ask("SELECT max(snapshot_id) FROM lake.snapshots()") == snapshots


def test_every_schema_has_its_step() -> None:
    """From each schema a numbered step leads to the next, and each only adds."""
    for step in range(2, SCHEMA + 1):
        statements = [
            line for line in sql_text(f"schema_{step}").splitlines() if line and not line.startswith("--")
        ]
        assert statements
        assert all(" ADD COLUMN IF NOT EXISTS " in statement for statement in statements)


def migrate(mortal: Mortal, place: Location) -> None:
    """Migrate a lake, and count its statements."""
    with mortal:
        initialize(place, partitions=2)


def kills(statements: Sequence[str], *, is_long: bool) -> list[int]:
    """Return the statements to die before: around BEGIN and COMMIT of the migration, between, and later."""
    edges = [place for place, statement in enumerate(statements) if statement in ("BEGIN", "COMMIT")]
    assert [statements[place] for place in edges] == ["BEGIN", "COMMIT"] * (len(edges) // 2)
    begin, commit = edges[:2]
    chosen = {begin, (begin + commit) // 2, commit, commit + 1, *edges[3::2]}
    return sorted(chosen | set(range(begin, len(statements), 10)) if is_long else chosen)


def test_a_migration_that_is_killed_leaves_the_old_schema_or_the_new_one(
    old: Lake, tmp_path: Path, is_long: bool
) -> None:
    """`kill -9` around its BEGIN and COMMIT, between them, and before each later COMMIT: nothing is there, or all.

    `init` again completes it.
    """
    before = columns(old)
    wanted = columns(Lake(tmp_path / "new", partitions=2))
    whole = Lake(shutil.copytree(old.settings.data_dir, tmp_path / "whole"))
    statements = statements_of(migrate, whole.place)
    seen = []
    for place in kills(statements, is_long=is_long):
        lake = Lake(shutil.copytree(old.settings.data_dir, tmp_path / f"killed-{place}"))
        assert dies_before(place, migrate, lake.place)
        seen.append(number(lake))
        assert columns(lake) == (before if seen[-1] == 1 else wanted)
        initialize(lake.place, partitions=2)
        assert columns(lake) == wanted
        assert verify(lake.place).findings == []
    assert seen[0] == 1
    assert seen[-1] == SCHEMA


WRITERS = [
    ("worker",),
    ("worker", "--accept-gap", "0:49-50"),
    ("upkeep",),
    ("topics", "--partitions", "3"),
    ("verify",),
]


@pytest.mark.parametrize("verb", WRITERS, ids=" ".join)
def test_whoever_depends_on_an_older_schema_refuses_it(old: Lake, tmp_path: Path, verb: Sequence[str]) -> None:
    """The message names both numbers and the command that helps; the exit status is 2."""
    done = playhead(*verb, cwd=tmp_path, settings=settings_of(old))
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1]
    assert f"has schema 1, and this program works with schema {SCHEMA}" in message
    assert "`playhead init`" in message
    assert number(old) == 1


@pytest.mark.parametrize("verb", [*WRITERS, ("init",)], ids=" ".join)
def test_whoever_depends_on_a_newer_schema_refuses_it(tmp_path: Path, verb: Sequence[str]) -> None:
    """A lake that a newer release has migrated needs that release."""
    lake = with_log(Lake(tmp_path / "data"))
    renumber(lake, NEWER)
    done = playhead(*verb, cwd=tmp_path, settings=settings_of(lake))
    assert done.returncode == 2
    message = done.stderr.splitlines()[-1]
    assert f"has schema {NEWER}, and this program works with schema {SCHEMA}" in message
    assert "newer release" in message


def test_a_worker_that_runs_ends_when_a_newer_release_migrates_the_lake(tmp_path: Path) -> None:
    """It is fenced by the migration, finds the number, and ends with both numbers and status 2."""
    lake = with_log(Lake(tmp_path / "data"))
    with started("worker", cwd=tmp_path, settings=settings_of(lake)) as worker:
        worker.wait_for(lambda: "partition assigned" in worker.output)
        renumber(lake, NEWER)
        lake.do("UPDATE ledger_p000 SET commits = commits + 1")
        asyncio.run(append_one(lake))
        assert worker.wait(30) == 2
        assert f"has schema {NEWER}, and this program works with schema {SCHEMA}" in worker.output


@pytest.mark.parametrize("change", ["DROP COLUMN flags", "RENAME COLUMN flags TO marks"])
def test_a_worker_ends_where_a_column_is_gone(tmp_path: Path, change: str) -> None:
    """It names the column, instead of repeating an error every second."""
    lake = with_log(Lake(tmp_path / "data"))
    lake.do("DROP VIEW events_checked", f"ALTER TABLE events {change}")
    done = playhead("worker", cwd=tmp_path, settings=settings_of(lake))
    assert done.returncode == 2
    assert "events.flags" in done.stderr


@pytest.mark.parametrize("schema", [1, NEWER])
def test_readers_go_on_with_any_schema(old: Lake, tmp_path: Path, schema: int) -> None:
    """`sql` and `attach` depend on no column, `backup` on no table that an older lake lacks."""
    if schema != 1:
        initialize(old.place, partitions=2)
        renumber(old, schema)
    done = playhead(
        "sql", "--json", "SELECT count(*) AS found FROM events", cwd=tmp_path, settings=settings_of(old)
    )
    assert json.loads(done.stdout)[0]["found"] > 0, done.stderr
    assert playhead("attach", cwd=tmp_path, settings=settings_of(old)).returncode == 0
    done = playhead("backup", cwd=tmp_path, settings=settings_of(old))
    if schema > SCHEMA:  # whose tables it does not know
        assert done.returncode == 2
        assert f"has schema {schema}, and this program works with schema {SCHEMA}" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    newest = max((old.settings.data_dir / "backups").iterdir())
    assert json.loads((newest / MANIFEST).read_text())["schema"] == schema


def test_a_backup_of_0_1_0_is_restored_into_this_schema(old: Lake, tmp_path: Path) -> None:
    """The lake is lost; what the backup lacks has its defaults, and the log gives the rest."""
    shutil.rmtree(old.settings.data_dir / "lake")
    done = playhead("rebuild", cwd=tmp_path, settings=settings_of(old))
    assert done.returncode == 0, done.stderr
    assert number(old) == SCHEMA
    assert columns(old) == columns(Lake(tmp_path / "new", partitions=2))
    assert old.ask("SELECT log_number, log_base, next_offset FROM ledger ORDER BY log_partition") == [
        (1, 0, 49),
        (1, 0, 8),
    ]
    assert verify(old.place).findings == []


def test_a_backup_of_a_newer_schema_is_refused(old: Lake, tmp_path: Path) -> None:
    """By both numbers, and no lake is made."""
    shutil.rmtree(old.settings.data_dir / "lake")
    (manifest,) = (old.settings.data_dir / "backups").glob(f"*/{MANIFEST}")
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": NEWER}))
    done = playhead("rebuild", cwd=tmp_path, settings=settings_of(old))
    assert done.returncode == 2
    assert f"has schema {NEWER}, and this program works with schema {SCHEMA}" in done.stderr
    assert not Path(old.place.catalog).exists()


def test_an_init_of_0_1_0_that_was_killed_is_completed_in_this_schema(old: Lake, tmp_path: Path) -> None:
    """Its tables are there, its ledgers are not: nothing was ever read."""
    old.do("DROP TABLE ledger_p000", "DROP TABLE ledger_p001", "DELETE FROM events", "DELETE FROM definitions")
    initialize(old.place, partitions=2)
    assert columns(old) == columns(Lake(tmp_path / "new", partitions=2))


def test_every_record_that_0_1_0_wrote_is_read(old: Lake) -> None:
    """On Kafka as in the file, each old record is still an event."""
    with contextlib.closing(sqlite3.connect(old.settings.data_dir / "log.sqlite")) as log:
        rows = log.execute("SELECT id, key, value, appended_ms FROM records ORDER BY id").fetchall()
    assert len(rows) == RECORDS_IN_LOG
    read = [decode(Record(0, offset, key, value, appended_ms)) for offset, key, value, appended_ms in rows]
    assert not [entry for entry in read if isinstance(entry, Bad)]
    assert {entry.event_id for entry in read if isinstance(entry, Event)} >= set(
        itertools.chain.from_iterable(old.ask("SELECT event_id FROM events"))
    )


@pytest.mark.parametrize("verb", [("ingest",), ("worker",)], ids=" ".join)
def test_a_log_of_0_1_0_is_refused_until_it_is_migrated(old: Lake, tmp_path: Path, verb: Sequence[str]) -> None:
    """By both numbers and with the command, also where the lake is migrated already; status 2."""
    initialize(old.place, partitions=2)
    done = playhead(*verb, cwd=tmp_path, settings={**settings_of(old), "PLAYHEAD_HTTP_PORT": "0"})
    assert done.returncode == 2
    assert f"has schema 1, and this program works with schema {embedded.LAYOUT}" in done.stderr
    assert "`playhead init`" in done.stderr
