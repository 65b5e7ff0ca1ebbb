"""The lake: its tables and views, what `verify` finds, and what upkeep leaves alone."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest
from rigs.lake import Lake, playhead, rows_of_facts, write
from rigs.session_model import NOON_MS, Entry, expected_facts, make_bad, make_event, make_tracking, session_id

from lake.catalog import connect, extension_path
from lake.keeper import kept_open
from lake.rows import session_rows
from lake.tables import initialize
from lake.verify import verify
from schemas.vocabulary import EVENT_TYPES

HOUR_MS = 3_600_000


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake as `init` makes it; to be read only."""
    return Lake(tmp_path_factory.mktemp("empty"), partitions=2)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with some of everything; to be copied before it is changed."""
    lake = Lake(tmp_path_factory.mktemp("filled"))
    log: list[Entry] = [
        make_event("sessionStart", offset=0),
        make_event("play", ts=NOON_MS + 10, offset=1, playhead_s=1.0),
        make_bad(offset=2),
        make_tracking(offset=3),
        make_event("play", ts=NOON_MS + 10, offset=4, event_id="event-1", playhead_s=1.0),
        make_event("sessionStart", offset=5, session_id="another"),
        make_event("sessionEnd", ts=NOON_MS + 20_000, offset=6, playhead_s=9.0),
    ]
    with lake.writer() as writer:
        held = writer.load(0, None)
        write(writer, held, log[:3])
        write(writer, held, log[3:])
    return lake


@pytest.fixture
def broken(filled: Lake, tmp_path: Path) -> Lake:
    """A copy of the filled lake, to be broken."""
    return filled.copy(tmp_path)


# ---- opening


def test_nobody_closes_a_catalogue_as_the_last_while_it_is_kept_open(broken: Lake) -> None:
    """SQLite's WAL outlives each transaction, so no exclusive lock is taken; at the end it is checkpointed."""
    log = Path(broken.place.catalog + "-wal")
    with contextlib.closing(connect(broken.place, read_only=False)) as connection, kept_open(broken.place):
        connection.execute("DELETE FROM duplicates")
        assert log.stat().st_size > 0
    assert not log.exists()


def test_an_extension_that_sql_names_must_be_signed(empty: Lake, tmp_path: Path) -> None:
    """Those from packages are loaded unchecked; afterwards DuckDB checks, whatever SQL demands."""
    forged = tmp_path / "httpfs.duckdb_extension"
    content = bytearray(Path(extension_path("httpfs")).read_bytes())
    content[len(content) // 2] ^= 1
    forged.write_bytes(content)
    with contextlib.closing(connect(empty.place, read_only=True)) as connection:
        with pytest.raises(duckdb.Error, match="signature"):
            connection.execute(f"LOAD '{forged}'")
        with pytest.raises(duckdb.Error, match="allow_unsigned_extensions"):
            connection.execute("SET allow_unsigned_extensions = true")


# ---- tables


def test_every_table_view_and_column_says_what_it_is(empty: Lake) -> None:
    """The data dictionary is generated from comments, so none may be missing."""
    named = "SELECT {name} FROM duckdb_{kind}() WHERE database_name = 'lake' AND NOT internal AND {lacks}"
    lacks = "coalesce(comment, '') = ''"
    assert empty.ask(named.format(name="table_name", kind="tables", lacks=lacks)) == []
    assert empty.ask(named.format(name="view_name", kind="views", lacks=lacks)) == []
    columns = "table_name IN (SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake')"
    columns = f"FROM duckdb_columns() WHERE database_name = 'lake' AND {columns} AND {lacks}"
    assert empty.ask(f"SELECT table_name, column_name {columns}") == []


@pytest.mark.parametrize("table", ["session_versions", "open_sessions_p000", "open_sessions_p001"])
def test_the_columns_of_a_session_are_the_facts_and_where_they_stand(empty: Lake, table: str) -> None:
    """What the worker writes and what the table has are the same columns, of the same types."""
    with contextlib.closing(connect(empty.place, read_only=True)) as connection:
        wanted = {row[0]: row[1] for row in connection.execute(f"DESCRIBE {table}").fetchall()}
        connection.register("written", session_rows([]))
        written = {row[0]: row[1] for row in connection.execute("DESCRIBE SELECT * FROM written").fetchall()}
    narrower = {"BIGINT": "INTEGER"}  # what the worker counts in 64 bits may be stored in 32
    assert written.keys() == wanted.keys()
    for name, kind in wanted.items():
        assert kind in (written[name], narrower.get(written[name])), name


def test_the_table_of_event_types_is_the_vocabulary(empty: Lake) -> None:
    """Each row of the vocabulary is a row of `event_types`."""
    rows = empty.ask("SELECT event_type, rank, required, optional, does FROM event_types")
    assert {row[0]: row[1] for row in rows} == {name: row.rank for name, row in EVENT_TYPES.items()}
    for name, _, required, optional, does in rows:
        assert required == [param.key for param in EVENT_TYPES[name].required]
        assert set(required) | set(optional) == {param.key for param in EVENT_TYPES[name].params}
        assert does or name == "ping"


def test_init_is_safe_to_repeat_and_adds_partitions(filled: Lake, tmp_path: Path) -> None:
    """Nothing that is there changes; a new partition gets one ledger row, and the views see it."""
    lake = filled.copy(tmp_path)
    before = lake.ask("SELECT * FROM ledger")
    initialize(lake.place, partitions=1)
    assert lake.ask("SELECT * FROM ledger") == before
    initialize(lake.place, partitions=3)
    assert [row[:3] for row in lake.ask("SELECT * FROM ledger ORDER BY 1")] == [(0, 0, 7), (1, 0, 0), (2, 0, 0)]
    assert lake.ask("SELECT count(*) FROM sessions") == [(2,)]
    initialize(lake.place, partitions=2)
    assert lake.ask("SELECT count(*) FROM ledger") == [(3,)]


def test_files_of_this_machine_are_read_without_a_cache_of_duckdbs(tmp_path: Path) -> None:
    """Short of memory it may read garbage, and the system has a cache of its own."""
    lake = Lake(tmp_path)
    assert lake.ask("SELECT current_setting('enable_external_file_cache')") == [(False,)]


def test_a_fresh_lake_of_many_partitions_answers_at_once(tmp_path: Path) -> None:
    """A table without statistics costs a query of the catalogue per column: here 2.6 s, 0.1 s with them."""
    lake = Lake(tmp_path, partitions=8)
    with contextlib.closing(connect(lake.place, read_only=True)) as connection:
        began_s = time.process_time()
        assert connection.execute("SELECT count(*) FROM sessions").fetchall() == [(0,)]
        assert time.process_time() - began_s < 1


# ---- views


USUAL: dict[str, Any] = {
    "session_id": "a",
    "version": 1,
    "state": "final",
    "events": 5,
    "has_start": True,
    "start_ts": "2026-01-01 00:00:00Z",
    "content_id": "movie",
    "player_name": "p",
    "channel": "c",
    "length_s": 60.0,
    "tracking_verified": False,
    "log_partition": 0,
}


def add_sessions(lake: Lake, *closed: dict[str, Any], opened: Sequence[dict[str, Any]] = ()) -> None:
    """Put rows of sessions into the lake; missing columns get usual values."""
    with contextlib.closing(connect(lake.place, read_only=False)) as connection:
        connection.execute("BEGIN")
        for table, rows in (("session_versions", closed), ("open_sessions_p000", opened)):
            for row in ({**USUAL, **columns} for columns in rows):
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))
        connection.execute("COMMIT")


def test_the_newest_version_of_a_session_is_shown_and_of_equal_ones_the_closed(tmp_path: Path) -> None:
    """A closed row that the open table still has too is shown once, as closed; a reopened one as open."""
    lake = Lake(tmp_path)
    add_sessions(
        lake,
        {"session_id": "tie"},
        {"session_id": "reopened"},
        *({"session_id": "corrected", "version": version} for version in (1, 3, 2)),
        opened=[
            {"session_id": "tie", "version": 1, "state": "provisional"},
            {"session_id": "reopened", "version": 2, "state": "provisional"},
            {"session_id": "corrected", "version": 2, "state": "provisional"},
        ],
    )
    assert lake.ask("SELECT session_id, version, state FROM sessions ORDER BY 1") == [
        ("corrected", 3, "final"),
        ("reopened", 2, "provisional"),
        ("tie", 1, "final"),
    ]


def test_a_tracking_session_names_the_user_only_where_we_issued_it_and_nobody_denied(tmp_path: Path) -> None:
    """The user of a tracking session is the session's user if its id is verified and consent was not denied."""
    lake = Lake(tmp_path)
    with lake.writer() as writer:
        made = msgspec.structs.replace(
            make_tracking(offset=0), tracking_session_id="t", user_id="u", playout_id="x"
        )
        gone = msgspec.structs.replace(
            made, offset=1, event_id="deleted", change="deleted", user_id=None, received_ms=NOON_MS + 1
        )
        write(writer, writer.load(0, None), [made, gone])
    named = {"tracking_session_id": "t", "tracking_verified": True}
    add_sessions(
        lake,
        {"session_id": "proven", **named},
        {"session_id": "consented", "consent": "given", **named},
        {"session_id": "denied", "consent": "denied", **named},
        {
            "session_id": "denied, by an older worker",
            "consent": "denied",
            "user_id": "v",
            "device_id": "d",
            **named,
        },
        {"session_id": "unproven", **named, "tracking_verified": False},
        {"session_id": "has its own", "user_id": "v", "user_id_source": "analytics.visitorId", **named},
        {"session_id": "names another", **named, "tracking_session_id": "unknown"},
    )
    assert dict(lake.ask("SELECT session_id, (user_id, user_id_source)::VARCHAR FROM sessions")) == {
        "proven": "(u, tracking_session)",
        "consented": "(u, tracking_session)",
        "denied": "(NULL, NULL)",
        "denied, by an older worker": "(NULL, NULL)",
        "unproven": "(NULL, NULL)",
        "has its own": "(v, analytics.visitorId)",
        "names another": "(NULL, NULL)",
    }
    assert lake.ask("SELECT user_id, sessions FROM viewers ORDER BY 1") == [("u", 2), ("v", 1)]
    assert lake.ask(
        "SELECT tracking_session_id, playout_id, user_id, verified, epoch_ms(deleted_at) FROM tracking_sessions"
    ) == [("t", "x", "u", True, NOON_MS + 1)]
    assert lake.ask("SELECT 1 FROM sessions WHERE device_id IS NOT NULL") == []


@pytest.mark.parametrize("denied_by", ["created", "deleted"])
def test_a_tracking_session_of_which_one_request_denied_names_nobody(tmp_path: Path, denied_by: str) -> None:
    """When it is created or deleted: sessions that named it get no user from it."""
    lake = Lake(tmp_path)
    with lake.writer() as writer:
        made = msgspec.structs.replace(make_tracking(offset=0), tracking_session_id="t", user_id="u")
        gone = msgspec.structs.replace(made, offset=1, event_id="deleted", change="deleted", user_id=None)
        entries = [
            msgspec.structs.replace(entry, consent="denied" if entry.change == denied_by else None)
            for entry in (made, gone)
        ]
        write(writer, writer.load(0, None), entries)
    add_sessions(lake, {"session_id": "s", "tracking_session_id": "t", "tracking_verified": True})
    assert lake.ask("SELECT user_id, user_id_source FROM sessions") == [(None, None)]
    assert lake.ask("SELECT user_id FROM tracking_sessions") == [(None,)]


def test_the_lists_of_a_session_are_views_of_its_newest_version(tmp_path: Path) -> None:
    """Ads, breaks, chapters, states, intervals and errors of a session are rows, of one version, at any time."""
    lake = Lake(tmp_path)
    session = session_id(0, NOON_MS)
    ad = {"media.ad.id": "ad", "media.ad.length": 5, "media.ad.podPosition": 1, "media.ad.playerName": "p"}
    script: list[tuple[str, dict[str, Any]]] = [
        ("sessionStart", {"media.id": "m"}),
        ("adBreakStart", {"media.ad.podIndex": 1, "media.ad.podSecond": 0}),
        ("adStart", ad),
        ("adComplete", {}),
        ("adBreakComplete", {}),
        ("chapterStart", {"media.chapter.index": 1, "media.chapter.offset": 0, "media.chapter.length": 9}),
        ("stateStart", {"media.state.name": "mute"}),
        ("play", {}),
        ("error", {"media.errorId": "e1"}),
        ("ping", {}),
        ("sessionEnd", {}),
    ]
    log: list[Entry] = [
        make_event(name, ts=NOON_MS + 1000 * n, offset=n, params=params, playhead_s=float(max(0, n - 7)))
        for n, (name, params) in enumerate(script)
    ]
    views = ("ads", "ad_breaks", "chapters", "player_states", "played_intervals", "playback_errors")
    counted = "SELECT " + ", ".join(
        f"(SELECT count(*) FROM {view} WHERE session_id = '{session}')" for view in views
    )
    with lake.writer() as writer:
        held = writer.load(0, None)
        write(writer, held, log[:-1])
        assert lake.ask(counted) == [(1, 1, 1, 1, 1, 1)]
        write(writer, held, log[-1:])
        late = make_event("ping", ts=NOON_MS + 8_500, offset=len(log), playhead_s=1.5)
        write(writer, held, [late])
    assert lake.ask("SELECT version, state FROM sessions") == [(2, "final")]
    assert lake.ask(counted) == [(1, 1, 1, 1, 1, 1)]
    assert lake.ask("SELECT ad_id, outcome, content_id, state FROM ads") == [("ad", "completed", "m", "final")]
    assert lake.sessions() == rows_of_facts(expected_facts([*log, late]))


def test_events_after_the_end_are_those_that_a_session_does_not_count(tmp_path: Path) -> None:
    """`after_end` follows the order of events: later than the end, or than a day after the start."""
    lake = Lake(tmp_path)
    day = 24 * HOUR_MS
    ended = [
        make_event("sessionStart", offset=0),
        make_event(
            "ping", ts=NOON_MS + 60_000, offset=1, playhead_s=2.0
        ),  # came before the end that it is later than
        make_event("sessionEnd", ts=NOON_MS + 50_000, offset=2),
        make_event("ping", ts=NOON_MS + 3 * day, received_ms=NOON_MS + 100, offset=3, flags=("future_ts",)),
        make_event(
            "ping",
            ts=NOON_MS + 3 * day,
            received_ms=NOON_MS + 70_000,
            offset=4,
            playhead_s=1.0,
            flags=("future_ts",),
        ),
    ]
    long = [
        make_event("sessionStart", offset=5, session_id="long"),
        make_event("ping", ts=NOON_MS + day, offset=6, session_id="long", playhead_s=1.0),
        make_event("ping", ts=NOON_MS + day + 1, offset=7, session_id="long", playhead_s=2.0),
    ]
    with lake.writer() as writer:
        write(writer, writer.load(0, None), [*ended, *long])
    assert lake.ask("SELECT log_offset FROM events_checked WHERE after_end ORDER BY 1") == [(1,), (4,), (7,)]
    # What comes when a session is over changes nothing in its row, not even this count.
    uncounted = """
        SELECT session_id, count(*) FILTER (WHERE NOT list_contains(flags, 'after_close'))
        FROM events_checked WHERE after_end GROUP BY 1 ORDER BY 1
    """
    assert lake.ask(uncounted) == lake.ask("SELECT session_id, events_after_end FROM sessions ORDER BY 1")
    assert lake.ask("SELECT log_offset FROM events WHERE list_contains(flags, 'after_close')") == [(7,)]


# ---- verify


def test_a_whole_lake_has_no_findings(filled: Lake) -> None:
    """Every offset is stored once, and each count is right."""
    verdict = verify(filled.place)
    assert verdict.findings == []
    (count,) = verdict.partitions
    assert (count.next_offset, count.events, count.quarantined, count.duplicates) == (7, 5, 1, 1)


BREAKAGES = {
    "an event is gone": (
        ["DELETE FROM events WHERE log_offset = 1"],
        {"offset_missing", "counter", "session_count"},
    ),
    "a bad record is gone": (["DELETE FROM quarantine"], {"offset_missing", "counter"}),
    "an event is stored twice": (
        ["INSERT INTO events SELECT * FROM events WHERE log_offset = 1"],
        {"offset_twice", "counter", "double", "session_count"},
    ),
    "an event is also a duplicate": (
        ["INSERT INTO duplicates VALUES (0, 1, 'x', 'y')"],
        {"offset_twice", "counter"},
    ),
    "an event from outside": (
        ["INSERT INTO quarantine (log_partition, log_offset) VALUES (0, 99)"],
        {"offset_outside", "offset_missing", "counter"},
    ),
    "a counter was touched": (["UPDATE ledger_p000 SET inserted = inserted + 1"], {"counter"}),
    "the ledger moved": (["UPDATE ledger_p000 SET next_offset = 8"], {"offset_missing"}),
    "the ledger has two rows": (["INSERT INTO ledger_p000 SELECT * FROM ledger_p000"], {"ledger_rows"}),
    "the ledger is empty": (["DELETE FROM ledger_p000"], {"ledger_rows"}),
    "a version is stored twice": (["INSERT INTO session_versions SELECT * FROM session_versions"], {"double"}),
    "a session counts too much": (["UPDATE session_versions SET events = events + 1"], {"session_count"}),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_each_kind_of_breakage_is_found(broken: Lake, name: str) -> None:
    """Verify reports each way of breaking a lake by hand."""
    statements, codes = BREAKAGES[name]
    broken.do(*statements)
    assert {finding.code for finding in verify(broken.place).findings} >= codes


@pytest.mark.parametrize("damage", ["gone", "cut", "empty"])
def test_a_file_that_is_gone_or_damaged_is_found(broken: Lake, damage: str) -> None:
    """A file that the catalogue lists must exist and be readable."""
    (path, *_) = sorted(Path(broken.place.files).glob("**/events/**/*.parquet"))
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-200] if damage == "cut" else b"")
    codes = {finding.code for finding in verify(broken.place).findings}
    assert codes & ({"file_missing"} if damage == "gone" else {"file_unreadable"})


@pytest.mark.parametrize("table", ["tracking_events", "session_versions", "ledger_p000", "duplicates"])
def test_a_damaged_file_of_any_table_is_named(broken: Lake, table: str) -> None:
    """Even if every query about it would be answered from statistics."""
    (*_, path) = sorted(Path(broken.place.files).glob(f"**/{table}/**/*.parquet"))
    path.write_bytes(path.read_bytes()[:-8] + b"12345678")
    findings = verify(broken.place).findings
    assert any(finding.code == "file_unreadable" and path.name in finding.detail for finding in findings)


@pytest.mark.parametrize(("is_there", "says"), [(False, "is not a folder"), (True, "has none of them")])
def test_a_wrong_folder_of_files_is_named_as_such(broken: Lake, tmp_path: Path, is_there: bool, says: str) -> None:
    """One finding that names the setting, not one for each file."""
    elsewhere = tmp_path / "elsewhere"
    if is_there:
        elsewhere.mkdir()
    (finding,) = verify(msgspec.structs.replace(broken.place, files=str(elsewhere))).findings
    assert finding.code == "files_elsewhere"
    assert str(elsewhere) in finding.detail
    assert "PLAYHEAD_LAKE_FILES" in finding.detail
    assert says in finding.detail


def test_the_command_says_what_is_broken_and_exits_with_1(broken: Lake) -> None:
    """`playhead verify` is for scripts too: status 0 when all is well, 1 when it is not."""
    for statement, status, word in (
        ("SELECT 1", 0, "all is well"),
        ("DELETE FROM duplicates", 1, "offset_missing"),
    ):
        broken.do(statement)
        with playhead(broken.settings, "verify", "--lake-only") as process:
            assert process.wait(60) == status
        assert word in (broken.settings.data_dir / "verify.stderr").read_text()
