"""`sql`, `attach`, `pseudonym` and `simulate`, at a Playhead that runs."""

import csv
import io
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from rigs.commands import PLAYHEAD, SECRETS, URL, Running, ask, failed, playhead


def test_sql_answers_while_all_runs(live: tuple[Path, Running]) -> None:
    """As a table, as an array of objects, as CSV."""
    cwd, _ = live
    sessions = [row["session_id"] for row in ask("SELECT session_id FROM sessions LIMIT 2", cwd=cwd)]
    statement = (
        "SELECT session_id, events, started_at, ['a', 'b'] AS list FROM sessions "
        f"WHERE session_id IN ('{sessions[0]}', '{sessions[1]}') ORDER BY 1"
    )
    table = playhead("sql", statement, cwd=cwd)
    assert table.returncode == 0
    assert [cell.strip() for cell in table.stdout.splitlines()[1].split("┃")[1:-1]] == [
        "session_id",
        "events",
        "started_at",
        "list",
    ]
    assert len(table.stdout.splitlines()) == 6
    objects = json.loads(playhead("sql", statement, "--json", cwd=cwd).stdout)
    assert [row["session_id"] for row in objects] == sorted(sessions)
    assert [type(value) for value in objects[0].values()] == [str, int, str, list]
    rows = list(csv.DictReader(io.StringIO(playhead("sql", statement, "--csv", cwd=cwd).stdout)))
    assert [row["session_id"] for row in rows] == [row["session_id"] for row in objects]
    assert rows[0]["list"] == '["a","b"]'


def test_sql_prints_a_wide_row_as_two_columns(live: tuple[Path, Running]) -> None:
    """Every metric of everything: a line for each, where one line would not fit; two rows stay a table."""
    cwd, _ = live
    lines = playhead("sql", "SELECT sessions, * EXCLUDE (sessions) FROM metrics", cwd=cwd).stdout.splitlines()
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines[3:-1]]
    assert cells[0][0] == "sessions"
    assert int(cells[0][1]) > 0
    assert len(cells) > 50
    two_rows = playhead("sql", "FROM metrics UNION ALL FROM metrics", cwd=cwd).stdout.splitlines()
    assert len(two_rows) == 6


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events",
        "INSERT INTO gaps SELECT * FROM gaps",
        "UPDATE ledger_p000 SET next_offset = 0",
        "DROP VIEW sessions",
        "CREATE TABLE mine (a INTEGER)",
        "CALL ducklake_expire_snapshots('lake', older_than => now())",
    ],
)
def test_sql_cannot_change_the_lake(live: tuple[Path, Running], statement: str) -> None:
    """Any statement that would: one line, exit status 2, and the table is unchanged."""
    cwd, _ = live
    assert re.search(r"read-only|read only", failed(playhead("sql", statement, cwd=cwd)), re.IGNORECASE)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELEC 1", 'syntax error at or near "SELEC"'),
        ("SELECT evnt_id FROM events", "evnt_id"),
        ("FROM nothing", "nothing does not exist"),
        ("SELECT 'x'::INTEGER", "Could not convert"),
        ("SELECT 1; SELECT 2", "expected one statement, got 2"),
        ("-- nothing", "expected one statement, got 0"),
    ],
)
def test_a_bad_statement_is_one_line(live: tuple[Path, Running], statement: str, words: str) -> None:
    """What is wrong, in DuckDB's words."""
    cwd, _ = live
    assert words in failed(playhead("sql", "--", statement, cwd=cwd))


def test_two_columns_of_one_name_are_no_object(live: tuple[Path, Running]) -> None:
    """JSON would lose one of them silently."""
    cwd, _ = live
    line = failed(playhead("sql", "--json", "SELECT 1 AS a, 2 AS a", cwd=cwd))
    assert line == "two columns are named a; name one of them with AS"


def test_a_cell_is_text_and_nothing_more(live: tuple[Path, Running]) -> None:
    """What players send neither controls a terminal, nor is it markup, nor a formula."""
    cwd, _ = live
    statement = "SELECT '[red]a[/red]' AS markup, chr(27) || '[31m' AS control, '=1+1' AS formula, NULL AS nothing"
    cells = playhead("sql", statement, cwd=cwd).stdout.splitlines()[3].split("│")[1:-1]
    assert [cell.strip() for cell in cells] == ["[red]a[/red]", "\N{REPLACEMENT CHARACTER}[31m", "=1+1", ""]
    assert "'=1+1" in playhead("sql", statement, "--csv", cwd=cwd).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["sql", 'SELECT 1 AS "a\x1b[31m\u202eb"'],
        ["sql", 'SELECT "\x1b[31m" FROM events'],
        ["sql", "SELECT error('\x1b[31m')"],
        ["session", "show", "\x1b[31m"],
        ["verify", "--data", "\x1b[31m"],
        ["settings", "--data", "\x1b[31m"],
    ],
    ids=["column", "no such column", "error", "no such session", "no such lake", "setting"],
)
def test_nothing_that_is_printed_controls_a_terminal(live: tuple[Path, Running], arguments: list[str]) -> None:
    """Column heads, DuckDB's errors, our own faults, paths: what is shown has no escape sequence in it."""
    cwd, _ = live
    done = playhead(*arguments, cwd=cwd)
    assert "[31m" in done.stdout + done.stderr
    assert not {"\x1b", "\u202e"} & set(done.stdout + done.stderr)


def test_numbers_too_large_for_json_are_text(live: tuple[Path, Running]) -> None:
    """And what is no number at all is null."""
    cwd, _ = live
    numbers = "SELECT 2::HUGEINT ^ 2 AS a, 'nan'::DOUBLE AS b, 170141183460469231731687303715884105727 AS c"
    (row,) = json.loads(playhead("sql", "--json", numbers, cwd=cwd).stdout)
    assert row == {"a": 4.0, "b": None, "c": "170141183460469231731687303715884105727"}


PASTED = """
import duckdb, sys
with duckdb.connect() as client:
    client.execute("SET autoinstall_known_extensions = false")
    client.execute("SET extension_directory = 'none of these'")
    pasted = sys.stdin.read()
    client.execute(pasted)
    client.execute(pasted)
    assert client.execute("SELECT sessions > 0 FROM metrics_by([])").fetchall() == [(True,)]
    print(client.execute("SELECT count(*) > count(DISTINCT session_id) FROM events").fetchone())
    try:
        client.execute("DELETE FROM events")
    except duckdb.Error as error:
        print(error)
"""


def test_attach_prints_what_a_client_can_paste(live: tuple[Path, Running]) -> None:
    """Into a plain DuckDB of the same version, twice, while all runs; nothing is installed or downloaded."""
    cwd, _ = live
    printed = playhead("attach", cwd=cwd).stdout
    assert printed.startswith("-- For DuckDB 1.5.2 or newer.")
    assert f"and DuckDB {duckdb.__version__};" in printed.splitlines()[0]
    assert re.findall(r"^-- INSTALL (\w+); LOAD \1;$", printed, re.MULTILINE) == ["ducklake", "sqlite"]
    pasting = [str(PLAYHEAD.parent / "python"), "-c", PASTED]
    done = subprocess.run(pasting, input=printed, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, refusal = done.stdout.splitlines()[:2]
    assert answer == "(True,)"
    assert "read-only" in refusal


def test_an_export_is_of_one_snapshot(live: tuple[Path, Running], tmp_path: Path) -> None:
    """While events arrive: each session has all events that its row accounts for, up to its `as_of_offset`."""
    cwd, _ = live
    file = tmp_path / "mine.duckdb"
    assert playhead("export", "--to", str(file), cwd=cwd).returncode == 0
    with duckdb.connect(file, read_only=True) as client:
        wrong = client.execute(
            "SELECT s.session_id, any_value(s.stored_events), count(e.event_id) FROM sessions_checked AS s "
            "LEFT JOIN events AS e ON s.session_id = e.session_id AND e.log_offset < s.as_of_offset "
            "GROUP BY s.session_id HAVING any_value(s.stored_events) <> count(e.event_id)"
        )
        assert wrong.fetchall() == []
        assert client.execute("SELECT count(*) > 2 FROM sessions").fetchall() == [(True,)]


def test_pseudonym_prints_what_stands_in_the_lake(live: tuple[Path, Running]) -> None:
    """Whoever has the key finds a viewer."""
    cwd, running = live
    url = running.wait_for(lambda: URL.search(running.output))[1]
    key = (cwd / "data" / "secrets" / "api_keys").read_text()
    reply = httpx.post(
        f"{url}/v1/playouts/tracking/session", headers={"X-API-Key": key}, json={"user_id": "mail@example.org"}
    )
    wanted = playhead("pseudonym", "user", "mail@example.org", cwd=cwd).stdout.strip()
    statement = f"SELECT user_id FROM tracking_sessions WHERE tracking_session_id = '{reply.json()['session_id']}'"
    assert running.wait_for(lambda: ask(statement, cwd=cwd)) == [{"user_id": wanted}]
    assert playhead("pseudonym", "device", "mail@example.org", cwd=cwd).stdout.strip() != wanted


def test_pseudonym_makes_no_key_of_its_own(tmp_path: Path) -> None:
    """In the wrong folder it refuses, instead of printing a pseudonym that no lake has; unknown namespaces too."""
    assert "PLAYHEAD_PSEUDONYM_KEY is not set" in failed(playhead("pseudonym", "user", "a", cwd=tmp_path))
    assert list(tmp_path.iterdir()) == []
    done = playhead("pseudonym", "person", "a", cwd=tmp_path, settings=SECRETS)
    assert done.returncode == 2
    assert "'person' is not one of" in done.stderr


# ---- simulate: viewers at a Playhead that runs elsewhere


def test_simulate_plays_at_a_running_playhead(live: tuple[Path, Running]) -> None:
    """And writes down what is true, which the lake then says as well."""
    cwd, running = live
    url = running.wait_for(lambda: URL.search(running.output))[1]
    arguments = ["--url", url, "--viewers", "3", "--for", "3s", "--seed", "7", "--report", "truth.json"]
    done = playhead("simulate", *arguments, cwd=cwd)
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads(done.stderr.splitlines()[-1])["event"] == "played"
    truth: dict[str, Any] = json.loads((cwd / "truth.json").read_text())
    wanted = {session["session_id"]: session["accepted"] for session in truth["sessions"]}
    listed = ", ".join(f"'{session_id}'" for session_id in wanted)
    statement = f"SELECT session_id, count(*) AS n FROM events WHERE session_id IN ({listed}) GROUP BY 1"
    running.wait_for(lambda: {row["session_id"]: row["n"] for row in ask(statement, cwd=cwd)} == wanted)


def test_simulate_says_where_nobody_listens(tmp_path: Path) -> None:
    """One line, and no report."""
    line = failed(playhead("simulate", "--url", "http://127.0.0.1:9", "--report", "truth.json", cwd=tmp_path))
    assert "127.0.0.1:9" in line
    assert not (tmp_path / "truth.json").exists()
