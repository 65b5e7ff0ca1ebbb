"""Measure what readers cost a worker that writes as fast as it can, and whether any of their questions fails.

    python tests/bench_readers.py [--questions 1000] [--readers 4] [--seconds 20]

One process appends to an embedded log without end, and a worker moves it into the lake. First nobody reads, then
other processes ask questions, one after the other. Prints how long the worker took from one commit to the next,
how many events it committed, and what each question took. Exit status 1 if one failed.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from bench import fill, inserted
from rigs.commands import PLAYHEAD, SECRETS
from rigs.processes import started
from rigs.readers import QUESTIONS, Asked, ask_from_other_processes
from rigs.waiting import until

from lake.catalog import connect, location
from schemas.settings import environment_of, read_settings

WARM_UP_S = 5.0
PATIENT = {"PLAYHEAD_LOG_APPEND_TIMEOUT_S": "600"}  # on a disk that others use too
ENOUGH = 1_000_000_000  # events: more than are appended while this runs


def main() -> None:
    """Run both halves and print the tables."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--questions", type=int, default=1000)
    options.add_argument("--readers", type=int, default=4, help="processes that ask them")
    options.add_argument("--seconds", type=float, default=20.0, help="how long nobody reads")
    options.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.fill is not None:
        asyncio.run(fill(read_settings({**SECRETS, **PATIENT, "PLAYHEAD_DATA_DIR": str(chosen.fill)}), ENOUGH))
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it started ends too
    with tempfile.TemporaryDirectory(prefix="playhead-bench-") as folder:
        asked = _measure(Path(folder) / "data", chosen.seconds, chosen.questions, chosen.readers)
    if any(each.error for each in asked):
        sys.exit(1)


def _measure(data: Path, seconds: float, questions: int, readers: int) -> list[Asked]:
    settings = read_settings({**SECRETS, **PATIENT, "PLAYHEAD_DATA_DIR": str(data)})
    paths = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parent)}
    environment = {**paths, **environment_of(settings)}
    data.mkdir()

    subprocess.run([PLAYHEAD, "init"], env=environment, check=True, stdout=subprocess.DEVNULL)
    with (
        started([sys.executable, __file__, "--fill", data], log=data.parent / "fill.out", env=environment),
        started([PLAYHEAD, "worker"], log=data.parent / "worker.out", env=environment),
        contextlib.closing(connect(location(settings), read_only=True)) as lake,
    ):
        until(lambda: inserted(lake) > 0, "nothing arrives")
        time.sleep(WARM_UP_S)
        alone = datetime.now(UTC)
        time.sleep(seconds)
        together = datetime.now(UTC)
        asked = ask_from_other_processes(data, questions, processes=readers)
        commits = {
            "nobody": commits_between(lake, alone, together),
            "readers": commits_between(lake, together, datetime.now(UTC)),
        }
    _print(commits, asked)
    return asked


def commits_between(
    lake: duckdb.DuckDBPyConnection, since: datetime, until: datetime
) -> list[tuple[datetime, int]]:
    """Return when the worker committed, and how many events it had inserted by then."""
    rows = lake.execute(
        "SELECT snapshot_time, snapshot_id FROM ducklake_snapshots('lake') "
        "WHERE snapshot_time BETWEEN $since AND $until ORDER BY snapshot_id",
        {"since": since, "until": until},
    ).fetchall()
    by_count: dict[int, tuple[datetime, int]] = {}
    for at, number in rows:  # the first of a new number of commits is the worker's; what follows it is upkeep's
        version = f"AT (VERSION => {number})"
        commits = lake.execute(f"SELECT sum(commits) FROM ledger {version}").fetchall()[0][0]
        by_count.setdefault(commits, (at, inserted(lake, version)))
    return list(by_count.values())[1:]


def _print(commits: Mapping[str, Sequence[tuple[datetime, int]]], asked: Sequence[Asked]) -> None:
    print(f"load average {os.getloadavg()[0]:.1f}\n")
    print(f"{'reads':8} {'commits':>8} {'s between, p50':>15} {'p95':>7} {'longest':>8} {'events/s':>9}")
    for name, done in commits.items():
        between = [(after - before).total_seconds() for (before, _), (after, _) in itertools.pairwise(done)]
        rate = (done[-1][1] - done[0][1]) / sum(between)
        print(f"{name:8} {len(done):8} {_at(between, 0.5):15.2f} {_spread(between)} {rate:9,.0f}")
    print(f"\n{'question':26} {'asked':>6} {'failed':>7} {'s, p50':>7} {'p95':>7} {'longest':>8}")
    for kind in ("all", *QUESTIONS):
        of_kind = [each for each in asked if kind in ("all", each.question)]
        took = [each.took_s for each in of_kind]
        failed = [each.error for each in of_kind if each.error]
        print(f"{kind:26} {len(took):6} {len(failed):7} {_at(took, 0.5):7.2f} {_spread(took)}")
        for error in failed[:3]:
            print(f"    {error}")


def _spread(values: Sequence[float]) -> str:
    return f"{_at(values, 0.95):7.2f} {max(values):8.2f}"


def _at(values: Sequence[float], part: float) -> float:
    return sorted(values)[int(len(values) * part)]


if __name__ == "__main__":
    main()
