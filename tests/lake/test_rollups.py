"""Roll-ups: equal to what the sessions say, for every metric, whatever came late, was removed, or was killed."""

import contextlib
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from rigs.big_lake import Shape, fill
from rigs.lake import Lake
from rigs.mortal import Mortal, dies_before

from lake import rolling, rollups
from lake.backup import back_up, restore
from lake.backup_folder import LocalFolder
from lake.catalog import Location, connect
from lake.metrics import columns_sql, read_catalogue
from lake.rollups import DIMENSIONS
from lake.tables import initialize
from lake.upkeep import Ages, maintain
from schemas.settings import Settings

SHAPE = Shape(sessions=2_000, days=5, partitions=2, days_a_file=1, small_files=3, has_more=True)
PERCENTILES = {metric.name for metric in read_catalogue().metric if metric.quantile is not None}
DAYS = "'2026-08-05'::TIMESTAMPTZ", "'2026-08-08'::TIMESTAMPTZ"
WINDOW = ", ".join(DAYS)
CUT_BY = ["site", "player_name", "channel"]
WITHIN = f"started_at >= {DAYS[0]} AND started_at < {DAYS[1]}"


class RolledLake:
    """A lake that is rolled up round by round."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake

    def round(self, *, periods: int = 1_000) -> int:
        """Do the roll-ups of one round; return how many hours and days it rolled up."""
        with contextlib.closing(connect(self.lake.place, read_only=False)) as connection:
            return rolling.write(connection, self.lake.place, rolling.prepare(connection, periods=periods))

    def settle(self) -> None:
        """Do rounds until nothing is due, nor will be."""
        while self.round():
            pass
        assert self.lake.ask("SELECT due, touched FROM rolled_up") == [([], [])]

    def later(self, **more: float) -> None:
        """Let the log's time go by. A day later everything is rolled up by the day, which is faster."""
        passed = f"INTERVAL '{timedelta(**more).total_seconds()} seconds'"
        ledgers = [f"ledger_p{partition:03}" for partition in range(SHAPE.partitions)]
        self.lake.do(*(f"UPDATE {ledger} SET watermark = watermark + {passed}" for ledger in ledgers))

    def reopen(self, condition: str, **changed: str) -> None:
        """Let late events close sessions of one version once more, with other values."""
        offset = "(SELECT max(as_of_offset) + 10 FROM session_versions)"
        values = ", ".join(f"{sql} AS {name}" for name, sql in {"as_of_offset": offset, **changed}.items())
        self.lake.do(
            "INSERT INTO session_versions BY NAME "
            f"SELECT * EXCLUDE (is_retried_start) REPLACE (version + 1 AS version, {values}) "
            f"FROM sessions WHERE {condition} AND state = 'final' AND version = 1"
        )

    def rows(self, query: str, key: int) -> dict[tuple[Any, ...], dict[str, Any]]:
        """Return the rows of a query by the first columns."""
        with contextlib.closing(connect(self.lake.place, read_only=True, threads=2)) as connection:
            answer = connection.execute(query)
            names = [column[0] for column in answer.description or []]
            rows = answer.fetchall()
        found = {tuple(row[:key]): dict(zip(names[key:], row[key:], strict=True)) for row in rows}
        assert len(found) == len(rows)
        return found

    def check_days(self) -> None:
        """Compare every metric by day with what the sessions say."""
        same(self.rows("FROM metrics_by_day_rolled", 1), self.rows("FROM metrics_by_day", 1))

    def exact(self) -> list[dict[tuple[Any, ...], dict[str, Any]]]:
        """Return every metric by day, by content and by dimensions as the sessions say."""
        by_content = (
            "SELECT content_id, arg_max(content_name, started_at) AS content_name, "
            f"max(recorded_length_s) AS length_s, count(DISTINCT user_id) AS known_viewers, {columns_sql()} "
            f"FROM counted_sessions WHERE {WITHIN} GROUP BY content_id"
        )
        return [
            self.rows("FROM metrics_by_day", 1),
            self.rows(by_content, 1),
            self.rows(_by_dimensions(CUT_BY), len(CUT_BY)),
        ]

    def check(self, exact: list[dict[tuple[Any, ...], dict[str, Any]]] | None = None) -> None:
        """Compare every metric by day, by content and by dimensions with what the sessions say."""
        by_day, by_content, by_dimensions = self.exact() if exact is None else exact
        same(self.rows("FROM metrics_by_day_rolled", 1), by_day)
        same(self.rows(f"FROM metrics_by_content_rolled({WINDOW})", 1), by_content)
        same(self.rows(f"FROM metrics_by_rolled({CUT_BY}, {WINDOW})", len(CUT_BY)), by_dimensions)

    def check_cut(self, dims: list[str]) -> None:
        rolled = f"FROM metrics_by_rolled({dims}, {WINDOW})"
        same(self.rows(rolled, len(dims)), self.rows(_by_dimensions(dims), len(dims)))


def _by_dimensions(dims: list[str]) -> str:
    keys = ", ".join([*dims, columns_sql()])
    return f"SELECT {keys} FROM counted_sessions WHERE {WITHIN} GROUP BY ALL"


def same(rolled: dict[Any, dict[str, Any]], exact: dict[Any, dict[str, Any]]) -> None:
    """Compare each number: percentiles within 2 %, all others but for the order of their sums."""
    assert rolled.keys() == exact.keys()
    for key, wanted in exact.items():
        assert rolled[key].keys() == wanted.keys()
        for name, value in wanted.items():
            found = rolled[key][name]
            if isinstance(value, float) and isinstance(found, float):
                tolerance = 0.02 if name in PERCENTILES else 1e-9
                assert math.isclose(found, value, rel_tol=tolerance, abs_tol=1e-6), (key, name, found, value)
            else:
                assert found == value, (key, name, found, value)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Five days with every oddity, of which nothing is rolled up."""
    lake = Lake(tmp_path_factory.mktemp("filled"), partitions=SHAPE.partitions)
    fill(lake.place, SHAPE, threads=2)
    ledgers = [f"ledger_p{partition:03}" for partition in range(SHAPE.partitions)]
    newest = "SELECT 1 + max(as_of_offset) FROM session_versions"
    lake.do(*(f"UPDATE {ledger} SET next_offset = ({newest})" for ledger in ledgers))
    return lake


@pytest.fixture(scope="module")
def rolled(filled: Lake, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The same, rolled up."""
    lake = filled.copy(tmp_path_factory.mktemp("rolled"))
    assert RolledLake(lake).round() > SHAPE.days
    return lake


@pytest.fixture
def fresh(filled: Lake, tmp_path: Path) -> RolledLake:
    return RolledLake(filled.copy(tmp_path))


@pytest.fixture
def lake(rolled: Lake, tmp_path: Path) -> RolledLake:
    return RolledLake(rolled.copy(tmp_path))


def test_every_metric_is_that_of_the_sessions(lake: RolledLake) -> None:
    """By day, by content and by dimensions; from the roll-ups but for the last hours."""
    lake.check()
    for dims in ([], ["app_version"], list(DIMENSIONS)):
        lake.check_cut(dims)
    values = ", ".join(f"count(DISTINCT {name})" for name in DIMENSIONS)
    assert min(lake.lake.ask(f"SELECT {values} FROM sessions")[0]) >= 2  # so that none is like another
    ((rolled, every),) = lake.lake.ask(
        "SELECT (SELECT sum(sessions_sum) FROM rolled_hours), (SELECT sessions FROM metrics)"
    )
    assert 0.9 * every < rolled < every


def test_a_dimension_that_is_not_rolled_up_is_an_error_that_lists_those_that_are(lake: RolledLake) -> None:
    """A wrong name gives no answer that looks like one."""
    with pytest.raises(duckdb.Error, match="Not rolled up by colour; there are site, player_name"):
        lake.rows(f"FROM metrics_by_rolled(['site', 'colour'], {WINDOW})", 2)


def test_what_is_not_rolled_up_yet_comes_from_the_sessions(fresh: RolledLake) -> None:
    """Before the first round, and after rounds that rolled up one period of many."""
    exact = fresh.exact()
    fresh.check(exact)
    assert fresh.round(periods=1) == 1
    fresh.check(exact)
    assert fresh.round(periods=1) == 1
    fresh.check_days()


def test_hours_that_late_versions_touch_are_rolled_up_again(lake: RolledLake) -> None:
    """Once they are half as old again; other content and an earlier start of reopened sessions leave no trace."""
    lake.reopen(
        "started_at BETWEEN '2026-08-07 10:00:00+00' AND '2026-08-07 16:00:00+00' AND hash(session_id) % 5 = 0",
        content_time_s="content_time_s + 100",
        content_id="'another'",
        started_at="started_at - INTERVAL 1 HOUR",
        user_id="'somebody else'",
    )
    assert lake.round() == 0  # it looks once an hour
    lake.later(hours=1)
    assert 0 < lake.round() < 10
    assert len(lake.lake.ask("SELECT unnest(touched) FROM rolled_up")) > 3
    lake.later(hours=12)
    lake.settle()
    lake.check()


def test_older_days_are_rolled_up_again_once_a_day(lake: RolledLake) -> None:
    """A day of last week is not rolled up again each hour for some late sessions, nor is yesterday a day later."""
    lake.reopen("started_at < '2026-08-05' AND hash(session_id) % 7 = 0", ad_time_s="ad_time_s + 1")
    lake.later(hours=1)
    lake.round()
    waiting = lake.lake.ask("SELECT unnest(touched) FROM rolled_up")
    assert (datetime(2026, 8, 4, tzinfo=UTC),) in waiting
    of_yesterday = "SELECT DISTINCT period_start FROM rolled_hours WHERE period_start::DATE = '2026-08-07'"
    assert len(lake.lake.ask(of_yesterday)) > 20
    lake.later(hours=24)
    lake.settle()
    lake.check()
    assert lake.lake.ask(of_yesterday) == [(datetime(2026, 8, 7, tzinfo=UTC),)]


def test_an_hour_that_changes_all_the_time_is_rolled_up_eight_times() -> None:
    """At three hours of age, six times when it is half as old again, and with its day; then once a day."""
    day, hour = datetime(2026, 8, 7, tzinfo=UTC), datetime(2026, 8, 7, 1, tzinfo=UTC)
    state = rolling.State(
        rolled_until=hour + timedelta(hours=1),
        definition="",
        removals=0,
        looked_at=hour + timedelta(hours=3),
        days_until=day - timedelta(days=1),
    )
    ages = []
    for age in range(4, 24 * 4):
        state = state.looking([hour], read_until=[], at=hour + timedelta(hours=age))
        if (period := state.period(hour)).start in state.due:
            state = state.rolled(period, period.end)
            ages.append(age)
    assert ages == [5, 7, 11, 16, 23, 35, 47, 71, 95]
    assert state.period(hour) == rolling.Period(day, day + timedelta(days=1))


def test_the_hours_that_pass_are_rolled_up(lake: RolledLake) -> None:
    """Two hours later, open sessions have closed, and what was live is rolled up."""
    (before,) = lake.lake.ask("SELECT rolled_until FROM rolled_up_until")[0]
    lake.later(hours=2)
    assert lake.round() >= 2
    assert lake.lake.ask("SELECT rolled_until FROM rolled_up_until") == [(before + timedelta(hours=2),)]
    lake.check_days()


def test_starts_that_turn_out_to_be_retries_leave_the_roll_ups(lake: RolledLake) -> None:
    """A start that was counted is judged a copy later, when the hashes of its request are deleted."""
    lake.lake.do(
        "INSERT INTO start_copies SELECT session_id FROM sessions WHERE events = 1 AND NOT is_retried_start "
        "AND last_received_at > (SELECT max(watermark) - INTERVAL 4 HOUR FROM ledger)",
    )
    lake.later(hours=2)
    lake.settle()
    lake.check_days()


def test_viewers_follow_what_tracking_sessions_say_later(lake: RolledLake) -> None:
    """A denial that arrives after a day was rolled up takes the user from its sessions."""
    lake.lake.do(
        "INSERT INTO tracking_events BY NAME SELECT * REPLACE ('late-' || event_id AS event_id, "
        "'denied' AS consent, NULL AS user_id, 10_000_000 + log_offset AS log_offset) FROM tracking_events "
        "WHERE event_type = 'created' AND started_at >= '2026-08-07 15:00:00+00'"
    )
    lake.later(hours=12)
    lake.settle()
    lake.check_days()


def test_what_is_removed_does_not_count_from_then_on(lake: RolledLake) -> None:
    """An erasure notes what it deleted: roll-ups do not count until upkeep has made them again."""
    lake.lake.do(
        "DELETE FROM session_versions WHERE hash(session_id) % 3 = 0",
        "INSERT INTO removals VALUES (0, 1, 2, now(), 'erasure')",
    )
    exact = lake.exact()
    lake.check(exact)
    lake.later(days=1)
    assert lake.round() > SHAPE.days
    lake.check(exact)
    assert lake.lake.ask("SELECT rolled_until > '2026-08-07' FROM rolled_up_until") == [(True,)]


def test_metrics_that_are_defined_otherwise_are_rolled_up_again(lake: RolledLake) -> None:
    """Roll-ups of another definition do not count; `init` adds the columns that a table lacks."""
    lake.lake.do(
        "UPDATE rolled_up SET definition = 'of another release'",
        "UPDATE rolled_hours SET sessions_sum = 1000000",
        "ALTER TABLE rolled_cuts DROP COLUMN sessions_sum",
        "UPDATE definitions SET sha256 = 'of another release'",
    )
    assert lake.round() == 0  # it waits for `init`
    lake.lake.do("ALTER TABLE rolled_up RENAME COLUMN touched TO due_tomorrow")
    initialize(lake.lake.place, partitions=SHAPE.partitions)
    exact = lake.exact()
    lake.check(exact)
    lake.later(days=1)
    assert lake.round() > SHAPE.days
    lake.check(exact)


def test_a_restored_lake_is_rolled_up_by_its_own_upkeep(lake: RolledLake, tmp_path: Path) -> None:
    """A backup has no roll-ups, which another release might not read; all numbers are right at once."""
    folder, manifest = back_up(lake.lake.place, LocalFolder(tmp_path, "backups"), now=datetime.now(UTC))
    assert not [table for table in manifest.rows if table.startswith("rolled")]
    place = Location("sqlite", str(tmp_path / "restored" / "catalog.sqlite"), str(tmp_path / "restored" / "files"))
    restore(place, folder)
    lake.lake.place = place
    lake.check_days()
    lake.later(days=1)
    assert lake.round() > SHAPE.days
    lake.check()


def test_the_value_of_a_bucket_is_near_every_value_in_it(lake: RolledLake) -> None:
    """Of either sign, from millionths to billions; null stays null."""
    far = lake.lake.ask(
        "SELECT max(abs(bucket_value(spread_bucket(x)) / x - 1)) "
        "FROM (SELECT if(n % 2 = 0, 1, -1) * pow(10, n / 100 - 6) AS x FROM range(1500) AS numbers(n))"
    )
    assert far[0][0] < 0.016
    assert lake.lake.ask("SELECT bucket_value(spread_bucket(0)), spread_bucket(NULL)") == [(0, None)]


def test_upkeep_rolls_up_what_is_there(fresh: RolledLake, tmp_path: Path) -> None:
    """The same round that merges and expires, a few periods at a time."""
    place = fresh.lake.place
    done = maintain(place, Ages.of(Settings()), orphans=tmp_path / "orphans", now=lambda: datetime.now(UTC))
    assert done.periods_rolled_up == rolling.PERIODS_A_ROUND
    fresh.check_days()


def test_a_period_is_replaced_without_delete_files(lake: RolledLake) -> None:
    """Readers of a table with delete files pay for them; a period has files of its own, which go whole."""
    lake.later(hours=2)
    lake.round()
    lake.later(hours=2)
    lake.round()
    for table in rollups.TABLES:
        files = f"ducklake_list_files('lake', '{table}', schema => 'main')"
        assert lake.lake.ask(f"SELECT count(*) FROM {files} WHERE delete_file IS NOT NULL") == [(0,)], table


def roll_up_a_period(mortal: Mortal, place: Location) -> None:
    """Do a round in which one period is rolled up, and count the statements that write."""
    with contextlib.closing(connect(place, read_only=False)) as connection:
        prepared = rolling.prepare(connection, periods=1)
        with mortal:
            rolling.write(connection, place, prepared)


@pytest.mark.parametrize("rounds_before", [0, 1])
def test_a_kill_at_any_statement_leaves_right_answers(
    fresh: RolledLake, rounds_before: int, is_long: bool
) -> None:
    """Each round is killed at a later statement, until one gets through; the first has two transactions."""
    columns = "day, known_viewers, sessions, content_time_s, rebuffer_ratio_mux, startup_s_median_mux"
    for _ in range(rounds_before):
        fresh.round(periods=1)
    exact = fresh.rows(f"SELECT {columns} FROM metrics_by_day", 1)
    for killed in range(0 if is_long else rounds_before, 100, 1 if is_long else 2):
        is_killed = dies_before(killed, roll_up_a_period, fresh.lake.place)
        same(fresh.rows(f"SELECT {columns} FROM metrics_by_day_rolled", 1), exact)
        if not is_killed:
            break
    assert not is_killed
    assert killed > 8
