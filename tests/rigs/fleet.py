"""Workers on Kafka and PostgreSQL as processes, a log that fills while they work, and what must come of it.

The feed knows each record that the log has acknowledged. `Fleet.exact()` compares that with the lake by SQL of its
own, asks `playhead verify`, and compares every session with those of a lake made again from the same log by
one worker that nobody disturbs.
"""

import asyncio
import contextlib
import os
import random
import secrets
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from consumers.worker import Worker
from eventlog import Writer
from eventlog.adapters import create_log, open_writer
from eventlog.embedded.file import path_of_log
from lake.catalog import Location, connect, location
from lake.tables import initialize
from lake.verify import verify
from rigs.commands import PLAYHEAD
from rigs.lake import Lake
from rigs.processes import Process
from rigs.waiting import WITHIN_S, until_async
from schemas.faults import LogUnavailable
from schemas.ids import mint_event_id, mint_media_session
from schemas.records import encode, media_event
from schemas.settings import Settings, read_settings

PARAMS = {
    "analytics.trackingServer": "metrics.example.com",
    "analytics.reportSuite": "fleet",
    "visitor.marketingCloudOrgId": "0123456789ABCDEF@ExampleOrg",
    "media.id": "fleet",
    "media.length": 3600.0,
    "media.contentType": "vod",
    "media.playerName": "fleet",
    "media.channel": "fleet",
}
# What may differ between two lakes that took the same log in different steps.
HISTORY = "version, as_of, as_of_offset, late_events, state, close_reason"


async def ends_well(process: Process, *, within_s: float = 15.0) -> None:
    """Tell a process to end, which it must do well in time."""
    status = await asyncio.to_thread(process.end, within_s=within_s)
    assert status == 0, f"ended with {status}: {process.output[-2000:]}"


class Feed:
    """Appends sessions to the log, event by event, and knows what was acknowledged."""

    def __init__(self, writer: Writer, *, seed: int, live: int, ending: float = 0.7) -> None:
        self._writer = writer
        self._rng = random.Random(seed)
        self._live = live
        self._ending = ending
        self.tried: dict[str, str] = {}  # event id -> session id
        self.acknowledged: dict[str, str] = {}
        self.ended: set[str] = set()
        self._stopped = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Let a number of viewers play, one session after the other."""
        self._tasks = [asyncio.create_task(self._be_viewer(number)) for number in range(self._live)]

    async def stop(self) -> None:
        """Let them end where they are."""
        self._stopped.set()
        await asyncio.gather(*self._tasks)

    async def grow(self, events: int, *, within_s: float = WITHIN_S) -> None:
        """Wait until so many more events were acknowledged."""
        wanted = len(self.acknowledged) + events
        await until_async(lambda: len(self.acknowledged) >= wanted, "the feed has stalled", within_s=within_s)

    async def _be_viewer(self, number: int) -> None:
        while not self._stopped.is_set():
            partition = self._rng.randrange(self._writer.partitions)
            await self._play(partition)

    async def _play(self, partition: int) -> None:
        now_ms = time.time_ns() // 1_000_000
        session = mint_media_session([b"fleet"], partition=partition, started_ms=now_ms, entropy=os.urandom).id
        types = ["sessionStart", "play", *["ping"] * self._rng.randrange(20)]
        has_end = self._rng.random() < self._ending
        for index, name in enumerate([*types, *(["sessionEnd"] if has_end else [])]):
            await asyncio.sleep(self._rng.uniform(0.0, 0.1))
            if self._stopped.is_set():
                return
            if not await self._append(partition, session, name, index):
                return
        if has_end:
            self.ended.add(session)

    async def _append(self, partition: int, session: str, name: str, index: int) -> bool:
        now_ms = time.time_ns() // 1_000_000
        event: dict[str, Any] = {
            "eventType": name,
            "playerTime": {"playhead": float(index), "ts": now_ms},
            "customMetadata": {"padding": "x" * 200},
        }
        if name == "sessionStart":
            event["params"] = PARAMS
        event_id = mint_event_id(now_ms=now_ms, entropy=os.urandom)
        received = datetime.fromtimestamp(now_ms / 1000, UTC)
        record = media_event(
            event, event_id=event_id, session_id=session, source="/api/v1/sessions", received=received
        )
        self.tried[event_id] = session
        try:
            await self._writer.append(partition, key=session.encode(), value=encode(record))
        except LogUnavailable:
            return False
        self.acknowledged[event_id] = session
        return True


class Fleet:
    """A log and a lake, and the processes that work on them."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        name = f"fleet-{secrets.token_hex(4)}"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PLAYHEAD_")},
            "PLAYHEAD_LOG": "kafka",
            "PLAYHEAD_DATA_DIR": str(folder / "data"),
            "PLAYHEAD_KAFKA_TOPIC": name,
            "PLAYHEAD_KAFKA_GROUP": name,
            "PLAYHEAD_KAFKA_SESSION_TIMEOUT_S": "2",
            "PLAYHEAD_LOG_PARTITIONS": "4",
            "PLAYHEAD_LAKE_FILES": str(folder / "files"),
            "PLAYHEAD_WORKER_COMMIT_INTERVAL_S": "0.2",
            "PLAYHEAD_WORKER_TRANSACTION_TIMEOUT_S": "2",
            "PLAYHEAD_WORKER_OPEN_SESSIONS_INTERVAL_S": "1",
            **environment,
        }
        self._children: list[Process] = []
        self._lake: duckdb.DuckDBPyConnection | None = None  # kept open, for what is asked again and again

    @property
    def settings(self) -> Settings:
        """The settings of its processes."""
        return read_settings(self.environment)

    @property
    def place(self) -> Location:
        """Where its lake is."""
        return location(self.settings)

    def start(self, *arguments: str, name: str = "", **changes: str) -> Process:
        """Start `playhead <arguments>`, with changes to the environment."""
        log = self.folder / f"{name or arguments[0]}.log"
        child = Process([PLAYHEAD, *arguments], log=log, env={**self.environment, **changes})
        self._children.append(child)
        return child

    async def run(self, *arguments: str, **changes: str) -> str:
        """Run `playhead <arguments>` to its end, which must be a good one; return its output."""
        done = await asyncio.to_thread(
            subprocess.run,
            [str(PLAYHEAD), *arguments],
            env={**self.environment, **changes},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,  # adding partitions to a lake that is written to took 110 s on slow cores
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        """End whatever still runs."""
        self._forget_lake()
        for child in self._children:
            child.kill_all()

    def count(self) -> int:
        """Return how many events the lake has; -1 where it cannot be asked just now."""
        try:
            return int(self.ask("SELECT sum(inserted) FROM ledger")[0][0])
        except duckdb.Error:
            return -1

    def _forget_lake(self) -> None:
        lake, self._lake = self._lake, None
        if lake is not None:
            lake.close()

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Ask the lake, read only, by a connection that is kept: opening one takes longer than asking."""
        if self._lake is None:
            self._lake = connect(self.place, read_only=True)
        try:
            return self._lake.execute(statement).fetchall()
        except duckdb.Error:
            self._forget_lake()
            raise

    def next_offset(self, partition: int) -> int:
        """Return the lake's position in a partition."""
        rows = self.ask(f"SELECT next_offset FROM ledger WHERE log_partition = {partition}")
        return int(rows[0][0]) if rows else 0

    def forget_snapshots(self) -> None:
        """Expire every snapshot but the newest, which the shipped upkeep never does."""
        with contextlib.closing(connect(self.place, read_only=False)) as lake:
            lake.execute("CALL ducklake_expire_snapshots('lake', older_than => now()::TIMESTAMP)")

    async def holds(self, events: int, *, within_s: float = WITHIN_S) -> None:
        """Wait until the lake has so many events."""
        await until_async(
            lambda: self.count() >= events,
            lambda: f"{self.count()} of {events} events; {self._tails()}",
            within_s=within_s,
        )

    def _tails(self) -> str:
        logs = sorted(self.folder.glob("*.log"))
        return "\n".join(f"{log.name}: ...{log.read_text(errors='replace')[-1500:]}" for log in logs)

    async def complete(self, feed: Feed) -> None:
        """Check that the lake has what was fed, once each."""
        await self.holds(len(feed.acknowledged))
        await asyncio.to_thread(self._check_events, feed)

    async def exact(self, feed: Feed) -> None:
        """Check that it is complete, and has sessions as one undisturbed worker makes them."""
        await self.complete(feed)
        assert (await asyncio.to_thread(verify, self.place)).findings == []
        fresh = read_settings({**self.environment, **self.elsewhere("fresh")})
        if fresh.log == "embedded":
            await asyncio.to_thread(self._copy_log, fresh.data_dir)
        ((partitions,),) = await asyncio.to_thread(self.ask, "SELECT count(*) FROM ledger")
        Lake(fresh.data_dir, partitions=partitions)
        await Worker(fresh).run(asyncio.Event(), until_read=True)
        there = await asyncio.to_thread(sessions_of, location(fresh))
        assert there.keys() - set(feed.tried.values()) == set(feed.acknowledged.values()) - there.keys() == set()
        await self._comes_to_have(there)

    def elsewhere(self, name: str) -> dict[str, str]:
        """Return the changes that make another lake of the same log."""
        return {
            "PLAYHEAD_DATA_DIR": str(self.folder / name),
            "PLAYHEAD_LAKE_CATALOG": "sqlite",
            "PLAYHEAD_LAKE_FILES": "",
            "PLAYHEAD_KAFKA_GROUP": f"{self.environment['PLAYHEAD_KAFKA_GROUP']}-{name}",
        }

    def place_of(self, changes: dict[str, str]) -> Location:
        """Return where the lake is with these changes."""
        return location(read_settings({**self.environment, **changes}))

    def _copy_log(self, folder: Path) -> None:
        folder.mkdir()
        log = path_of_log(self.settings)
        with (
            contextlib.closing(sqlite3.connect(log)) as source,
            contextlib.closing(sqlite3.connect(folder / log.name)) as target,
        ):
            source.backup(target)

    async def _comes_to_have(self, sessions: dict[str, tuple[Any, ...]]) -> None:
        """Wait until the lake has exactly these sessions: open ones are renewed from time to time."""
        here: dict[str, tuple[Any, ...]] = {}

        def is_there() -> bool:
            nonlocal here
            here = sessions_of(self.place)
            return here == sessions

        def difference() -> object:
            return (
                here.keys() ^ sessions.keys()
                or [(here[id], sessions[id]) for id in here if here[id] != sessions[id]][:1]
            )

        await until_async(is_there, difference)

    def _check_events(self, feed: Feed) -> None:
        with contextlib.closing(connect(self.place, read_only=True)) as lake:
            rows = lake.execute("SELECT event_id, session_id FROM events").fetchall()
            versions = lake.execute(
                "SELECT session_id, count(DISTINCT version), max(version), count(*) "
                "FROM session_versions GROUP BY 1"
            ).fetchall()
        found = dict(rows)
        assert [id for id, count in Counter(id for id, _ in rows).items() if count > 1] == [], "doubled"
        assert {id for id in feed.acknowledged if found.get(id) != feed.acknowledged[id]} == set(), "lost"
        assert {id for id in found if feed.tried.get(id) != found[id]} == set(), "invented"
        odd = [row for row in versions if not row[1] == row[2] == row[3]]
        assert odd == [], "versions are not 1, 2, 3..."


def sessions_of(place: Location) -> dict[str, tuple[Any, ...]]:
    """Return every session of a lake without what may differ between two that took the same log."""
    with contextlib.closing(connect(place, read_only=True)) as lake:
        rows = lake.execute(f"SELECT session_id, * EXCLUDE ({HISTORY}) FROM sessions").fetchall()
    sessions = {row[0]: row[1:] for row in rows}
    assert len(sessions) == len(rows), "a session is in the view twice"
    return sessions


def closed_sessions(place: Location) -> set[str]:
    """Return the sessions of a lake that are final."""
    with contextlib.closing(connect(place, read_only=True)) as lake:
        rows = lake.execute("SELECT session_id FROM sessions WHERE state = 'final'").fetchall()
    return {row[0] for row in rows}


@contextlib.asynccontextmanager
async def fleet(folder: Path, *, bootstrap_servers: str, catalog: str, **changes: str) -> AsyncIterator[Fleet]:
    """Make log and lake; end whatever runs at the end."""
    servers = {"PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers, "PLAYHEAD_LAKE_CATALOG": catalog}
    ships = Fleet(folder, {**servers, **changes})
    try:
        await asyncio.to_thread(initialize, ships.place, partitions=await create_log(ships.settings))
        yield ships
    finally:
        ships.close()


@contextlib.asynccontextmanager
async def feeding(ships: Fleet, *, seed: int = 1, live: int = 10, ending: float = 0.7) -> AsyncIterator[Feed]:
    """Feed the log until the block ends."""
    writer = await open_writer(ships.settings)
    feed = Feed(writer, seed=seed, live=live, ending=ending)
    feed.start()
    try:
        yield feed
    finally:
        await feed.stop()
        await writer.close()
