"""The whole of Playhead: an ingest and a worker as processes, what players post, and a reader of the lake."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from lake.catalog import connect, location
from rigs.commands import SECRETS, playhead, started
from rigs.lake import Lake
from rigs.waiting import until
from schemas.settings import read_settings

QUICK = {"PLAYHEAD_WORKER_COMMIT_INTERVAL_S": "0.2", "PLAYHEAD_WORKER_OPEN_SESSIONS_INTERVAL_S": "0.2"}


class Stack:
    """An ingest and a worker, each a process of its own, and a reader of their lake."""

    def __init__(self, cwd: Path, port: int, pids: tuple[int, int]) -> None:
        self.cwd, self.port, self.pids = cwd, port, pids
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20)
        place = location(read_settings({"PLAYHEAD_DATA_DIR": str(cwd / "data")}))
        self.lake = connect(place, read_only=True)

    def post(self, path: str, body: object, **options: Any) -> httpx.Response:
        """Post a body: bytes as they are, anything else as JSON; no cookie is kept."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        reply = self.client.post(path, content=content, **options)
        self.client.cookies.clear()
        return reply

    def play(self, events: list[dict[str, Any]], **options: Any) -> str:
        """Post a session's events one after the other; return its id."""
        started = self.post("/api/v1/sessions", events[0], **options)
        assert started.status_code == 201, started.text
        for event in events[1:]:
            assert self.post(f"{started.headers['location']}/events", event, **options).status_code == 204
        return str(started.headers["location"].rpartition("/")[2])

    def ask(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Ask the lake."""
        result = self.lake.execute(statement, values)
        columns = [column[0] for column in result.description or []]
        return [dict(zip(columns, row, strict=True)) for row in result.fetchall()]

    def until(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Ask until there is an answer; WHERE or HAVING in the statement say which one is wanted."""
        return until(lambda: self.ask(statement, *values), statement)

    def session(self, session_id: str, *, events: int) -> dict[str, Any]:
        """Return the session's row once it counts so many events."""
        return self.until("SELECT * FROM sessions WHERE session_id = ? AND events >= ?", session_id, events)[0]

    def catch_up(self) -> None:
        """Wait until all that the log holds is in the lake."""
        log = (self.cwd / "data" / "log.sqlite").as_uri()
        with contextlib.closing(sqlite3.connect(f"{log}?mode=ro", uri=True)) as connection:
            (records,) = connection.execute("SELECT count(*) FROM records").fetchone()
        self.until("SELECT 1 FROM ledger HAVING sum(next_offset) >= ?", records)


@contextlib.contextmanager
def running(cwd: Path, **more: str) -> Iterator[Stack]:
    """Run a stack for a while; both processes have to end well."""
    settings = {**SECRETS, **QUICK, "PLAYHEAD_HTTP_PORT": "0", "PLAYHEAD_REJECTED_PER_S": "100000", **more}
    Lake(cwd / "data")  # a copy: making one takes a second
    assert playhead("init", cwd=cwd, settings=settings).returncode == 0
    with (
        started("ingest", cwd=cwd, settings=settings) as ingest,
        started("worker", cwd=cwd, settings=settings) as worker,
    ):
        port = ingest.wait_for(lambda: re.search(r'"port": (\d+), "event": "listening"', ingest.output))[1]
        stack = Stack(cwd, int(port), (ingest.pid, worker.pid))
        try:
            yield stack
        finally:
            stack.client.close()
            stack.lake.close()
        assert (ingest.end(), worker.end()) == (0, 0), ingest.output + worker.output
        assert '"error"' not in ingest.output + worker.output
