"""Kill everything at random under load, then count: was any acknowledged event lost, doubled or invented?

    python tests/soak.py --events 100000 --kills 30 --seed 1
    python tests/soak.py --events 100000 --kills 30 --seed 1 --kafka --ingests 2 --workers 3
    python tests/soak.py --events 100000 --kills 200 --gently      SIGTERM instead, which must end each in time

Clients note each request in a journal before it goes out (fsynced), and each reply. Meanwhile `playhead ingest`
and `playhead worker` are killed with SIGKILL and started again; with --kafka, upkeep, the Kafka broker and the
PostgreSQL server too. At the end a process of its own reads the journal
and the lake, with DuckDB alone. Nothing in this file imports Playhead: the clients, the journal and the verdict
know only the protocol, the command line, and the names of the lake's columns.

What an event is known by is the `journal` value in its custom metadata. There are two kinds of clients. Those with
an Idempotency-Key repeat a request until it is answered, and each of their events must be there exactly once,
however often it was sent; those without one go on, and an event that was not answered may be there once or not.
Both now and then upload a whole session that was played offline, again and again until it is answered.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import duckdb
import duckdb_extension_ducklake  # type: ignore[import-untyped]
import duckdb_extension_postgres_scanner  # type: ignore[import-untyped]
import duckdb_extension_sqlite_scanner  # type: ignore[import-untyped]

REPLY_TIMEOUT_S = 20.0
DRAIN_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
EVENTS_PER_SESSION = 40
EVENTS_PER_UPLOAD = 500
UPLOADS = 0.15  # of all sessions
TOGETHER = 3  # processes that are told to end at the same moment
UPLOADED = "uploaded"  # stands for the session of an upload's events, which only the reply names
PLAYHEAD = Path(sys.executable).parent / "playhead"


@dataclass(frozen=True)
class Verdict:
    """What the checker found. Clean is: no event lost, doubled or invented."""

    acknowledged: int
    rows: int
    unanswered: int
    lost: int
    doubled: int
    invented: int
    examples: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.invented)


@dataclass(frozen=True)
class Report:
    """What a soak did, and its verdict. `deaths` are processes that ended without being killed."""

    verdict: Verdict
    kills: int
    seconds: float
    deaths: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return self.verdict.is_clean and not self.deaths

    def __str__(self) -> str:
        verdict = self.verdict
        lines = [
            f"acknowledged {verdict.acknowledged}, kills {self.kills}, lost {verdict.lost}, "
            f"doubled {verdict.doubled}, invented {verdict.invented}, {self.seconds:.0f} seconds"
        ]
        return "\n".join([*lines, *verdict.examples, *self.deaths])


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
    run: str
    acknowledged: int = 0
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    refusals: list[str] = field(default_factory=list)


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


class Process:
    """One `playhead` process, which can be killed and started again."""

    def __init__(self, verb: str, environment: dict[str, str], log: Path) -> None:
        self.verb, self._environment, self._log_path = verb, environment, log
        self.deaths: list[str] = []
        self.started_s = 0.0
        self._child: subprocess.Popen[bytes] | None = None
        self._groups: list[int] = []

    def start(self) -> None:
        with self._log_path.open("ab") as log:
            self._child = subprocess.Popen(
                [str(PLAYHEAD), *self.verb.split()],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._groups.append(self._child.pid)
        self.started_s = time.monotonic()

    def note_death(self) -> None:
        """Note, and repair, that the process ended without anybody having killed it."""
        if self._child is not None and self._child.poll() is not None:
            tail = self._log_path.read_text(errors="replace")[-500:]
            self.deaths.append(f"{self.verb} ended by itself with status {self._child.returncode}: {tail}")
            self.start()

    def kill(self, *, whole_group: bool) -> None:
        """Kill the process with SIGKILL, with its children or leaving them behind."""
        self.note_death()
        assert self._child is not None
        if whole_group:
            os.killpg(self._child.pid, signal.SIGKILL)
        else:
            self._child.kill()
        self._child.wait()
        self._child = None

    def stop(self, *, may_be_starting: bool = False) -> None:
        """End the process as an operator does; note it as a death when that does not work."""
        self.note_death()
        if self._child is None:
            return
        self._child.terminate()
        try:
            status: int | str = self._child.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            status = "none: it did not end"
        # A process that has only begun to start does not handle the signal yet.
        if status != 0 and not (may_be_starting and status == -signal.SIGTERM):
            tail = self._log_path.read_text(errors="replace")[-500:]
            self.deaths.append(f"{self.verb} was told to end; status {status}: {tail}")
        self.end()

    def end(self) -> None:
        """Leave nothing behind, whatever happened: also not the children of those that were killed."""
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self._groups.clear()
        if self._child is not None:
            self._child.wait()
            self._child = None


class Server(Protocol):
    """What else can be killed and started again: a broker, a database."""

    def start(self) -> None:
        """Start it and wait until it answers."""

    def kill(self) -> None:
        """Kill -9."""


class Neighbour:
    """A server that Playhead relies on, killed and started again like its own processes."""

    def __init__(self, verb: str, server: Server) -> None:
        self.verb, self._server = verb, server
        self.deaths: list[str] = []
        self.started_s = time.monotonic()

    def start(self) -> None:
        self._server.start()
        self.started_s = time.monotonic()

    def kill(self, *, whole_group: bool) -> None:
        """Kill it, always with its children."""
        self._server.kill()


@dataclass(frozen=True)
class Running:
    """What runs: Playhead's processes, the servers they rely on, and where the lake and the ingests are."""

    processes: list[Process]
    neighbours: list[Neighbour]
    ports: list[int]
    catalog: str


@contextlib.contextmanager
def neighbours(data: Path) -> Iterator[tuple[dict[str, str], list[Neighbour]]]:
    """Run a Kafka broker and a PostgreSQL server; return the settings that reach them."""
    from brokers import JvmBroker
    from postgres import SystemServer, new_database

    with contextlib.ExitStack() as stack:
        broker = JvmBroker(data / "kafka")
        stack.callback(broker.stop)
        database = SystemServer()
        stack.callback(database.stop)
        settings = {
            "PLAYHEAD_LOG": "kafka",
            "PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "PLAYHEAD_KAFKA_SESSION_TIMEOUT_S": "3",
            "PLAYHEAD_LOG_PARTITIONS": "6",
            "PLAYHEAD_LAKE_CATALOG": f"postgres:{new_database(database)}",
        }
        yield settings, [Neighbour("kafka", broker), Neighbour("postgresql", database)]


@contextlib.contextmanager
def running(
    data: Path, *, ingests: int, workers: int = 1, kafka: bool = False, servers: dict[str, str] | None = None
) -> Iterator[Running]:
    """Make log and lake, start ingests and workers; whatever runs at the end is killed.

    `kafka`: on a broker and a database that are killed too; `servers`: the settings that reach some that stay.
    """
    with contextlib.ExitStack() as stack:
        settings, others = stack.enter_context(neighbours(data)) if kafka else (servers or {}, [])
        yield stack.enter_context(_running(data, settings, others, ingests=ingests, workers=workers))


@contextlib.contextmanager
def _running(
    data: Path, settings: dict[str, str], others: list[Neighbour], *, ingests: int, workers: int
) -> Iterator[Running]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")},
        "PLAYHEAD_DATA_DIR": str(data),
        "PLAYHEAD_API_KEYS": secrets.token_urlsafe(32),
        "PLAYHEAD_MAC_KEY": secrets.token_urlsafe(32),
        "PLAYHEAD_PSEUDONYM_KEY": secrets.token_urlsafe(32),
        "PLAYHEAD_LOG_PARTITIONS": "2",
        "PLAYHEAD_WORKER_UPKEEP_INTERVAL_S": "3",
        **settings,
    }
    subprocess.run([str(PLAYHEAD), "init"], env=environment, check=True, capture_output=True, timeout=60)
    ports = [_free_port() for _ in range(ingests)]
    processes = [Process("worker", environment, data / f"worker-{number}.log") for number in range(workers)]
    if "PLAYHEAD_LAKE_CATALOG" in settings:
        processes.append(Process("upkeep --every 3s", environment, data / "upkeep.log"))
    for port in ports:
        log = data / f"ingest-{port}.log"
        processes.append(Process("ingest", {**environment, "PLAYHEAD_HTTP_PORT": str(port)}, log))
    try:
        for process in processes:
            process.start()
        yield Running(processes, others, ports, settings.get("PLAYHEAD_LAKE_CATALOG", "sqlite"))
    finally:
        for process in processes:
            process.end()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def soak(
    *,
    data: Path,
    events: int,
    kills: int,
    seed: int,
    clients: int = 32,
    ingests: int = 1,
    workers: int = 1,
    kafka: bool = False,
    servers: dict[str, str] | None = None,
    gently: bool = False,
) -> Report:
    """Run the whole: load, kills (`gently`: ends by SIGTERM), the drain, the verdict."""
    data.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    journal_path = data / "journal.tsv"
    with running(data, ingests=ingests, workers=workers, kafka=kafka, servers=servers) as what:
        journal = Journal(journal_path)
        load = Load(journal, what.ports, run=secrets.token_hex(4))
        tasks = [asyncio.create_task(be_client(load, number, seed)) for number in range(clients)]
        strike = _end_at_random if gently else _kill_at_random
        try:
            await strike(load, what, events=events, kills=kills, rng=random.Random(seed))
        finally:
            load.stopped.set()
            await asyncio.gather(*tasks)
            journal.close()
        await _drain(journal_path, data, what)
        for process in what.processes:
            await asyncio.to_thread(process.stop)
        verdict = await asyncio.to_thread(check_apart, journal_path, data, what.catalog)
    deaths = [*(death for process in what.processes for death in process.deaths), *load.refusals[:5]]
    return Report(verdict, kills, time.monotonic() - began_s, tuple(deaths))


async def _kill_at_random(load: Load, what: Running, *, events: int, kills: int, rng: random.Random) -> None:
    """Spread the kills over the load: each waits for its share of events, then for a random age of its victim."""
    for threshold in sorted(rng.randrange(events) for _ in range(kills)):
        await _wait_for(load, threshold, what.processes)
        victims: list[Process | Neighbour] = [*what.processes, *what.neighbours]
        victim = rng.choice(victims)
        age_s = rng.uniform(0.0, 1.5 if victim.verb == "ingest" else 3.0)
        await asyncio.sleep(max(0.0, victim.started_s + age_s - time.monotonic()))
        await asyncio.to_thread(victim.kill, whole_group=rng.random() < 0.5)
        await asyncio.sleep(rng.choice((0.0, 0.0, 0.3)))
        await asyncio.to_thread(victim.start)
    await _wait_for(load, events, what.processes)


async def _end_at_random(load: Load, what: Running, *, events: int, kills: int, rng: random.Random) -> None:
    """Spread the ends by SIGTERM over the load, some processes at a time: starting them is what takes long."""
    ended = 0
    while ended < kills:
        await _wait_for(load, events * ended // kills, what.processes)
        victims = rng.sample(what.processes, min(TOGETHER, len(what.processes), kills - ended))
        youngest_s = max(victim.started_s for victim in victims)
        await asyncio.sleep(max(0.0, youngest_s + rng.uniform(1.0, 3.0) - time.monotonic()))
        await asyncio.gather(*(asyncio.to_thread(victim.stop, may_be_starting=True) for victim in victims))
        for victim in victims:
            victim.start()
        ended += len(victims)
    await _wait_for(load, events, what.processes)


async def _wait_for(load: Load, acknowledged: int, processes: list[Process]) -> None:
    stalled_s, last = time.monotonic(), -1
    while load.acknowledged < acknowledged:
        if load.acknowledged != last:
            stalled_s, last = time.monotonic(), load.acknowledged
        if time.monotonic() - stalled_s > 60:
            raise TimeoutError(f"nothing was acknowledged for 60 s, after {last} events")
        for process in processes:
            process.note_death()
        await asyncio.sleep(0.02)


async def _drain(journal: Path, data: Path, what: Running) -> None:
    """Wait until the lake has all that was acknowledged, or it is clear that it never will."""
    deadline_s = time.monotonic() + DRAIN_TIMEOUT_S
    while time.monotonic() < deadline_s:
        for process in what.processes:
            process.note_death()
        try:
            verdict = await asyncio.to_thread(check_apart, journal, data, what.catalog)
        except subprocess.CalledProcessError as error:
            if b"locked" not in error.stderr:
                raise
        else:
            if not verdict.lost:
                return
        await asyncio.sleep(1)


def check_apart(journal: Path, data: Path, catalog: str = "sqlite") -> Verdict:
    """Run the checker in a process of its own."""
    command = [sys.executable, __file__, "--check", str(journal), "--data", str(data), "--catalog", catalog]
    done = subprocess.run(command, check=True, capture_output=True, timeout=600)
    return Verdict(**json.loads(done.stdout))


SEEN = """
CREATE TEMP TABLE journal AS
    SELECT * FROM read_csv(getvariable('journal'), delim='\t', header=false, quote='', escape='', columns={
        'mark': 'VARCHAR', 'key': 'VARCHAR', 'session': 'VARCHAR', 'event_type': 'VARCHAR', 'ts': 'BIGINT'});
CREATE TEMP TABLE tried AS SELECT DISTINCT key, session, event_type, ts FROM journal WHERE mark = 'tried';
CREATE TEMP TABLE acknowledged AS SELECT DISTINCT key, session FROM journal WHERE mark = 'acknowledged';
CREATE TEMP TABLE refused AS SELECT DISTINCT key FROM journal WHERE mark = 'refused';
CREATE TEMP TABLE seen AS
    SELECT coalesce(custom_metadata::JSON ->> 'journal', '') AS key, session_id AS session, event_type,
           epoch_ms(client_ts) AS ts, event_id, count(*) AS copies
    FROM lake.events GROUP BY ALL;
"""
LOST = """
SELECT 'lost: ' || key || ' of session ' || session FROM acknowledged
WHERE NOT EXISTS (FROM seen WHERE seen.key = acknowledged.key AND seen.session = acknowledged.session)
"""
DOUBLED = """
SELECT 'doubled: ' || key || ' is there ' || sum(copies) || ' times' FROM seen GROUP BY key HAVING sum(copies) > 1
UNION ALL
SELECT 'doubled: event id ' || event_id FROM seen GROUP BY event_id HAVING count(*) > 1
"""
INVENTED = f"""
SELECT 'invented: ' || key || ' ' || event_type || ' in session ' || session FROM seen
WHERE NOT EXISTS (
        FROM tried WHERE tried.key = seen.key AND tried.event_type = seen.event_type AND tried.ts = seen.ts
            AND (tried.event_type = 'sessionStart' OR tried.session IN ('{UPLOADED}', seen.session)))
    OR EXISTS (FROM refused WHERE refused.key = seen.key)
    OR EXISTS (FROM acknowledged AS a WHERE a.key = seen.key AND a.session <> seen.session)
"""


def attached(data: Path, catalog: str = "sqlite", *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Attach the lake in a data folder as anybody's DuckDB would, under the name `lake`."""
    # To check the signatures of the extensions would take half a second.
    connection = duckdb.connect(config={"allow_unsigned_extensions": True})
    for package in (duckdb_extension_ducklake, duckdb_extension_sqlite_scanner, duckdb_extension_postgres_scanner):
        (path,) = Path(package.__path__[0]).glob("extensions/*/*.duckdb_extension")
        connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    lake = data / "lake"
    options = f"DATA_PATH '{lake}/files'" + (", READ_ONLY" if read_only else "")
    address = f"sqlite:{lake}/catalog.sqlite" if catalog == "sqlite" else catalog
    connection.execute(f"ATTACH 'ducklake:{address}' AS lake ({options})")
    return connection


def check(journal: Path, data: Path, catalog: str) -> Verdict:
    """Compare the journal with the lake, by SQL."""
    connection = attached(data, catalog, read_only=True)
    connection.execute("SET VARIABLE journal = ?", [str(journal)])
    connection.execute(SEEN)

    def number(query: str) -> int:
        return int(connection.sql(query).fetchall()[0][0])

    return Verdict(
        acknowledged=number("SELECT count(*) FROM acknowledged"),
        rows=number("SELECT coalesce(sum(copies), 0) FROM seen"),
        unanswered=number("SELECT count(*) FROM tried ANTI JOIN acknowledged USING (key)"),
        lost=number(f"SELECT count(*) FROM ({LOST})"),
        doubled=number(f"SELECT count(*) FROM ({DOUBLED})"),
        invented=number(f"SELECT count(*) FROM ({INVENTED})"),
        examples=tuple(
            row[0] for query in (LOST, DOUBLED, INVENTED) for row in connection.sql(query).fetchmany(3)
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000, help="events to have acknowledged, at least")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--ingests", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument(
        "--kafka", action="store_true", help="on a Kafka broker and a PostgreSQL server, which are killed as well"
    )
    parser.add_argument("--gently", action="store_true", help="end processes by SIGTERM instead of killing them")
    parser.add_argument("--data", type=Path, help="an empty folder; default: one that is made and removed")
    parser.add_argument(
        "--check", type=Path, metavar="JOURNAL", help="only compare this journal with the lake in --data"
    )
    parser.add_argument("--catalog", default="sqlite", help="of the lake to --check: sqlite, or postgres:...")
    options = parser.parse_args()
    if options.check is not None:
        print(json.dumps(asdict(check(options.check, options.data, options.catalog))))
        return
    with contextlib.ExitStack() as stack:
        data = options.data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-")))
        report = asyncio.run(
            soak(
                data=data.absolute(),
                events=options.events,
                kills=options.kills,
                seed=options.seed,
                clients=options.clients,
                ingests=options.ingests,
                workers=options.workers,
                kafka=options.kafka,
                gently=options.gently,
            )
        )
    print(report)
    sys.exit(0 if report.is_clean else 1)


if __name__ == "__main__":
    main()
