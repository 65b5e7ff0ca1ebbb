"""Ingest, worker and upkeep as processes with metrics on ports of their own, and what a scrape of them says."""

import contextlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from rigs.commands import SECRETS, Running, playhead, started
from rigs.ingest import event, session_start
from rigs.waiting import until
from rigs.whole import QUICK

VERBS = ("ingest", "worker", "upkeep")


class Watched:
    """The processes by their verb, and their ports."""

    def __init__(self, cwd: Path, processes: dict[str, Running], settings: dict[str, str]) -> None:
        self.cwd, self.processes, self.settings = cwd, processes, settings
        self.ports = {verb: self._port(verb, "metrics") for verb in processes}
        self.players = httpx.Client(base_url=f"http://127.0.0.1:{self._port('ingest', 'listening')}", timeout=20)

    def _port(self, verb: str, said: str) -> int:
        process = self.processes[verb]
        pattern = rf'"port": (\d+), "event": "{said}"'
        return int(process.wait_for(lambda: re.search(pattern, process.output))[1])

    def ask(self, verb: str, path: str) -> httpx.Response:
        """Ask the port for operators of a process."""
        return httpx.get(f"http://127.0.0.1:{self.ports[verb]}{path}", timeout=20)

    def families(self, verb: str) -> dict[str, Metric]:
        """Return the metrics of a process, by the name that its catalogue has."""
        found = text_string_to_metric_families(self.ask(verb, "/metrics").text)
        return {f"{each.name}_total" if each.type == "counter" else each.name: each for each in found}

    def value(self, verb: str, name: str, **labels: str) -> float | None:
        """Return one number; None if there is none."""
        for family in self.families(verb).values():
            for sample in family.samples:
                if sample.name == name and labels.items() <= sample.labels.items():
                    return float(sample.value)
        return None

    def play(self) -> None:
        """Post a session that is silent for minutes before its end, and a body that is refused."""
        path = self.players.post("/api/v1/sessions", content=json.dumps(session_start())).headers["location"]
        for name, after_s in (("play", 0), ("ping", 1), ("sessionEnd", 500)):
            body = json.dumps(event(name, ts=1_700_000_001_000 + after_s * 1_000, playhead=float(min(after_s, 1))))
            assert self.players.post(f"{path}/events", content=body).status_code == 204
        key = {"X-API-Key": "string"}
        assert self.players.post("/api/v1/sessions", content=b"{", headers=key).status_code == 400


@contextlib.contextmanager
def watched_stack(cwd: Path, **more: str) -> Iterator[Watched]:
    """Run a stack until the end of the block, from when what was posted is in the lake."""
    settings = {**SECRETS, **QUICK, "PLAYHEAD_HTTP_PORT": "0", "PLAYHEAD_WORKER_UPKEEP_INTERVAL_S": "2", **more}
    for verb in ("init", "backup"):
        assert playhead(verb, cwd=cwd, settings=settings).returncode == 0
    with contextlib.ExitStack() as running:

        def start(verb: str, *options: str) -> Running:
            return running.enter_context(started(verb, *options, cwd=cwd, settings=settings))

        processes = {"upkeep": start("upkeep", "--every", "1h"), "ingest": start("ingest")}
        upkeep = processes["upkeep"]
        upkeep.wait_for(lambda: '"upkeep done"' in upkeep.output)  # else it and the worker may refuse each other
        processes["worker"] = start("worker")
        stack = Watched(cwd, processes, settings)
        running.callback(stack.players.close)
        until(lambda: stack.ask("ingest", "/health/ready").status_code == 200)
        stack.play()
        until(lambda: stack.value("worker", "playhead_worker_closed_total", reason="ended") == 1)
        until(lambda: stack.value("worker", "playhead_upkeep_rounds_total", outcome="done"))
        yield stack
