"""Is something broken right now: incidents come out on top, and quiet hours and few sessions do not."""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from rigs.lake import Lake, emptied

from lake.catalog import connect

EIGHT = datetime(2026, 9, 21, 20, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)

# Sessions of an hour, spread evenly, the same each time; the draws are uniform and independent.
TRAFFIC = """
INSERT INTO session_versions BY NAME
WITH drawn AS (
    SELECT
        *,
        $since::TIMESTAMPTZ + to_milliseconds((number * 3600000 // $sessions)::BIGINT) AS first_received_at,
        ['web', 'tv', 'phone'][1 + (3 * {draw1})::INT % 3] AS player_name,
        if(player_name = 'tv' AND {draw2} < $updated, '2.0', '1.0') AS app_version,
        ['east', 'west', 'north'][1 + (3 * {draw3})::INT % 3] AS cdn,
        'content-' || (20 * {draw4} * {draw4})::INT AS content_id
    FROM range($sessions) AS numbers(number)
)
SELECT
    sha256(concat($seed, $since::VARCHAR, number)) AS session_id,
    1 AS version, 'final' AS state, true AS has_start, false AS is_downloaded, false AS is_live,
    * EXCLUDE (number),
    first_received_at + to_milliseconds((1000 * (20 + 600 * {draw5}))::BIGINT) AS last_received_at,
    first_received_at AS started_at, last_received_at AS ended_at, 5 AS events,
    {draw6} > if({fails_to_start}, 0.6, 0.02) AS is_started,
    if(is_started, {draw7} < if({breaks}, 0.5, 0.01), {draw7} < if({fails_to_start}, 0.95, 0.5)) AS is_failed,
    if(is_started, if({is_slow}, 3, 1) * (0.3 + {draw8}), NULL) AS startup_s,
    ({draw9} < if({breaks}, 0.6, 0.05))::INT AS rebuffers, 0 AS stalls,
    if(rebuffers = 0, [], [{{
        doing: 'buffering', started_at: first_received_at + to_seconds(15), ended_at: last_received_at,
        head_from_s: 0, head_to_s: 0
    }}]) AS spans
FROM drawn
"""


class Service:
    """A lake with the traffic of three players."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._seed = 0

    def hour(
        self,
        since: datetime,
        *,
        sessions: int = 3_000,
        updated: float = 0.0,
        fails_to_start: str = "false",
        breaks: str = "false",
        is_slow: str = "false",
    ) -> None:
        """Receive the sessions of an hour; some fail, break or are slow, by conditions on a session."""
        self._seed += 1
        draws = {f"draw{n}": f"(hash(concat(number, {n}, $seed)) / 18446744073709551616.0)" for n in range(1, 10)}
        conditions = {"fails_to_start": fails_to_start, "breaks": breaks, "is_slow": is_slow}
        values = {"since": since, "sessions": sessions, "updated": updated, "seed": str(self._seed)}
        self.connection.execute(TRAFFIC.format(**draws, **conditions), values)

    def is_now(self, moment: datetime) -> None:
        """Let the log's watermark be at this moment."""
        self.connection.execute("UPDATE ledger_p000 SET watermark = $1, partition_time = $1", [moment])

    def ask(self, statement: str, *values: object) -> list[dict[str, Any]]:
        """Return the answer's rows, by column."""
        rows = self.connection.execute(statement, list(values))
        names = [column[0] for column in rows.description or []]
        return [dict(zip(names, row, strict=True)) for row in rows.fetchall()]

    def minutes(self, since: datetime = EIGHT) -> list[dict[str, Any]]:
        return self.ask("FROM health_by_minute(?)", since)

    def leading(self) -> tuple[str, str, str]:
        """Return dimension, value and measure of the highest scores, over all minutes."""
        (row,) = self.ask(
            "SELECT dimension, value, worst FROM health_by_minute(?) GROUP BY ALL "
            "ORDER BY sum(score) DESC LIMIT 1",
            EIGHT,
        )
        return row["dimension"], row["value"], row["worst"]

    def combinations(self, since: datetime = EIGHT) -> list[dict[str, Any]]:
        return self.ask("FROM health_by_combination(?)", since)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    lake = Lake(tmp_path_factory.mktemp("health"))
    with contextlib.closing(connect(lake.place, read_only=False, threads=2)) as opened:
        yield opened


@pytest.fixture
def service(connection: duckdb.DuckDBPyConnection) -> Iterator[Service]:
    with emptied(connection, "session_versions", "open_sessions_p000"):
        yield Service(connection)


@pytest.fixture
def usual(service: Service) -> Service:
    """It is nine; the hour before eight, and the hours of last week, were as always."""
    service.hour(EIGHT - WEEK)
    service.hour(EIGHT - HOUR)
    service.is_now(EIGHT + HOUR)
    return service


def test_a_bad_release_of_one_player_comes_out_on_top(usual: Service) -> None:
    """The release has no past of its own; its minutes lead, and of all combinations its name."""
    usual.hour(
        EIGHT, updated=0.5, fails_to_start="app_version = '2.0' AND first_received_at >= '2026-09-21 20:30:00'"
    )
    assert usual.leading() == ("app_version", "tv 2.0", "failures_before_start")
    assert min(row["minute"] for row in usual.minutes() if row["score"]) >= EIGHT + HOUR / 2
    first = usual.combinations()[0]
    assert (first["player_name"], first["app_version"], first["cdn"], first["content_id"]) == (
        None,
        "2.0",
        None,
        None,
    )
    assert first["worst"] == "failures_before_start"
    assert first["share"] > 0.2 > 0.05 > first["rest_share"]


def test_a_cdn_that_is_away_comes_out_on_top(usual: Service) -> None:
    """Half of its plays fail, and most rebuffer: the CDN leads, not what it has in common with others."""
    usual.hour(EIGHT, breaks="cdn = 'east'")
    assert usual.leading()[:2] == ("cdn", "east")
    first = usual.combinations()[0]
    assert (first["cdn"], first["player_name"], first["content_id"]) == ("east", None, None)


def test_slow_starts_of_one_player_come_out_on_top(usual: Service) -> None:
    """No session fails; the phones wait three times as long."""
    usual.hour(EIGHT, is_slow="player_name = 'phone'")
    assert usual.leading() in {
        ("player_name", "phone", "startup_p95_s"),
        ("app_version", "phone 1.0", "startup_p95_s"),
    }
    first = usual.minutes()[0]
    assert first["startup_p95_s"] > 2 * first["hour_before"]["startup_p95_s"]
    assert usual.combinations()[0]["player_name"] == "phone"


def test_each_measure_has_its_own_score(usual: Service) -> None:
    """Starts fail, and nothing else is worse; the highest is the score of the minute."""
    usual.hour(EIGHT, fails_to_start="true")
    row = next(row for row in usual.minutes() if (row["dimension"], row["minute"]) == ("all", after(59)))
    scores = row["scores"]
    assert row["score"] == scores.pop(row["worst"])
    assert row["worst"] == "failures_before_start"
    assert {name for name, score in scores.items() if score} <= {"exits_before_start"}
    assert scores["bufferings"] == 0


def test_starts_that_stop_are_noticed_though_nothing_fails(usual: Service) -> None:
    """Whatever keeps players from starting leaves no session behind: from half past eight there are none."""
    usual.hour(EIGHT, sessions=3_000)
    usual.connection.execute("DELETE FROM session_versions WHERE first_received_at >= '2026-09-21 20:30:00'")
    stopped = {row["minute"] for row in usual.minutes() if row["worst"] == "starts" and row["dimension"] == "all"}
    assert stopped == {after(minute) for minute in range(int((min(stopped) - EIGHT).total_seconds()) // 60, 60)}
    assert after(30) <= min(stopped) <= after(32)


def test_a_quiet_hour_does_not_score(usual: Service) -> None:
    """Nothing changed, and chance alone gives no score, by minute or by combination."""
    usual.hour(EIGHT)
    minutes = usual.minutes()
    assert len({row["minute"] for row in minutes}) == 60
    assert {row["score"] for row in minutes} <= {0, None}
    assert usual.combinations() == []


@pytest.mark.parametrize(("before", "now"), [(6_000, 2_000), (1_500, 4_500)])
def test_the_hours_of_a_day_do_not_score(service: Service, before: int, now: int) -> None:
    """Each evening more people watch, each night fewer: as last week, so nothing is wrong."""
    service.hour(EIGHT - WEEK, sessions=now)
    service.hour(EIGHT - HOUR, sessions=before)
    service.hour(EIGHT, sessions=now)
    service.is_now(EIGHT + HOUR)
    assert {row["score"] for row in service.minutes()} <= {0, None}


def test_a_lake_without_a_past_scores_nothing(service: Service) -> None:
    """Its first hour has nothing to be compared with."""
    service.hour(EIGHT, breaks="true")
    service.is_now(EIGHT + HOUR)
    assert {row["score"] for row in service.minutes()} == {None}


def test_few_sessions_do_not_score(usual: Service) -> None:
    """All 12 sessions of a rare version failed: too few for a row of their own, and for a combination."""
    usual.hour(EIGHT)
    usual.hour(EIGHT, sessions=12, fails_to_start="true")
    usual.connection.execute(
        "UPDATE session_versions SET app_version = '0.1', is_started = false, is_failed = true "
        "WHERE session_id IN (SELECT sha256(concat('4', $1::TIMESTAMPTZ::VARCHAR, n)) FROM range(12) AS r(n))",
        [EIGHT],
    )
    assert usual.ask("SELECT count(*) AS n FROM sessions WHERE app_version = '0.1'") == [{"n": 12}]
    assert {row["score"] for row in usual.minutes()} <= {0, None}
    assert not [row for row in usual.minutes() if "0.1" in str(row["value"])]
    assert usual.combinations() == []


@pytest.mark.parametrize("hour", [EIGHT, EIGHT - WEEK], ids=["now", "a week before"])
def test_a_session_of_another_day_that_gets_a_late_event_was_not_active_all_the_time(
    usual: Service, hour: datetime
) -> None:
    """What a player reports days later makes nothing of the days between; two hours earlier it is one session."""
    usual.hour(EIGHT)
    before = usual.minutes()
    usual.hour(hour - timedelta(days=2), sessions=300)
    late = "UPDATE session_versions SET last_received_at = $1 WHERE first_received_at BETWEEN $2 AND $3"
    usual.connection.execute(late, [hour + HOUR / 2, hour - 3 * HOUR * 24, hour - 24 * HOUR])
    assert usual.minutes() == before
    usual.hour(hour - 2 * HOUR, sessions=300)
    usual.connection.execute(late, [hour + HOUR / 2, hour - 2 * HOUR, hour - HOUR])
    assert usual.minutes() != before


def put(service: Service, *sessions: dict[str, Any]) -> None:
    """Store sessions of 20:00, told by what differs from a play of ten seconds."""
    queries: list[str] = []
    values: list[Any] = []
    for number, told in enumerate(sessions):
        session: dict[str, Any] = {
            "session_id": f"s{number}",
            "version": 1,
            "state": "final",
            "has_start": True,
            "is_started": True,
            "is_failed": False,
            "is_downloaded": False,
            "events": 2,
            "first_received_at": EIGHT,
            "last_received_at": EIGHT + timedelta(seconds=10),
            "startup_s": 1.0,
        }
        session |= told
        queries.append("SELECT " + ", ".join(f"? AS {name}" for name in session))
        values += session.values()
    service.connection.execute(
        f"INSERT INTO session_versions BY NAME {' UNION ALL BY NAME '.join(queries)}", values
    )


def after(minutes: float) -> datetime:
    return EIGHT + timedelta(minutes=minutes)


def test_minutes_count_what_arrived_in_them(service: Service) -> None:
    """20 plays of 2.5 minutes; a failed start and an exit, in the minute they started; a play that failed."""
    long = {"last_received_at": after(2.5)}
    put(
        service,
        *[long] * 20,
        {"is_started": False, "is_failed": True, "last_received_at": after(1.5)},
        {"is_failed": True, "last_received_at": after(2)},
        {"is_started": False, "last_received_at": after(3.9)},
        {"is_downloaded": True, "is_failed": True},
        {"has_start": False, "first_received_at": after(-30), "last_received_at": after(30)},
    )
    service.is_now(after(4))
    rows = sorted((row for row in service.minutes() if row["dimension"] == "all"), key=lambda row: row["minute"])
    names = ("starts", "failures_before_start", "failures_after_start", "exits_before_start", "sessions")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (23, 1, 0, 1, 24),
        (0, 0, 0, 0, 24),
        (0, 0, 1, 0, 23),
        (0, 0, 0, 0, 2),
    ]
    assert [row["startup_p95_s"] for row in rows] == [1.0, None, None, None]


PLACE = {"site": "news", "country": "BE", "device_type": "tv", "channel": "one", "cdn": "fast"}
ANOTHER = {"site": "sport", "country": "PL", "device_type": "phone", "channel": "two", "cdn": "slow"}


def waits(*begun: tuple[float, str]) -> dict[str, Any]:
    """Return the spans of a session that began so many minutes after 20:00."""
    return {
        "spans": [
            {"doing": doing, "started_at": after(minutes), "ended_at": after(minutes + 0.1)}
            | {"head_from_s": 0.0, "head_to_s": 1.0}
            for minutes, doing in begun
        ]
    }


def test_each_dimension_has_its_minutes_and_the_hour_and_the_week_before(service: Service) -> None:
    """By hand: 20 plays of 2.5 minutes of one value, 25 of another, 5 of none; 30 an hour and 40 a week before."""
    now = PLACE | {"last_received_at": after(2.5)}
    hour = PLACE | {"first_received_at": after(-50), "last_received_at": after(-49.5), "startup_s": 3.0}
    week_ago = -7 * 24 * 60
    week = PLACE | {"first_received_at": after(week_ago + 5), "last_received_at": after(week_ago + 6.5)}
    put(
        service,
        *[now | waits((0.2, "buffering"), (0.6, "stalled"), (0.8, "paused"))] * 3,
        *[now | waits((0.5, "buffering"), (1.5, "buffering"))] * 2,
        *[now | waits((1.1, "seeking"), (2.4, "buffering"), (3.1, "stalled"))] * 15,
        *[ANOTHER | {"startup_s": 2.0}] * 25,
        *[{}] * 5,
        *[hour | {"is_started": False, "is_failed": True}] * 6,
        *[hour | {"is_failed": True} | waits((-49.8, "stalled"))] * 4,
        *[hour] * 20,
        *[week | {"is_started": False}] * 10,
        *[week | {"startup_s": 4.0} | waits((week_ago + 6.2, "buffering"))] * 7,
        *[week | {"startup_s": 4.0}] * 23,
    )
    service.is_now(after(3))
    names = ["starts", "failures_before_start", "failures_after_start", "exits_before_start", "bufferings"]
    names += ["startup_p95_s", "sessions"]
    rows = {(row["dimension"], row["value"], row["minute"]): row for row in service.minutes()}
    before = dict(zip(names, (30, 6, 4, 0, 4, 3.0, 30 / 60), strict=True))
    long_before = dict(zip(names, (40, 0, 0, 10, 7, 4.0, 2 * 40 / 60), strict=True))
    nothing = dict(zip(names, (0, 0, 0, 0, 0, None, 0.0), strict=True))
    for name in PLACE:
        assert {value for dimension, value, _ in rows if dimension == name} == {PLACE[name], ANOTHER[name]}
        found = [rows[name, PLACE[name], after(minute)] for minute in range(3)]
        assert [tuple(row[name] for name in names) for row in found] == [
            (20, 0, 0, 0, 5, 1.0, 20),
            (0, 0, 0, 0, 2, None, 20),
            (0, 0, 0, 0, 15, None, 20),
        ]
        assert [(row["hour_before"], row["week_before"]) for row in found] == [(before, long_before)] * 3
        other = rows[name, ANOTHER[name], EIGHT]
        assert (other["starts"], other["bufferings"], other["startup_p95_s"]) == (25, 0, 2.0)
        assert (other["hour_before"], other["week_before"]) == (nothing, None)
    every = rows["all", None, EIGHT]
    assert (every["starts"], every["bufferings"], every["sessions"]) == (50, 5, 50)
    assert (every["hour_before"], every["week_before"]) == (before, long_before)


def test_the_minute_that_is_not_over_is_left_out(service: Service) -> None:
    """The log is at 20:01:59: the minute of 20:01 would look like one with few starts."""
    put(service, *[{}] * 30)
    service.is_now(after(1.99))
    assert {row["minute"] for row in service.minutes()} == {EIGHT}


def test_an_open_session_that_failed_counts_at_once_and_an_exit_when_it_closes(service: Service) -> None:
    """Silence is an exit only when the session has closed; an error is an error."""
    still_open = {"state": "provisional", "is_started": False}
    put(service, *[{}] * 20)
    for number, told in enumerate([{"is_failed": True}, {"is_failed": False}]):
        session = {
            "session_id": f"open{number}",
            "version": 1,
            "has_start": True,
            "is_downloaded": False,
            "events": 1,
        }
        session |= {"first_received_at": EIGHT, "last_received_at": EIGHT} | still_open | told
        named = ", ".join(f"? AS {name}" for name in session)
        service.connection.execute(
            f"INSERT INTO open_sessions_p000 BY NAME SELECT {named}", list(session.values())
        )
    service.is_now(after(1))
    (row,) = [row for row in service.minutes() if row["dimension"] == "all"]
    assert (row["starts"], row["failures_before_start"], row["exits_before_start"]) == (22, 1, 0)


SHARES = [
    ((0, 100, 0, 1_000), None, 0),
    ((1, 20, 10, 1_000), None, 4),  # one of twenty may be chance
    ((10, 20, 10, 1_000), 4, None),
    ((1_000, 100_000, 900, 100_000), None, 0),  # of very many, but hardly worse
    ((19, 19, 0, 1_000), None, None),
    ((20, 20, 0, 99), None, None),
]


@pytest.mark.parametrize(("counts", "above", "below"), SHARES)
def test_a_share_is_worse_by_what_chance_and_drift_do_not_explain(
    service: Service, counts: tuple[int, ...], above: float | None, below: float | None
) -> None:
    """Part and sample, now and before: null if either sample is too small to say."""
    (row,) = service.ask("SELECT share_score(?, ?, ?, ?) AS score", *counts)
    if above is below is None:
        assert row["score"] is None
    else:
        assert (above or -100) < row["score"] < (below or 100)


def test_a_count_is_low_if_far_below_seven_tenths_of_what_was_expected(service: Service) -> None:
    """80 of 100 are not; 20 of 100 are; of 4 expected, none is nothing."""
    (row,) = service.ask("SELECT drop_score(80, 100) AS a, drop_score(20, 100) AS b, drop_score(0, 4) AS c")
    assert row["a"] < 0
    assert row["b"] > 4
    assert row["c"] is None
