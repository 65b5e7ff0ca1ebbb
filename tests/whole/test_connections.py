"""The recipes of lake/CONNECT.md run as they are printed, over a lake of three sessions."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rigs.commands import PLAYHEAD, ask, environment
from rigs.dbt import dbt_programs
from rigs.lake import Lake, record_value, write_values
from rigs.session_model import NOON_MS

PAGE = (Path(__file__).parents[2] / "lake" / "CONNECT.md").read_text()
PATH = f"{PLAYHEAD.parent}{os.pathsep}{os.environ['PATH']}"


def blocks(heading: str, language: str) -> list[str]:
    """Return the blocks of code below a heading, down to the next one."""
    (section,) = re.findall(rf"^#+ {heading}$(.*?)(?=^#+ |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    found = re.findall(rf"^```{language}\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake in `data`, of three sessions."""
    cwd = tmp_path_factory.mktemp("connections")
    lake = Lake(cwd / "data")
    with lake.writer() as writer:
        held = writer.load(0, None)
        values = [
            record_value(f"{number}-{kind}", f"session-{number}", kind, ts=at_ms, received_ms=at_ms)
            for number in range(3)
            for kind, at_ms in (
                ("sessionStart", NOON_MS),
                ("play", NOON_MS + 1000),
                ("sessionEnd", NOON_MS + 9000),
            )
        ]
        write_values(writer, held, values, appended_ms=NOON_MS + 9000)
    return cwd


def run_shell(script: str, folder: Path, *programs: Path) -> str:
    """Run lines of shell as they are printed, with folders of more programs; return what they print."""
    settings = {"PATH": os.pathsep.join([*map(str, programs), PATH]), "DBT_SEND_ANONYMOUS_USAGE_STATS": "false"}
    done = subprocess.run(
        ["/bin/sh", "-ec", script], cwd=folder, env=environment(settings), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_cells(cells: list[str], folder: Path) -> list[str]:
    """Run cells in a Jupyter kernel in a folder; return the text of what each displays."""
    notebook: dict[str, Any] = {
        "nbformat": 4,
        "nbformat_minor": 4,
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
        "cells": [
            {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": cell}
            for cell in cells
        ],
    }
    file = folder / "cells.ipynb"
    file.write_text(json.dumps(notebook))
    command = [str(PLAYHEAD.parent / "jupyter-execute"), "--inplace", str(file)]
    done = subprocess.run(command, cwd=folder, env=environment({}), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    outputs = [cell["outputs"] for cell in json.loads(file.read_text())["cells"]]
    return ["".join("".join(each.get("data", {}).get("text/plain", "")) for each in output) for output in outputs]


def test_cells_of_jupyter_answer_with_pandas_and_ibis(folder: Path) -> None:
    """Two lines connect; frames have the lake's numbers."""
    cells = blocks("Python", "python") + blocks("pandas", "python") + blocks("ibis", "python")
    _, by_player, by_content = run_cells(cells, folder)
    players = ask("SELECT player_name, sessions FROM metrics_by(['player_name'])", cwd=folder)
    assert players
    for row in players:
        assert re.search(rf"{re.escape(row['player_name'])} +{row['sessions']} ", by_player), by_player
    (top,) = ask("SELECT content_id, count(*) AS n FROM sessions GROUP BY ALL ORDER BY n DESC LIMIT 1", cwd=folder)
    assert re.search(rf"^0 .* {top['n']}$", by_content, re.MULTILINE), by_content


def test_polars_takes_an_answer(folder: Path) -> None:
    """As a frame."""
    script = "\n".join([*blocks("Python", "python"), *blocks("polars", "python"), "print(days['n'].sum())"])
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=folder, capture_output=True, text=True, check=True
    )
    assert int(done.stdout) == ask("SELECT count(*) AS n FROM sessions", cwd=folder)[0]["n"]


def test_duckdb_s_shell_opens_the_lake(folder: Path) -> None:
    """With what `playhead attach` prints."""
    (script,) = blocks("DuckDB's shell", "sh")
    printed = run_shell(script, folder)
    for row in ask("SELECT player_name, sessions FROM metrics_by(['player_name'])", cwd=folder):
        assert re.search(rf"{re.escape(row['player_name'])} *│ +{row['sessions']} ", printed), printed


def test_dbt_builds_marts_in_a_file_of_its_own(folder: Path, tmp_path: Path) -> None:
    """From views and macros of the lake, twice, and the lake is unchanged."""
    (tmp_path / "data").symlink_to(folder / "data")
    (tmp_path / "models").mkdir()
    project, profile = blocks("dbt", "yaml")
    (model,) = blocks("dbt", "sql")
    (tmp_path / "dbt_project.yml").write_text(project)
    (tmp_path / "profiles.yml").write_text(profile)
    (tmp_path / "models" / "sessions_by_day.sql").write_text(model)
    question = "SELECT count(*) AS snapshots FROM ducklake_snapshots('lake')"
    before = ask(question, cwd=folder)
    (script,) = blocks("dbt", "sh")
    assert "ERROR=0" in run_shell(script + script, tmp_path, dbt_programs())
    with duckdb.connect(tmp_path / "marts.duckdb", read_only=True) as marts:
        rows = marts.execute("SELECT sum(sessions) FROM sessions_by_day").fetchall()
    assert rows == [(ask("SELECT sum(sessions)::INTEGER AS n FROM metrics_by(['day'])", cwd=folder)[0]["n"],)]
    assert ask(question, cwd=folder) == before
