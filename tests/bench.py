"""Measure: acknowledged POSTs a second, events a second through the worker, time from 2xx to visible in SQL.

    python tests/bench.py [--log embedded|kafka] [--seconds 10] [--events 500000]
    python tests/bench.py --against CHECKOUT... [--turns 6] [--log embedded|kafka] [--seconds 10]
    python tests/bench.py --rebuild 1000000
    python tests/bench.py --open-sessions 100000 [--against CHECKOUT... --log kafka]

Each measured process has one core for itself (`taskset -c 0`); load, broker and reader share the other. Prints a
table. Machines differ, and one machine by the hour, so our figures come with two yardsticks from the same run, on
the same core: an application on the same server that answers at once and stores nothing, and the bare minimum of a
worker, which decodes the same records, inserts columns into a DuckDB file, and folds nothing. The last column has
peers, measured elsewhere on the same kind of work on 2 cores.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import httpx
import msgspec
import psutil
import pyarrow as pa
from rigs.brokers import JvmBroker, free_ports
from rigs.commands import PLAYHEAD
from rigs.processes import Process, started
from rigs.waiting import until

from eventlog import Receipt
from eventlog.adapters import create_log, open_writer
from lake.catalog import connect, location
from schemas import records
from schemas.ids import MediaSession, mint_event_id, mint_media_session
from schemas.settings import Settings, environment_of, read_settings

MEASURED, OTHERS = "0", "1"
CONNECTIONS = 64
EVENTS_BEFORE = 12  # of each session that stays open
EVENTS_APART_MS = 2_600  # so that the 40 events of a session fit into two minutes
NEWS = 3  # times that all of them are written afterwards
# A disk that others use may take a minute for a group of appends; nobody waits for these.
_MANY_SESSIONS = {"PLAYHEAD_LOG_PARTITIONS": "8", "PLAYHEAD_LOG_APPEND_TIMEOUT_S": "600"}
PEERS = {
    ("POSTs/s", "kafka"): "16,354 Bento, parsed and keyed (Go)",
    ("POSTs/s", "embedded"): "-",
    ("answered at once", "kafka"): "31,384",
    ("answered at once", "embedded"): "31,384",
    ("worker events/s", "kafka"): "46,000 Quix Streams",
    ("worker events/s", "embedded"): "-",
    ("inserted only", "kafka"): "89,000-107,000",
    ("inserted only", "embedded"): "89,000-107,000",
    ("visible p99", "kafka"): "-",
    ("visible p99", "embedded"): "-",
}
WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [[%s]]
"""


def main() -> None:
    """Run the measurements and print the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--log", choices=["embedded", "kafka"], default="embedded")
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--events", type=int, default=500_000)
    options.add_argument("--insert-only", action="store_true", help="only the yardstick of the worker")
    options.add_argument("--open-sessions", type=int, help="only the memory of a worker that holds so many")
    options.add_argument("--rebuild", type=int, metavar="EVENTS", help="only how long it takes from the log alone")
    options.add_argument(
        "--against",
        nargs="+",
        default=[],
        type=Path,
        help="compare the CPU of a request, and of an event on Kafka, with that of these checkouts",
    )
    options.add_argument("--turns", type=int, default=6)
    chosen = options.parse_args()
    if chosen.insert_only:
        print(f"{_insert_only():,.0f}")
        return
    rows: list[tuple[str, str]] = []
    with (
        tempfile.TemporaryDirectory(prefix="playhead-bench-") as folder,
        _log(chosen.log, Path(folder)) as environment,
    ):
        if chosen.rebuild:
            _rebuild(_settings(Path(folder) / "rebuild", environment), chosen.rebuild)
            return
        if chosen.open_sessions:
            for number, (name, program) in enumerate(_programs(chosen.against).items()):
                own = _settings(Path(folder) / f"open-{number}", {**environment, **_MANY_SESSIONS})
                _open_sessions(own, chosen.open_sessions, name, program)
            return
        if chosen.against:
            if chosen.log == "kafka":  # embedded logs of two releases are not one
                _compare_workers(Path(folder), environment, chosen.against, chosen.turns, chosen.events)
            _compare(Path(folder), environment, chosen.against, chosen.turns, chosen.seconds)
            return
        rows += _posts(_settings(Path(folder) / "posts", environment), chosen.seconds)
        rows += _worker(_settings(Path(folder) / "worker", environment), chosen.events)
        rows += _visible(_settings(Path(folder) / "visible", environment), chosen.seconds)
    print(f"\n{'measure':22} {'Playhead, ' + chosen.log:34} peer")
    for name, value in rows:
        print(f"{name:22} {value:34} {PEERS.get((name.partition(' (')[0], chosen.log), '')}")


@contextlib.contextmanager
def _log(kind: str, folder: Path) -> Iterator[dict[str, str]]:
    if kind == "embedded":
        yield {}
        return
    broker = JvmBroker(folder / "kafka")
    try:
        yield {"PLAYHEAD_LOG": "kafka", "PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers}
    finally:
        broker.stop()


def _programs(others: Sequence[Path]) -> dict[str, Path]:
    """Return the programs to be measured, by the names that are printed."""
    own = {"this checkout": Path(PLAYHEAD)}
    return own | {str(other): other / ".venv" / "bin" / "playhead" for other in others}


def _settings(folder: Path, environment: dict[str, str]) -> Settings:
    folder.mkdir()
    name = f"bench.{folder.name}"
    own = {"PLAYHEAD_KAFKA_TOPIC": name, "PLAYHEAD_KAFKA_GROUP": name} if environment else {}
    return read_settings(
        {
            **environment,
            **own,
            "PLAYHEAD_DATA_DIR": str(folder),
            "PLAYHEAD_HTTP_PORT": str(free_ports(1)[0]),
            "PLAYHEAD_API_KEYS": "bench",
            "PLAYHEAD_MAC_KEY": secrets.token_hex(16),
            "PLAYHEAD_PSEUDONYM_KEY": secrets.token_hex(16),
            "PLAYHEAD_LOG_LEVEL": "warning",
        }
    )


@contextlib.contextmanager
def _process(settings: Settings, command: Sequence[object], core: str) -> Iterator[Process]:
    variables = {**os.environ, **environment_of(settings)}
    log = settings.data_dir / "bench.log"
    with started(["taskset", "-c", core, *command], log=log, env=variables) as process:
        yield process
        process.end()


def _run(settings: Settings, *verbs: str, program: Path | str = PLAYHEAD) -> None:
    for verb in verbs:
        subprocess.run(
            [program, verb], env={**os.environ, **environment_of(settings)}, check=True, stdout=subprocess.DEVNULL
        )


def _wait_ready(settings: Settings) -> str:
    url = f"http://127.0.0.1:{settings.http_port}"
    until(lambda: httpx.get(f"{url}/health/ready").status_code == 200, "the ingest is not ready")
    return url


def _event(
    event_type: str, *, ts: int, playhead: float = 0, params: dict[str, Any] | None = None
) -> dict[str, Any]:
    event: dict[str, Any] = {"eventType": event_type, "playerTime": {"playhead": playhead, "ts": ts}}
    if params:
        event["params"] = params
    return event


def _start(ts: int) -> dict[str, Any]:
    """A sessionStart of about 1 kB, as SDKs send it."""
    params: dict[str, Any] = {
        "analytics.trackingServer": "metrics.example.com",
        "analytics.reportSuite": "example-report-suite",
        "visitor.marketingCloudOrgId": "0123456789ABCDEF01234567@AdobeOrg",
        "media.id": "episode-2026-11-21-0042",
        "media.length": 2700.5,
        "media.contentType": "vod",
        "media.playerName": "html5-player",
        "media.channel": "web",
        "media.name": "The forty-second episode of a rather long-running series",
        "media.streamType": "video",
        "media.show": "A rather long-running series",
        "media.season": "7",
        "media.episode": "42",
        "media.genre": "documentary",
        "media.network": "example network",
        "media.sdkVersion": "4.12.0",
        "media.libraryVersion": "js-3.1.0",
        "media.resume": False,
    }
    event = _event("sessionStart", ts=ts, params=params)
    event["customMetadata"] = {"page.url": "https://www.example.com/watch/" + "x" * 120, "page.section": "series"}
    return event


def _posts(settings: Settings, seconds: int) -> list[tuple[str, str]]:
    """Load one ingest process with sessionStarts over 64 connections."""
    _run(settings, "topics", "init")
    script = settings.data_dir / "post.lua"
    body = json.dumps(_start(_now_ms()))
    script.write_text(WRK_SCRIPT % body)
    with _process(settings, [PLAYHEAD, "ingest"], MEASURED):
        acknowledged = _load(settings, script, seconds)
    at_once = [sys.executable, "-m", "uvicorn", "bench:answer_at_once", "--app-dir", str(Path(__file__).parent)]
    options = ["--port", str(settings.http_port), "--no-access-log", "--log-level", "warning"]
    with _process(settings, [*at_once, *options], MEASURED):
        answered = _load(settings, script, seconds)
    return [(f"POSTs/s ({len(body)} bytes)", acknowledged), ("answered at once", answered)]


def _load(settings: Settings, script: Path, seconds: int) -> str:
    """Let wrk post over 64 connections, 3 s to warm up; return rate and percentiles."""
    url = _wait_ready(settings)
    _wrk(script, url, 3)
    done = _wrk(script, url, seconds)
    figures = dict(re.findall(r"^\s+(50%|99%)\s+(\S+)$", done, re.MULTILINE))
    rate = float(re.findall(r"Requests/sec:\s+(\S+)", done)[0])
    return f"{rate:,.0f} (p50 {figures['50%']}, p99 {figures['99%']})"


def _wrk(script: Path, url: str, seconds: int) -> str:
    """Let wrk post for a while; return what it prints."""
    wrk = ["taskset", "-c", OTHERS, shutil.which("wrk") or "wrk", "-t1", f"-c{CONNECTIONS}", "--latency"]
    done = subprocess.run(
        [*wrk, f"-d{seconds}s", "-s", str(script), f"{url}/api/v1/sessions"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in done:
        raise SystemExit(done)
    return done


def _compare(folder: Path, environment: dict[str, str], others: Sequence[Path], turns: int, seconds: int) -> None:
    """Load the ingests of several checkouts in turn; print the CPU of a request, median and least, and the rates.

    Where others load the machine, rates say little, and the CPU a little more.
    """
    programs = _programs(others)
    settings = {name: _settings(folder / str(number), environment) for number, name in enumerate(programs)}
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for name, program in programs.items():
        variables = {**os.environ, **environment_of(settings[name])}
        subprocess.run([program, "topics"], env=variables, check=True, stdout=subprocess.DEVNULL)
        (settings[name].data_dir / "post.lua").write_text(WRK_SCRIPT % json.dumps(_start(_now_ms())))
    for turn in range(turns):
        for name in sorted(programs, reverse=turn % 2 == 1):
            with _process(settings[name], [str(programs[name]), "ingest"], MEASURED) as process:
                url = _wait_ready(settings[name])
                _wrk(settings[name].data_dir / "post.lua", url, 3)
                before = psutil.Process(process.pid).cpu_times()
                done = _wrk(settings[name].data_dir / "post.lua", url, seconds)
                after = psutil.Process(process.pid).cpu_times()
            count = int(re.findall(r"(\d+) requests in", done)[0])
            used_s = after.user + after.system - before.user - before.system
            results[name].append((used_s / count * 1e6, count / seconds))
    for name, figures in results.items():
        cpu_us, rates = zip(*figures, strict=True)
        print(
            f"{name:22} CPU {statistics.median(cpu_us):.1f} us, at least {min(cpu_us):.1f};"
            f" {statistics.median(rates):,.0f} requests/s, at most {max(rates):,.0f}"
        )


def _compare_workers(
    folder: Path, environment: dict[str, str], others: Sequence[Path], turns: int, events: int
) -> None:
    """Let the workers of several checkouts read one topic in turn; print the CPU of an event, median and least."""
    programs = _programs(others)
    log = _settings(folder / "log", environment)
    _run(log, "topics")
    asyncio.run(fill(log, events))
    used_us: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    for turn in range(turns):
        for name in sorted(programs, reverse=turn % 2 == 1):
            own = _settings(folder / f"{turn}-of-{list(programs).index(name)}", environment)
            own = own.model_copy(update={"kafka_topic": log.kafka_topic})
            _run(own, "init", program=programs[name])
            with (
                connect(location(own), read_only=True) as lake,
                _process(own, [programs[name], "worker"], MEASURED) as worker,
            ):
                worker.wait_for(partial(inserted, lake), within_s=600)
                first, begun_s = inserted(lake), _cpu_s(worker)
                worker.wait_for(partial(_has_all, lake, events), within_s=600)
                used_s = _cpu_s(worker)
            used_us[name].append((used_s / events * 1e6, (used_s - begun_s) / (events - first) * 1e6))
    for name, figures in used_us.items():
        with_start, without = zip(*figures, strict=True)
        print(
            f"{name:22} worker CPU {statistics.median(with_start):.1f} us an event,"
            f" at least {min(with_start):.1f};"
            f" after its first batch {statistics.median(without):.1f}, at least {min(without):.1f}"
        )


def _cpu_s(process: Process) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


async def answer_at_once(scope: Any, receive: Any, send: Any) -> None:
    """The yardstick of the ingest: an ASGI application that reads a body and answers 201."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    status = 200 if scope["method"] == "GET" else 201
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


def _worker(settings: Settings, events: int) -> list[tuple[str, str]]:
    """Fill a log, then let one worker process empty it."""
    _run(settings, "topics", "init")
    asyncio.run(fill(settings, events))
    with (
        connect(location(settings), read_only=True) as lake,
        _process(settings, [PLAYHEAD, "worker"], MEASURED),
    ):
        began = None
        while (read := inserted(lake)) < events:
            if began is None and read:
                began = (time.monotonic(), read)
            time.sleep(0.05)
        ended = time.monotonic()
    assert began is not None
    command = ["taskset", "-c", MEASURED, sys.executable, __file__, "--insert-only"]
    alone = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    rate = (events - began[1]) / (ended - began[0])
    return [("worker events/s", f"{rate:,.0f}"), ("inserted only", alone)]


def _rebuild(settings: Settings, events: int) -> None:
    """Recreate a lake from its log; print how long that takes."""
    _run(settings, "topics")
    asyncio.run(fill(settings, events))
    before, began_s = os.times(), time.monotonic()
    _run(settings, "rebuild")
    after, ended_s = os.times(), time.monotonic()
    used_s = after.children_user + after.children_system - before.children_user - before.children_system
    print(f"{events:,} events rebuilt in {ended_s - began_s:.0f} s, with {used_s:.0f} s of CPU")


def _open_sessions(settings: Settings, sessions: int, name: str, program: Path) -> None:
    """Let one worker read sessions that stay open, then news of all of them, time and again; print its memory."""
    _run(settings, "topics", "init", program=program)
    viewers = [
        (session.id.encode(), session.partition, _script(_now_ms))
        for number in range(sessions)
        for session in [_session(settings.keys_of_mac(), number % settings.log_partitions, _now_ms())]
    ]
    asyncio.run(_play(settings, viewers, events=EVENTS_BEFORE))
    events = EVENTS_BEFORE * sessions
    with connect(location(settings), read_only=True) as lake:
        for start in ("started", "started again"):
            with _process(settings, [program, "worker"], MEASURED) as worker:
                for number in range(1, NEWS + 1):
                    asyncio.run(_play(settings, viewers, events=1))
                    events += sessions
                    _wait_written(lake, events, worker)
                    peak = f"{_peak_mb(worker.pid)} MB at most"
                    print(f"{name} {start}, {sessions:,} open sessions written {number} times: {peak}", flush=True)


def _session(keys: Sequence[bytes], partition: int, now_ms: int) -> MediaSession:
    return mint_media_session(keys, partition=partition, started_ms=now_ms, entropy=os.urandom)


async def _play(
    settings: Settings, viewers: Sequence[tuple[bytes, int, Iterator[dict[str, Any]]]], *, events: int
) -> None:
    """Append the next events of each viewer."""
    await create_log(settings)
    writer = await open_writer(settings)
    for _ in range(events):
        for first in range(0, len(viewers), 4_000):
            await asyncio.gather(
                *(
                    writer.append(
                        partition, key=session, value=_value(session.decode(), next(script), _now_ms(), os.urandom)
                    )
                    for session, partition, script in viewers[first : first + 4_000]
                )
            )
    await writer.close()


def _value(session_id: str, event: dict[str, Any], arrived_ms: int, entropy: Callable[[int], bytes]) -> bytes:
    return records.encode(
        records.media_event(
            event,
            event_id=mint_event_id(now_ms=arrived_ms, entropy=entropy),
            session_id=session_id,
            source=records.SOURCE_MEDIA,
            received=datetime.fromtimestamp(arrived_ms / 1000, UTC),
        )
    )


def _now_ms() -> int:
    return int(time.time() * 1000)


def _wait_written(lake: duckdb.DuckDBPyConnection, events: int, worker: Process) -> None:
    """Wait until so many events are in the lake, and the rows of all open sessions with them."""
    statement = "SELECT sum(inserted), sum(next_offset - open_as_of_offset) FROM ledger"
    worker.wait_for(lambda: lake.execute(statement).fetchall() == [(events, 0)], within_s=3600)


def _peak_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) // 1024


def _insert_only(events: int = 100_000, batch: int = 20_000) -> float:
    """The yardstick of the worker: decode, columns, insert into a DuckDB file; return events a second."""
    records_made = [(partition, value) for partition, _, value in _records([b"k" * 32], 1, events)]
    decode = msgspec.json.Decoder().decode
    with tempfile.TemporaryDirectory() as folder, duckdb.connect(f"{folder}/events.db") as connection:
        connection.execute("SET threads = 1")
        connection.execute(
            "CREATE TABLE events (id VARCHAR, session VARCHAR, type VARCHAR, ts BIGINT, data VARCHAR)"
        )
        began_s = time.perf_counter()
        for start in range(0, events, batch):
            decoded = [decode(value) for _, value in records_made[start : start + batch]]
            columns: dict[str, Any] = {
                "id": [event["id"] for event in decoded],
                "session": [event["subject"] for event in decoded],
                "type": [event["data"]["eventType"] for event in decoded],
                "ts": [event["data"]["playerTime"]["ts"] for event in decoded],
                "data": pa.array([msgspec.json.encode(event["data"]) for event in decoded], pa.binary()).cast(
                    pa.string()
                ),
            }
            connection.register("incoming", pa.table(columns))
            connection.execute("INSERT INTO events SELECT * FROM incoming")
        return events / (time.perf_counter() - began_s)


def _has_all(lake: duckdb.DuckDBPyConnection, events: int) -> bool:
    return inserted(lake) == events


def inserted(lake: duckdb.DuckDBPyConnection, at: str = "") -> int:
    """Return how many events workers have inserted, now or `at` a version."""
    ((found,),) = lake.execute(f"SELECT sum(inserted) FROM ledger {at}").fetchall()
    return int(found or 0)


async def fill(settings: Settings, events: int) -> None:
    """Append the events of 500 viewers at a time to the log."""
    await create_log(settings)
    writer = await open_writer(settings)
    waiting: list[asyncio.Task[Receipt]] = []
    for partition, key, value in _records(settings.keys_of_mac(), writer.partitions, events):
        waiting.append(asyncio.ensure_future(writer.append(partition, key=key, value=value)))
        if len(waiting) == 4_000:
            await asyncio.gather(*waiting)
            waiting.clear()
    await asyncio.gather(*waiting)
    await writer.close()


def _records(keys: Sequence[bytes], partitions: int, events: int) -> Iterator[tuple[int, bytes, bytes]]:
    """Make records (partition, key, value): 500 sessions at a time, 40 events each: start, ads, pings, end.

    The events of a session are `EVENTS_APART_MS` apart and arrive as they happen, from nearly two minutes ago on:
    what a log has later than that is of an ingest whose clock is wrong.
    """
    rng = random.Random(1)
    viewers: list[tuple[str, int, Iterator[dict[str, Any]]]] = []
    for _ in range(events):
        if len(viewers) < 500:
            started_ms = _now_ms() - 40 * EVENTS_APART_MS
            session = mint_media_session(
                keys, partition=rng.randrange(partitions), started_ms=started_ms, entropy=rng.randbytes
            )
            viewers.append((session.id, session.partition, _script(count(started_ms, EVENTS_APART_MS).__next__)))
        place = rng.randrange(len(viewers))
        session_id, partition, script = viewers[place]
        event = next(script)
        if event["eventType"] == "sessionEnd":
            viewers.pop(place)
        arrived_ms = event["playerTime"]["ts"] + 50
        yield partition, session_id.encode(), _value(session_id, event, arrived_ms, rng.randbytes)


def _script(clock_ms: Callable[[], int]) -> Iterator[dict[str, Any]]:
    """Make the 40 events of a viewer, each of the moment that the clock shows."""
    yield _start(clock_ms())
    yield _event("adBreakStart", ts=clock_ms(), params={"media.ad.podIndex": 1, "media.ad.podSecond": 0})
    ad = {"media.ad.id": "ad-1", "media.ad.length": 15, "media.ad.podPosition": 1, "media.ad.playerName": "html5"}
    yield _event("adStart", ts=clock_ms(), params=ad)
    yield _event("adComplete", ts=clock_ms())
    yield _event("adBreakComplete", ts=clock_ms())
    began_ms = clock_ms()
    yield _event("play", ts=began_ms)
    for _ in range(32):
        ts = clock_ms()
        event = _event("ping", ts=ts, playhead=(ts - began_ms) / 1000)
        event["qoeData"] = {"media.qoe.bitrate": 4_500_000, "media.qoe.droppedFrames": 3}
        yield event
    for event_type in ("sessionComplete", "sessionEnd"):
        ts = clock_ms()
        yield _event(event_type, ts=ts, playhead=(ts - began_ms) / 1000)


def _visible(settings: Settings, seconds: int) -> list[tuple[str, str]]:
    """Post 100 events a second, and look in SQL when each appears."""
    _run(settings, "topics", "init")
    with (
        _process(settings, [PLAYHEAD, "ingest"], OTHERS),
        _process(settings, [PLAYHEAD, "worker"], MEASURED),
    ):
        url = _wait_ready(settings)
        delays = sorted(asyncio.run(_post_and_look(settings, url, seconds)))
    p50, p99 = (delays[int(len(delays) * part)] for part in (0.5, 0.99))
    return [("visible p50", f"{p50:.2f} s"), ("visible p99", f"{p99:.2f} s ({len(delays)} events at 100/s)")]


async def _post_and_look(settings: Settings, url: str, seconds: int) -> list[float]:
    answered: dict[str, float] = {}
    delays: list[float] = []
    posting = asyncio.create_task(_post(url, seconds, answered))
    with connect(location(settings), read_only=True) as lake:
        while not posting.done() or answered:
            rows = await asyncio.to_thread(
                lambda: lake.execute("SELECT custom_metadata ->> '$.mark' FROM events").fetchall()
            )
            now = time.monotonic()
            for (mark,) in rows:
                if mark in answered:
                    delays.append(now - answered.pop(mark))
            await asyncio.sleep(0.02)
    await posting
    return delays[200:]  # the first two seconds warm up


async def _post(url: str, seconds: int, answered: dict[str, float]) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        began = time.monotonic()
        sending: set[asyncio.Task[None]] = set()
        for number in range(seconds * 100):
            await asyncio.sleep(max(0.0, began + number / 100 - time.monotonic()))
            sending.add(asyncio.create_task(_post_one(client, f"m{number}", answered)))
        await asyncio.gather(*sending)


async def _post_one(client: httpx.AsyncClient, mark: str, answered: dict[str, float]) -> None:
    event = _start(_now_ms())
    event["customMetadata"] = {"mark": mark}
    response = await client.post("/api/v1/sessions", json=event)
    if response.status_code != 201:
        raise SystemExit(response.text)
    answered[mark] = time.monotonic()


if __name__ == "__main__":
    main()
