"""Every verb as a person uses it: child processes, their output, their exit status, and what they leave behind."""

import asyncio
import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import re
import signal
import socket
import stat
import struct
import subprocess
import termios
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import httpx
import psutil
import pytest
from rigs.commands import PLAYHEAD, SECRETS, Running, ask, environment, playhead, started
from rigs.processes import Process
from rigs.waiting import until

from eventlog.adapters import open_writer, read_ends
from players.personas import make_persona
from schemas.records import SOURCE_MEDIA, encode, media_event
from schemas.settings import SECRETS as SETTINGS_SECRETS
from schemas.settings import read_settings

NOW_MS = time.time_ns() // 1_000_000
URL = re.compile(r"Playhead listens on (http://\S+);")


def failed(done: subprocess.CompletedProcess[str], status: int = 2) -> str:
    """Return the one line that a refused command wrote."""
    assert done.returncode == status, done.stdout + done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("playhead: ")
    return line


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder with the data of a short run that is over, and that run."""
    cwd = tmp_path_factory.mktemp("ran")
    return cwd, playhead("up", "--viewers", "5", "--for", "8s", "--port", "0", cwd=cwd)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Running]]:
    """A folder whose Playhead is running, with viewers."""
    cwd = tmp_path_factory.mktemp("live")
    with started("up", "--viewers", "5", "--port", "0", cwd=cwd) as running:
        running.wait_for(lambda: URL.search(running.output))
        running.wait_for(lambda: ask("SELECT count(*) AS n FROM sessions", cwd=cwd)[0]["n"] > 2)
        yield cwd, running


# ---- up


def test_up_ends_well(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Exit status 0, plain lines without colours, the truth compared, and nothing on stderr."""
    _, run = ran
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[0] == "The API key of the tracking API is in data/secrets/api_keys"
    assert URL.match(lines[1])
    assert re.match(r"\d+ events in \d+ sessions, \d+ being watched, \d+ quarantined, \d+ duplicates", lines[2])
    assert re.fullmatch(r"truth: \d+ events accepted in \d+ sessions, .*; 0 differences in the lake", lines[-2])
    assert lines[-1] == "All is well: every event of the log is in the lake exactly once."
    assert "\x1b" not in run.stdout
    assert "{" not in run.stdout


def test_up_keeps_the_children_s_logs(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """What is too much for a person is in a file a child, JSON line by line."""
    cwd, _ = ran
    logs = {path.stem: path.read_text().splitlines() for path in (cwd / "data" / "logs").iterdir()}
    assert logs.keys() == {"ingest", "worker", "viewers"}
    events = {json.loads(line)["event"] for lines in logs.values() for line in lines}
    assert {"listening", "stopped", "partition assigned", "played"} <= events


def test_up_writes_no_viewer_s_name(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Neither user nor device, whether they agreed or not: not in the data, not in the logs, not in the report."""
    cwd, run = ran
    personas = [make_persona(seed=1, viewer=viewer) for viewer in range(5)]
    names = {name for persona in personas for name in (persona.user_id, persona.device_id) if name}
    assert len(names) >= 3
    files = [path for path in (cwd / "data").rglob("*") if path.is_file()]
    written = b"".join([*(path.read_bytes() for path in files), run.stdout.encode(), run.stderr.encode()])
    assert not [name for name in names if name.encode() in written]


def test_up_makes_secrets_that_only_their_owner_reads(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Mode 0600; no key is shown, neither on the console nor in the logs."""
    cwd, run = ran
    folder = cwd / "data" / "secrets"
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    written = [run.stdout, *(path.read_text() for path in (cwd / "data" / "logs").iterdir())]
    assert not [key for path in folder.iterdir() for text in written if (key := path.read_text()) in text]


def test_verify_finds_the_run_in_order(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Readable, and as JSON."""
    cwd, _ = ran
    done = playhead("verify", cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "all is well: every offset is stored exactly once"
    verdict = json.loads(playhead("verify", "--json", cwd=cwd).stdout)
    assert verdict["findings"] == []
    assert sum(partition["events"] for partition in verdict["partitions"]) > 0


def test_verify_says_what_is_broken(tmp_path: Path) -> None:
    """A row that should not be there: exit status 1, the finding named, as JSON too."""
    playhead("init", cwd=tmp_path)
    breaking = """
import sys
from lake.catalog import connect, location
from schemas.settings import read_settings
connect(location(read_settings({})), read_only=False).execute(
    "INSERT INTO quarantine VALUES (0, 7, now(), 'worker', '[red]not_json', 'planted', NULL)")
"""
    subprocess.run([PLAYHEAD.parent / "python", "-c", breaking], cwd=tmp_path, check=True)
    done = playhead("verify", cwd=tmp_path)
    assert done.returncode == 1
    assert "offset_outside" in done.stdout
    assert done.stdout.splitlines()[-1] == "broken"
    as_json = playhead("verify", "--json", cwd=tmp_path)
    assert as_json.returncode == 1
    assert "offset_outside" in {finding["code"] for finding in json.loads(as_json.stdout)["findings"]}


def start(url: str, **metadata: str) -> str:
    """Start a session as somebody with a player of their own, and return its id."""
    params = {"media.id": "big-buck-bunny", "media.length": 596.5, "media.contentType": "vod"}
    params |= {"media.playerName": "my-player", "media.channel": "web"}
    params |= dict.fromkeys(
        ("analytics.trackingServer", "analytics.reportSuite", "visitor.marketingCloudOrgId"), "-"
    )
    body = {"eventType": "sessionStart", "params": params, "customMetadata": metadata}
    reply = httpx.post(f"{url}/api/v1/sessions", json=body | {"playerTime": {"playhead": 0, "ts": NOW_MS}})
    assert reply.status_code == 201, reply.text
    return reply.headers["Location"].rsplit("/", 1)[1]


def test_up_names_what_others_post_and_ends_well(tmp_path: Path) -> None:
    """A session, a tracking session and a refused body that are not the viewers' are no difference."""
    with started("up", "--viewers", "5", "--port", "0", cwd=tmp_path) as running:
        url = running.wait_for(lambda: URL.search(running.output))[1]
        session_id = start(url)
        events = f"{url}/api/v1/sessions/{session_id}/events"
        play = {"eventType": "play", "playerTime": {"playhead": 0, "ts": NOW_MS + 500}}
        assert httpx.post(events, json=play).status_code == 204
        assert httpx.post(events, json={"eventType": "play"}).status_code == 400
        key = (tmp_path / "data" / "secrets" / "api_keys").read_text()
        tracking = httpx.post(f"{url}/v1/playouts/tracking/session", headers={"X-API-Key": key})
        assert tracking.status_code == 200
        viewers = f"SELECT count(*) AS n FROM sessions WHERE session_id != '{session_id}'"
        running.wait_for(lambda: ask(viewers, cwd=tmp_path)[0]["n"] > 2)
        assert running.end(signal.SIGINT) == 0, running.output
        last = running.output.splitlines()[-3:]
    assert re.fullmatch(r"truth: .* in \d+ sessions, .*; 0 differences in the lake", last[0])
    assert last[1] == "of others, not the viewers': 2 events in 1 sessions, 1 refused"
    assert last[2] == "All is well: every event of the log is in the lake exactly once."


def records_of_log(cwd: Path) -> int:
    """Return how many records the log of a folder holds."""
    return sum(asyncio.run(read_ends(read_settings({"PLAYHEAD_DATA_DIR": str(cwd / "data")}))).values())


def records_of_lake(cwd: Path) -> int:
    """Return how many of them the lake has read."""
    return int(ask("SELECT sum(next_offset) AS n FROM ledger", cwd=cwd)[0]["n"])


@pytest.mark.parametrize("viewers", ["0", "3"])
def test_up_says_what_waits_where_the_worker_does_not_catch_up(viewers: str, tmp_path: Path) -> None:
    """Told to end, it does so soon, cries neither lost nor all is well, and the next start takes it all in."""
    with started("up", "--viewers", viewers, "--port", "0", cwd=tmp_path) as running:
        url = running.wait_for(lambda: URL.search(running.output))[1]
        start(url)
        running.wait_for(lambda: 0 < records_of_lake(tmp_path) <= records_of_log(tmp_path))
        os.kill(running.by_verb()["worker"], signal.SIGSTOP)
        read, posted = records_of_lake(tmp_path), records_of_log(tmp_path)
        start(url)
        running.wait_for(lambda: records_of_log(tmp_path) > posted)
        began = time.monotonic()
        assert running.end(signal.SIGINT) == 1, running.output
        assert time.monotonic() - began < 15
    last = running.output.splitlines()[-1]
    said = re.fullmatch(r"playhead: not caught up: (\d+) records wait; nothing was judged", last)
    assert said, running.output
    assert posted - read < int(said[1]) <= records_of_log(tmp_path) - read
    assert "lost" not in running.output
    assert "All is well" not in running.output
    again = playhead("up", "--for", "1s", "--port", "0", cwd=tmp_path)
    assert (again.returncode, again.stdout.splitlines()[-1][:11]) == (0, "All is well")
    assert records_of_lake(tmp_path) == records_of_log(tmp_path)


def test_up_waits_for_a_worker_that_is_behind(tmp_path: Path) -> None:
    """However long it takes, as long as it goes on; here each commit is 22 s after the one before."""
    settings = {"PLAYHEAD_WORKER_COMMIT_INTERVAL_S": "22"}
    run = playhead("up", "--viewers", "3", "--for", "3s", "--port", "0", cwd=tmp_path, settings=settings)
    assert run.returncode == 0, run.stdout
    assert re.search(r"0 differences in the lake\nAll is well", run.stdout)


def test_up_finds_what_nobody_posted(tmp_path: Path) -> None:
    """A session in the viewers' name that none of them played, and an event of others that no ingest took."""
    with started("up", "--viewers", "5", "--port", "0", cwd=tmp_path) as running:
        url = running.wait_for(lambda: URL.search(running.output))[1]
        named = "SELECT custom_metadata ->> 'run' AS run FROM events WHERE event_type = 'sessionStart'"
        run = running.wait_for(lambda: ask(named, cwd=tmp_path))[0]["run"]
        claimed, own = start(url, run=run), start(url)
        asyncio.run(append_ping(tmp_path / "data", own))
        held = f"SELECT count(*) AS n FROM events WHERE session_id = '{own}'"
        running.wait_for(lambda: ask(held, cwd=tmp_path)[0]["n"] == 2)
        assert running.end(signal.SIGINT) == 1, running.output
    assert f"invented {claimed[:16]}: 1 events of a session nobody played" in running.output
    posted = re.search(r"^invented: (\d+) records are there, (\d+) were posted$", running.output, re.MULTILINE)
    assert posted
    assert int(posted[1]) == int(posted[2]) + 1
    assert "playhead: the lake and the truth differ" in running.output


async def append_ping(data_dir: Path, session_id: str) -> None:
    """Put an event into the log past every ingest."""
    ping = {"eventType": "ping", "playerTime": {"playhead": 0, "ts": NOW_MS + 500}}
    received = datetime.now(UTC)
    envelope = media_event(
        ping, event_id=str(uuid.uuid4()), session_id=session_id, source=SOURCE_MEDIA, received=received
    )
    writer = await open_writer(read_settings({"PLAYHEAD_DATA_DIR": str(data_dir)}))
    try:
        await writer.append(0, key=session_id.encode(), value=encode(envelope))
    finally:
        await writer.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C and SIGTERM: within 10 s, with the truth compared, exit status 0, and no child left."""
    with started("up", "--viewers", "5", "--port", "0", cwd=tmp_path) as running:
        running.wait_for(lambda: (tmp_path / "data" / "logs" / "viewers.log").exists())
        running.wait_for(lambda: ask("SELECT count(*) AS n FROM events", cwd=tmp_path)[0]["n"] > 10)
        children = running.by_verb()
        assert children.keys() == {"ingest", "worker", "simulate"}
        began = time.monotonic()
        assert running.end(number) == 0, running.output
        assert time.monotonic() - began < 10
        assert "0 differences" in running.output
        assert not any(Path(f"/proc/{pid}").exists() for pid in children.values())


def test_a_slow_client_does_not_hold_up_the_end(tmp_path: Path) -> None:
    """A request that never completes is cut off, and the exit status is still 0."""
    with started("up", "--port", "0", cwd=tmp_path) as running:
        url = httpx.URL(running.wait_for(lambda: URL.search(running.output))[1])
        with socket.create_connection((url.host, url.port or 0)) as connection:
            connection.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 500\r\n\r\n{")
            began = time.monotonic()
            assert running.end(signal.SIGINT) == 0, running.output
            assert time.monotonic() - began < 10


def test_a_signal_during_the_start_ends_it_too(tmp_path: Path) -> None:
    """As soon as there are children, they are ended."""
    with started("up", "--viewers", "5", "--port", "0", cwd=tmp_path) as running:
        running.wait_for(lambda: running.by_verb())
        assert running.end(signal.SIGINT) == 0, running.output


def test_no_child_outlives_it(tmp_path: Path) -> None:
    """Killed without a chance to end them, it takes its children along."""
    with started("up", "--viewers", "2", "--port", "0", cwd=tmp_path) as running:
        running.wait_for(lambda: "simulate" in running.by_verb())
        children = running.by_verb().values()
        running.end(signal.SIGKILL)
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), within_s=15)


@pytest.mark.parametrize("verb", ["worker", "ingest"])
def test_a_child_that_dies_is_said_and_ends_all(verb: str, tmp_path: Path) -> None:
    """Exit status 1; who died, of what, and where its last lines are."""
    with started("up", "--viewers", "2", "--port", "0", cwd=tmp_path) as running:
        running.wait_for(lambda: "simulate" in running.by_verb())
        os.kill(running.by_verb()[verb], signal.SIGKILL)
        assert running.wait(30) == 1
        assert f"playhead: {verb} ended by itself, killed by SIGKILL; see data/logs/{verb}.log" in running.output


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """Before anything is started; by `ingest` alone as well."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = playhead("up", "--port", port, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr == (
            f"playhead: cannot listen on 127.0.0.1:{port}: address already in use; choose another with --port\n"
        )
        alone = playhead("ingest", cwd=tmp_path, settings=SECRETS | {"PLAYHEAD_HTTP_PORT": port})
        assert failed(alone) == f"playhead: port {port} of 127.0.0.1 is in use"


def test_up_on_a_terminal_shows_a_live_table(tmp_path: Path) -> None:
    """What is being watched, drawn again and again in place; at the end the verdict, and the cursor back."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    arguments: list[str | Path] = [PLAYHEAD, "up", "--viewers", "5", "--for", "6s", "--port", "0"]
    variables = environment({"TERM": "xterm-256color"})
    del variables["COLUMNS"]
    terminal = {"stdin": slave, "stdout": slave, "stderr": slave}
    process = Process(arguments, log=tmp_path / "none", env=variables, cwd=tmp_path, **terminal)
    os.close(slave)
    screen = b""
    try:
        while part := _read(master):
            screen += part
        assert process.wait(10) == 0, screen.decode()
    finally:
        process.kill_all()
        os.close(master)
    text = screen.decode()
    assert text.count("being watched") > 3
    assert re.search(r"\d+ events \(\d+/s\) in \d+ sessions", text)
    assert "\x1b[?25l" in text
    assert "\x1b[?25h" in text
    assert "All is well" in text


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65_536)
    except OSError:  # the other end was closed
        return b""


# ---- children of `up` and of a worker


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
    with started("up", "--viewers", "1", "--port", "0", cwd=hostile, settings=settings) as running:
        log = hostile / "data" / "logs" / "worker.log"
        running.wait_for(lambda: log.exists() and '"event": "upkeep done"' in log.read_text())
        running.wait_for(lambda: "simulate" in running.by_verb())
        running.wait_for(lambda: re.search(r"[1-9]\d* events", running.output))
        assert running.end(signal.SIGINT) == 0, running.output
    assert "a module of the current folder" not in running.output


def test_rounds_of_upkeep_run_in_a_folder_with_modules_of_the_same_names(hostile: Path) -> None:
    """`upkeep --every` starts each round as a process of its own."""
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


# ---- init, settings, secrets


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
    (line,) = [line for line in table.stdout.splitlines() if "PLAYHEAD_HTTP_PORT" in line]
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
    """Whatever verb; and nothing is begun."""
    assert failed(playhead(verb, cwd=tmp_path, settings={name: value})) == f"playhead: {line}"
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
        port = ingest.wait_for(lambda: re.search(r'"port": (\d+)', ingest.output))[1]
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
def test_the_data_may_be_in_any_folder(
    verb: list[str], words: str, ran: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """`--data` names the folder to whatever reads it, as to `up`, and goes before PLAYHEAD_DATA_DIR."""
    cwd, _ = ran
    elsewhere = {"PLAYHEAD_DATA_DIR": "nowhere"}
    known = {
        "data": str(cwd / "data"),
        "session": ask("SELECT min(session_id) AS id FROM sessions", cwd=cwd)[0]["id"],
        "pseudonym": playhead("pseudonym", "user", "a", cwd=cwd).stdout.strip(),
    }
    arguments = [word.format(**known) for word in verb]
    done = playhead(*arguments, "--data", known["data"], cwd=tmp_path, settings=elsewhere)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert words.format(**known) in done.stdout
    assert list(tmp_path.iterdir()) == []


# ---- sql, attach, pseudonym


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
    """Whatever the statement: one line, exit status 2, and the table is as it was."""
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
    assert line == "playhead: two columns are named a; name one of them with AS"


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
    assert ask(
        "SELECT 2::HUGEINT ^ 2 AS a, 'nan'::DOUBLE AS b, 170141183460469231731687303715884105727 AS c", cwd=cwd
    )[0] == {"a": 4.0, "b": None, "c": "170141183460469231731687303715884105727"}


PASTED = """
import duckdb, sys
with duckdb.connect() as client:
    client.execute("SET autoinstall_known_extensions = false")
    client.execute("SET extension_directory = 'none of these'")
    pasted = sys.stdin.read()
    client.execute(pasted)
    client.execute(pasted)
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
    assert printed.startswith(f"-- For DuckDB {duckdb.__version__}.")
    assert re.findall(r"^-- INSTALL (\w+); LOAD \1;$", printed, re.MULTILINE) == ["ducklake", "sqlite"]
    pasting = [str(PLAYHEAD.parent / "python"), "-c", PASTED]
    done = subprocess.run(pasting, input=printed, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer, refusal = done.stdout.splitlines()[:2]
    assert answer == "(True,)"
    assert "read-only" in refusal


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


# ---- simulate


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


@pytest.mark.parametrize("text", ["soon", "-5s", "0", "nan", "inf", "5d", ""])
def test_a_duration_is_positive(text: str, tmp_path: Path) -> None:
    """Anything else is refused with an example, before anything is begun."""
    done = playhead("up", "--for", text, cwd=tmp_path)
    assert done.returncode == 2
    assert "write 30s, 5m or 1h" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_verb(tmp_path: Path) -> None:
    """Each with a sentence; without arguments the same is printed."""
    text = playhead("--help", cwd=tmp_path).stdout
    for verb in ("up", "init", "ingest", "worker", "simulate", "verify", "sql", "attach", "pseudonym", "settings"):
        assert re.search(rf"{verb} +[A-Z][a-z]+ ", text), verb
