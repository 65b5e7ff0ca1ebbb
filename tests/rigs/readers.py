"""A process that asks a lake questions, one after the other, while others write.

`python -m rigs.readers DATA QUESTIONS` prints a JSON object for each question: what was asked, the seconds that it
took, and the error if it failed.
"""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import msgspec

from lake.catalog import location
from lake.reading import open_reader
from schemas.faults import Fault
from schemas.settings import Settings

QUESTIONS_A_CONNECTION = 50  # then it opens the lake once more
# What is asked, and how often of ten times: as pages do, which look what is new more often than they compute.
QUESTIONS = {
    "how far": ("SELECT sum(inserted), sum(next_offset - first_offset) FROM ledger", 3),
    "newest events": ("FROM events ORDER BY received_at DESC LIMIT 5", 3),
    "who watches now": ("FROM watching_now", 1),
    "errors": ("FROM error_ranking", 1),
    "sessions by content": ("SELECT content_name, count(*), sum(content_time_s) FROM sessions GROUP BY ALL", 1),
    "metrics of the last hour": ("FROM metrics_between(now() - INTERVAL 1 HOUR, now())", 1),
}


class Asked(msgspec.Struct, frozen=True):
    """One question that was asked."""

    question: str
    took_s: float
    error: str | None = None


def ask_all(data_dir: Path, number: int) -> Iterator[Asked]:
    """Ask so many questions, all kinds in turn."""
    place = location(Settings(data_dir=data_dir))
    kinds = itertools.cycle([kind for kind, (_, times) in QUESTIONS.items() for _ in range(times)])
    for done in range(0, number, QUESTIONS_A_CONNECTION):
        with open_reader(place) as reader:
            for kind in itertools.islice(kinds, min(QUESTIONS_A_CONNECTION, number - done)):
                began = time.monotonic()
                error = None
                try:
                    reader.execute(QUESTIONS[kind][0]).fetchall()
                except (duckdb.Error, Fault) as failure:
                    error = str(failure)
                yield Asked(kind, time.monotonic() - began, error)


def ask_from_other_processes(data_dir: Path, number: int, *, processes: int = 1) -> list[Asked]:
    """Ask so many questions, shared by some processes at once, and return what came of each."""
    tests = Path(__file__).parents[1]
    command = [sys.executable, "-m", "rigs.readers", str(data_dir), str(number // processes)]

    def asked(_: int) -> str:
        return subprocess.run(command, cwd=tests, stdout=subprocess.PIPE, text=True, check=True).stdout

    with ThreadPoolExecutor(processes) as threads:
        printed = "".join(threads.map(asked, range(processes)))
    return [msgspec.json.decode(line, type=Asked) for line in printed.splitlines()]


if __name__ == "__main__":
    for asked in ask_all(Path(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps(msgspec.to_builtins(asked)), flush=True)
