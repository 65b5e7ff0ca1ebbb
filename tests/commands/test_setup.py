"""What is needed before anything runs: init, settings, secrets, a folder; and the message if it is missing."""

import json
import re
import subprocess
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest
from rigs.commands import PLAYHEAD, SECRETS, ask, failed, playhead, started
from rigs.lake import Lake


def test_init_may_be_repeated(tmp_path: Path) -> None:
    """The second time nothing is changed."""
    for _ in range(2):
        done = playhead("init", cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "log and lake are ready in data\n", "")
    assert ask("SELECT count(*) AS n FROM ledger", cwd=tmp_path) == [{"n": 1}]


def test_settings_are_printed_with_their_meaning(tmp_path: Path) -> None:
    """As a table with whole lines where no terminal is, and as JSON; secrets hidden, also those from files."""
    (tmp_path / "key").write_text("planted-secret\n")
    given = {"PLAYHEAD_HTTP_PORT": "9999", "PLAYHEAD_MAC_KEY_FILE": "key", "PLAYHEAD_API_KEYS": "planted-secret"}
    table = playhead("settings", cwd=tmp_path, settings=given)
    (line,) = [line for line in table.stdout.splitlines() if "PLAYHEAD_HTTP_PORT " in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == [
        "PLAYHEAD_HTTP_PORT",
        "9999",
        "8080",
        "Port the ingest listens on",
    ]
    as_json = playhead("settings", "--json", cwd=tmp_path, settings=given)
    rows = {row["variable"]: row for row in json.loads(as_json.stdout)}
    assert rows["PLAYHEAD_MAC_KEY"]["value"] == rows["PLAYHEAD_API_KEYS"]["value"] == "(set, hidden)"
    assert rows["PLAYHEAD_PSEUDONYM_KEY"]["value"] == ""
    assert "planted-secret" not in table.stdout + as_json.stdout


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        (
            "PLAYHEAD_HTTP_PROT",
            "1",
            "PLAYHEAD_HTTP_PROT is not a setting; the nearest is PLAYHEAD_HTTP_PORT (see `playhead settings`)",
        ),
        (
            "PLAYHEAD_HTTP_PORT",
            "http",
            "PLAYHEAD_HTTP_PORT: Input should be a valid integer, "
            "unable to parse string as an integer, got 'http'",
        ),
        (
            "PLAYHEAD_MAC_KEY_FILE",
            "/no/file",
            "PLAYHEAD_MAC_KEY_FILE: cannot read /no/file: No such file or directory",
        ),
    ],
)
@pytest.mark.parametrize("verb", ["settings", "up"])
def test_a_mistake_in_the_settings_is_one_line(
    verb: str, name: str, value: str, line: str, tmp_path: Path
) -> None:
    """With any verb; and nothing is started."""
    assert failed(playhead(verb, cwd=tmp_path, settings={name: value})) == line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", list(SECRETS))
def test_ingest_alone_refuses_to_start_without_its_secrets(missing: str, tmp_path: Path) -> None:
    """It says which one is missing, and how to make one."""
    given = {name: value for name, value in SECRETS.items() if name != missing}
    line = failed(playhead("ingest", cwd=tmp_path, settings=given))
    assert f"{missing} is not set" in line
    command = re.search(r"`python3 -c '(.+?)'`", line)
    assert command
    made = subprocess.run(
        [PLAYHEAD.parent / "python", "-c", command[1]], capture_output=True, text=True, check=True
    )
    assert len(made.stdout.strip()) >= 32


def test_ingest_and_worker_run_alone_with_secrets_from_files(tmp_path: Path) -> None:
    """As on many machines: `init`, then each by itself."""
    files = {}
    for name, value in SECRETS.items():
        (tmp_path / name).write_text(value + "\n")
        files[f"{name}_FILE"] = name
    playhead("init", cwd=tmp_path)
    with (
        started("ingest", cwd=tmp_path, settings=files | {"PLAYHEAD_HTTP_PORT": "0"}) as ingest,
        started("worker", cwd=tmp_path) as worker,
    ):
        port = ingest.wait_for(lambda: re.search(r'"port": (\d+), "event": "listening"', ingest.output))[1]
        url = f"http://127.0.0.1:{port}/v1/playouts/tracking/session"
        assert httpx.post(url, headers={"X-API-Key": "your_api_key_here"}).status_code == 200
        worker.wait_for(lambda: ask("SELECT count(*) AS n FROM tracking_sessions", cwd=tmp_path) == [{"n": 1}])
        assert (ingest.end(), worker.end()) == (0, 0), ingest.output + worker.output


@pytest.mark.parametrize("verb", ["ingest", "worker", "verify", "sql", "upkeep"])
def test_what_needs_the_lake_or_the_log_says_how_to_make_them(verb: str, tmp_path: Path) -> None:
    """Nothing is made on first use."""
    arguments = ["SELECT 1"] if verb == "sql" else []
    line = failed(playhead(verb, *arguments, cwd=tmp_path, settings=SECRETS | {"PLAYHEAD_HTTP_PORT": "0"}))
    assert "playhead init" in line


@pytest.fixture(scope="session")
def known(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> dict[str, str]:
    """The folder of a run that is over, a session in it, and a pseudonym by its key."""
    cwd, _ = ran
    return {
        "data": str(cwd / "data"),
        "session": ask("SELECT min(session_id) AS id FROM sessions", cwd=cwd)[0]["id"],
        "pseudonym": playhead("pseudonym", "user", "a", cwd=cwd).stdout.strip(),
    }


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        (["verify"], "all is well"),
        (["verify", "--metrics", "--seed", "1"], "0 differences"),
        (["sql", "SELECT count(*) > 0 AS some FROM events", "--csv"], "some\nTrue"),
        (["attach"], "{data}/lake/catalog.sqlite"),
        (["session", "show", "{session}"], "session {session}, partition 0"),
        (["pseudonym", "user", "a"], "{pseudonym}"),
        (["settings"], "{data}"),
        (["backup"], "{data}/backups/"),
    ],
    ids=lambda value: "-".join(value[:2]) if isinstance(value, list) else "",
)
def test_the_data_may_be_in_any_folder(verb: list[str], words: str, known: dict[str, str], tmp_path: Path) -> None:
    """`--data` names the folder to whatever reads it, as to `up`, and goes before PLAYHEAD_DATA_DIR."""
    elsewhere = {"PLAYHEAD_DATA_DIR": "nowhere"}
    arguments = [word.format(**known) for word in verb]
    done = playhead(*arguments, "--data", known["data"], cwd=tmp_path, settings=elsewhere)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert words.format(**known) in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_verb_imports_neither_pandas_nor_numpy(tmp_path: Path) -> None:
    """Both are installed here; DuckDB and pyarrow would import them, for half of the time that a verb takes."""
    Lake(tmp_path / "data")
    assert find_spec("pandas")
    assert find_spec("numpy")
    done = playhead("session", "show", "no-such", cwd=tmp_path, settings={"PYTHONPROFILEIMPORTTIME": "1"})
    modules = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    imported = {module.partition(".")[0] for module in modules if "." in module}  # one that failed has no parts
    assert {"duckdb", "pyarrow"} <= imported
    assert not {"pandas", "numpy"} & imported


@pytest.mark.parametrize("text", ["soon", "-5s", "0", "nan", "inf", "5w", ""])
def test_a_duration_is_positive(text: str, tmp_path: Path) -> None:
    """Anything else is refused with an example, before anything is begun."""
    done = playhead("up", "--for", text, cwd=tmp_path)
    assert done.returncode == 2
    assert "write 30s, 5m, 1h or 7d" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_verb(tmp_path: Path) -> None:
    """Each with a sentence; without arguments the same is printed."""
    text = playhead("--help", cwd=tmp_path).stdout
    for verb in ("up", "init", "ingest", "worker", "simulate", "verify", "sql", "attach", "pseudonym", "settings"):
        assert re.search(rf"{verb} +[A-Z][a-z]+ ", text), verb
