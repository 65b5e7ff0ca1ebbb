"""Measure a worker at full load beside its upkeep and backups: commits, failures and sizes, minute by minute.

    python tests/bench_upkeep.py [--minutes 10] [--backup 2m]

One process appends to an embedded log as long as the worker is not far behind, the worker moves it into the lake
and has upkeep each minute, and `playhead backup` makes checked backups. Every few seconds a question is asked.
Prints a row for each minute. Snapshots and unreferenced files are kept for minutes instead of an hour. Exit status
1 if a commit, a question or a backup failed, or if `playhead verify` finds anything at the end: then all is kept.
"""

import argparse
import contextlib
import itertools
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import httpx
import msgspec
import psutil
from bench import inserted
from bench_readers import PATIENT, commits_between
from rigs.brokers import free_ports
from rigs.commands import PLAYHEAD, SECRETS
from rigs.processes import Process, started
from rigs.readers import ask_all
from rigs.waiting import until

from lake.catalog import connect, location
from lake.condition import read_condition
from schemas.settings import Settings, environment_of, read_settings

ASK_EVERY_S = 4.0
# Minutes instead of an hour, so that ten minutes show where sizes end.
SHRUNK = {
    "PLAYHEAD_WORKER_TRANSACTION_TIMEOUT_S": "60",
    "PLAYHEAD_LAKE_SNAPSHOTS_KEPT_S": "180",
    "PLAYHEAD_LAKE_FILES_KEPT_S": "120",
}
LAG_MAX = 300_000  # records; what is more takes the worker too long at the end
COLUMNS = (
    "minute events/s commits between_p50_s longest_s failed files catalogue_MB lake_MB asked_p50_s asked_max_s "
    "upkeep_cpu_s"
)


class Minute(msgspec.Struct):
    """What was seen in one minute. `failed` counts commits that were refused, and questions.

    `upkeep_cpu_s` is that of the rounds of upkeep that ended in it.
    """

    commits: Sequence[tuple[datetime, int]]
    failed: int
    files: int
    catalogue_bytes: int
    files_bytes: int
    asked_s: list[float]
    upkeep_cpu_s: float

    def row(self, number: int) -> list[str]:
        """Return the row of the table."""
        between = [
            (after - before).total_seconds() for (before, _), (after, _) in itertools.pairwise(self.commits)
        ]
        rate = (self.commits[-1][1] - self.commits[0][1]) / sum(between)
        return [
            f"{number}",
            f"{rate:,.0f}",
            f"{len(self.commits)}",
            f"{statistics.median(between):.2f}",
            f"{max(between):.2f}",
            f"{self.failed}",
            f"{self.files}",
            f"{self.catalogue_bytes / 1e6:.1f}",
            f"{self.files_bytes / 1e6:.0f}",
            f"{statistics.median(self.asked_s):.2f}",
            f"{max(self.asked_s):.2f}",
            f"{self.upkeep_cpu_s:.1f}",
        ]


def main() -> None:
    """Run the load and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=int, default=10)
    options.add_argument("--backup", default="2m", help="time between two backups")
    chosen = options.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it started ends too
    with tempfile.TemporaryDirectory(prefix="playhead-bench-") as folder:
        wrong = _measure(Path(folder), chosen.minutes, chosen.backup)
        if wrong:
            kept = Path(folder).rename(f"{folder}-failed")
            print(*wrong, f"what was made is in {kept}", sep="\n")
    if wrong:
        sys.exit(1)


def _measure(folder: Path, minutes: int, backup_every: str) -> list[str]:
    """Print a row for each minute, and return what failed."""
    (port,) = free_ports(1)
    data = folder / "data"
    data.mkdir()
    settings = read_settings(
        {**SECRETS, **PATIENT, **SHRUNK, "PLAYHEAD_DATA_DIR": str(data), "PLAYHEAD_METRICS_PORT": str(port)}
    )
    paths = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent)}
    environment = {**paths, **environment_of(settings)}
    without_metrics = {**environment, "PLAYHEAD_METRICS_HOST": "off"}
    filling = [sys.executable, str(Path(__file__).with_name("bench_readers.py")), "--fill", data]
    backing_up = [PLAYHEAD, "backup", "--every", backup_every, "--to", folder / "backups", "--checked"]
    print(f"load average {os.getloadavg()[0]:.1f}\n{COLUMNS}")

    subprocess.run([PLAYHEAD, "init"], env=environment, check=True, stdout=subprocess.DEVNULL)
    with (
        started([PLAYHEAD, "worker"], log=folder / "worker.out", env=environment) as worker,
        started(backing_up, log=folder / "backup.out", env=without_metrics) as backup,
    ):
        with (
            started(filling, log=folder / "fill.out", env=environment) as filler,
            contextlib.closing(connect(location(settings), read_only=True)) as lake,
        ):
            until(lambda: inserted(lake) > 0, "nothing arrives")
            failed = 0
            for number in range(1, minutes + 1):
                minute = _watch(settings, lake, [worker, backup], filler, port)
                failed += minute.failed
                print("  ".join(minute.row(number)), flush=True)
            filler.resume()  # what is stopped does not end
        verified = _verified(environment)
        backup.end()
    said = (folder / "backup.out").read_text()
    print(f"backups made: {said.count('backup made')}")
    wrong = [f"{failed} commits or questions failed"] if failed else []
    wrong += [line for line in said.splitlines() if "backup failed" in line]
    return wrong + verified


def _watch(
    settings: Settings,
    lake: duckdb.DuckDBPyConnection,
    processes: Sequence[Process],
    filler: Process,
    port: int,
) -> Minute:
    """Ask questions for a minute, and return what happened in it; keep the log filled."""
    since, until_s = datetime.now(UTC), time.monotonic() + 60
    failed_before, cpu_before_s = _sum_of("worker_failures_total", port), _upkeep_cpu_s(processes[0])
    asked = []
    for one in ask_all(settings.data_dir, 10**6):
        asked.append(one)
        assert all(process.is_alive() for process in (*processes, filler)), "a process ended"
        if _sum_of("worker_lag_records", port) > LAG_MAX:
            filler.pause()
        else:
            filler.resume()
        if time.monotonic() > until_s:
            break
        time.sleep(max(0.0, ASK_EVERY_S - one.took_s))
    condition = read_condition(location(settings), clock=lambda: datetime.now(UTC))
    return Minute(
        commits_between(lake, since, datetime.now(UTC)),
        _sum_of("worker_failures_total", port) - failed_before + sum(one.error is not None for one in asked),
        condition.files,
        condition.catalogue_bytes,
        condition.files_bytes,
        [one.took_s for one in asked],
        _upkeep_cpu_s(processes[0]) - cpu_before_s,
    )


def _upkeep_cpu_s(worker: Process) -> float:
    """Return the CPU of all rounds of upkeep that have ended: processes of the worker's, which has no others."""
    times = psutil.Process(worker.pid).cpu_times()
    return float(times.children_user + times.children_system)


def _sum_of(metric: str, port: int) -> int:
    """Return what the worker's metric is, all labels together."""
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    found = re.findall(rf"^playhead_{metric}(?:\{{[^}}]*\}})? (\S+)", text, re.MULTILINE)
    return int(sum(map(float, found)))


def _verified(environment: dict[str, str]) -> list[str]:
    """Let the worker read the rest, and return what `playhead verify` finds."""
    done = subprocess.run(
        [PLAYHEAD, "verify", "--within", "300s"], env=environment, capture_output=True, text=True
    )
    return [] if done.returncode == 0 else [done.stdout, done.stderr]


if __name__ == "__main__":
    main()
