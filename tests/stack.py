"""The whole of compose.yaml as plain processes, where no container engine is at hand: `make stack`.

Kafka and PostgreSQL are those that the tests find (brokers.py, postgres.py). Everything lies in one folder, which
is removed at the end unless it was named, and ends at Ctrl-C or SIGTERM. What dies meanwhile is started again.
"""

import argparse
import asyncio
import contextlib
import os
import re
import shlex
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
from rigs.brokers import JvmBroker, NoBroker, free_ports, some_broker
from rigs.commands import PLAYHEAD
from rigs.postgres import NoServer, SystemServer, new_database, some_server
from rigs.processes import Process
from rigs.waiting import until_async

from commands.own_secrets import with_own_secrets
from schemas.settings import environment_of, masked, read_settings

METRICS = re.compile(r'"host": "(\S+)", "port": (\d+), "event": "metrics"')
AGAIN_S_MIN, AGAIN_S_MAX = 1.0, 30.0
LIVED_S = 30.0  # what ends after this is started again without a longer wait, which is said again


class Kept:
    """What is started again when it has ended, later each time; only the first of several ends is said."""

    def __init__(self, name: str, is_alive: Callable[[], bool], start: Callable[[], object]) -> None:
        self.name, self._is_alive, self._start = name, is_alive, start
        self._again_s = AGAIN_S_MIN
        self._started_s, self._due_s = 0.0, 0.0  # of the last start, if any, and of the next; 0: none is due

    def look(self, now_s: float) -> None:
        """Start it if that is due; say that it has ended."""
        if self._due_s:
            if now_s >= self._due_s:
                self._started_s, self._due_s = now_s, 0.0
                with contextlib.suppress(NoBroker, NoServer):
                    self._start()
            return
        if self._is_alive():
            return
        if not self._started_s or now_s - self._started_s > LIVED_S:
            self._again_s = AGAIN_S_MIN
            print(f"{self.name} has ended and is started again: see its log", flush=True)
        self._due_s = now_s + self._again_s
        self._again_s = min(2 * self._again_s, AGAIN_S_MAX)


class Stack:
    """What runs: the environment that all share, and the processes."""

    def __init__(self, folder: Path, environment: dict[str, str], ports: list[int]) -> None:
        self.folder, self.environment, self.ports = folder, environment, ports
        self.children: dict[str, Process] = {}
        self.kept: list[Kept] = []

    def start(self, name: str, *arguments: str, **changes: str) -> Process:
        """Start `playhead <arguments>`; what it says goes to <name>.log."""
        environment = {**os.environ, **self.environment, **changes}
        child = Process([PLAYHEAD, *arguments], log=self.folder / f"{name}.log", env=environment)
        self.children[name] = child
        return child

    def keep(self, name: str, *arguments: str, **changes: str) -> None:
        """Start it, and again whenever it has ended, with its metrics at the same port."""
        self.start(name, *arguments, **changes)

        def again() -> None:
            address = _metrics(self.children[name])
            port = {"PLAYHEAD_METRICS_PORT": address.rpartition(":")[2]} if address else {}
            self.start(name, *arguments, **changes, **port)

        self.kept.append(Kept(name, lambda: self.children[name].is_alive(), again))

    def metrics(self) -> dict[str, str]:
        """Return the address of metrics and health of each process, by its name."""
        return {name: child.wait_for(partial(_metrics, child)) for name, child in self.children.items()}

    def check(self) -> None:
        """Raise where a process has ended."""
        for name, child in self.children.items():
            if not child.is_alive():
                raise SystemExit(f"{name} has ended: {child.output[-2000:]}")

    async def until_ready(self) -> None:
        """Wait until every ingest takes events."""
        async with httpx.AsyncClient(timeout=5.0) as client:

            async def are_ready() -> bool:
                self.check()
                replies = [await client.get(f"http://127.0.0.1:{port}/health/ready") for port in self.ports]
                return all(reply.status_code == 200 for reply in replies)

            await until_async(are_ready, "not all ingests take events")

    def end(self) -> None:
        """Tell all to end, those that take events first; kill what does not."""
        for child in self.children.values():
            if child.is_alive():
                child.send(signal.SIGTERM)
        for child in self.children.values():
            child.wait(10.0)
            child.kill_all()


def _metrics(child: Process) -> str | None:
    found = METRICS.search(child.output)
    return found and f"http://{found[1]}:{found[2]}"


@contextlib.contextmanager
def running_stack(folder: Path, *, ports: list[int], workers: int, partitions: int) -> Iterator[Stack]:
    """Run everything for the length of the block."""
    with some_broker(folder) as broker, some_server() as server:
        chosen = {
            "PLAYHEAD_LOG": "kafka",
            "PLAYHEAD_LOG_PARTITIONS": str(partitions),
            "PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "PLAYHEAD_LAKE_CATALOG": f"postgres:{new_database(server)}",
            "PLAYHEAD_DATA_DIR": str(folder / "data"),
        }
        stack = Stack(folder, environment_of(with_own_secrets(read_settings(chosen))), ports)
        try:
            for verb in ("topics", "init"):
                if stack.start(verb, verb).wait(60.0) != 0:
                    raise SystemExit(stack.children[verb].output)
                del stack.children[verb]
            if isinstance(broker, JvmBroker):
                stack.kept.append(Kept("kafka", broker.is_alive, broker.start))
            if isinstance(server, SystemServer):
                stack.kept.append(Kept("postgresql", server.is_alive, server.start))
            for port in ports:
                stack.keep(f"ingest-{port}", "ingest", PLAYHEAD_HTTP_PORT=str(port))
            for number in range(workers):
                stack.keep(f"worker-{number}", "worker")
            stack.keep("upkeep", "upkeep", "--every", "60s")
            yield stack
        finally:
            stack.end()


async def run(folder: Path, *, ports: list[int], workers: int, partitions: int) -> None:
    """Run everything, say where it is, and wait for a signal."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with running_stack(folder, ports=ports, workers=workers, partitions=partitions) as stack:
        await stack.until_ready()
        metrics = await asyncio.to_thread(stack.metrics)
        stack.environment["PLAYHEAD_INGEST_URLS"] = ",".join(
            url for name, url in metrics.items() if name.startswith("ingest")
        )
        exports = folder / "environment"
        exports.touch(mode=0o600)
        exports.write_text("".join(f"{name}={shlex.quote(text)}\n" for name, text in stack.environment.items()))
        print(f"ingest      {'  '.join(f'http://127.0.0.1:{port}' for port in ports)}")
        print(f"kafka       {stack.environment['PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS']}")
        print(f"postgresql  {masked(stack.environment['PLAYHEAD_LAKE_CATALOG'].removeprefix('postgres:'))}")
        print(f"metrics     {'  '.join(f'{name} {url}' for name, url in metrics.items())}")
        print(f"logs        {folder}/*.log")
        print(f"in another terminal:  set -a; . {exports}; set +a; playhead status")
        print("Ctrl-C stops everything.", flush=True)
        while not stop.is_set():
            for kept in stack.kept:
                await asyncio.to_thread(kept.look, time.monotonic())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 1.0)


def check_free(ports: list[int]) -> None:
    """Raise SystemExit if another program listens on one of the ports."""
    for port in ports:
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            raise SystemExit(
                f"port {port} cannot be used ({error.strerror}): choose another, `make stack PORT=8090`"
            ) from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ingests", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--partitions", type=int, default=6)
    parser.add_argument("--port", type=int, default=8080, help="of the first ingest, the others follow; 0: any")
    parser.add_argument("--folder", type=Path, help="an empty folder; default: one that is made and removed")
    options = parser.parse_args()
    count = options.ingests
    ports = [options.port + number for number in range(count)] if options.port else free_ports(count)
    check_free(ports)
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="playhead-stack-")))
        folder.mkdir(exist_ok=True)
        asyncio.run(run(folder.absolute(), ports=ports, workers=options.workers, partitions=options.partitions))


if __name__ == "__main__":
    main()
