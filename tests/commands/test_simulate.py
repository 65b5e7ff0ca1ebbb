"""`simulate`: viewers at a Playhead that runs elsewhere."""

import json
from pathlib import Path
from typing import Any

from rigs.commands import URL, Running, ask, failed, playhead


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
