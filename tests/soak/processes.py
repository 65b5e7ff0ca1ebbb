"""What runs in a soak: Playhead's processes and the servers they rely on, killed and started again."""

import contextlib
import os
import random
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rigs import processes
from rigs.commands import PLAYHEAD

STOP_TIMEOUT_S = 20.0
# Of five processes that are started, one has a clock that is two hours fast, and one that is two hours slow.
CLOCKS_H = (0, 0, 0, 2, -2)

# Upkeep runs every few seconds and takes seconds for what are hours, days and weeks otherwise.
UPKEEP_IN_SECONDS = {
    "PLAYHEAD_WORKER_UPKEEP_INTERVAL_S": "3",
    "PLAYHEAD_WORKER_TRANSACTION_TIMEOUT_S": "5",
    "PLAYHEAD_LAKE_SNAPSHOTS_KEPT_S": "10",
    "PLAYHEAD_LAKE_FILES_KEPT_S": "5",
    "PLAYHEAD_LAKE_ORPHAN_AGE_S": "10",
    "PLAYHEAD_LAKE_ORPHANS_KEPT_S": "10",
    "PLAYHEAD_LAKE_ORPHANS_INTERVAL_S": "3",
}


def wrong_clock(hours: int) -> dict[str, str]:
    """Return the environment in which a process believes that it is so many hours later; timers stay right.

    Raises FileNotFoundError if libfaketime is not installed.
    """
    if not hours:
        return {}
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        raise FileNotFoundError("libfaketime is not installed (Debian's package faketime)")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{hours:+}h",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "PYTHONPATH": str(Path(__file__).parent / "clock"),
    }


class Process:
    """One `playhead` process, which can be killed and started again, each time with a clock drawn from `rng`."""

    def __init__(
        self, verb: str, environment: dict[str, str], log: Path, rng: random.Random | None = None
    ) -> None:
        self.verb, self._environment, self._log_path, self._rng = verb, environment, log, rng
        self.deaths: list[str] = []
        self.wrong_clocks = 0
        self.started_s = 0.0
        self._child: processes.Process | None = None
        self._started: list[processes.Process] = []

    def start(self, *options: str) -> None:
        """Start it; `options` are for this time alone."""
        clock_h = self._rng.choice(CLOCKS_H) if self._rng is not None else 0
        self.wrong_clocks += clock_h != 0
        command = [PLAYHEAD, *self.verb.split(), *options]
        self._child = processes.Process(command, log=self._log_path, env=self._environment | wrong_clock(clock_h))
        self._started.append(self._child)
        self.started_s = self._child.started_s

    def note_death(self) -> None:
        """Note, and repair, that the process ended without anybody having killed it."""
        if self._child is not None and not self._child.is_alive():
            self.deaths.append(f"{self.verb} ended by itself with status {self._child.wait()}: {self._tail()}")
            self.start()

    def kill(self, *, whole_group: bool) -> None:
        """Kill the process with SIGKILL, with its children or leaving them behind."""
        self.note_death()
        assert self._child is not None
        if whole_group:
            self._child.kill_all()
            self._started.remove(self._child)
        else:
            self._child.kill()
        self._child = None

    def stop(self, *, may_be_starting: bool = False) -> None:
        """End the process as an operator does; note it as a death when that does not work."""
        self.note_death()
        if self._child is None:
            return
        status = self._child.end(within_s=STOP_TIMEOUT_S)
        # A process that has only begun to start does not handle the signal yet.
        if status != 0 and not (may_be_starting and status == -signal.SIGTERM):
            said = "it did not end" if status is None else f"status {status}"
            self.deaths.append(f"{self.verb} was told to end; {said}: {self._tail()}")
        self.end()

    def end(self) -> None:
        """Leave nothing behind, whatever happened: also not the children of those that were killed."""
        for child in self._started:
            child.kill_all()
        self._started.clear()
        self._child = None

    def _tail(self) -> str:
        return self._log_path.read_text(errors="replace")[-500:]


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
    environment: dict[str, str]

    def playhead(self, *arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run one command of Playhead's to its end."""
        return subprocess.run(
            [PLAYHEAD, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout_s
        )


@contextlib.contextmanager
def neighbours(data: Path) -> Iterator[tuple[dict[str, str], list[Neighbour]]]:
    """Run a Kafka broker and a PostgreSQL server; return the settings that reach them."""
    from rigs.brokers import JvmBroker
    from rigs.postgres import SystemServer, new_database

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
    data: Path,
    *,
    ingests: int,
    workers: int = 1,
    kafka: bool = False,
    servers: dict[str, str] | None = None,
    clocks: random.Random | None = None,
) -> Iterator[Running]:
    """Make log and lake, start ingests and workers; whatever runs at the end is killed.

    `kafka`: on a broker and a database that are killed too; `servers`: the settings that reach some that stay;
    `clocks`: what draws the clock of each process that is started; None: all are right.
    """
    with contextlib.ExitStack() as stack:
        settings, others = stack.enter_context(neighbours(data)) if kafka else (servers or {}, [])
        yield stack.enter_context(
            _running(data, settings, others, ingests=ingests, workers=workers, clocks=clocks)
        )


@contextlib.contextmanager
def _running(
    data: Path,
    settings: dict[str, str],
    others: list[Neighbour],
    *,
    ingests: int,
    workers: int,
    clocks: random.Random | None,
) -> Iterator[Running]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PLAYHEAD_")},
        # Spelled as people spell paths who put them together from variables.
        "PLAYHEAD_DATA_DIR": f"{data.parent}//{data.name}/.",
        "PLAYHEAD_LAKE_FILES": f"{data}//lake/../lake/files/",
        "PLAYHEAD_API_KEYS": secrets.token_urlsafe(32),
        "PLAYHEAD_MAC_KEY": secrets.token_urlsafe(32),
        "PLAYHEAD_PSEUDONYM_KEY": secrets.token_urlsafe(32),
        "PLAYHEAD_LOG_PARTITIONS": "2",
        **UPKEEP_IN_SECONDS,
        **settings,
    }
    subprocess.run([PLAYHEAD, "init"], env=environment, check=True, capture_output=True, timeout=60)
    ports = [_free_port() for _ in range(ingests)]
    processes = [
        Process("worker", environment, data / f"worker-{number}.log", clocks) for number in range(workers)
    ]
    if "PLAYHEAD_LAKE_CATALOG" in settings:
        processes.append(Process("upkeep --every 3s", environment, data / "upkeep.log", clocks))
    for port in ports:
        log = data / f"ingest-{port}.log"
        processes.append(Process("ingest", {**environment, "PLAYHEAD_HTTP_PORT": str(port)}, log, clocks))
    try:
        for process in processes:
            process.start()
        yield Running(processes, others, ports, settings.get("PLAYHEAD_LAKE_CATALOG", "sqlite"), environment)
    finally:
        for process in processes:
            process.end()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
