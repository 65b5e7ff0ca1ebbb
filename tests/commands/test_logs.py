"""The log of a service: JSON to the last line, the settings first, every field of bounded length."""

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from rigs import processes
from rigs.brokers import free_ports
from rigs.commands import PLAYHEAD, SECRETS, environment, failed, playhead, started
from rigs.ingest import session_start
from rigs.lake import Lake
from rigs.lake import playhead as process
from rigs.logs import EmbeddedRig, append_all, writing
from rigs.processes import ROOT
from rigs.waiting import until

from eventlog.adapters import create_log
from schemas.settings import Settings

SERVICES = (["ingest"], ["worker"], ["upkeep", "--every", "1h"], ["backup", "--every", "1h"])
WRONG = [
    ({"PLAYHEAD_HTTP_PROT": "1"}, "PLAYHEAD_HTTP_PROT is not a setting", SERVICES),
    ({"PLAYHEAD_METRICS_HOST": "192.0.2.1"}, "cannot serve metrics on 192.0.2.1", SERVICES[:3]),
    ({"PLAYHEAD_LAKE_CATALOG": "mysql:host=a"}, "PLAYHEAD_LAKE_CATALOG must be", SERVICES[1:]),
    ({"PLAYHEAD_DATA_DIR": "elsewhere"}, "`playhead init`", SERVICES),
]


def lines_of(text: str) -> list[dict[str, Any]]:
    """Return the lines of a log; fail if one of them is not JSON."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "settings", "says"),
    [
        pytest.param(arguments, settings, says, id=f"{arguments[0]}-{next(iter(settings))}")
        for settings, says, services in WRONG
        for arguments in services
    ],
)
def test_a_service_with_a_wrong_setting_ends_with_the_reason_in_its_log(
    arguments: list[str], settings: dict[str, str], says: str, tmp_path: Path
) -> None:
    """As JSON, with status 2; also one that would otherwise repeat its work until it succeeds."""
    Lake(tmp_path / "data")
    given = SECRETS | {"PLAYHEAD_HTTP_PORT": "0"} | settings
    assert says in failed(playhead(*arguments, cwd=tmp_path, settings=given, timeout_s=30))


@pytest.mark.parametrize("verb", ["upkeep", "backup"])
def test_a_service_whose_lake_does_not_answer_waits_for_it(verb: str, tmp_path: Path) -> None:
    """As when it is started again while the database is."""
    (port,) = free_ports(1)
    settings = {"PLAYHEAD_LAKE_CATALOG": f"postgres:host=127.0.0.1 port={port}", "PLAYHEAD_METRICS_HOST": "off"}
    log = tmp_path / "log"
    command = [PLAYHEAD, verb, "--every", "1h"]
    with processes.started(command, log=log, env=environment(settings), cwd=tmp_path) as service:
        service.wait_for(lambda: "lake not read" in log.read_text(), "nothing is logged")
        assert service.is_alive()
        assert service.end() == 0


def test_a_wrong_argument_of_a_service_is_in_its_log(tmp_path: Path) -> None:
    """Nobody reads the usage there."""
    assert "'soon' is not a duration" in failed(playhead("upkeep", "--every", "soon", cwd=tmp_path))
    assert "--evry" in failed(playhead("backup", "--evry", "1h", cwd=tmp_path))


def test_a_person_who_starts_a_service_on_a_terminal_reads_a_sentence(tmp_path: Path) -> None:
    """The same reason, not as JSON."""
    master, slave = pty.openpty()
    done = subprocess.run(
        [PLAYHEAD, "worker"], cwd=tmp_path, env=environment({}), stderr=slave, check=False, timeout=60
    )
    os.close(slave)
    said = os.read(master, 100_000).decode()
    os.close(master)
    assert done.returncode == 2
    assert said.splitlines()[-1].startswith("playhead: ")


@pytest.mark.parametrize("arguments", SERVICES, ids=" ".join)
def test_a_service_logs_its_settings_first(arguments: list[str], tmp_path: Path) -> None:
    """Those that were set, with its version; secrets and passwords are hidden."""
    catalog = "postgres:host=127.0.0.1 port=1 dbname=lake user=me password=hush-hush"
    settings = SECRETS | {"PLAYHEAD_LAKE_CATALOG": catalog, "PLAYHEAD_DATA_DIR": "data"}
    with started(*arguments, cwd=tmp_path, settings=settings) as running:
        first = json.loads(until(lambda: running.output.splitlines())[0])
    assert (first["event"], first["level"]) == ("settings", "info")
    assert first["version"]
    shown = first["settings"]
    assert shown["PLAYHEAD_DATA_DIR"] == "data"
    assert shown["PLAYHEAD_MAC_KEY"] == "(set, hidden)"
    assert shown["PLAYHEAD_LAKE_CATALOG"].endswith("user=me password=(hidden)")
    assert "PLAYHEAD_HTTP_HOST" not in shown, "a default says nothing"


def test_a_field_of_the_log_is_bounded(tmp_path: Path) -> None:
    """The beginning and the end of a longer one are kept."""
    code = """
import structlog
from commands.logs import log_as_json
log_as_json("info")
logger = structlog.get_logger("test")
logger.error("long", error="begin " + "x" * 1_000_000 + " end", many=[{"text": "y" * 100_000}] * 10_000)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    (long,) = lines_of(done.stderr)
    assert long["error"].startswith("begin xxx")
    assert long["error"].endswith("xxx end")
    assert "characters left out" in long["error"]
    assert len(long["error"]) < 5_000
    assert len(long["many"]) == 200


def test_an_exception_is_logged_with_its_place_and_without_its_message() -> None:
    """Messages quote values, which players may have sent: neither our log nor a library's has them."""
    code = """
import logging, structlog
from commands.logs import log_as_json
log_as_json("info")
def read(text):
    try:
        int(text)
    except ValueError as error:
        raise LookupError(text) from error
try:
    read("c4n4ry")
except LookupError as error:
    structlog.get_logger("test").error("given", exc_info=error)
    structlog.get_logger("test").exception("current")
    logging.getLogger("asyncio").exception("a library's")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    places = (
        "LookupError at read (<string>:9) < <module> (<string>:11); because of ValueError at read (<string>:7)"
    )
    assert [line["exception"] for line in lines_of(done.stderr)] == [places] * 3
    assert "c4n4ry" not in done.stderr


def test_a_request_that_fails_is_logged_without_what_was_sent(tmp_path: Path) -> None:
    """A library raises what nobody foresaw, and quotes the sender's address in it."""
    code = "import socket\ndef fail(_, text): raise RuntimeError(text)\nsocket.inet_pton = fail\n"
    shadow = shadowed(tmp_path, code)
    asyncio.run(create_log(Settings(data_dir=tmp_path / "data")))
    settings = SECRETS | shadow | {"PLAYHEAD_HTTP_PORT": "0", "PLAYHEAD_HTTP_TRUSTED_PROXIES": "127.0.0.1"}
    with started("ingest", cwd=tmp_path, settings=settings) as ingest:
        port = ingest.wait_for(lambda: re.search(r'"port": (\d+), "event": "listening"', ingest.output))[1]
        sender = {"X-Forwarded-For": "c4n4ry"}
        reply = httpx.post(
            f"http://127.0.0.1:{port}/api/v1/sessions", headers=sender, json=session_start(), timeout=20
        )
        assert reply.status_code == 500
        ingest.wait_for(lambda: "request failed" in ingest.output)
        (line,) = [line for line in lines_of(ingest.output) if line["event"] == "request failed"]
    assert line["exception"].startswith("RuntimeError at fail (sitecustomize.py:2) < ")
    assert "c4n4ry" not in ingest.output


def shadowed(folder: Path, code: str) -> dict[str, str]:
    """Return the settings of a process that runs some code before anything else."""
    shadow = folder / "shadow"
    shadow.mkdir()
    (shadow / "sitecustomize.py").write_text(code)
    return {"PYTHONPATH": str(shadow)}


def test_what_nobody_foresaw_ends_a_service_with_a_line_of_its_log(tmp_path: Path) -> None:
    """With where that was, and status 1."""
    code = "import socket\ndef fail(): raise RuntimeError('nobody foresaw this')\nsocket.gethostname = fail\n"
    Lake(tmp_path / "data")
    done = playhead("worker", cwd=tmp_path, settings=shadowed(tmp_path, code))
    assert done.returncode == 1
    last = lines_of(done.stderr)[-1]
    assert (last["event"], last["level"]) == ("failed", "critical")
    assert last["exception"].startswith("RuntimeError at fail (sitecustomize.py:2) < ")


def test_a_worker_logs_from_whom_it_takes_a_partition(tmp_path: Path) -> None:
    """Who wrote its last commit, and who reads it now; the first one has nobody before it."""
    lake, rig = Lake(tmp_path), EmbeddedRig(tmp_path)
    asyncio.run(rig.make())
    pids: list[int] = []

    def is_read() -> bool:
        return lake.ask("SELECT next_offset FROM ledger") == [(len(pids),)]

    for _ in range(2):
        asyncio.run(_append(lake.settings))
        with process(lake.settings, "worker") as worker:
            pids.append(worker.pid)
            worker.wait_for(is_read)
            worker.kill()
    first, second = [line for line in lines_of(worker.output) if line["event"] == "partition assigned"]
    assert "owner_before" not in first
    assert first["owner"].endswith(f":{pids[0]}")
    assert second["owner_before"] == first["owner"]
    assert second["owner"].endswith(f":{pids[1]}")


async def _append(settings: Settings) -> None:
    async with writing(settings) as writer:
        await append_all(writer, 1)
