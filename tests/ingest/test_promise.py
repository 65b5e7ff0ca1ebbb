"""A 2xx means durable: under a log that does not answer, under SIGTERM and under kill -9."""

import contextlib
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from rigs.ingest import PROJECT, SECRETS, Ingest, event, running, session_start
from rigs.waiting import until

API = {"X-API-Key": "string"}
TRACKING = "/v1/playouts/tracking/session"


@contextlib.contextmanager
def locked(ingest: Ingest) -> Iterator[None]:
    """Hold the log's write lock, so that no append gets through."""
    with contextlib.closing(sqlite3.connect(ingest.data_dir / "log.sqlite", isolation_level=None)) as connection:
        until(lambda: _begin(connection))
        yield
        connection.execute("ROLLBACK")


def _begin(connection: sqlite3.Connection) -> bool:
    try:
        connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return False
    return True


def test_without_the_log_there_is_no_2xx(tmp_path: Path) -> None:
    """Media routes answer 500, others 503, soon and with Retry-After; ready is red, live is not; it recovers."""
    with running(tmp_path / "data", log_append_timeout_s=0.5) as ingest:
        session = ingest.start(session_start())
        before = len(ingest.records())
        with locked(ingest):
            for path, body, status in (
                ("/api/v1/sessions", session_start(), 500),
                (f"{session}/events", event("play"), 500),
                ("/api/v1/downloaded", [session_start(), event("play")], 500),
                (TRACKING, {}, 503),
            ):
                began = time.monotonic()
                reply = ingest.post(path, body, headers={**API, "Origin": "https://a.example"})
                assert reply.status_code == status
                assert int(reply.headers["retry-after"]) > 0
                assert "access-control-allow-origin" in reply.headers
                assert time.monotonic() - began < 5
            refused = ingest.post("/api/v1/sessions", b"{")
            assert refused.status_code == 400
            assert ingest.client.get("/health/ready").status_code == 503
            assert ingest.client.get("/health/live").status_code == 200
        assert len(ingest.records()) == before
        until(lambda: ingest.client.get("/health/ready").status_code == 200)
        assert ingest.post(f"{session}/events", event("play")).status_code == 204
        assert "request failed" not in ingest.output


def test_an_offline_session_that_failed_is_completed_by_posting_it_again(tmp_path: Path) -> None:
    """After a 500 the same body gets the same ids, so an event stored the first time is not stored again."""
    body = [session_start(), *(event("ping", ts=1_700_000_000_000 + n) for n in range(1200)), event("sessionEnd")]
    with running(tmp_path / "data", log_append_timeout_s=0.5) as ingest:
        with locked(ingest):
            assert ingest.post("/api/v1/downloaded", body).status_code == 500
        session = ingest.post("/api/v1/downloaded", body).headers["location"]
        assert ingest.post("/api/v1/downloaded", body).headers["location"] == session
        records = ingest.events(session)
        assert len({record["id"] for record in records}) == len(body)
        newest = {record["id"]: record["data"] for record in records}
        # Where a group failed half-way, records may have changed places.
        assert sorted(map(json.dumps, newest.values())) == sorted(map(json.dumps, body))


class Load(threading.Thread):
    """One player that posts events of its session until it is stopped, and remembers which were acknowledged."""

    def __init__(self, ingest: Ingest, number: int) -> None:
        super().__init__()
        self._ingest = ingest
        self._number = number
        self.acknowledged: list[tuple[str, int]] = []
        self.is_stopping = False

    def run(self) -> None:
        with httpx.Client(base_url=self._ingest.url, timeout=10) as client, contextlib.suppress(httpx.HTTPError):
            started = client.post("/api/v1/sessions", json=session_start())
            session = started.headers["location"]
            ts = 1_700_000_000_000 + self._number
            while not self.is_stopping:
                ts += 1000
                reply = client.post(f"{session}/events", json=event("ping", ts=ts))
                if reply.status_code == 204:
                    self.acknowledged.append((session.rpartition("/")[2], ts))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("acknowledged_min", [1, 100, 300])
def test_what_was_acknowledged_is_in_the_log(
    tmp_path: Path, number: signal.Signals, acknowledged_min: int
) -> None:
    """Ended in the middle of load, gently or not, the log has every event that was answered 204."""
    with running(tmp_path / "data", log_partitions=2) as ingest:
        players = [Load(ingest, index) for index in range(8)]
        for player in players:
            player.start()
        try:
            until(lambda: sum(len(player.acknowledged) for player in players) >= acknowledged_min)
            began = time.monotonic()
            status = ingest.stop(number)
        finally:
            for player in players:
                player.is_stopping = True
                player.join(20)
        assert time.monotonic() - began < 10
        assert status == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        stored = [(record["subject"], record["data"]["playerTime"]["ts"]) for record in ingest.records()]
        acknowledged = [each for player in players for each in player.acknowledged]
        assert len(acknowledged) >= acknowledged_min
        assert set(acknowledged) <= set(stored)
        assert len(stored) == len(set(stored))


def test_an_unfinished_request_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    """Open connections, idle or half-way through a body, hold up the end for the shutdown timeout at most."""
    with (
        running(tmp_path / "data", http_shutdown_timeout_s=1) as ingest,
        socket.create_connection(("127.0.0.1", ingest.port)) as half_way,
        socket.create_connection(("127.0.0.1", ingest.port)),
    ):
        half_way.sendall(b"POST /api/v1/sessions HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
        assert ingest.client.get("/health/live").status_code == 200
        began = time.monotonic()
        assert ingest.stop() == 0
        assert time.monotonic() - began < 8


def _serve(environment: dict[str, str]) -> str:
    """Try to serve in a process of its own; return the fault it stopped with."""
    code = "\n".join(
        (
            "import os",
            "from ingest.serve import serve",
            "from schemas.settings import read_settings",
            "serve(read_settings(os.environ))",
        )
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PROJECT), "PLAYHEAD_HTTP_PORT": "0", **environment},
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.decode().strip().splitlines()[-1]


@pytest.mark.parametrize("missing", ["PLAYHEAD_API_KEYS", "PLAYHEAD_MAC_KEY", "PLAYHEAD_PSEUDONYM_KEY"])
def test_without_a_secret_it_does_not_start(tmp_path: Path, missing: str) -> None:
    """It stops before it listens, and says which setting is missing."""
    secrets = {name: value for name, value in SECRETS.items() if name != missing}
    assert missing in _serve({**secrets, "PLAYHEAD_DATA_DIR": str(tmp_path)})


def test_without_a_log_it_does_not_start(tmp_path: Path) -> None:
    """It stops, and names the command that makes the log."""
    assert "playhead init" in _serve({**SECRETS, "PLAYHEAD_DATA_DIR": str(tmp_path)})


def test_metrics_count_what_was_accepted_and_refused(tmp_path: Path) -> None:
    """Accepted records by type, refusals by code, and the time the log took."""
    with running(tmp_path / "data") as ingest:
        session = ingest.start(session_start())
        for _ in range(3):
            ingest.post(f"{session}/events", event("ping"))
        ingest.post(f"{session}/events", b"{")
        lines = dict(line.rsplit(" ", 1) for line in ingest.metrics().splitlines() if not line.startswith("#"))
        assert lines['playhead_ingest_accepted_total{type="playhead.media.ping"}'] == "3.0"
        assert lines['playhead_ingest_accepted_total{type="playhead.media.sessionStart"}'] == "1.0"
        assert lines['playhead_ingest_refused_total{code="not_json",protocol="media"}'] == "1.0"
        assert lines["playhead_ingest_append_seconds_count"] == "4.0"
        assert float(lines["process_resident_memory_bytes"]) > 0


def test_records_are_cloud_events(tmp_path: Path) -> None:
    """Each record's value has the attributes that CloudEvents 1.0 demands, and extensions named as it demands."""
    with running(tmp_path / "data") as ingest:
        ingest.start(session_start())
        ingest.post(TRACKING, {"user_id": "u"}, headers=API)
        ingest.post("/api/v1/sessions", b"{")
        until(lambda: ingest.holds(3))
        for record in ingest.records():
            del record["key"], record["partition"]
            assert record["specversion"] == "1.0"
            assert all(record[name] for name in ("id", "source", "type"))
            assert record.get("subject", "x")
            assert all(name.isalnum() and name.islower() for name in record)
            assert all(isinstance(value, str | bool) for name, value in record.items() if name != "data")
