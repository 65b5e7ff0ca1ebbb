"""The load: clients that play and upload sessions, and the journal of what they sent and were answered."""

import asyncio
import json
import os
import random
import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPLY_TIMEOUT_S = 20.0
EVENTS_PER_SESSION = 40
EVENTS_PER_UPLOAD = 500
UPLOADS = 0.15  # of all sessions
UPLOADED = "uploaded"  # placeholder for the session of an upload's events, which only the reply names


class Journal:
    """A file of lines that a thread writes and fsyncs for all who wait: one fsync for all that queued up."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Condition()
        self._lines: list[str] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._closing = False
        self._thread = threading.Thread(target=self._write_for_all)
        self._thread.start()

    def note(self, *fields: object) -> None:
        """Queue a line; it is on disk before any line that is awaited later."""
        with self._lock:
            self._lines.append("\t".join(map(str, fields)) + "\n")

    async def write(self, *fields: object) -> None:
        """Write a line and return when it, and all before it, are on disk."""
        done = self._loop.create_future()
        with self._lock:
            self._lines.append("\t".join(map(str, fields)) + "\n")
            self._waiting.append(done)
            self._lock.notify()
        await done

    def _write_for_all(self) -> None:
        while True:
            with self._lock:
                self._lock.wait_for(lambda: self._waiting or self._closing)
                lines, self._lines = self._lines, []
                waiting, self._waiting = self._waiting, []
                closing = self._closing
            self._file.write("".join(lines).encode())
            os.fsync(self._file.fileno())
            if closing:
                return
            self._loop.call_soon_threadsafe(_resolve, waiting)

    def close(self) -> None:
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()
        self._file.close()


def _resolve(waiting: list[asyncio.Future[None]]) -> None:
    for done in waiting:
        if not done.done():
            done.set_result(None)


@dataclass(frozen=True)
class Reply:
    """A status, and the header that matters."""

    status: int
    location: str


class Connection:
    """One HTTP/1.1 connection at a time to one of the ingests, opened again whenever it is lost."""

    def __init__(self, ports: list[int], rng: random.Random) -> None:
        self._ports, self._rng = ports, rng
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        """Connect, trying until somebody listens."""
        while self._streams is None:
            try:
                self._streams = await asyncio.open_connection("127.0.0.1", self._rng.choice(self._ports))
            except OSError:
                await asyncio.sleep(0.05)

    async def post(self, path: str, body: bytes, key: str) -> Reply | None:
        """Post, and return the reply; None if the connection was lost first."""
        await self.open()
        assert self._streams is not None
        reader, writer = self._streams
        lines = [f"POST {path} HTTP/1.1", "Host: soak", "Content-Type: application/json"]
        lines += [f"Content-Length: {len(body)}"] + ([f"Idempotency-Key: {key}"] if key else [])
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                await reader.readexactly(int(headers.get("content-length", 0)))
        except (OSError, EOFError, TimeoutError):
            self.close()
            return None
        if headers.get("connection") == "close":
            self.close()
        return Reply(int(head[0].split()[1]), headers.get("location", ""))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Load:
    """What all clients share: the journal, and how far they are."""

    journal: Journal
    ports: list[int]
    run: str = ""  # what the names of its sessions begin with
    acknowledged: int = 0
    told_s: float = 0.0  # when that was last told
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Let clients play again, sessions of other names than before."""
        self.run = secrets.token_hex(4)
        self.stopped.clear()


async def be_client(load: Load, number: int, seed: int) -> None:
    """Play sessions, one after the other, until the load is stopped."""
    rng = random.Random(f"{seed}/{number}")
    connection = Connection(load.ports, rng)
    sessions = 0
    while not load.stopped.is_set():
        sessions += 1
        name = f"{load.run}.{number}.{sessions}"
        if rng.random() < UPLOADS:
            await _upload_session(load, connection, rng, name)
        else:
            await _play_session(load, connection, rng, name, has_keys=number % 2 == 0)
    connection.close()


async def _play_session(
    load: Load, connection: Connection, rng: random.Random, name: str, *, has_keys: bool
) -> None:
    session, ts = "", time.time_ns() // 1_000_000
    for index, event_type in enumerate(_types(rng, EVENTS_PER_SESSION)):
        ts += rng.randrange(1, 10_000)
        journal_value = f"{name}.{index}"
        body = json.dumps(_body(event_type, ts, index, journal_value)).encode()
        path = f"/api/v1/sessions/{session}/events" if session else "/api/v1/sessions"
        while True:
            await connection.open()
            await load.journal.write("tried", journal_value, session, event_type, ts)
            reply = await connection.post(path, body, journal_value if has_keys else "")
            if reply is not None and reply.status < 500:
                break
            if not has_keys:
                break
            await asyncio.sleep(0.05)
        if reply is None or reply.status >= 500:
            if not session:
                return
        elif reply.status in (201, 204):
            session = session or reply.location.rpartition("/")[2]
            load.journal.note("acknowledged", journal_value, session, event_type, ts)
            load.acknowledged += 1
        else:
            load.journal.note("refused", journal_value, session, event_type, ts)
            load.refusals.append(f"{event_type} {journal_value}: {reply.status}")
            return
        if load.stopped.is_set():
            return


async def _upload_session(load: Load, connection: Connection, rng: random.Random, name: str) -> None:
    """Post a session that was played offline yesterday; which ids it gets follows from its body."""
    ts = time.time_ns() // 1_000_000 - 86_400_000
    events = []
    for index, event_type in enumerate(_types(rng, EVENTS_PER_UPLOAD)):
        ts += rng.randrange(1, 10_000)
        events.append((f"{name}.{index}", event_type, ts))
    body = json.dumps([_body(event_type, ts, i, key) for i, (key, event_type, ts) in enumerate(events)]).encode()
    for key, event_type, ts in events:
        load.journal.note("tried", key, UPLOADED, event_type, ts)
    while not load.stopped.is_set():
        await connection.open()
        await load.journal.write("tried", key, UPLOADED, event_type, ts)  # all above is on disk as well
        reply = await connection.post("/api/v1/downloaded", body, "")
        if reply is None or reply.status >= 500:
            await asyncio.sleep(0.05)
        elif reply.status == 201:
            session = reply.location.rpartition("/")[2]
            for each, *what in events:
                load.journal.note("acknowledged", each, session, *what)
            load.acknowledged += len(events)
            return
        else:
            load.refusals.append(f"upload {name}: {reply.status}")
            return


def _types(rng: random.Random, pings_max: int) -> list[str]:
    return ["sessionStart", "play", *["ping"] * rng.randrange(pings_max), "sessionEnd"]


def _body(event_type: str, ts: int, index: int, journal_value: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "eventType": event_type,
        "playerTime": {"playhead": float(max(0, index - 1)), "ts": ts},
        "customMetadata": {"journal": journal_value, "padding": "x" * 200},
    }
    if event_type == "sessionStart":
        body["params"] = {
            "analytics.trackingServer": "metrics.example.com",
            "analytics.reportSuite": "soak",
            "visitor.marketingCloudOrgId": "0123456789ABCDEF@ExampleOrg",
            "media.id": "soak",
            "media.length": 3600.0,
            "media.contentType": "vod",
            "media.playerName": "soak",
            "media.channel": "soak",
        }
    return body
