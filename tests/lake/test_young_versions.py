"""Versions that are not settled yet: each is found at once, and no file is opened in which all are settled."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from rigs.big_lake import DAY_MS
from rigs.lake import Lake, write
from rigs.session_model import LIMITS, NOON_MS, make_event, session_id

from consumers.lake_writer import LakeWriter
from lake.catalog import location
from lake.schema import open_to_write
from lake.settled import reset, settle
from lake.tables import initialize
from schemas.settings import Settings

NOW = datetime.now(UTC)
LATER_MS = NOON_MS + 3 * DAY_MS


def play(writer: LakeWriter, *, at_ms: int, partition: int = 0) -> str:
    """Let a worker write a whole session, which the log took at this time; return its id."""
    held = writer.load(partition, None)
    first = held.sessions.next_offset
    id = session_id(first + 1_000 * partition, at_ms)
    told = ("sessionStart", "play", "sessionEnd")
    events = [
        make_event(kind, ts=at_ms + n, session_id=id, offset=first + n, event_id=f"{partition}-{first + n}")
        for n, kind in enumerate(told)
    ]
    write(writer, held, events)
    return id


def settled(lake: Lake) -> int:
    """Do a round of settling; return the number of sessions."""
    with contextlib.closing(open_to_write(lake.place)) as connection:
        return settle(connection, lake.place, now=NOW)


def found(lake: Lake) -> dict[str, int]:
    """Return how often each session is in the view `sessions`."""
    return dict(lake.ask("SELECT session_id, count(*) FROM sessions GROUP BY ALL"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A lake of one partition."""
    return Lake(tmp_path)


@pytest.fixture
def writer(lake: Lake) -> Iterator[LakeWriter]:
    """Its worker."""
    with lake.writer() as writer:
        yield writer


def test_no_file_is_opened_in_which_all_versions_are_settled(lake: Lake, writer: LakeWriter) -> None:
    """It may be missing: whatever is asked of sessions is answered without it."""
    played = [play(writer, at_ms=NOON_MS)]
    (file,) = Path(lake.place.files, "main", "session_versions").glob("**/*.parquet")
    played.append(play(writer, at_ms=LATER_MS))
    assert settled(lake) == 1
    rows = "SELECT * FROM sessions ORDER BY session_id"
    before = lake.ask(rows)
    file.unlink()
    assert found(lake) == dict.fromkeys(played, 1)
    assert lake.ask(rows) == before


def test_the_view_is_replaced_once_a_week(lake: Lake, writer: LakeWriter) -> None:
    """Each time every connection reads the schema again, and never frees what it had."""
    texts = []
    for days in (0, 1, 2, 8, 9):
        play(writer, at_ms=NOON_MS + days * DAY_MS)
        settled(lake)
        texts += lake.ask("SELECT sql, comment FROM duckdb_views() WHERE view_name = 'young_versions'")
    assert [texts.index(text) for text in texts] == [0, 1, 1, 3, 3]
    assert len({comment for _, comment in texts}) == 1


def test_a_session_that_the_log_took_at_an_earlier_time_than_settled_ones_is_found_at_once(
    lake: Lake, writer: LakeWriter
) -> None:
    """The log's clock was set back by days; then it goes right again, and all is settled in the end."""
    played = [play(writer, at_ms=NOON_MS), play(writer, at_ms=LATER_MS)]
    assert settled(lake) == 1
    played += [play(writer, at_ms=NOON_MS + 1_000), play(writer, at_ms=NOON_MS + 2_000)]
    assert found(lake) == dict.fromkeys(played, 1)
    played.append(play(writer, at_ms=LATER_MS + DAY_MS))
    assert found(lake) == dict.fromkeys(played, 1)
    assert settled(lake)
    assert lake.ask("SELECT session_id FROM young_versions") == [(played[-1],)]
    assert found(lake) == dict.fromkeys(played, 1)


def test_a_clock_that_goes_back_and_forward_in_one_batch_hides_nothing(lake: Lake, writer: LakeWriter) -> None:
    """What closes in a batch is as of the end of the batch."""
    played = [play(writer, at_ms=NOON_MS), play(writer, at_ms=LATER_MS)]
    assert settled(lake) == 1
    held = writer.load(0, None)
    first = held.sessions.next_offset
    times = (NOON_MS + 1_000, NOON_MS + 1_001, NOON_MS + 1_002, LATER_MS + 5_000)
    played += [session_id(first, times[0]), session_id(first + 1, times[-1])]
    kinds = ("sessionStart", "play", "sessionEnd", "sessionStart")
    events = [
        make_event(
            kind, ts=at_ms, session_id=played[-1 if n == 3 else -2], offset=first + n, event_id=f"0-{first + n}"
        )
        for n, (kind, at_ms) in enumerate(zip(kinds, times, strict=True))
    ]
    write(writer, held, events)
    assert found(lake) == dict.fromkeys(played, 1)


def test_a_new_partition_may_begin_at_an_earlier_time(lake: Lake, writer: LakeWriter) -> None:
    """Whatever clock its broker has."""
    played = [play(writer, at_ms=NOON_MS), play(writer, at_ms=LATER_MS)]
    assert settled(lake) == 1
    initialize(lake.place, partitions=2)
    played.append(play(writer, at_ms=NOON_MS + 1_000, partition=1))
    assert found(lake) == dict.fromkeys(played, 1)


@contextlib.contextmanager
def beside_a_round(folder: Path, catalog: str) -> Iterator[tuple[LakeWriter, duckdb.DuckDBPyConnection]]:
    """A worker on PostgreSQL, and upkeep in a transaction that has forgotten what is settled."""
    settings = Settings(data_dir=folder, lake_catalog=catalog)
    place = location(settings)
    initialize(place, partitions=1)
    with contextlib.closing(LakeWriter(settings, limits=LIMITS)) as writer:
        play(writer, at_ms=NOON_MS)
        play(writer, at_ms=LATER_MS)
        with contextlib.closing(open_to_write(place)) as upkeep:
            assert settle(upkeep, place, now=NOW) == 1
            upkeep.execute("SET ducklake_max_retry_count = 2")
            upkeep.execute("BEGIN")
            reset(upkeep)
            yield writer, upkeep


def test_a_worker_goes_on_while_a_round_settles(tmp_path: Path, catalog: str) -> None:
    """On PostgreSQL both write at the same time, though one of them replaces views."""
    with beside_a_round(tmp_path, catalog) as (writer, upkeep):
        id = play(writer, at_ms=LATER_MS + 1_000)
        upkeep.execute("COMMIT")
        assert upkeep.execute(f"SELECT count(*) FROM sessions WHERE session_id = '{id}'").fetchall() == [(1,)]
        play(writer, at_ms=LATER_MS + 2_000)
        assert upkeep.execute("SELECT count(*) FROM young_versions").fetchall() == [(4,)]


def test_a_round_that_settles_is_refused_if_a_clock_goes_back_meanwhile(tmp_path: Path, catalog: str) -> None:
    """It does not know of versions as of that time; the next round does."""
    with beside_a_round(tmp_path, catalog) as (writer, upkeep):
        play(writer, at_ms=NOON_MS + 1_000)
        with pytest.raises(duckdb.Error):
            upkeep.execute("COMMIT")
