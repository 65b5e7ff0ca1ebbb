"""A real ingest over a real log, as a process of its own, and what its log then holds."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from rigs.processes import Process
from schemas.ids import read_media_session

PROJECT = Path(__file__).parents[2]
DATA = Path(__file__).parents[1] / "data"
SECRETS = {
    "PLAYHEAD_API_KEYS": "string,your_api_key_here",
    "PLAYHEAD_MAC_KEY": "mac key of the tests",
    "PLAYHEAD_PSEUDONYM_KEY": "pseudonym key of the tests",
}
CHILD = """
import asyncio, os
from eventlog.adapters import create_log
from ingest.serve import serve
from commands.logs import log_as_json
from schemas.settings import read_settings
settings = read_settings(os.environ)
if ahead_s := float(os.environ.get("CLOCK_AHEAD_S", "0")):
    import time, time_machine
    time_machine.travel(time.time() + ahead_s, tick=True).start()
log_as_json("info")
asyncio.run(create_log(settings))
serve(settings)
"""


class Ingest:
    """One ingest process. `settings` are PLAYHEAD_ settings by the lower-case end of their names.

    Its clock may be wrong: `clock_ahead_s` before that of this machine.
    """

    def __init__(self, data_dir: Path, *, clock_ahead_s: float = 0, **settings: object) -> None:
        self.data_dir, self.clock_ahead_s = data_dir, clock_ahead_s
        data_dir.mkdir(parents=True, exist_ok=True)
        self._log = data_dir.parent / f"{data_dir.name}.stderr"
        named = {f"PLAYHEAD_{name.upper()}": str(value) for name, value in settings.items()}
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")},
            **SECRETS,
            "PLAYHEAD_DATA_DIR": str(data_dir),
            "PLAYHEAD_HTTP_PORT": "0",
            "PLAYHEAD_METRICS_PORT": "0",
            **named,
            "CLOCK_AHEAD_S": str(clock_ahead_s),
            "PYTHONPATH": str(PROJECT),
        }
        self._log.unlink(missing_ok=True)
        self.process = Process([sys.executable, "-c", CHILD], log=self._log, env=environment, cwd=data_dir)
        self.port = self.process.wait_for(self._find_port, "it does not listen")
        self.url = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def _find_port(self, event: str = "listening") -> int | None:
        for line in self.output.splitlines():
            if f'"event": "{event}"' in line:
                return int(json.loads(line)["port"])
        return None

    def ask(self, path: str) -> httpx.Response:
        """Ask the port for operators."""
        port = self._find_port("metrics")
        assert port is not None, "it serves no metrics"
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=20)

    def metrics(self) -> str:
        """Return what it tells Prometheus."""
        reply = self.ask("/metrics")
        assert reply.status_code == 200
        return reply.text

    def count(self, series: str) -> float:
        """Return the number of a series, by its name and labels as Prometheus writes them."""
        return next(
            float(line.split()[-1]) for line in self.metrics().splitlines() if line.startswith(f"{series} ")
        )

    @property
    def output(self) -> str:
        """Everything that the process has written."""
        return self.process.output

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; return its exit status."""
        self.client.close()
        try:
            status = self.process.end(number)
            assert status is not None, "it does not end"
            return status
        finally:
            self.process.kill_all()

    # What players do

    def start(self, event: object, **options: Any) -> str:
        """Post a sessionStart; return the session's path."""
        reply = self.post("/api/v1/sessions", event, **options)
        assert reply.status_code == 201, reply.text
        return reply.headers["location"]

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """Post a body: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.post(path, content=content, **options)

    def exchange(self, raw: bytes, *, timeout_s: float = 10.0) -> bytes:
        """Send raw bytes on a connection of their own; return all that comes until the server closes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout_s) as connection:
            connection.sendall(raw)
            return receive_all(connection)

    # What the log holds

    def records(self, *, newest: int = -1) -> list[dict[str, Any]]:
        """Return all records, or so many of the newest, in the order of the log, with their key and partition."""
        path = self.data_dir / "log.sqlite"
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            query = "SELECT id >> 48, key, value FROM records ORDER BY id DESC LIMIT ?"
            rows = connection.execute(query, [newest]).fetchall()[::-1]
        return [
            {**json.loads(value), "key": key.decode(), "partition": partition} for partition, key, value in rows
        ]

    def events(self, session: str) -> list[dict[str, Any]]:
        """Return the records of one session, by its path or id."""
        session_id = session.rpartition("/")[2]
        found = [record for record in self.records() if record.get("subject") == session_id]
        media = read_media_session(session_id)
        assert all(record["key"] == session_id for record in found)
        assert media is None or all(record["partition"] == media.partition for record in found)
        return found

    def newest(self) -> dict[str, Any]:
        """Return the last record of a log with one partition."""
        (record,) = self.records(newest=1)
        return record

    def holds(self, count: int) -> bool:
        """Return whether the log has so many records."""
        return len(self.records()) == count

    def bytes_of_log(self) -> bytes:
        """Return every byte of the log's files."""
        return b"".join(path.read_bytes() for path in sorted(self.data_dir.iterdir()))


def receive_all(connection: socket.socket) -> bytes:
    """Receive until the other side closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65_536):
            parts.append(part)
    return b"".join(parts)


@contextlib.contextmanager
def running(data_dir: Path, **settings: Any) -> Iterator[Ingest]:
    """Run an ingest for a while."""
    ingest = Ingest(data_dir, **settings)
    try:
        yield ingest
    finally:
        ingest.stop()


def session_start(**params: object) -> dict[str, Any]:
    """Return a sessionStart with its required params, and more if given."""
    return {
        "playerTime": {"playhead": 0, "ts": 1_700_000_000_000},
        "eventType": "sessionStart",
        "params": {
            "analytics.trackingServer": "tracking.example",
            "analytics.reportSuite": "suite",
            "visitor.marketingCloudOrgId": "org",
            "media.id": "film-1",
            "media.length": 60.5,
            "media.contentType": "VOD",
            "media.playerName": "player",
            "media.channel": "channel",
            **params,
        },
    }


def event(
    event_type: str, *, ts: int = 1_700_000_001_000, playhead: float = 1.0, **rest: object
) -> dict[str, Any]:
    """Return an event with nothing but what all have."""
    return {"playerTime": {"playhead": playhead, "ts": ts}, "eventType": event_type, **rest}
