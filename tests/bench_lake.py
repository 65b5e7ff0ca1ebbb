"""Measure what a question costs, in lakes of any size: what a month of live use leaves, and its days settled.

    python tests/bench_lake.py [--sessions 300000 1000000] [--folder DIR] [--keep]

A third of a million sessions a day, so that one day is as large in each lake: 300,000 sessions are one day,
10,000,000 are thirty. A quarter of a day follows that is not settled yet. Prints the seconds of each question, on
two threads: the wall clock of the first time on a new connection, then wall and CPU of the best of the next times,
beside the floor for 10 million. Then what the lake itself costs.
"""

import argparse
import contextlib
import itertools
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
from rigs.big_lake import FIRST, Shape, fill
from rigs.lake import write
from rigs.session_model import make_event, session_id

from consumers.closing import Limits
from consumers.lake_writer import LakeWriter
from lake.catalog import Location, connect, location
from lake.tables import initialize
from lake.upkeep import Ages, maintain
from schemas.settings import Settings

SESSIONS_A_DAY = 1_000_000 / 3
TODAY = 0.25
TURNS = 4
COMMITS = 20
_DAY = "TIMESTAMPTZ '{day}', TIMESTAMPTZ '{day_after}'"
_MONTH = "TIMESTAMPTZ '{first}', TIMESTAMPTZ '{day_after}'"


class Question(msgspec.Struct, frozen=True):
    """A question, and the seconds that it may take with 10 million sessions; None: not said."""

    words: str
    sql: str
    floor_s: float | None = None


QUESTIONS = (
    Question("all metrics of a day, exact", f"FROM metrics_between({_DAY})", 4),
    Question("all metrics of today, not settled", "FROM metrics_between(TIMESTAMPTZ '{day_after}', 'infinity')"),
    Question("by content, a day, exact", f"FROM metrics_by(['content_id'], {_DAY})", 5),
    Question(
        "sessions and watch time of a day, by content",
        "SELECT content_id, count(*), sum(content_time_s) "
        "FROM counted_sessions WHERE started_at >= '{day}' AND started_at < '{day_after}' GROUP BY content_id",
    ),
    Question("one session by id, all columns", "FROM sessions WHERE session_id = '{session}'", 0.2),
    Question("the same, of a derived id", "FROM sessions WHERE session_id = '{derived}'"),
    Question("concurrency of a day by minute", f"FROM concurrency_between({_DAY})", 1.5),
    Question(
        "ads of a day, by ad",
        "SELECT ad_id, count(*) FROM ads "
        "WHERE session_started_at >= '{day}' AND session_started_at < '{day_after}' GROUP BY ad_id",
    ),
    Question("health_by_minute of the last hour", "FROM health_by_minute(TIMESTAMPTZ '{hour}')", 0.3),
    Question("by content, a day, rolled up", f"FROM metrics_by_content_rolled({_DAY})", 1),
    Question("all metrics by day, all days, rolled up", "FROM metrics_by_day_rolled", 2),
    Question("by content, all days, rolled up", f"FROM metrics_by_content_rolled({_MONTH})", 4),
)


class Cost(msgspec.Struct, frozen=True):
    """Seconds of wall clock and of CPU."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} / {self.cpu_s:.2f}"


@contextlib.contextmanager
def timed(costs: list[Cost]) -> Iterator[None]:
    """Append what the block costs."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    costs.append(Cost(time.perf_counter() - wall, time.process_time() - cpu))


def main() -> None:
    """Build the lakes one after the other, ask each, and print the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--sessions", type=int, nargs="+", default=[300_000, 1_000_000])
    options.add_argument("--folder", type=Path, default=None, help="where the lakes are made")
    options.add_argument("--keep", action="store_true", help="leave the lakes, and use those that are there")
    chosen = options.parse_args()
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="playhead-bench-"))
    table: dict[str, list[str]] = {}
    for sessions in chosen.sessions:
        data = folder / str(sessions)
        for name, value in measure(data, sessions).items():
            table.setdefault(name, []).append(value)
        if not chosen.keep:
            shutil.rmtree(data)
    sizes = " | ".join(f"{sessions:,}" for sessions in chosen.sessions)
    print(f"| first; then wall / CPU s | {sizes} | floor at 10 million |")
    print("|---" * (len(chosen.sessions) + 2) + "|")
    floors = {question.words: question.floor_s for question in QUESTIONS}
    for name, values in table.items():
        floor = floors.get(name)
        print(f"| {name} | {' | '.join(values)} | {'' if floor is None else f'{floor:g} s'} |")


def measure(data: Path, sessions: int) -> dict[str, str]:
    """Return what each question costs in a lake of this many settled sessions, and what the lake costs."""
    place = location(Settings(data_dir=data))
    days = max(1, round(sessions / SESSIONS_A_DAY))
    found: dict[str, str] = {}
    if not data.exists():
        shape = Shape(int(sessions * (days + TODAY) / days), days + TODAY, days_a_file=0.5)
        costs: list[Cost] = []
        initialize(place, partitions=shape.partitions)
        with timed(costs):
            fill(place, shape, memory="2GB", threads=2)
        with timed(costs):
            rounds = _keep_up(place, data)
        found |= {"generating it": str(costs[0]), "upkeep until all is settled and rolled up": str(costs[1])}
        found["rounds of upkeep for that"] = str(rounds)
    with contextlib.closing(connect(place, read_only=True, memory="4GB", threads=2)) as lake:
        names = _names(lake, days)
    found |= {question.words: _ask(place, question.sql.format(**names)) for question in QUESTIONS}
    found["one commit of a worker, median (wall)"] = f"{_commit_s(data) * 1000:.0f} ms"
    found["catalogue"] = f"{Path(place.catalog).stat().st_size / 1e6:.1f} MB"
    for table in ("session_versions", "settled_sessions"):
        files = list(Path(place.files, "main", table).glob("**/*.parquet"))
        found[table] = f"{sum(file.stat().st_size for file in files) / 1e6:.0f} MB, {len(files)} files"
    return found


def _keep_up(place: Location, data: Path) -> int:
    """Do rounds of upkeep, as a worker has them every minute, until nothing is left to do; return how many."""
    ages = Ages.of(Settings(data_dir=data))
    for rounds in itertools.count(1):
        done = maintain(place, ages, orphans=data / "orphans", now=lambda: datetime.now(UTC))
        if not done.sessions_settled and not done.periods_rolled_up:
            return rounds
    raise AssertionError


def _ask(place: Location, query: str) -> str:
    """Return what a question costs on a connection of its own: asked first, and the best of later times."""
    costs: list[Cost] = []
    with contextlib.closing(connect(place, read_only=True, memory="4GB", threads=2)) as lake:
        for _ in range(TURNS):
            with timed(costs):
                lake.execute(query).fetchall()
    best = min(costs[1:], key=lambda cost: cost.wall_s)
    return f"{costs[0].wall_s:.2f}; {best}"


def _names(lake: duckdb.DuckDBPyConnection, days: int) -> dict[str, str]:
    """Return what the questions are about: the last day that is settled, and sessions of it."""
    day, after = FIRST + timedelta(days=days - 1), FIRST + timedelta(days=days)
    ((session, derived),) = lake.execute(
        "SELECT min(session_id) FILTER (WHERE NOT is_downloaded), min(session_id) FILTER (WHERE is_downloaded) "
        "FROM session_versions WHERE started_at BETWEEN ? AND ? AND events > 1",
        [day + timedelta(hours=12), day + timedelta(hours=13)],
    ).fetchall()
    times = {"first": FIRST, "day": day, "day_after": after, "hour": after + timedelta(days=TODAY, hours=-1)}
    return {name: f"{at:%Y-%m-%d %H:%M:%S+00}" for name, at in times.items()} | {
        "session": session,
        "derived": derived,
    }


def _commit_s(data: Path) -> float:
    """Return the median time of a worker's commit of ten events."""
    writer = LakeWriter(Settings(data_dir=data), limits=Limits.of(Settings(data_dir=data)))
    taken: list[float] = []
    try:
        held = writer.load(0, None)
        for _ in range(COMMITS):
            now_ms, first = time.time_ns() // 1_000_000, held.sessions.next_offset
            id = session_id(first, now_ms)
            events = [
                msgspec.structs.replace(
                    make_event("play" if n else "sessionStart", ts=now_ms + n, session_id=id),
                    offset=first + n,
                    event_id=f"bench-{first + n}",
                )
                for n in range(10)
            ]
            since = time.perf_counter()
            write(writer, held, events)
            taken.append(time.perf_counter() - since)
    finally:
        writer.close()
    return statistics.median(taken)


if __name__ == "__main__":
    main()
