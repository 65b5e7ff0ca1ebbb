"""The address of the lake, and the one way to open it."""

import contextlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import duckdb
import msgspec
from pydantic import SecretStr

from lake.spill import spill_folder
from schemas.faults import NotReady
from schemas.settings import PASSWORD, Settings

NAME = "lake"
OLDEST_DUCKDB = "1.5.2"  # the first that knows DuckLake 1.0, the format of the lake
METADATA = f"__ducklake_metadata_{NAME}"  # schema of the catalogue's own tables in an attached lake
# Connection parameters for PostgreSQL, so that a lost server is noticed.
_POSTGRES_OPTIONS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_FORMATS = re.compile(r"catalog version is (\S+), but the extension requires version ([\d.]+\d)")
_OPTIONS = re.compile(r"(?:^|\s)options\s*=\s*('(?:[^'\\]|\\.)*'|\S+)")
# An error in a DuckDB that is too old, and no output in any other.
_VERSION_CHECK = f"""SET VARIABLE reads_playhead = if(
    string_split(regexp_extract(version(), '\\d+\\.\\d+\\.\\d+'), '.')::INTEGER[]
        >= string_split('{OLDEST_DUCKDB}', '.')::INTEGER[],
    true,
    error('DuckDB ' || version() || ' cannot read this lake, which needs {OLDEST_DUCKDB} or newer')
);"""
# The extension that each kind of catalogue needs besides `ducklake`, by its name in the package index.
_SCANNERS = {"sqlite": "sqlite_scanner", "postgres": "postgres_scanner"}


class S3(msgspec.Struct, frozen=True):
    """Access to the server of s3:// files; without an `endpoint` it is Amazon's."""

    endpoint: str
    region: str
    tls: bool
    access_key: str
    secret_key: SecretStr | None


class Location(msgspec.Struct, frozen=True):
    """Where a lake is: the kind and address of its catalogue, and the folder or s3:// address of its files.

    `catalog` contains no secret, because it is printed and DuckDB's errors quote it. `s3`: how connections reach
    S3, if the files or others that they need are there. `spills`: the folder for what exceeds a query's memory,
    see `lake/spill.py`.
    """

    kind: Literal["sqlite", "postgres"]
    catalog: str
    files: str
    password: SecretStr | None = None
    s3: S3 | None = None
    spills: Path | None = None

    @property
    def uri(self) -> str:
        return f"ducklake:{self.kind}:{self.catalog}"

    @property
    def is_local(self) -> bool:
        return "://" not in self.files


def location(settings: Settings) -> Location:
    """Return the location of the lake by the settings. Raises NotReady if they are not valid.

    Local paths are made absolute, without symbolic links, `..` and doubled slashes, because DuckLake compares
    paths as text. The catalogue lists files relative to this path, so a lake made under another spelling still
    works.
    """
    data = settings.data_dir.resolve()
    files = _canonical(settings.lake_files or str(data / "lake" / "files"))
    s3 = _s3(settings, files)
    if settings.lake_catalog == "sqlite":
        return Location("sqlite", str(data / "lake" / "catalog.sqlite"), files, s3=s3, spills=data)
    kind, _, connection = settings.lake_catalog.partition(":")
    if kind != "postgres" or "=" not in connection or "://" in connection:
        raise NotReady("PLAYHEAD_LAKE_CATALOG must be `sqlite` or `postgres:host=... dbname=... user=...`")
    password = settings.lake_catalog_password
    if (found := PASSWORD.search(connection)) is not None:
        password = password or SecretStr(_unquoted(found[1]))
    return Location("postgres", PASSWORD.sub("", connection).strip(), files, password, s3, data)


def _canonical(files: str) -> str:
    """Return a local path in canonical form. In an s3:// address each slash is part of the keys."""
    if "://" in files:
        return files
    return str(Path(files).expanduser().resolve())  # DuckDB also expands ~


def check_new(place: Location) -> None:
    """Raise NotReady if DuckDB or S3 would interpret the address of a new lake's files in more than one way."""
    if place.is_local:
        if "\\" in place.files:
            raise NotReady(
                f"DuckDB cannot have a backslash in a path: {place.files}; choose another PLAYHEAD_LAKE_FILES"
            )
        return
    check_s3_address(place.files, "PLAYHEAD_LAKE_FILES")


def check_s3_address(address: str, setting: str) -> None:
    """Raise NotReady if an address is not one on S3, or if DuckDB or S3 would take it in more than one way."""
    scheme, _, rest = address.partition("://")
    bucket, *keys = rest.removesuffix("/").split("/")
    if scheme != "s3" or not bucket:
        raise NotReady(f"{setting} must be a folder or s3://bucket/folder, got {address}")
    if {"", ".", ".."} & set(keys):
        raise NotReady(f"{setting} has an empty, `.` or `..` part, which S3 takes literally: {address}")
    if found := re.search(r"[*?\[\\]", rest):
        raise NotReady(f"{setting} contains a {found[0]}, which DuckDB does not take literally: {address}")


def glob_literal(path: str) -> str:
    """Return a pattern for DuckDB's glob that matches only this path."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def _s3(settings: Settings, files: str) -> S3 | None:
    return s3_of(settings) if files.startswith("s3://") else None


def s3_of(settings: Settings) -> S3:
    """Return how the settings reach S3."""
    return S3(
        endpoint=settings.lake_s3_endpoint,
        region=settings.lake_s3_region,
        tls=settings.lake_s3_tls,
        access_key=settings.lake_s3_access_key,
        secret_key=settings.lake_s3_secret_key,
    )


def _unquoted(value: str) -> str:
    """Return a value of a PostgreSQL connection string without quotes and escapes."""
    inner = value[1:-1] if value.startswith("'") else value
    return re.sub(r"\\(.)", r"\1", inner)


def extension_path(name: str) -> str:
    """Return the file of a DuckDB extension that is installed as a Python package; nothing is downloaded.

    Raises NotReady if the package is missing or made for another version than the DuckDB that is installed.
    """
    spec = importlib.util.find_spec(f"duckdb_extension_{name}")
    if spec is None or not spec.submodule_search_locations:
        raise NotReady(
            f"the package duckdb-extension-{name.replace('_', '-')} is not installed: pip install 'playhead[lake]'"
        )
    (path,) = Path(spec.submodule_search_locations[0]).glob("extensions/*/*.duckdb_extension")
    fitting = path.parent.name.removeprefix("v")
    if fitting != duckdb.__version__:
        raise NotReady(
            f"DuckDB {duckdb.__version__} is installed here, and the extensions that read the lake are those of "
            f"{fitting}: pip install duckdb=={fitting}"
        )
    return str(path)


def attach_sql(place: Location, *, read_only: bool) -> str:
    """Return the ATTACH statement of a lake under the name `lake`."""
    options = [f"DATA_PATH {quote(place.files)}", "OVERRIDE_DATA_PATH true"]
    if read_only:
        options.append("READ_ONLY")
    else:
        options.append("DATA_INLINING_ROW_LIMIT 0")
        if place.kind == "sqlite":
            # Without WAL, readers and the writer block each other for seconds.
            options += ["META_JOURNAL_MODE 'WAL'", "META_BUSY_TIMEOUT 5000"]
    return f"ATTACH IF NOT EXISTS {quote(place.uri)} AS {NAME} ({', '.join(options)})"


def paste_sql(place: Location) -> str:
    """Return statements that open this lake, read only, in a DuckDB client; safe to repeat.

    Extensions are loaded from this installation, without network access; a comment shows what another version or
    machine needs instead. The first statement refuses a DuckDB that is too old. Secrets are left to be filled in.
    """
    needed = extensions(place)
    names = [name.removesuffix("_scanner") for name in needed]  # as DuckDB's INSTALL has them
    lines = [
        f"-- For DuckDB {OLDEST_DUCKDB} or newer. The lines with LOAD need Playhead on this machine and DuckDB "
        f"{duckdb.__version__};",
        "-- elsewhere, or for another version, replace them by:",
        *(f"-- INSTALL {name}; LOAD {name};" for name in names),
        _VERSION_CHECK,
        *(f"LOAD {quote(extension_path(name))};" for name in needed),
        *(f"{statement};" for statement in _secrets_sql(place, reveal=lambda _: "...")),
        attach_sql(place, read_only=True) + ";",
    ]
    return "\n".join([*lines, f"USE {NAME};", "SET TimeZone = 'UTC';"])


def extensions(place: Location) -> list[str]:
    """Return the extensions that a lake needs, by their names in the package index."""
    return ["ducklake", _SCANNERS[place.kind], *(["httpfs"] if place.s3 is not None or not place.is_local else [])]


def _secrets_sql(place: Location, *, reveal: Callable[[SecretStr], str]) -> list[str]:
    """Return statements that give DuckDB the secrets of a lake, which ATTACH then uses."""
    statements = []
    if place.password is not None:
        statements.append(f"CREATE OR REPLACE SECRET (TYPE postgres, PASSWORD {quote(reveal(place.password))})")
    if place.s3 is not None:
        statements.append(_s3_secret_sql(place.s3, reveal=reveal))
    return statements


def _s3_secret_sql(s3: S3, *, reveal: Callable[[SecretStr], str]) -> str:
    parts = ["TYPE s3", f"REGION {quote(s3.region)}", f"USE_SSL {str(s3.tls).lower()}"]
    if s3.access_key and s3.secret_key is not None:
        parts += [f"KEY_ID {quote(s3.access_key)}", f"SECRET {quote(reveal(s3.secret_key))}"]
    if s3.endpoint:
        parts += [f"ENDPOINT {quote(s3.endpoint)}", "URL_STYLE 'path'"]
    return f"CREATE OR REPLACE SECRET ({', '.join(parts)})"


def _duckdb(spills: Path | None, **config: str | int) -> duckdb.DuckDBPyConnection:
    """Open DuckDB, which may load the extensions that are installed with it.

    The installer has checked the hashes of the packages. Checking DuckDB's signatures too would cost 0.4 s of CPU
    each time, and anyone who can change those files can change this one.
    """
    return duckdb.connect(
        config={"allow_unsigned_extensions": True, "temp_directory": str(spill_folder(spills)), **config}
    )


def connect_to_files(s3: S3 | None) -> duckdb.DuckDBPyConnection:
    """Open DuckDB without a lake, for files of this machine or of S3; times are UTC."""
    connection = _duckdb(None)
    connection.execute("SET TimeZone = 'UTC'")
    if s3 is not None:
        connection.execute(f"LOAD {quote(extension_path('httpfs'))}")
        connection.execute(_s3_secret_sql(s3, reveal=SecretStr.get_secret_value))
    return connection


def connect(
    place: Location,
    *,
    read_only: bool,
    create: bool = False,
    memory: str = "1GB",
    threads: int = 1,
    transaction_timeout_s: float = 0.0,
    one_snapshot: bool = False,
) -> duckdb.DuckDBPyConnection:
    """Open a lake and make it the default catalogue; times are UTC.

    `one_snapshot`: a reader whose statements all see the lake as it is now. They must not be one transaction
    (see `snapshot.in_snapshot`).

    PostgreSQL ends a transaction of this connection that is idle for `transaction_timeout_s` (0: never), since
    this process may be frozen while others wait for its locks.

    Raises NotReady if there is no lake yet, or if this DuckDB cannot read its format. A process that has the lake
    attached must not open the catalogue with another SQLite library: two in one process drop each other's locks,
    which corrupts the file.
    """
    if place.kind == "sqlite" and not Path(place.catalog).exists():  # opening it would create it
        if not create:
            raise _absent(place)
        check_new(place)
    connection = _duckdb(place.spills, threads=threads, memory_limit=memory)
    try:
        for extension in extensions(place):
            connection.execute(f"LOAD {quote(extension_path(extension))}")
        connection.execute("SET allow_unsigned_extensions = false")  # extensions loaded by SQL are checked
        for statement in _secrets_sql(place, reveal=SecretStr.get_secret_value):
            connection.execute(statement)
        connection.execute(f"SET ducklake_max_retry_count = {200 if create else 20}")
        if create:  # beside workers that commit each second `init` loses most races, and waits that grow win none
            connection.execute("SET ducklake_retry_backoff = 1")
        connection.execute("SET GLOBAL TimeZone = 'UTC'")  # of its cursors too
        # It would go to standard output, between results. In Jupyter without ipywidgets it is off and fixed.
        if connection.execute("SELECT current_setting('enable_progress_bar')").fetchall() == [(True,)]:
            connection.execute("SET enable_progress_bar = false")
        if not read_only:  # it should return freed memory to the system
            connection.execute("SET allocator_background_threads = true")
        if not read_only or one_snapshot or place.is_local:
            # Who reads files once needs no cache, and files of this machine have the system's. DuckDB 1.5 may read
            # garbage where its own drops a block that is being read (github.com/duckdb/duckdb/pull/22126).
            connection.execute("SET enable_external_file_cache = false")
        attached = _with_options(place, transaction_timeout_s, read_only=read_only)
        _attach(connection, attached, place, read_only=read_only, create=create)
        if one_snapshot:
            _keep_snapshot(connection, attached)
        connection.execute(f"USE {NAME}")
    except (duckdb.Error, NotReady):
        connection.close()
        raise
    return connection


def _attach(
    connection: duckdb.DuckDBPyConnection, attached: Location, place: Location, *, read_only: bool, create: bool
) -> None:
    """Attach the lake at `place`; make it if there is none and `create`. Raises as `connect` does.

    `attached` is the place with the options of this connection.
    """
    attach = attach_sql(attached, read_only=read_only)
    try:
        connection.execute(attach[:-1] + ", CREATE_IF_NOT_EXISTS false)")
    except duckdb.InvalidInputException as error:
        if found := _FORMATS.search(str(error)):
            raise NotReady(
                f"the lake at {place.catalog} has the format DuckLake {found[1]}, and DuckDB "
                f"{duckdb.__version__} reads {found[2]}: use the release of Playhead that writes this lake"
            ) from error
        if "does not exist" not in str(error):
            raise
        if not create:
            raise _absent(place) from None
        check_new(place)
        connection.execute(attach)


def _keep_snapshot(connection: duckdb.DuckDBPyConnection, attached: Location) -> None:
    """Attach the lake again, as its newest snapshot has it."""
    number = snapshot_number(connection)
    connection.execute(f"DETACH {NAME}")
    attach = attach_sql(attached, read_only=True)
    connection.execute(attach[:-1] + f", CREATE_IF_NOT_EXISTS false, SNAPSHOT_VERSION {number})")


def snapshot_number(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the number of the snapshot that a connection reads."""
    ((number,),) = connection.execute(f"SELECT id FROM ducklake_current_snapshot('{NAME}')").fetchall()
    return int(number)


def _absent(place: Location) -> NotReady:
    return NotReady(f"there is no lake at {place.catalog}; `playhead init` makes one")


@contextlib.contextmanager
def transaction(connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Commit what a `with` block writes; if anything fails, roll it back and raise the first error."""
    connection.execute("BEGIN")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # after a failed COMMIT there is none; the first error counts
            connection.execute("ROLLBACK")
        raise


def _with_options(place: Location, transaction_timeout_s: float, *, read_only: bool) -> Location:
    """Add parameters for PostgreSQL's client that the connection string does not set.

    The transactions of a reader are read only in the server too, whatever SQL reaches it.
    """
    if place.kind != "postgres":
        return place
    given = _OPTIONS.search(place.catalog)
    options = (
        _unquoted(given[1])
        if given
        else f"-c idle_in_transaction_session_timeout={int(transaction_timeout_s * 1000)}"
    )
    if read_only:
        options += " -c default_transaction_read_only=on"
    missing = [f"{name}={value}" for name, value in _POSTGRES_OPTIONS.items() if f"{name}=" not in place.catalog]
    # PostgreSQL's client takes the last of two options with the same name.
    quoted = options.replace("\\", r"\\").replace("'", r"\'")
    return msgspec.structs.replace(place, catalog=" ".join([place.catalog, *missing, f"options='{quoted}'"]))


def speaks_english(locale: str) -> bool:
    """Return whether PostgreSQL's messages are in English under a locale."""
    return re.fullmatch(r"(C|POSIX)?(\..*)?|en([_.].*)?", locale) is not None


def check_language(connection: duckdb.DuckDBPyConnection, place: Location) -> None:
    """Raise NotReady if PostgreSQL's messages are not in English: DuckLake recognizes conflicts by their text."""
    if place.kind != "postgres":
        return
    question = "SELECT current_setting('lc_messages')"
    language = str(ask_postgres(connection, question))
    if not speaks_english(language):
        raise NotReady(
            f"PostgreSQL's messages are in {language} and must be in English: "
            "ALTER ROLE ... SET lc_messages = 'C', as a superuser"
        )


def ask_postgres(connection: duckdb.DuckDBPyConnection, question: str) -> Any:
    """Return the one value with which the catalogue's PostgreSQL answers a question in its SQL."""
    rows = connection.execute(f"SELECT * FROM postgres_query('{METADATA}', {quote(question)})").fetchall()
    return rows[0][0]


def quote(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"
