"""`playhead export`: a file or folder of one's own, whole or not there."""

import re
import resource
import shlex
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from rigs.commands import PLAYHEAD, environment, failed, playhead, started
from rigs.lake import Lake, record_value, write_values
from rigs.waiting import until

HOUR_MS = 3_600_000
NOON_MS = int(datetime(2026, 9, 21, 12, tzinfo=UTC).timestamp() * 1000)
SLOW = "(SELECT count(*) FROM range(1_000_000_000_000)) > 0"  # a condition that takes for ever


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake in `data`: a session an hour from noon, the third of which denied consent."""
    folder = tmp_path_factory.mktemp("export")
    lake = Lake(folder / "data")
    with lake.writer() as writer:
        held = writer.load(0, None)
        for number in range(4):
            at_ms = NOON_MS + number * HOUR_MS
            values = [
                record_value(
                    f"{number}-{kind}", f"session-{number}", kind, ts=ts, received_ms=ts, playhead=playhead
                )
                for kind, ts, playhead in (
                    ("sessionStart", at_ms, 0.0),
                    ("play", at_ms + 1000, 0.0),
                    ("sessionEnd", at_ms + 31_000, 30.0),
                )
            ]
            write_values(writer, held, values, appended_ms=at_ms + 31_000)
    # As an old release left it.
    lake.do("UPDATE session_versions SET consent = 'denied', user_id = 'somebody' WHERE session_id = 'session-2'")
    return folder


def rows(file: Path, question: str) -> list[tuple[object, ...]]:
    """Ask an exported file, with DuckDB alone."""
    with duckdb.connect(file, read_only=True) as client:
        client.execute("SET TimeZone = 'UTC'")
        return client.execute(question).fetchall()


def in_lake(cwd: Path, question: str) -> list[tuple[object, ...]]:
    """Ask the lake."""
    return Lake(cwd / "data").ask(question)


QUESTIONS = [
    "SELECT session_id, user_id, content_time_s, len(spans) FROM sessions ORDER BY 1",
    "SELECT event_id, session_id, epoch_ms(received_at), playhead_s FROM events ORDER BY 1",
    "SELECT session_id, doing FROM spans ORDER BY ALL",
    "SELECT content_id, sessions, content_time_s FROM metrics_by(['content_id'])",
    "SELECT player_name, sessions FROM metrics_by_player ORDER BY ALL",
    "FROM retention('movie')",
    "SELECT count(*) FROM events_checked WHERE happened_at IS NOT NULL",
    "SELECT column_name, meaning FROM columns_of('sessions')",
    "SELECT name, definition FROM metric_catalog ORDER BY ALL",
]


def test_a_file_answers_what_the_lake_answers(cwd: Path, tmp_path: Path) -> None:
    """Without the lake and without extensions; only its owner can read it."""
    file = tmp_path / "mine.duckdb"
    done = playhead("export", "--to", str(file), cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"4 sessions with 12 events are in {file}: ")
    for question in QUESTIONS:
        assert rows(file, question) == in_lake(cwd, question), question
    assert rows(file, "SELECT user_id FROM sessions WHERE consent = 'denied'") == [(None,)]
    assert rows(file, "SELECT count(*) FROM duckdb_columns() WHERE column_name LIKE '%hash%'") == [(0,)]
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_has_the_tables_and_lists_as_parquet(cwd: Path, tmp_path: Path) -> None:
    """A file for each."""
    folder = tmp_path / "mine"
    assert playhead("export", "--to", str(folder), cwd=cwd).returncode == 0
    assert list(tmp_path.iterdir()) == [folder]
    with duckdb.connect() as client:
        for table in ("sessions", "events", "spans", "tracking_sessions", "column_meanings"):
            (found,) = client.execute(f"SELECT count(*) FROM '{folder / table}.parquet'").fetchall()
            assert found == in_lake(cwd, f"SELECT count(*) AS n FROM {table}")[0], table


@pytest.mark.parametrize(
    ("options", "chosen"),
    [
        (["--since", "2026-09-21T13:00"], [1, 2, 3]),
        (["--since", "2026-09-21T14:00+01:00", "--until", "2026-09-21T15:00"], [1, 2]),
        (["--where", "consent = 'denied' OR session_id = 'session-0'"], [0, 2]),
        (["--where", "session_id IN (SELECT session_id FROM events WHERE event_id = '3-play') -- one"], [3]),
        (["--since", "1d"], []),
    ],
)
def test_sessions_are_chosen_with_all_that_is_theirs(
    options: list[str], chosen: list[int], cwd: Path, tmp_path: Path
) -> None:
    """By their start, in UTC or with a zone, and by a condition; the file records what was asked for."""
    file = tmp_path / "mine.duckdb"
    done = playhead("export", "--to", str(file), *options, cwd=cwd)
    assert done.returncode == 0, done.stderr
    ids = [(f"session-{number}",) for number in chosen]
    assert rows(file, "SELECT session_id FROM sessions ORDER BY 1") == ids
    assert rows(file, "SELECT DISTINCT session_id FROM events ORDER BY 1") == ids
    assert rows(file, "SELECT count(*) FROM events") == [(3 * len(ids),)]
    where = options[1] if options[0] == "--where" else None
    assert rows(file, 'SELECT "condition", snapshot > 0 FROM exported') == [(where, True)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "mine.parquet"], "neither a file that ends with .duckdb nor a folder"),
        (["--to", "s3://bucket/mine.duckdb"], "is an address; export to a path on this machine"),
        (["--to", ""], "belongs to the lake; export to another folder"),
        (["--to", "data/lake/mine"], "belongs to the lake; export to another folder"),
        (["--to", "full", "--overwrite"], "is a folder that no export wrote; choose another name"),
        (["--to", "full/kept", "--overwrite"], "is a file; name a folder, or a file that ends with .duckdb"),
        (["--to", "x.duckdb", "--where", "nothing > 1"], 'column "nothing" not found'),
        (["--to", "x.duckdb", "--where", "true; DROP VIEW sessions"], "syntax error"),
        (["--to", "x.duckdb", "--where", "'x' IN (FROM read_text('/etc/passwd'))"], "read_text is refused"),
        (["--to", "x.duckdb", "--data", "elsewhere"], "there is no lake"),
    ],
)
def test_what_cannot_be_exported_is_one_line(arguments: list[str], words: str, cwd: Path) -> None:
    """What is wrong, and what to do; nothing is written and nothing is lost."""
    (cwd / "full").mkdir(exist_ok=True)
    (cwd / "full" / "kept").write_text("mine")
    assert words in failed(playhead("export", *arguments, cwd=cwd))
    assert sorted(path.name for path in cwd.iterdir()) == ["data", "full"]
    assert (cwd / "full" / "kept").read_text() == "mine"


@pytest.mark.parametrize("name", ["mine.duckdb", "mine"])
def test_an_export_is_replaced_only_if_asked(name: str, cwd: Path, tmp_path: Path) -> None:
    """Whole, by the new one."""
    target = tmp_path / name

    def counted() -> list[tuple[object, ...]]:
        if target.suffix:
            return rows(target, "SELECT count(*) FROM sessions")
        return duckdb.sql(f"SELECT count(*) FROM '{target}/sessions.parquet'").fetchall()

    assert playhead("export", "--to", str(target), cwd=cwd).returncode == 0
    again = ["export", "--to", str(target), "--until", "2026-09-21T13:00"]
    assert f"{target} exists; --overwrite replaces it" in failed(playhead(*again, cwd=cwd))
    assert counted() == [(4,)]
    assert playhead(*again, "--overwrite", cwd=cwd).returncode == 0
    assert counted() == [(1,)]
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_is_open_is_not_replaced(cwd: Path, tmp_path: Path) -> None:
    """What its program has not written yet would end in the new file."""
    file = tmp_path / "mine.duckdb"
    with duckdb.connect(file) as client:
        client.execute("SET wal_autocheckpoint = '1TB'")
        client.execute("CREATE TABLE a AS SELECT 1")
        assert "is open in another program" in failed(
            playhead("export", "--to", str(file), "--overwrite", cwd=cwd)
        )


def test_a_killed_export_leaves_nothing_under_the_final_name(cwd: Path, tmp_path: Path) -> None:
    """Meanwhile another one to the same place is refused; the next one removes the remains."""
    file = tmp_path / "mine.duckdb"
    draft = tmp_path / "mine.duckdb.unfinished"
    with started("export", "--to", str(file), "--where", SLOW, cwd=cwd) as running:
        until(lambda: list(draft.glob("new/*.duckdb")), "the export does not begin")
        assert "another process is writing" in failed(playhead("export", "--to", str(file), cwd=cwd))
        running.kill()
    assert list(tmp_path.iterdir()) == [draft]
    assert playhead("export", "--to", str(file), cwd=cwd).returncode == 0
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("name", ["mine.duckdb", "mine"])
def test_a_failed_export_leaves_nothing(name: str, cwd: Path, tmp_path: Path) -> None:
    """No file may be larger than 100 kB, as if the disk were full."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    command = [str(PLAYHEAD), "export", "--to", str(tmp_path / name)]
    done = subprocess.run(command, cwd=cwd, env=environment({}), capture_output=True, text=True, preexec_fn=limit)
    assert done.returncode == 2
    assert "playhead: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_on_a_terminal(cwd: Path, tmp_path: Path) -> None:
    """And only there."""
    command = shlex.join([str(PLAYHEAD), "export", "--to", str(tmp_path / "mine.duckdb")])
    done = subprocess.run(
        ["script", "--quiet", "--return", "--command", command, "/dev/null"],
        cwd=cwd,
        env=environment({"TERM": "xterm"}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"events\s.*\d:\d\d:\d\d", done.stdout), done.stdout
