"""The children of `up` and of a worker: what they are given, and what they do not take from the folder."""

import contextlib
import re
import signal
from pathlib import Path

import psutil
import pytest
from rigs.commands import playhead, started
from rigs.lake import Lake

from schemas.settings import SECRETS as SETTINGS_SECRETS


def environment_of_process(pid: int) -> dict[str, str]:
    """Return the PLAYHEAD_* variables that a process was started with."""
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair.startswith("PLAYHEAD_"))


def every_child(pid: int) -> dict[str, int]:
    """Return the processes below a process, by their verb, or else by their program's name."""
    found = {}
    for child in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = child.cmdline()
            verb = words[words.index("playhead") + 1] if "playhead" in words else "keeper"
            found[verb] = child.pid
    return found


def planted_secrets(folder: Path) -> dict[str, str]:
    """Return settings with every secret, some by their files, which a child must not be told of either."""
    (folder / "mac").write_text("planted-mac_key-0123456789012345678901234567890")
    others = [name for name in SETTINGS_SECRETS if name != "mac_key"]
    given = {f"PLAYHEAD_{name.upper()}": f"planted-{name}-0123456789012345678901" for name in others}
    return given | {"PLAYHEAD_MAC_KEY_FILE": str(folder / "mac")}


def test_each_child_gets_only_the_secrets_that_it_needs(tmp_path: Path) -> None:
    """As the system shows it; a setting that is no secret goes to all, as given on the command line."""
    settings = planted_secrets(tmp_path) | {"PLAYHEAD_WORKER_UPKEEP_INTERVAL_S": "0.2"}
    wanted = {
        "ingest": {"api_keys", "mac_key", "mac_key_previous", "pseudonym_key", "kafka_sasl_password"},
        "worker": {"kafka_sasl_password", "lake_catalog_password", "lake_s3_secret_key"},
        "upkeep": {"lake_catalog_password", "lake_s3_secret_key"},
        "simulate": {"api_keys"},
        "keeper": set(),
    }
    seen: dict[str, dict[str, str]] = {}

    def look() -> bool:
        for verb, pid in every_child(running.pid).items():
            with contextlib.suppress(OSError):
                seen[verb] = environment_of_process(pid)
        return seen.keys() >= wanted.keys()

    with started("up", "--viewers", "1", "--port", "0", cwd=tmp_path, settings=settings) as running:
        running.wait_for(look)
    for verb, names in wanted.items():
        planted = {name: value for name, value in seen[verb].items() if value.startswith("planted-")}
        assert planted.keys() == {f"PLAYHEAD_{name.upper()}" for name in names}, verb
        assert not [name for name in seen[verb] if name.endswith("_KEY_FILE")], verb
        assert seen[verb].get("PLAYHEAD_HTTP_PORT", "none") != "0", verb


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A folder with modules of our names, and of a library's, that end whoever imports them."""
    for package in ("schemas", "ingest", "lake", "consumers", "duckdb"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('a module of the current folder')")
    for module in ("playhead.py", "commands.py", "httpx.py", "secrets.py"):
        (tmp_path / module).write_text("raise SystemExit('a module of the current folder')")
    return tmp_path


def test_up_runs_in_a_folder_with_modules_of_the_same_names(hostile: Path) -> None:
    """Its children take nothing from where a person happens to be, and nor does the worker's upkeep."""
    settings = {"PLAYHEAD_WORKER_UPKEEP_INTERVAL_S": "0.2"}
    Lake(hostile / "data")
    with started("up", "--viewers", "1", "--port", "0", cwd=hostile, settings=settings) as running:
        log = hostile / "data" / "logs" / "worker.log"
        running.wait_for(lambda: log.exists() and '"event": "upkeep done"' in log.read_text())
        running.wait_for(lambda: "simulate" in running.by_verb())
        running.wait_for(lambda: re.search(r"[1-9]\d* events", running.output))
        assert running.end(signal.SIGINT) == 0, running.output
    assert "a module of the current folder" not in running.output


def test_rounds_of_upkeep_run_in_a_folder_with_modules_of_the_same_names(hostile: Path) -> None:
    """`upkeep --every` starts each round as a process of its own."""
    Lake(hostile / "data")
    playhead("init", cwd=hostile)
    with started("upkeep", "--every", "0.2s", cwd=hostile) as running:
        running.wait_for(lambda: running.output.count('"event": "upkeep done"') > 1)
        assert running.end() == 0
    assert "upkeep failed" not in running.output


def test_a_short_key_is_warned_of_by_its_variable(tmp_path: Path) -> None:
    """On the console too, and its value is nowhere."""
    settings = {"PLAYHEAD_MAC_KEY": "short-and-planted", "PLAYHEAD_PSEUDONYM_KEY": "p" * 31}
    done = playhead("up", "--for", "1s", "--port", "0", cwd=tmp_path, settings=settings)
    assert done.returncode == 0, done.stdout
    warned = re.findall(r"short key variable=(\w+) characters_min=32", done.stdout)
    assert warned == ["PLAYHEAD_MAC_KEY", "PLAYHEAD_PSEUDONYM_KEY"]
    assert "short-and-planted" not in done.stdout + (tmp_path / "data" / "logs" / "ingest.log").read_text()
