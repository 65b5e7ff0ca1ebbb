"""Is anything lost, doubled or invented when everything is killed under load? And would we notice?"""

import secrets
from pathlib import Path

import pytest
from rigs.brokers import Broker, NoBroker, none_to_be_had
from rigs.postgres import NoServer
from soak.run import Plan, soak
from soak.verdict import attached, check_apart

SESSION = "a" * 64
Row = tuple[str, str, str, int, str]  # event id, session, event type, ts, journal value
LINES = [
    ("tried", "1.0", "", "sessionStart", 1000),
    ("acknowledged", "1.0", SESSION, "sessionStart", 1000),
    ("tried", "1.1", SESSION, "play", 2000),
    ("tried", "1.1", SESSION, "play", 2000),
    ("acknowledged", "1.1", SESSION, "play", 2000),
    ("tried", "1.2", SESSION, "ping", 3000),
    ("tried", "1.3", SESSION, "error", 4000),
    ("refused", "1.3", SESSION, "error", 4000),
]
START: Row = ("e0", SESSION, "sessionStart", 1000, "1.0")
PLAY: Row = ("e1", SESSION, "play", 2000, "1.1")
PING: Row = ("e2", SESSION, "ping", 3000, "1.2")


async def test_kills_under_load_lose_double_and_invent_nothing(tmp_path: Path, is_long: bool) -> None:
    """After 15 SIGKILLs, clocks two hours off and a new log, each of 30,000 acknowledged events is there once.

    With this seed, ingest, worker and upkeep are each killed at least twice alone, twice with their children, and
    once beside the new log.
    """
    kills = 30 if is_long else 15
    plan = Plan(events=kills * 1_667, kills=kills, seed=20, clocks=True, events_after_new_log=5_000)
    report = await soak(plan, tmp_path)
    print(report)
    assert report.is_clean, str(report)
    assert report.verdict.acknowledged >= plan.events + 5_000
    assert (report.kills, report.new_logs) == (kills, 1)
    assert report.wrong_clocks >= 3


async def test_ends_under_load_lose_double_and_invent_nothing(tmp_path: Path, kafka: Broker, catalog: str) -> None:
    """Ingests, workers and upkeep that are told to end, three at a time, end in time, and leave all exact."""
    name = f"soak-{secrets.token_hex(4)}"
    servers = {
        "PLAYHEAD_LOG": "kafka",
        "PLAYHEAD_KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "PLAYHEAD_KAFKA_TOPIC": name,
        "PLAYHEAD_KAFKA_GROUP": name,
        "PLAYHEAD_LOG_PARTITIONS": "4",
        "PLAYHEAD_LAKE_CATALOG": catalog,
    }
    plan = Plan(events=2_000, kills=15, seed=3, clients=16, ingests=2, workers=2, gently=True)
    report = await soak(plan, tmp_path, servers=servers)
    print(report)
    assert report.is_clean, str(report)


async def test_kills_of_broker_and_database_lose_nothing_either(tmp_path: Path) -> None:
    """With two ingests and two workers on Kafka and PostgreSQL, where everything is killed, it is the same."""
    try:
        plan = Plan(3_000, 10, 2, 16, ingests=2, workers=2, kafka=True, clocks=True, events_after_new_log=500)
        report = await soak(plan, tmp_path)
    except (NoBroker, NoServer) as reason:
        none_to_be_had([str(reason)])
    else:
        print(report)
        assert report.is_clean, str(report)
        assert report.verdict.acknowledged >= 3_500


@pytest.mark.parametrize(
    ("rows", "lost", "doubled", "invented"),
    [
        ([START, PLAY], 0, 0, 0),
        ([START, PLAY, PING], 0, 0, 0),  # an event that was not answered may be there
        ([START], 1, 0, 0),
        ([START, ("e1", "b" * 64, "play", 2000, "1.1")], 1, 0, 1),  # in another session: lost there, invented here
        ([START, PLAY, ("e9", SESSION, "play", 2000, "1.1")], 0, 1, 0),
        ([START, PLAY, PING, PING], 0, 1, 0),
        ([START, PLAY, ("e1", SESSION, "ping", 3000, "1.2")], 0, 1, 0),  # one event id for two events
        ([START, PLAY, ("e3", SESSION, "error", 4000, "1.3")], 0, 0, 1),  # it was refused
        ([START, PLAY, ("e4", SESSION, "ping", 5000, "9.9")], 0, 0, 1),  # nobody sent it
        ([START, PLAY, ("e2", SESSION, "ping", 3001, "1.2")], 0, 0, 1),  # not as it was sent
        ([START, PLAY, ("e5", SESSION, "ping", 3000, "")], 0, 0, 1),
    ],
)
def test_the_checker_counts_what_is_wrong(
    tmp_path: Path, rows: list[Row], lost: int, doubled: int, invented: int
) -> None:
    """A lake that lacks, repeats or adds an event is not clean, and the checker says in which way."""
    journal = tmp_path / "journal.tsv"
    journal.write_text("".join("\t".join(map(str, line)) + "\n" for line in LINES))
    _make_lake(tmp_path, rows)
    verdict = check_apart(journal, tmp_path)
    assert (verdict.lost, verdict.doubled, verdict.invented) == (lost, doubled, invented)
    assert (verdict.acknowledged, verdict.unanswered, verdict.rows) == (2, 2, len(rows))
    assert len(verdict.examples) == lost + doubled + invented


def _make_lake(data: Path, rows: list[Row]) -> None:
    """Make a lake with nothing but the columns of `events` that the checker reads."""
    (data / "lake").mkdir()
    with attached(data, read_only=False) as connection:
        connection.execute(
            "CREATE TABLE lake.events (event_id VARCHAR, session_id VARCHAR, event_type VARCHAR,"
            " client_ts TIMESTAMPTZ, custom_metadata JSON)"
        )
        connection.executemany(
            "INSERT INTO lake.events VALUES ($1, $2, $3, make_timestamptz($4 * 1000), json_object('journal', $5))",
            rows,
        )
