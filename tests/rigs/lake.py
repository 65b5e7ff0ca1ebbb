"""A real lake, and workers on it, for tests."""

import atexit
import contextlib
import functools
import math
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from consumers.batch import DecodedChunk
from consumers.closing import Limits
from consumers.held_partition import HeldPartition
from consumers.lake_writer import LakeWriter
from consumers.share import Share
from eventlog import Chunk, Record
from lake.catalog import Location, connect, location
from lake.changes import SessionRow
from lake.history import StoredEvents
from lake.rows import session_rows
from lake.tables import initialize
from rigs.poison import START_PARAMS
from rigs.processes import Process, started, talking
from rigs.session_model import ALL_THE_TIME, LIMITS, Entry
from schemas.records import encode, media_event
from schemas.settings import Settings, read_settings
from sessions.facts import SessionFacts

ROOT = Path(__file__).parents[2]


@functools.cache
def _template(partitions: int) -> Path:
    """Return the folder of a lake as `init` makes it, to be copied: making one takes a second."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-lake-"))
    atexit.register(shutil.rmtree, folder)
    initialize(location(read_settings({"PLAYHEAD_DATA_DIR": str(folder)})), partitions=partitions)
    return folder / "lake"


def make_spelled(place: Location) -> None:
    """Make a lake as `init` does, whose catalogue has the path of its files as this place spells it."""
    path = "ducklake_metadata {} WHERE key = 'data_path'"
    connect(place, read_only=False, create=True).close()
    with contextlib.closing(sqlite3.connect(place.catalog)) as catalog:
        spelled = catalog.execute("SELECT value FROM " + path.format("")).fetchone()
    template = _template(1)
    shutil.copyfile(template / "catalog.sqlite", place.catalog)
    shutil.copytree(template / "files", place.files, dirs_exist_ok=True)
    with contextlib.closing(sqlite3.connect(place.catalog)) as catalog, catalog:
        catalog.execute("UPDATE " + path.format("SET value = ?"), spelled)


def do(place: Location, *statements: str) -> list[tuple[Any, ...]]:
    """Change a lake by SQL, as nobody should; return the rows of the last statement."""
    with contextlib.closing(connect(place, read_only=False)) as connection:
        for statement in statements:
            rows = connection.execute(statement).fetchall()
        return rows


class Lake:
    """A lake on SQLite in a folder of the test's own, of one partition or more."""

    def __init__(self, folder: Path, *, partitions: int = 1, **settings: Any) -> None:
        self.settings = Settings(data_dir=folder, **settings)
        self.place = location(self.settings)
        if not (folder / "lake").exists():
            shutil.copytree(_template(partitions), folder / "lake")

    def copy(self, folder: Path) -> "Lake":
        """Return a copy of this lake, alone in another folder."""
        shutil.copytree(self.settings.data_dir / "lake", folder / "lake")
        return Lake(folder)

    @contextlib.contextmanager
    def writer(self, limits: Limits = LIMITS) -> Iterator[LakeWriter]:
        """Open the lake as a worker does."""
        writer = LakeWriter(self.settings, limits=limits)
        try:
            yield writer
        finally:
            writer.close()

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the lake, read only."""
        with contextlib.closing(connect(self.place, read_only=True)) as connection:
            return connection.execute(statement).fetchall()

    def do(self, *statements: str) -> None:
        """Change the lake by SQL, as nobody should."""
        do(self.place, *statements)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the write lock of the catalogue, in a process of its own."""
        hold = (
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30);"
            "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); sys.stdin.read()"
        )
        with talking("-c", hold, self.place.catalog) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield

    def left_out(self) -> set[int]:
        """Return the offsets of events that came when their session was over, and that its row leaves out."""
        rows = self.ask(
            "SELECT log_offset FROM events JOIN sessions USING (session_id) "
            "WHERE list_contains(events.flags, 'after_close') "
            "AND (log_offset >= as_of_offset OR list_contains(events.flags, 'over_limit'))"
        )
        return {row[0] for row in rows}

    def sessions(self) -> dict[str, dict[str, Any]]:
        """Return the view `sessions`: what the fold made of each session."""
        columns = ", ".join(f'"{name}"' for name in FACTS)
        with contextlib.closing(connect(self.place, read_only=True)) as connection:
            return by_session(connection.execute(f"SELECT {columns} FROM sessions").to_arrow_table().to_pylist())


_PLACE = (
    "version",
    "state",
    "close_reason",
    "as_of",
    "as_of_offset",
    "log_partition",
    "late_events",
    "first_offset",
)
FACTS = [name for name in session_rows([]).column_names if name not in _PLACE]


def by_session(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Index rows by their session."""
    found = {row["session_id"]: row for row in rows}
    assert len(found) == len(rows), "a session is stored twice"
    return found


def rows_of_facts(facts: dict[str, SessionFacts]) -> dict[str, dict[str, Any]]:
    """Return facts as the view `sessions` has them."""
    rows = [(SessionRow(fact, 1, None, 0, 0, 0), 0) for fact in facts.values()]
    return by_session(session_rows(rows).select(FACTS).to_pylist())


def decoded(entries: Sequence[Entry], *, partition: int = 0) -> list[DecodedChunk]:
    """Return entries as the worker holds them before they are written."""
    if not entries:
        return []
    return [DecodedChunk(partition, list(entries), entries[-1].offset + 1)]


def write(
    writer: LakeWriter,
    held: HeldPartition,
    entries: Sequence[Entry],
    *,
    idle_at_ms: int | None = None,
    renew: bool = True,
    share: Share = ALL_THE_TIME,
) -> list[HeldPartition]:
    """Let a worker write a batch; or, with `idle_at_ms`, find that there is nothing more to read at that time."""
    batch = decoded(entries)
    if idle_at_ms is not None:
        batch = [DecodedChunk(0, [], held.sessions.next_offset)]
    return _write(writer, held, batch, now_ms=idle_at_ms or 0, renew=renew, share=share)


def _write(
    writer: LakeWriter, held: HeldPartition, batch: list[DecodedChunk], *, now_ms: int, renew: bool, share: Share
) -> list[HeldPartition]:
    """Fold, commit and advance, as the worker does."""
    with writer.connection() as connection:
        ledger = held.ledger
        lake = StoredEvents(connection, partition=ledger.log_partition, open_as_of_offset=ledger.open_as_of_offset)
        changes = held.fold(batch, lake=lake, log_now_ms=now_ms, share=share)
    if renew:
        changes.add_open_sessions(now_s=0.0, interval_s=-math.inf)
    if not changes.is_anything():
        return []
    (ledger,) = writer.commit([changes])
    changes.advance(ledger)
    return [held]


def write_values(writer: LakeWriter, held: HeldPartition, values: Sequence[bytes], *, appended_ms: int) -> None:
    """Let a worker write a batch of records with these bytes."""
    write_told(writer, held, [(appended_ms, value) for value in values])


def write_told(writer: LakeWriter, held: HeldPartition, told: Sequence[tuple[int, bytes]]) -> None:
    """Let a worker write a batch of records, each with the moment when the log took it, milliseconds."""
    first = held.sessions.next_offset
    records = [Record(0, first + n, b"", value, appended_ms) for n, (appended_ms, value) in enumerate(told)]
    read = DecodedChunk.of(Chunk(0, records, first + len(told)))
    _write(writer, held, [read], now_ms=told[-1][0], renew=True, share=ALL_THE_TIME)


def told_values(
    number: int, start_ms: int, events: Iterable[tuple[float, str, float, dict[str, Any]]]
) -> Iterator[tuple[int, bytes]]:
    """Yield what the player of one session says at once, for `write_told`: records, each with its moment.

    Events are seconds from the start, type, playhead, and what else is in it.
    """
    for place, (after_s, name, head, more) in enumerate(events):
        at_ms = start_ms + int(after_s * 1000)
        yield (
            at_ms,
            record_value(
                f"e{number}.{place}", f"s{number}", name, ts=at_ms, received_ms=at_ms, playhead=head, **more
            ),
        )


def record_value(
    event_id: str,
    session: str,
    type_name: str = "ping",
    *,
    ts: int,
    received_ms: int,
    playhead: float = 0.0,
    consent: str | None = None,
    **more: object,
) -> bytes:
    """Return the bytes of a record as the ingest writes them; `more`: parameters of a start, fields of others."""
    event: dict[str, Any] = {"playerTime": {"playhead": playhead, "ts": ts}, "eventType": type_name}
    event |= {"params": {**START_PARAMS, **more}} if type_name == "sessionStart" else more
    record = media_event(
        event,
        event_id=event_id,
        session_id=session,
        source="/api/v1/sessions",
        received=datetime.fromtimestamp(received_ms / 1000, UTC),
        consent=consent,
    )
    return encode(record)


@contextlib.contextmanager
def playhead(settings: Settings, verb: str, *arguments: str) -> Iterator[Process]:
    """Run a `playhead` command as a process of its own, and end it whatever happens."""
    environment = {
        f"PLAYHEAD_{name.upper()}": str(value)
        for name, value in settings.model_dump(mode="json", exclude_defaults=True).items()
    }
    with started(
        [sys.executable, "-P", "-m", "playhead", verb, *arguments],
        log=settings.data_dir / f"{verb}.stderr",
        env={"PATH": "/usr/bin:/bin", **environment},
        cwd=ROOT,
    ) as process:
        yield process


@contextlib.contextmanager
def emptied(connection: duckdb.DuckDBPyConnection, *tables: str) -> Iterator[None]:
    """Delete all rows of some tables after a `with` block, for the next test on the same lake."""
    try:
        yield
    finally:
        for table in tables:
            connection.execute(f"DELETE FROM {table}")
