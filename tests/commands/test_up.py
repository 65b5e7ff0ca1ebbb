"""`playhead up` as a person uses it: its output, its exit status, how it ends, and what it leaves behind."""

import asyncio
import fcntl
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
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from rigs.commands import PLAYHEAD, SECRETS, URL, ask, environment, failed, playhead, started
from rigs.lake import Lake
from rigs.processes import Process
from rigs.waiting import until

from eventlog.adapters import open_writer, read_ends
from players.personas import make_persona
from schemas.records import SOURCE_MEDIA, encode, media_event
from schemas.settings import read_settings

NOW_MS = time.time_ns() // 1_000_000


@pytest.fixture(autouse=True)
def empty_lake(tmp_path: Path) -> Lake:
    """A copied lake in each test's folder: making one takes a second, and the run `ran` does that too."""
    return Lake(tmp_path / "data")


def test_up_ends_well(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Exit status 0, plain lines without colours, the truth compared, and nothing on stderr."""
    _, run = ran
    assert (run.returncode, run.stderr) == (0, "")
    lines = run.stdout.splitlines()
    assert lines[0] == "The API key of the tracking API is in data/secrets/api_keys"
    assert URL.match(lines[1])
    assert re.fullmatch(r"Metrics and health: ingest http://127\.0\.0\.1:\d+, worker http://\S+:\d+", lines[2])
    assert re.match(
        r"[\d,]+ events in \d+ sessions?, \d+ being watched, \d+ quarantined, \d+ duplicates", lines[3]
    )
    assert re.fullmatch(
        r"truth: [\d,]+ events accepted in \d+ sessions?, .*; 0 differences in the lake", lines[-2]
    )
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
    "INSERT INTO quarantine (log_partition, log_offset, received_at, source, reason, detail) "
    "VALUES (0, 7, now(), 'worker', '[red]not_json', 'planted')")
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
    """A session, a tracking session and a refused body that are not the viewers' are no difference.

    What is posted to `/validate`, which is on here, is stored nowhere.
    """
    with started("up", "--viewers", "5", "--port", "0", cwd=tmp_path) as running:
        url = running.wait_for(lambda: URL.search(running.output))[1]
        session_id = start(url)
        events = f"{url}/api/v1/sessions/{session_id}/events"
        play = {"eventType": "play", "playerTime": {"playhead": 0, "ts": NOW_MS + 500}}
        assert httpx.post(events, json=play).status_code == 204
        assert httpx.post(events, json={"eventType": "play"}).status_code == 400
        assert httpx.post(f"{url}/validate", json=play).json()["accepted"] is True
        key = (tmp_path / "data" / "secrets" / "api_keys").read_text()
        tracking = httpx.post(f"{url}/v1/playouts/tracking/session", headers={"X-API-Key": key})
        assert tracking.status_code == 200
        viewers = f"SELECT count(*) AS n FROM sessions WHERE session_id != '{session_id}'"
        running.wait_for(lambda: ask(viewers, cwd=tmp_path)[0]["n"] > 2)
        assert running.end(signal.SIGINT) == 0, running.output
        last = running.output.splitlines()[-3:]
    assert re.fullmatch(r"truth: .* in \d+ sessions?, .*; 0 differences in the lake", last[0])
    assert last[1] == "of others, not the viewers': 2 events in 1 session, 1 refused"
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
    said = re.fullmatch(r"playhead: not caught up: ([\d,]+) records? waits?; nothing was judged", last)
    assert said, running.output
    assert posted - read < int(said[1].replace(",", "")) <= records_of_log(tmp_path) - read
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
    assert f"invented {claimed[:16]}: 1 event of a session nobody played" in running.output
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
        assert failed(alone) == f"port {port} of 127.0.0.1 is in use"


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
