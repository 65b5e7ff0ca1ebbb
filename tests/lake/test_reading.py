"""Who asks the lake in SQL only reads: on SQLite, on PostgreSQL and on S3, whatever the statement."""

import contextlib
import hashlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import psycopg
import pyarrow as pa
import pytest
from rigs.brokers import free_ports
from rigs.commands import playhead
from rigs.lake import Lake, write
from rigs.postgres import Server, new_database
from rigs.s3 import BUCKET, SECRET_KEY, client, moto_server, settings_of
from rigs.session_model import NOON_MS, make_event

from lake.catalog import location, paste_sql
from lake.query import answer, ask
from lake.reading import QueryRefused, Reader, check, open_reader
from lake.tables import initialize
from notebooks.connect import open_lake, read
from playhead import connect
from schemas.faults import NotReady
from schemas.settings import PREFIX, environment_of

State = dict[str, object]


class Target:
    """A lake with a session in it, and a way to see whether anything of it has changed."""

    def __init__(self, lake: Lake, state: Callable[[], State], words: dict[str, str]) -> None:
        with lake.writer() as writer:
            held = writer.load(0, None)
            log = [make_event("sessionStart", offset=0), make_event("play", ts=NOON_MS + 10, offset=1)]
            write(writer, held, log)
        self.lake, self.state = lake, state
        folder = lake.settings.data_dir
        self.outside = folder / "outside.sqlite"
        with contextlib.closing(sqlite3.connect(self.outside)) as outside:
            outside.execute("CREATE TABLE kept (a)")
            outside.commit()
        self.words = {
            "first": lake.ask("SELECT data_file FROM ducklake_list_files('lake', 'events')")[0][0],
            "files": lake.place.files,
            "outside": str(self.outside),
            "new": str(folder / "new"),
            **words,
        }
        self.reader = open_reader(lake.place)
        self.before = state()


def _files(folder: Path) -> State:
    """Return a hash of each file in a folder, without those that a reader of SQLite creates."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(("-wal", "-shm", ".stderr"))
    }


def _objects(port: int) -> State:
    with client(port) as s3:
        return {found["Key"]: found["ETag"] for found in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}


def _rows(connection: str) -> State:
    """Return every row of every table of a database."""
    with psycopg.connect(connection) as database:
        tables = database.execute("SELECT schemaname, tablename FROM pg_tables").fetchall()
        return {
            name: sorted(map(repr, database.execute(f'TABLE public."{name}"'.encode()).fetchall()))
            for schema, name in tables
            if schema == "public"
        }


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """Everything in one folder."""
    folder = tmp_path_factory.mktemp("sqlite")
    return Target(Lake(folder), lambda: _files(folder), {"metadata": str(folder / "lake" / "catalog.sqlite")})


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory, postgres: Server) -> Target:
    """The catalogue in PostgreSQL."""
    folder = tmp_path_factory.mktemp("postgres")
    connection = new_database(postgres)
    (folder / "lake").mkdir()
    lake = Lake(folder, lake_catalog=f"postgres:{connection}")
    initialize(lake.place, partitions=1)
    return Target(lake, lambda: _files(folder) | _rows(connection), {"metadata": connection})


@pytest.fixture(scope="module")
def on_s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The files on an S3 server."""
    folder = tmp_path_factory.mktemp("s3")
    (port,) = free_ports(1)
    (folder / "lake").mkdir()
    with moto_server(folder, port):
        lake = Lake(folder, lake_files=f"s3://{BUCKET}/of/playhead", **settings_of(port))
        initialize(lake.place, partitions=1)
        catalog = folder / "lake"
        yield Target(lake, lambda: _files(catalog) | _objects(port), {"metadata": str(catalog / "catalog.sqlite")})


@pytest.fixture(params=["sqlite", "postgres", "s3"])
def target(request: pytest.FixtureRequest) -> Target:
    """A lake of each kind."""
    found: Target = request.getfixturevalue(f"on_{request.param}")
    return found


HOSTILE = [
    # files
    "COPY (SELECT 1) TO '{first}'",
    "COPY events TO '{files}/main/events/new.parquet'",
    "COPY events TO '{new}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{first}'",
    "EXPLAIN (ANALYZE, FORMAT json) COPY (SELECT 1) TO '{first}'",
    "/* a question */ EXPLAIN ANALYZE COPY (SELECT 1) TO '{first}'",
    "EXPORT DATABASE '{new}'",
    "IMPORT DATABASE '{new}'",
    "COPY FROM DATABASE lake TO memory",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('{metadata}')",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_parquet('{first}')",
    "FROM '/etc/passwd.csv'",
    "FROM 'http://127.0.0.1:9/x.parquet'",
    "FROM 's3://{bucket}-of-others/x.parquet'",
    "SELECT 1 WHERE 'x' IN (SELECT content FROM read_text('/etc/passwd'))",
    "WITH x AS (FROM glob('/etc/*')) FROM x",
    "DESCRIBE FROM sniff_csv('/etc/passwd')",
    "SUMMARIZE FROM read_json('/etc/passwd')",
    "PIVOT (FROM read_text('/etc/passwd')) ON filename USING count(*)",
    "PIVOT (FROM \"read_text\" /* */ ('/etc/passwd')) ON filename USING count(*)",
    # other databases
    "ATTACH '{new}' AS mine",
    "ATTACH IF NOT EXISTS ':memory:' AS mine",
    "DETACH lake",
    "USE memory",
    "FROM sqlite_scan('{outside}', 'kept')",
    "FROM sqlite_query('__ducklake_metadata_lake', 'SELECT 1')",
    "FROM sqlite_attach('{outside}')",
    "FROM postgres_query('__ducklake_metadata_lake', 'SELECT rolpassword FROM pg_authid')",
    "FROM postgres_query('__ducklake_metadata_lake', 'DELETE FROM ducklake_data_file RETURNING 1')",
    "FROM postgres_execute('__ducklake_metadata_lake', 'DROP TABLE ducklake_data_file')",
    "FROM postgres_scan('{metadata}', 'public', 'ducklake_table')",
    "FROM postgres_attach('{metadata}')",
    "SELECT * FROM system.main.postgres_query('__ducklake_metadata_lake', 'SELECT 1')",
    # the lake and its catalogue
    "DELETE FROM events",
    "INSERT INTO gaps SELECT * FROM gaps",
    "UPDATE ledger_p000 SET next_offset = 0",
    "MERGE INTO events USING events AS e ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE events",
    "DROP VIEW sessions",
    "ALTER TABLE events ADD COLUMN more INTEGER",
    "COMMENT ON TABLE events IS ''",
    "CREATE TABLE mine (a INTEGER)",
    "CREATE TEMP TABLE mine AS FROM events",
    "CREATE TEMP MACRO mine() AS 1",
    "CREATE OR REPLACE VIEW memory.main.sessions AS SELECT 1",
    "DELETE FROM __ducklake_metadata_lake.ducklake_data_file",
    "FROM __ducklake_metadata_lake.ducklake_data_file",
    'DESCRIBE "__DUCKLAKE_METADATA_LAKE".ducklake_data_file',
    "CALL ducklake_expire_snapshots('lake', older_than => now())",
    "FROM ducklake_expire_snapshots('lake', older_than => now())",
    "FROM ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "FROM ducklake_delete_orphaned_files('lake', cleanup_all => true)",
    "FROM ducklake_set_option('lake', 'parquet_compression', 'zstd')",
    "FROM lake.set_option('parquet_compression', 'zstd')",
    "FROM ducklake_add_data_files('lake', 'events', '{first}')",
    "PIVOT (FROM lake.merge_adjacent_files()) ON table_name USING count(*)",
    "FROM ducklake_merge_adjacent_files('lake')",
    "CHECKPOINT",
    "VACUUM",
    # secrets, settings, extensions
    "FROM duckdb_secrets()",
    "FROM duckdb_secrets(redact => false)",
    "FROM which_secret('s3://lake/x', 's3')",
    "CREATE SECRET (TYPE s3, KEY_ID 'mine', SECRET 'mine')",
    "CREATE PERSISTENT SECRET (TYPE postgres, PASSWORD 'mine')",
    "DROP SECRET __default_s3",
    "FROM duckdb_settings()",
    "SELECT current_setting('secret_directory')",
    "SELECT getenv('HOME')",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "RESET lock_configuration",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "CALL enable_logging()",
    "INSTALL spatial",
    "LOAD httpfs",
    # more than a question
    "FROM query('FROM duckdb_secrets()')",
    "FROM query_table('events')",
    "PREPARE mine AS SELECT 1",
    "EXECUTE mine",
    "BEGIN",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "FROM arrow_scan(1, 1, 1)",
    "SELECT 1; DELETE FROM events",
    "EXPLAIN SELECT 1; DELETE FROM events",
    "EXPLAIN ANALYZE PREPARE mine AS SELECT 1",
    "EXPLAIN PIVOT events ON event_type USING count(*)",
]

REASONS = (
    "is refused, the lake is read only here",
    "expected one statement, got",
    "disabled by configuration",
    "disabled through configuration",
)

HONEST = [
    "SELECT count(*) FROM events",
    "FROM events",
    "FROM sessions",
    "WITH ids AS (SELECT session_id FROM sessions) SELECT count(*) FROM ids",
    "VALUES (1), (2)",
    "TABLE event_types",
    "DESCRIBE sessions",
    "DESCRIBE SELECT 1 AS a",
    "SUMMARIZE events",
    "SHOW TABLES",
    "SHOW ALL TABLES",
    "EXPLAIN SELECT count(*) FROM sessions",
    "EXPLAIN ANALYZE SELECT count(*) FROM sessions",
    "EXPLAIN (ANALYZE, FORMAT json) FROM events",
    "PIVOT events ON event_type USING count(*) GROUP BY session_id",
    "PIVOT events ON event_type IN ('play') USING count(*) GROUP BY session_id",
    "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b",
    "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'events'",
    "SELECT one.key FROM events, json_each('{\"a\": 1}') AS one",
    "FROM generate_series(1, 3)",
    "FROM metrics_between(now() - INTERVAL 1 DAY, now())",
    "FROM lake.retention('content')",
    "FROM lake.main.events",
    "FROM ducklake_snapshots('lake')",
    "SELECT table_name FROM information_schema.tables",
]


@pytest.mark.parametrize("statement", HOSTILE)
def test_what_is_no_question_is_refused(statement: str, target: Target) -> None:
    """One line names what is refused, by us or by DuckDB; no file and no row changes."""
    with pytest.raises(QueryRefused) as refused:
        answer(target.reader, statement.format(**target.words, bucket=BUCKET))
    (line,) = str(refused.value).splitlines()
    assert any(reason in line for reason in REASONS), line
    assert SECRET_KEY not in str(refused.value)
    assert target.state() == target.before
    assert not Path(target.words["new"]).exists()


@pytest.mark.parametrize("statement", HONEST)
def test_questions_are_answered(statement: str, target: Target) -> None:
    """Every kind of them, with rows, whatever the lake is on."""
    found = answer(target.reader, statement)
    assert found.columns
    assert found.rows or "retention" in statement
    assert target.state() == target.before


def test_the_boundary_is_in_the_way_of_no_view_macro_or_example(on_sqlite: Target) -> None:
    """Each view, each macro and each example of the metric catalogue is a query that runs."""
    of_lake = "WHERE database_name = 'lake' AND NOT internal"
    reader = on_sqlite.reader
    views = reader.execute(f"SELECT view_name FROM duckdb_views() {of_lake}").fetchall()
    macros = reader.execute(
        f"SELECT function_name FROM duckdb_functions() {of_lake} AND function_type = 'table_macro'"
    ).fetchall()
    examples = reader.execute("SELECT query FROM metric_catalog WHERE query IS NOT NULL").fetchall()
    assert min(len(views), len(macros), len(examples)) > 10
    for (view,) in views:
        reader.execute(f'FROM "{view}" LIMIT 1').fetchall()
    for statement in [*(f"FROM {macro}()" for (macro,) in macros), *(example for (example,) in examples)]:
        check(reader._connection, statement)


def test_a_question_larger_than_memory_is_answered(on_sqlite: Target) -> None:
    """Data that does not fit into memory goes to DuckDB's own folder, which it may use."""
    statement = (
        "SELECT count(*) FROM (SELECT a, random() AS b FROM range(4_000_000) AS r(a) ORDER BY b) WHERE a >= 0"
    )
    assert ask(on_sqlite.lake.place, statement, memory="40MB").rows == [(4_000_000,)]


def test_new_files_of_the_lake_are_read_through_an_open_reader(tmp_path: Path) -> None:
    """A notebook stays open while workers write."""
    lake = Lake(tmp_path)
    with open_reader(lake.place) as reader, lake.writer() as writer:
        held = writer.load(0, None)
        for offset in range(3):
            write(writer, held, [make_event("play", ts=NOON_MS + offset, offset=offset, event_id=f"e{offset}")])
            assert reader.execute("SELECT count(DISTINCT event_id) FROM events").fetchall() == [(offset + 1,)]


@pytest.mark.parametrize("spelling", ["{folder}//files", "{folder}/./files/", "{folder}/link/files", "relative"])
def test_the_boundary_holds_however_the_folder_of_files_is_spelled(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lake's files are read, others are not."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "lake").mkdir()
    (tmp_path / "other.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    lake = Lake(tmp_path, lake_files=spelling.format(folder=tmp_path))
    initialize(lake.place, partitions=1)
    assert ask(lake.place, "SELECT count(DISTINCT event_type) > 0 FROM event_types").rows == [(True,)]
    with pytest.raises(QueryRefused, match="disabled by configuration"):
        ask(lake.place, "FROM 'other.csv'")


def test_the_server_itself_takes_no_write_of_a_reader(on_postgres: Target) -> None:
    """Should SQL ever get past the boundary, PostgreSQL refuses it: each transaction is read only there."""
    unchecked = on_postgres.reader._connection
    with pytest.raises(duckdb.Error, match="read-only transaction"):
        unchecked.execute("CALL postgres_execute('__ducklake_metadata_lake', 'DELETE FROM ducklake_data_file')")
    assert on_postgres.state() == on_postgres.before


@pytest.mark.parametrize(
    "options",
    ["-cstatement_timeout=9s", "'-c statement_timeout=9s'", r"'-c statement_timeout=9s -c a.b=it\'s'"],
)
def test_options_of_the_operator_s_own_are_kept(options: str, on_postgres: Target) -> None:
    """And the read-only option is added to them."""
    settings = on_postgres.lake.settings
    catalog = f"{settings.lake_catalog} options={options}"
    names = ("statement_timeout", "default_transaction_read_only")
    asked = "SELECT " + ", ".join(f"current_setting(''{name}'') AS {name}" for name in names)
    with open_reader(location(settings.model_copy(update={"lake_catalog": catalog}))) as reader:
        rows = reader._connection.execute(f"FROM postgres_query('__ducklake_metadata_lake', '{asked}')").fetchall()
    assert rows == [("9s", "on")]


def test_what_attach_prints_works_wherever_the_lake_is(target: Target) -> None:
    """With the secrets filled in: pasted into a plain DuckDB, and once more."""
    printed = paste_sql(target.lake.place)
    assert SECRET_KEY not in printed
    place = target.lake.place
    pasted = printed.replace("SECRET '...'", f"SECRET '{SECRET_KEY}'")
    if place.password is not None:
        pasted = pasted.replace("PASSWORD '...'", f"PASSWORD '{place.password.get_secret_value()}'")
    with duckdb.connect() as client:
        client.execute(pasted)
        client.execute(pasted)
        assert client.execute("SELECT count(DISTINCT event_type) FROM events").fetchall() == [(2,)]


def test_a_duckdb_that_is_too_old_is_refused_by_what_attach_prints(on_sqlite: Target) -> None:
    """In its first statement, with the version that is needed."""
    with duckdb.connect() as client:
        client.execute("CREATE MACRO version() AS 'v1.5.1'")
        with pytest.raises(
            duckdb.Error, match=r"DuckDB v1\.5\.1 cannot read this lake, which needs 1\.5\.2 or newer"
        ):
            client.execute(paste_sql(on_sqlite.lake.place))


def test_a_lake_of_a_newer_format_is_refused_by_name(tmp_path: Path) -> None:
    """With both formats, and what to do."""
    lake = Lake(tmp_path)
    with contextlib.closing(sqlite3.connect(lake.place.catalog)) as catalog:
        catalog.execute("UPDATE ducklake_metadata SET value = '9.9' WHERE key = 'version'")
        catalog.commit()
    with pytest.raises(NotReady, match=r"has the format DuckLake 9\.9, and DuckDB .* reads 1\.0: use the release"):
        open_reader(lake.place)


def test_another_duckdb_than_the_extensions_is_refused_by_name(
    on_sqlite: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the version to install."""
    fitting = duckdb.__version__
    monkeypatch.setattr(duckdb, "__version__", "1.4.4")
    with pytest.raises(NotReady, match=rf"DuckDB 1\.4\.4 is installed here, .* pip install duckdb=={fitting}"):
        open_reader(on_sqlite.lake.place)


# ---- Python


def test_connect_opens_a_lake_wherever_it_is(target: Target) -> None:
    """Settings by their names in lower case; it only reads."""
    variables = environment_of(target.lake.settings)
    lake = connect(**{name.removeprefix(PREFIX).lower(): value for name, value in variables.items()})
    assert lake.sql("SELECT count(*) FROM events").fetchall() == [(2,)]
    with pytest.raises(QueryRefused, match="the lake is read only here"):
        lake.sql("DELETE FROM events")


def test_connect_takes_a_folder_and_names_a_wrong_setting(on_sqlite: Target) -> None:
    """The folder is that of `--data`."""
    folder = on_sqlite.lake.settings.data_dir
    assert connect(folder).sql("SELECT count(*) FROM events").fetchall() == [(2,)]
    with pytest.raises(NotReady, match="PLAYHEAD_LAKE_FILE is not a setting; the nearest is PLAYHEAD_LAKE_FILES"):
        connect(folder, lake_file="elsewhere")


def test_times_are_utc_whatever_the_machine_s_zone(on_sqlite: Target) -> None:
    """Also in the cursors that notebooks and programs get."""
    question = "SELECT TIMESTAMPTZ '2026-01-01 00:00:00+00'::VARCHAR"
    script = f"from playhead import connect; print(connect({str(on_sqlite.lake.settings.data_dir)!r})"
    command = [sys.executable, "-c", f'{script}.sql("{question}").fetchall())']
    environment = {"PATH": os.environ["PATH"], "TZ": "America/New_York"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[('2026-01-01 00:00:00+00',)]\n"


@pytest.mark.parametrize(
    "statement", ["SET timezone = 'Asia/Tokyo'", "SET python_enable_replacements = 'True'", "SET threads = '2'"]
)
def test_a_setting_can_only_be_set_to_what_it_is(statement: str, on_sqlite: Target) -> None:
    """For ibis, which sets two of them when it is given a connection."""
    lake = connect(on_sqlite.lake.settings.data_dir)
    lake.execute("SET timezone = 'UTC'").execute("SET python_enable_replacements = 'False'")
    with pytest.raises(QueryRefused, match="SET is refused"):
        lake.execute(statement)


def test_a_variable_of_the_program_is_no_table(on_sqlite: Target) -> None:
    """A name means a table or view of the lake, or nothing."""
    mine = pa.table({"a": [1]})
    assert mine.num_rows == 1
    with pytest.raises(duckdb.CatalogException, match="mine does not exist"):
        connect(on_sqlite.lake.settings.data_dir).sql("FROM mine")


def test_export_copies_a_lake_wherever_it_is(target: Target, tmp_path: Path) -> None:
    """Into a file that DuckDB alone opens; the lake is unchanged."""
    settings = environment_of(target.lake.settings)
    done = playhead("export", "--to", "mine.duckdb", cwd=tmp_path, settings=settings)
    assert done.returncode == 0, done.stderr
    with duckdb.connect(tmp_path / "mine.duckdb", read_only=True) as client:
        assert client.execute("SELECT count(*) FROM events").fetchall() == [(2,)]
    assert target.state() == target.before


# ---- notebooks


@pytest.fixture
def notebook(target: Target) -> Iterator[Reader]:
    """The lake as a notebook opens it."""
    with open_lake(environment_of(target.lake.settings)) as lake:
        yield lake


@pytest.mark.parametrize(
    "statement",
    [
        "COPY (SELECT 1) TO '{first}'",
        "DELETE FROM events",
        "FROM duckdb_secrets()",
        "FROM read_text('/etc/passwd')",
    ],
)
def test_a_notebook_s_connection_only_reads(statement: str, notebook: Reader, target: Target) -> None:
    """By each of its ways to run a statement, and from a cursor as well."""
    text = statement.format(**target.words)
    for way in (notebook.execute, notebook.sql, notebook.cursor().execute, lambda text: read(notebook, text)):
        with pytest.raises(QueryRefused, match="is refused, the lake is read only here"):
            way(text)
    assert target.state() == target.before


CELLS = """
import marimo

app = marimo.App(sql_output="native")


@app.cell
def _():
    import os, marimo as mo
    from notebooks.connect import open_lake
    lake = open_lake(os.environ)
    return lake, mo


@app.cell
def _(lake, mo):
    counted = mo.sql(f\"\"\"{statement}\"\"\", engine=lake)
    print(counted.fetchall())
    return


if __name__ == "__main__":
    app.run()
"""


@pytest.mark.parametrize(
    ("statement", "printed", "wrong"),
    [
        ("SELECT count(*) FROM events", "[(2,)]", ""),
        ("PIVOT events ON event_type IN ('play') USING count(*) GROUP BY session_id", ", 1)]", ""),
        ("COPY events TO '{first}'", "", "COPY is refused"),
        ("FROM sqlite_scan('{outside}', 'kept')", "", "sqlite_scan is refused"),
    ],
)
def test_sql_cells_of_marimo_ask_and_only_ask(
    statement: str, printed: str, wrong: str, on_sqlite: Target, tmp_path: Path
) -> None:
    """With the lake as their engine, in a notebook of one's own."""
    file = tmp_path / "mine.py"
    file.write_text(CELLS.replace("{statement}", statement.format(**on_sqlite.words)))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")}
    environment |= environment_of(on_sqlite.lake.settings) | {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, file], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (not wrong), done.stderr
    assert printed in done.stdout
    assert wrong in done.stderr
    assert on_sqlite.state() == on_sqlite.before
