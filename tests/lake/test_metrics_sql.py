"""The metrics: each view and macro against numbers computed by hand, and the catalogue that names them all."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from msgspec.structs import replace
from rigs.drawn_sessions import events_of, sessions
from rigs.lake import Lake, emptied
from rigs.session_model import make_event

from lake.catalog import connect
from lake.changes import Changes, SessionRow
from lake.dictionary import DICTIONARY, render
from lake.metrics import NOT_MEASURED, parse_subject, read_catalogue
from lake.rows import rows_of, session_rows
from lake.tables import definitions_sql, initialize
from sessions.event import Event
from sessions.fold import fold_all
from sessions.recount import Report

CATALOGUE = read_catalogue()
NOON = datetime(2026, 9, 21, 12, 0, tzinfo=UTC)  # a Monday
NOON_MS = int(NOON.timestamp() * 1000)
SCHEMA = session_rows([]).schema
TABLES = {  # and a column of each
    "events": "event_id",
    "tracking_events": "event_id",
    "quarantine": "reason",
    "session_versions": "session_id",
    "open_sessions_p000": "session_id",
}


class Table:
    """A lake of which a test puts into the tables what it needs."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self._sessions = 0

    def put(self, *sessions: dict[str, Any]) -> None:
        """Put closed sessions into the lake; what is not named is 0, false or unknown."""
        rows = []
        for session in sessions:
            self._sessions += 1
            row = {field.name: _zero(field.type) for field in SCHEMA}
            row |= {"session_id": f"s{self._sessions}", "version": 1, "state": "final", "has_start": True}
            rows.append(row | session)
        self._insert("session_versions", pa.Table.from_pylist(rows, SCHEMA))

    def play(self, *sessions: Sequence[Event]) -> None:
        """Put the events of sessions into the lake, and the sessions that the fold makes of them."""
        events = [event for session in sessions for event in session]
        closed = [SessionRow(fold_all(session), 1, "ended", 0, NOON_MS, len(events)) for session in sessions]
        changes = Changes(0, len(events), events=events, closed=closed)
        for name, rows in rows_of([changes], topic="log").items():
            self._insert(name, rows)

    def _insert(self, table: str, rows: pa.Table) -> None:
        if rows.num_rows:
            self.connection.register("rows", rows)
            self.connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM rows")
            self.connection.unregister("rows")

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the answer's rows."""
        return self.connection.execute(statement).fetchall()

    def metrics(self, names: Iterable[str]) -> dict[str, float | None]:
        """Return these metrics over all sessions."""
        return dict(zip(names, self.ask(f"SELECT {', '.join(names)} FROM metrics")[0], strict=True))

    def metric(self, name: str) -> Any:
        """Return one metric over all sessions."""
        return self.ask(f"SELECT {name} FROM metrics")[0][0]


def _zero(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    if pa.types.is_boolean(kind):
        return False
    if pa.types.is_timestamp(kind):
        return NOON
    return None if pa.types.is_string(kind) or pa.types.is_map(kind) else 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake whose tables held a row once: planning on tables that never did takes 15 times as long."""
    lake = Lake(tmp_path_factory.mktemp("metrics"))
    for table, key in TABLES.items():
        lake.do(f"INSERT INTO {table} ({key}) VALUES ('')", f"DELETE FROM {table}")
    return lake


@pytest.fixture(scope="module")
def connection(place: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with contextlib.closing(connect(place.place, read_only=False, threads=2)) as opened:
        yield opened


@pytest.fixture
def lake(connection: duckdb.DuckDBPyConnection) -> Iterator[Table]:
    with emptied(connection, *TABLES, "start_copies"):
        yield Table(connection)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def span(from_min: float, to_min: float, **more: Any) -> dict[str, Any]:
    """Make a session that lasted from one minute after noon to another."""
    return {
        "started_at": at(from_min),
        "ended_at": at(to_min),
        "start_ts": at(from_min),
        "is_started": True,
    } | more


# ---- definitions side by side


def quality() -> list[dict[str, Any]]:
    """Two plays and one that never began.

    A: join 2, content 80, rebuffering 6 in 2, stall 2 in 1, buffering before the start 1: startup 3, buffer 7.
    B: startup 1 (all join), content 120, no trouble. C: waited 4 s (1 of it buffering) and left.
    """
    a: dict[str, Any] = {
        "is_started": True,
        "startup_s": 3.0,
        "join_s": 2.0,
        "content_time_s": 80.0,
        "rebuffer_time_s": 6.0,
    }
    a |= {"buffer_time_s": 7.0, "buffers": 3, "rebuffers": 2, "stall_time_s": 2.0, "stalls": 1}
    b = {"is_started": True, "startup_s": 1.0, "join_s": 1.0, "content_time_s": 120.0}
    return [a, b, {"join_s": 3.0, "buffer_time_s": 1.0, "buffers": 1, "startup_s": None}]


WAITING: dict[str, float | None] = {
    # stalled 6 + 2; watched 80 + 120 content, 3 + 1 + 4 waiting, 8 stalled = 216
    "rebuffer_ratio_cta2066": 8 / 216,
    "rebuffer_ratio_mux": 8 / 216,
    "rebuffer_ratio_exoplayer": 8 / 216,
    "rebuffer_ratio_newrelic": 8 / 200,
    "rebuffer_ratio_adobe": (7 + 1) / 200,
    "stall_ratio_adobe": 2 / 200,
    "rebuffer_ratio_infinite_streaming": 8 / 208,
    "wait_ratio_exoplayer": (3 + 1 + 4 + 8) / 216,
    "rebuffers_per_session_cta2066": 3 / 3,
    "rebuffers_per_second_exoplayer": 3 / 200,
    "rebuffers_per_minute_mux": 60 * 3 / 216,
    "rebuffers_per_hour": 3600 * 3 / 200,
    "time_between_rebuffers_s_exoplayer": 200 / 3,
    "watched_s": 216,
    "stalled_s": 8,
    "rebuffer_over_1_pct_ratio": 1 / 2,  # of those that started
    "rebuffer_by_stall_ratio": 2 / 8,
    # n = 3, ratio 8 / 91 in A; n = 0 in B: 100; C never started
    "smoothness_score_mux": ((50 / 3.25**0.5 + 50 * 2.718281828459045 ** (-80 / 91)) + 100) / 2,
    "buffer_impacted_ratio_adobe": 2 / 3,
    "stall_impacted_ratio_adobe": 1 / 3,
    # C has no startup: left out, not zero
    "startup_s_mean_cta2066": 2.0,
    "startup_s_median_newrelic": 2.0,
    "startup_s_p75_newrelic": 2.5,
    "startup_s_p95_newrelic": 2.9,
    "startup_s_median_mux": 2.0,
    "startup_score_mux": (800 / 11 + 800 / 9) / 2,
}


def test_waiting_by_every_source(lake: Table) -> None:
    """The same three sessions, by the definition of each source; the arithmetic is next to the sessions."""
    lake.put(*quality())
    assert lake.metrics(WAITING) == pytest.approx(WAITING)


def test_watch_time_includes_ads_for_mux_alone(lake: Table) -> None:
    """Mux's playing time is of content or ads: 90 s of content, 30 s of ads, 6 s of rebuffering, 4 s to start."""
    lake.put(
        {
            "is_started": True,
            "content_time_s": 90.0,
            "ad_time_s": 30.0,
            "startup_s": 4.0,
            "rebuffer_time_s": 6.0,
            "rebuffers": 2,
        }
    )
    by_hand = {
        "rebuffer_ratio_mux": 6 / (90 + 30 + 4 + 6),
        "rebuffers_per_minute_mux": 60 * 2 / (90 + 30 + 4 + 6),
        "smoothness_score_mux": 50 / 2**0.5 + 50 * 2.718281828459045 ** (-10 * 6 / 130),
        "rebuffer_ratio_exoplayer": 6 / (90 + 4 + 6),  # an ad is a playback of its own
        "rebuffer_ratio_cta2066": 6 / (90 + 4 + 6),
    }
    assert lake.metrics(by_hand) == pytest.approx(by_hand)


def test_buffering_after_a_seek_is_rebuffering_for_neither_exoplayer_nor_mux(lake: Table) -> None:
    """PlaybackStats has a state of its own for it, and Mux leaves seeking out: 4 of 10 s, 1 of 3 of them."""
    lake.put(
        {
            "is_started": True,
            "content_time_s": 90.0,
            "startup_s": 0.0,
            "rebuffer_time_s": 10.0,
            "rebuffers": 3,
            "seek_buffer_time_s": 4.0,
            "seek_buffers": 1,
            "ad_time_outside_breaks_s": 20.0,
        }
    )
    by_hand = {
        "rebuffer_ratio_exoplayer": 6 / 100,
        "rebuffers_per_second_exoplayer": 2 / 90,
        "time_between_rebuffers_s_exoplayer": 90 / 2,
        "rebuffer_by_seek_ratio": 4 / 10,
        "rebuffer_ratio_mux": 6 / 120,  # an ad outside of breaks is watched, too
        "rebuffers_per_minute_mux": 60 * 2 / 120,
        "smoothness_score_mux": 50 / 2**0.5 + 50 * 2.718281828459045 ** (-10 * 6 / 120),
        "rebuffer_ratio_cta2066": 10 / 100,
    }
    assert lake.metrics(by_hand) == pytest.approx(by_hand)


def test_a_session_whose_startup_is_unknown_counts_with_what_is_known_of_it(lake: Table) -> None:
    """Its rebuffering is not divided by the watch time of the others alone."""
    lake.put(
        {"is_started": True, "content_time_s": 95.0, "startup_s": None, "rebuffer_time_s": 5.0},
        {"is_started": True, "content_time_s": 99.0, "startup_s": 1.0},
    )
    assert lake.metric("rebuffer_ratio_cta2066") == pytest.approx(5 / 200)
    assert lake.metric("startup_s_mean_cta2066") == 1.0


def test_exoplayer_counts_every_playback_that_was_never_ready(lake: Table) -> None:
    """PlaybackStats: played and paused ones were ready; one that failed and one that was left were not."""
    long = {"started_at": NOON, "ended_at": at(1)}
    played, paused = {"is_started": True} | long, {"pauses": 1} | long
    lake.put(played, paused, {"is_failed": True} | long, long)
    assert lake.metric("abandoned_before_ready_ratio_exoplayer") == 2 / 4


def test_ratios_are_ratios_of_sums(lake: Table) -> None:
    """10 of 10 s stalled and 0 of 990: 10 / 1000, not the mean of 100 % and 0 %."""
    lake.put({"rebuffer_time_s": 10.0, "startup_s": None}, {"content_time_s": 990.0, "startup_s": None})
    assert lake.metric("rebuffer_ratio_mux") == pytest.approx(0.01)


def test_a_preroll_ad_is_the_first_frame_for_mux_alone(lake: Table) -> None:
    """The ad began after 1 s, content after 4 s of waiting (ads left out)."""
    ad = dict.fromkeys([field.name for field in SCHEMA.field("ads").type.value_type]) | {"started_at": at(1 / 60)}
    lake.put({"is_started": True, "startup_s": 4.0, "ads": [ad], "started_at": NOON, "ended_at": at(1)})
    assert (lake.metric("startup_s_median_mux"), lake.metric("startup_s_median_newrelic")) == (1, 4)


def outcomes() -> list[dict[str, Any]]:
    """Ten attempts: 6 plays (1 failed, 3 completed), 1 failed start, 3 exits, of which one within 1 s.

    And an open session, a session without a start, and a resumed play (7th play), which is no media start.
    """
    long = {"started_at": NOON, "ended_at": at(1)}
    play = {"is_started": True, "length_s": 100.0} | long
    return [
        *[play | {"is_completed": True, "unique_played_s": 100.0}] * 2,
        play | {"is_completed": True, "unique_played_s": 1.0},  # jumped to the end
        play | {"unique_played_s": 99.0},  # watched, but said nothing at the end
        play | {"unique_played_s": 20.0},
        play | {"is_failed": True, "unique_played_s": 20.0},
        {"is_failed": True} | long,
        *[long] * 2,
        {"started_at": NOON, "ended_at": at(0.5 / 60)},
        play | {"is_resumed": True, "unique_played_s": 50.0},
        {"state": "provisional"} | long,
        {"has_start": False} | long,
    ]


OUTCOMES: dict[str, float | None] = {
    "sessions": 13,
    "open_sessions": 1,
    "media_starts_adobe": 11,  # 10 attempts and the open one
    "content_starts_adobe": 7,
    "content_completes_adobe": 3,
    "start_failure_ratio_conviva": 1 / 11,  # of closed sessions with a start
    "playback_failure_ratio_conviva": 1 / 7,  # of closed plays
    "playback_failure_ratio_mux": 1 / 11,
    "playback_failure_ratio_cta2066": 2 / 11,
    "success_ratio_pillarbox": 9 / 11,
    "exit_before_start_ratio_conviva": 3 / 11,
    "exit_before_start_ratio_mux": 2 / 10,
    "abandoned_before_ready_ratio_exoplayer": 4 / 11,  # the failed start was never ready
    "drop_before_start_ratio_adobe": 4 / 10,  # errors too; of media starts
    "preroll_drop_ratio_adobe": 4 / 10,
    "playback_success_score_mux": (6 * 100 + 2 * 0 + 2 * 50) / 10,
    "completion_ratio_adobe_content": 3 / 7,
    "completion_ratio_adobe_media": 3 / 10,
    "completion_ratio_snowplow": 3 / 7,  # 100, 100 and 99 of 100 s
    "watched_ratio": (100 + 100 + 1 + 99 + 20 + 20 + 50) / 700,
    "watched_ratio_mean_snowplow": (1 + 1 + 0.01 + 0.99 + 0.2 + 0.2 + 0.5) / 7,
}


def test_failures_and_completion_by_every_source(lake: Table) -> None:
    """The same 13 sessions, by each source's set and denominator."""
    lake.put(*outcomes())
    assert lake.metrics(OUTCOMES) == pytest.approx(OUTCOMES)


TIMES: dict[str, float | None] = {
    "content_time_s": 3600 + 900,
    "media_time_s": 3700 + 900,
    "estimated_streams_adobe": 3 + 1,  # floor(3700 / 1800) + 1, floor(900 / 1800) + 1
    "average_minute_audience_adobe": 3600 / 1800 + 900 / 1800,
    "content_time_per_content_start_s_adobe": 4500 / 2,
    "content_time_s_median": 2250,
    "media_time_per_media_start_s_adobe": 4600 / 2,
    "average_bitrate_bps_adobe": (1e6 * 3600 + 5e6 * 900) / 4500,
    "average_bitrate_bps_median": 3e6,
    "ad_completion_ratio_adobe": 3 / 4,
    "ad_skip_ratio": 0 / 4,
    "ad_abort_ratio": 1 / 4,
    "ad_breaks": 5,
    "ad_break_left_ratio": 2 / 5,
    "ads_outside_breaks": 2,
    "ad_time_outside_breaks_s": 25,
    "identified_ratio": 1 / 2,
    "consent_denied_ratio": 1 / 2,
    "ads_per_media_start_adobe": 4 / 2,
    "ad_time_per_ad_s_adobe": 100 / 4,
    "ad_rate_adobe": 100 / 4500,
    "pause_rate_adobe": 45 / 4500,
    "pause_impacted_ratio_adobe": 1 / 2,
    "time_to_start_rate_adobe": 0.9 / 900,  # the session that does not report it is in neither sum
    "time_to_start_ms_median_adobe": 900,
    "dropped_frames_impacted_ratio_adobe": 1.0,  # of those that report them
    "bitrate_changes": 2,
    "bitrate_change_impacted_ratio_adobe": 1 / 2,
    "chapter_completion_ratio_adobe": None,  # no chapter, no ratio
    "errors": 2,
    "error_impacted_ratio_adobe": 1 / 2,
    "pause_time_s": 45,
    "unique_played_s": 1000,
}


def test_time_ads_and_picture(lake: Table) -> None:
    """An hour and a quarter of an hour of half-hour content."""
    one: dict[str, Any] = {
        "content_time_s": 3600.0,
        "ad_time_s": 100.0,
        "media_time_s": 3700.0,
        "average_bitrate_bps": 1e6,
    }
    one |= {"ads_aborted": 1, "ad_breaks": 5, "ad_breaks_completed": 3} | {"user_id": "u", "consent": "given"}
    one |= {"ads_started": 4, "ads_completed": 3, "pauses": 1, "pause_time_s": 45.0, "dropped_frames": None}
    one |= {"bitrate_changes": 2, "errors": 2, "unique_played_s": 1000.0, "time_to_start_ms": None}
    two: dict[str, Any] = {
        "content_time_s": 900.0,
        "media_time_s": 900.0,
        "average_bitrate_bps": 5e6,
        "time_to_start_ms": 900,
    }
    two |= {"ads_outside_break": 2, "ad_time_outside_breaks_s": 25.0, "consent": "denied"}
    shared = {"is_started": True, "length_s": 1800.0, "startup_s": 1.0}
    lake.put(one | shared, two | shared | {"dropped_frames": 4})
    assert lake.metrics(TIMES) == pytest.approx(TIMES)


def test_every_metric_has_a_hand_computed_test() -> None:
    """Each metric, view and macro is named in this file, or in one of those below."""
    names = ("watching", "health", "metrics_by", "meanings", "rollups")
    files = (Path(__file__).with_name(f"test_{name}.py") for name in names)
    source = "".join([Path(__file__).read_text(), *(file.read_text() for file in files)])
    plain = {"ad_time_s", "ads_started", "startup_s_p95_mux"}  # sums of columns, and one percentile of the pair
    assert [
        metric.name for metric in CATALOGUE.metric if f'"{metric.name}"' not in source and metric.name not in plain
    ] == []
    objects = re.findall(r"CREATE OR REPLACE (?:VIEW|MACRO) (\w+)(?: AS|.* AS TABLE)\n", definitions_sql())
    assert [name for name in objects if not re.search(rf"\b{name}\b", source)] == []


def test_retried_starts_count_in_nothing(lake: Table) -> None:
    """The start that nobody used is shown as such, and not counted."""
    viewing = {"user_id": "u", "has_start": True}
    lake.put(viewing | {"session_id": "used", "events": 5}, viewing | {"session_id": "not", "events": 1})
    lake.connection.execute("INSERT INTO start_copies VALUES ('not'), ('used')")
    assert (lake.metric("sessions"), lake.metric("media_starts_adobe")) == (1, 1)
    assert lake.ask("SELECT session_id FROM counted_sessions") == [("used",)]
    assert lake.ask("SELECT session_id FROM retried_starts") == [("not",)]
    assert lake.ask("SELECT sessions FROM viewers") == [(1,)]


def test_breakdowns_group_the_same_metrics(lake: Table) -> None:
    """By content, player, channel, version, day and window: each the same columns over its own sessions."""
    lake.put(
        span(0, 1, content_id="a", content_name="A", player_name="tv", channel="x", app_version="1", user_id="u"),
        span(0, 1, content_id="a", content_name="A", player_name="tv", channel="y", app_version="2", user_id="u"),
        span(1440, 1441, content_id="b", player_name="web", channel="y", app_version="2", startup_s=2.0),
    )
    for view, columns, expected in [
        ("metrics_by_content", "content_id, content_name", [("a", "A", 2, 1), ("b", None, 1, 0)]),
        ("metrics_by_player", "player_name", [("tv", 2, 1), ("web", 1, 0)]),
        ("metrics_by_channel", "channel", [("x", 1, 1), ("y", 2, 1)]),
        (
            "metrics_by_app_version",
            "app_version, player_name",
            [("1", "tv", 1, 1), ("2", "tv", 1, 1), ("2", "web", 1, 0)],
        ),
        ("metrics_by_day", "day::DATE::VARCHAR", [("2026-09-21", 2, 1), ("2026-09-22", 1, 0)]),
    ]:
        assert lake.ask(f"SELECT {columns}, sessions, known_viewers FROM {view} ORDER BY ALL") == expected
    asked = (
        "SELECT sessions, startup_s_median_newrelic FROM metrics_between('2026-09-22'::DATE, '2026-09-23'::DATE)"
    )
    assert lake.ask(asked) == [(1, 2)]


# ---- how many at once


def test_concurrency_by_minute(lake: Table) -> None:
    """A, 0:30 to 2:10, and B, 1:00 to 1:30, are one viewer's; C, unknown, never started, 1:59.5 to 2:00.5."""
    lake.put(
        span(0.5, 2 + 1 / 6, user_id="u"),
        span(1, 1.5, user_id="u"),
        span(2 - 0.5 / 60, 2 + 0.5 / 60, is_started=False),
    )
    asked = "SELECT sessions, viewers, plays_max FROM concurrency_between({}, {}) ORDER BY minute"
    whole = lake.ask(asked.format(f"TIMESTAMPTZ '{at(-1)}'", f"TIMESTAMPTZ '{at(4)}'"))
    assert whole == [(0, 0, 0), (1, 1, 1), (3, 2, 2), (2, 2, 1), (0, 0, 0)]
    assert lake.ask(asked.format(f"TIMESTAMPTZ '{at(1)}'", f"TIMESTAMPTZ '{at(2)}'")) == [(3, 2, 2)]
    newest = lake.ask("SELECT minute, sessions FROM concurrency_by_minute ORDER BY minute DESC LIMIT 2")
    assert newest == [(at(2), 2), (at(1), 3)]
    assert lake.ask("SELECT count(*) FROM concurrency_by_minute") == [(24 * 60 + 1,)]


def told(*rows: tuple[float, str, float], **more: Any) -> list[Event]:
    """Make the events of one session from (seconds after noon, type, playhead)."""
    params = {"media.id": "film", "media.length": 600.0, "media.contentType": "vod"} | more.pop("start", {})
    return [
        make_event(
            name,
            ts=NOON_MS + round(second * 1000),
            offset=offset,
            playhead_s=playhead,
            params=params if name == "sessionStart" else None,
            **more,
        )
        for offset, (second, name, playhead) in enumerate(rows)
    ]


def test_the_average_minute_counts_playing_alone(lake: Table) -> None:
    """Plays 30 -> 90 and 105 -> 120, an ad break to 135, plays to 150: 30 s, 30 + 15 s, 15 s of three minutes."""
    rows = [(0.0, "sessionStart", 0.0), (30.0, "play", 0.0), (90.0, "pauseStart", 60.0), (105.0, "play", 60.0)]
    rows += [(120.0, "adBreakStart", 75.0), (120.0, "adStart", 75.0), (135.0, "adBreakComplete", 75.0)]
    lake.play(told(*rows, (150.0, "sessionEnd", 90.0)))
    asked = f"SELECT average_audience FROM audience_by_minute(TIMESTAMPTZ '{NOON}', TIMESTAMPTZ '{at(4)}')"
    assert lake.ask(asked) == [(0.5,), (0.75,), (0.25,), (0,)]
    assert lake.ask("SELECT content_time_s FROM sessions") == [((0.5 + 0.75 + 0.25) * 60,)]
    other = f"FROM audience_by_minute(TIMESTAMPTZ '{NOON}', TIMESTAMPTZ '{at(1)}', content := 'another')"
    assert lake.ask(other) == [(NOON, 0)]


def live(channel: str) -> dict[str, Any]:
    """Make what a sessionStart says of a live stream."""
    return {
        "media.id": f"{channel} live",
        "media.channel": channel,
        "media.contentType": "live",
        "media.length": -1,
    }


def test_the_audience_of_programmes_is_what_was_played_in_their_slots(lake: Table) -> None:
    """On the channel, a plays 0:30 -> 1:30 and 1:45 -> 2:30, b 0:50 -> 1:10; on another one, c plays throughout.

    The news, 0:00 to 1:00: 30 + 10 = 40 s of 60. The weather, 1:00 to 2:30: 30 + 45 + 10 = 85 s of 90.
    Sports, 3:00 to 4:00: nobody.
    """
    a = [(0.0, "sessionStart", 0.0), (30.0, "play", 0.0), (90.0, "pauseStart", 60.0), (105.0, "play", 60.0)]
    b = [(50.0, "sessionStart", 50.0), (50.0, "play", 50.0), (70.0, "sessionEnd", 70.0)]
    c = [(0.0, "sessionStart", 0.0), (0.0, "play", 0.0), (60.0, "ping", 60.0), (120.0, "sessionEnd", 120.0)]
    lake.play(
        told(*a, (150.0, "sessionEnd", 105.0), session_id="a", start=live("one")),
        told(*b, session_id="b", start=live("one")),
        told(*c, session_id="c", start=live("two")),
    )
    slots = ", ".join(
        f"{{programme: '{name}', since: TIMESTAMPTZ '{at(since)}', until: TIMESTAMPTZ '{at(until)}'}}"
        for name, since, until in [("news", 0, 1), ("weather", 1, 2.5), ("sports", 3, 4)]
    )
    asked = f"FROM programme_audience([{slots}], on_channel := 'one')"
    assert lake.ask(asked) == [
        ("news", at(0), at(1), 2, 2, 40, 40 / 60),
        ("weather", at(1), at(2.5), 2, 2, 85, 85 / 90),
        ("sports", at(3), at(4), 0, 0, 0, 0),
    ]
    other = f"SELECT programme, average_audience FROM programme_audience([{slots}], content := 'two live')"
    assert lake.ask(other) == [("news", 1), ("weather", 60 / 90), ("sports", 0)]
    everybody = f"SELECT viewers, played_s FROM programme_audience([{slots}])"
    assert lake.ask(everybody) == [(3, 100), (3, 145), (0, 0)]


def test_one_viewer_with_two_sessions_is_one_viewer_of_a_programme(lake: Table) -> None:
    """Two sessions of u, and one of nobody known: three sessions, two viewers; each plays the whole minute."""
    rows = [(0.0, "sessionStart", 0.0), (0.0, "play", 0.0), (60.0, "sessionEnd", 60.0)]
    known = {"start": {"analytics.visitorId": "u"}, "consent": "given"}
    lake.play(*(told(*rows, session_id=name, **more) for name, more in [("a", known), ("b", known), ("c", {})]))
    slot = f"{{programme: 'p', since: TIMESTAMPTZ '{at(0)}', until: TIMESTAMPTZ '{at(1)}'}}"
    asked = f"SELECT sessions, viewers, average_audience FROM programme_audience([{slot}])"
    assert lake.ask(asked) == [(3, 2, 3)]


def test_a_long_silence_is_audience_only_where_the_playhead_bears_it_out(lake: Table) -> None:
    """100 s without an event, the playhead 100 s on: played, but of a live stream, whose playhead is the clock."""
    rows = [(0.0, "sessionStart", 0.0), (0.0, "play", 0.0), (100.0, "ping", 100.0), (120.0, "sessionEnd", 120.0)]
    lake.play(told(*rows, session_id="a"), told(*rows, session_id="b", start=live("one")))
    assert lake.ask("SELECT content_time_s FROM sessions ORDER BY session_id") == [(120,), (20,)]
    asked = "SELECT sum(average_audience) * 60 FROM audience_by_minute(TIMESTAMPTZ '{}', TIMESTAMPTZ '{}'{})"
    assert lake.ask(asked.format(at(0), at(2), ", content := 'film'")) == [(120,)]
    assert lake.ask(asked.format(at(0), at(2), ", content := 'one live'")) == [(20,)]


def test_who_stands_at_the_end_is_no_audience(lake: Table) -> None:
    """30 s of content, played in 30 s; then a minute of pings at its end."""
    rows = [
        (0.0, "sessionStart", 0.0),
        (0.0, "play", 0.0),
        *((n, "ping", min(n, 30.0)) for n in range(10, 91, 10)),
    ]
    lake.play(told(*rows, start={"media.length": 30.0}))
    asked = f"SELECT average_audience FROM audience_by_minute(TIMESTAMPTZ '{at(0)}', TIMESTAMPTZ '{at(2)}')"
    assert lake.ask(asked) == [(0.5,), (0,)]


def test_silence_is_no_concurrency(lake: Table) -> None:
    """A device sleeps for six hours while it plays: of 361 minutes it is active in two."""
    hours = 6 * 3600.0
    lake.play(told((0.0, "sessionStart", 0.0), (0.0, "play", 0.0), (10.0, "ping", 10.0), (hours, "ping", 11.0)))
    asked = f"FROM concurrency_between(TIMESTAMPTZ '{at(0)}', TIMESTAMPTZ '{at(361)}')"
    assert lake.ask(f"SELECT count(*), sum(sessions), sum(viewers), sum(plays_max) {asked}") == [(361, 2, 2, 1)]
    assert lake.ask(f"SELECT minute {asked} WHERE sessions > 0") == [(at(0),), (at(360),)]


EVER = "TIMESTAMPTZ '2000-01-01', TIMESTAMPTZ '2100-01-01'"


def drawn_sessions() -> list[list[Event]]:
    """Draw nearly any sequences of events, as sessions of one log."""
    drawn: list[list[Event]] = []

    @settings(max_examples=400, database=None, deadline=None)
    @given(reports=sessions())
    def draw(reports: list[Report]) -> None:
        name = f"s{len(drawn):05}"
        first = 100 * len(drawn)
        drawn.append(
            [
                replace(event, session_id=name, event_id=f"{name}.{event.event_id}", offset=first + event.offset)
                for event in events_of(reports)
            ]
        )

    draw()
    return drawn


def test_the_timeline_does_what_the_fold_counted(lake: Table) -> None:
    """Over 400 drawn sessions: each plays, waits, pauses, stalls, idles and is silent as long as its row says."""
    lake.play(*drawn_sessions())
    lake.connection.execute(f"CREATE OR REPLACE TEMP TABLE timeline AS FROM timeline_between({EVER})")
    counted = {
        "content_time_s": "'playing'",
        "join_s": "'joining'",
        "ad_time_s": "'ad'",
        "ad_time_outside_breaks_s": "'ad_outside'",
        "pause_time_s": "'paused', 'ad_paused'",
        "buffer_time_s": "'buffering', 'ad_buffering'",
        "stall_time_s": "'stalled'",
        "gap_s": "'unknown'",
        "idle_s": "'idle'",
    }
    for number, doing in counted.items():
        told = f"coalesce(sum(passed_s) FILTER (doing IN ({doing})), 0)"
        timed = f"SELECT session_id, {number} AS counted_s, {told} AS told_s "
        timed += "FROM sessions LEFT JOIN timeline USING (session_id) GROUP BY ALL"
        assert lake.ask(f"SELECT * FROM ({timed}) WHERE abs(counted_s - told_s) > 0.001") == []


def test_how_far_seeks_went(lake: Table) -> None:
    """Of 600 s of content, event by event, with what was played meanwhile:

    60 -> 200 in a pause: 140. 200 -> 210 in 10 s of playing: none. 210 -> 110 in 10 s: back by 100.
    110 -> 150 in 10 s: 40. 150 -> 0 -> 152 in 2 s: a slip, none. 152 -> 700 in 10 s, past the end: 548.
    The last event's playhead may be a slip: none.
    """
    lake.play(
        told(
            *[(0.0, "sessionStart", 0.0), (0.0, "play", 0.0), (60.0, "pauseStart", 60.0), (70.0, "play", 200.0)],
            *[(80.0, "ping", 210.0), (90.0, "ping", 110.0), (100.0, "ping", 150.0), (101.0, "ping", 0.0)],
            *[(102.0, "ping", 152.0), (112.0, "ping", 700.0), (122.0, "ping", 710.0), (132.0, "ping", 5.0)],
        )
    )
    asked = "SELECT seek_at, from_s, to_s, distance_s FROM seeks_between(TIMESTAMPTZ '{}', TIMESTAMPTZ '{}'{})"
    seeks = [
        (at(70 / 60), 60, 200, 140),
        (at(90 / 60), 210, 110, -100),
        (at(100 / 60), 110, 150, 40),
        (at(112 / 60), 152, 700, 548),
    ]
    assert lake.ask(asked.format(at(0), at(3), "")) == seeks
    assert lake.ask("SELECT seeks FROM sessions") == [(4,)]
    assert lake.ask(asked.format(at(80 / 60), at(100 / 60), ", content := 'film'")) == seeks[1:2]
    assert lake.ask(asked.format(at(0), at(3), ", content := 'another'")) == []


def test_a_live_playhead_passes_midnight_without_a_seek(lake: Table) -> None:
    """86,395 -> 5 in 10 s is playing; 5 -> 86,200 in 10 s is back to yesterday, by 205 s."""
    rows = [
        (0.0, "sessionStart", 86_395.0),
        (0.0, "play", 86_395.0),
        (10.0, "ping", 5.0),
        (20.0, "ping", 86_200.0),
    ]
    lake.play(told(*rows, (30.0, "sessionEnd", 86_210.0), start=live("one")))
    assert lake.ask(f"SELECT from_s, to_s, distance_s FROM seeks_between({EVER})") == [(5, 86_200, -205)]


# ---- start, and how far


def test_the_start_funnel_says_who_reached_what_and_where_they_ended(lake: Table) -> None:
    """Six: one never started, one under 10 %, one at 10, one at 50, one at 95, one completed after a jump."""
    film = {"content_id": "film", "length_s": 100.0}
    play = film | {"is_started": True}
    lake.put(
        film,
        *[play | {"progress_pct": pct} for pct in (0, 10, 50, 95)],
        play | {"progress_pct": 25, "is_completed": True},
        play | {"progress_pct": None},  # its length is not known: in no step
        play | {"progress_pct": 95, "state": "provisional"},  # not over yet
        {"content_id": "other", "is_started": True, "progress_pct": 10},
    )
    asked = "SELECT step, sessions, ended_here, reached_ratio * 6 FROM start_funnel_of('film')"
    assert lake.ask(asked) == [
        ("intent", 6, 1, 6),
        ("first frame", 5, 1, 5),
        ("10 %", 4, 1, 4),
        ("25 %", 3, 0, 3),
        ("50 %", 2, 1, 2),
        ("75 %", 1, 0, 1),
        ("95 %", 1, 1, 1),
        ("complete", 1, 1, 1),
    ]
    assert lake.ask("SELECT sessions FROM start_funnel WHERE step IN ('intent', '10 %')") == [(7,), (5,)]


def test_where_people_leave_is_the_bucket_of_their_last_playhead(lake: Table) -> None:
    """Of four plays one completed, two left in the first minute, one in the third."""
    play = {"content_id": "film", "is_started": True, "length_s": 600.0}
    lake.put(*[play | {"last_playhead_s": head} for head in (5.0, 59.9, 120.0)], play | {"is_completed": True})
    assert lake.ask("FROM leaving_points('film')") == [(0, 2, 0.5), (120, 1, 0.25)]
    assert lake.ask("SELECT from_s FROM leaving_points('film', bucket_s := 5)") == [(5,), (55,), (120,)]


def test_retention_and_heat_of_a_content(lake: Table) -> None:
    """25 s of content: one played 0-25 and 10-15 again, one 0-10, one 5-10; a fourth started and played nothing.

    0-10: 10 + 10 + 5 = 25 s of 10: 2.5 plays. 10-20: 10 + 5 again = 15 of 10. 20-25: 5 of 5 s. By 4 starts.
    """
    film = {"content_id": "film", "is_started": True, "length_s": 25.0}

    def piece(start: float, end: float, passes: int = 1) -> dict[str, Any]:
        return {"start_s": start, "end_s": end, "passes": passes}

    lake.put(
        film | {"played_intervals": [piece(0, 10), piece(10, 15, 2), piece(15, 25)]},
        film | {"played_intervals": [piece(0, 10)]},
        film | {"played_intervals": [piece(5, 10)]},
        film,
    )
    columns = "from_s, to_s, sessions, plays, absolute_retention_ratio, unique_retention_ratio"
    assert lake.ask(f"SELECT {columns} FROM retention('film')") == [
        (0, 10, 3, 2.5, 2.5 / 4, 2.5 / 4),
        (10, 20, 1, 1.5, 1.5 / 4, 1 / 4),
        (20, 25, 1, 1, 1 / 4, 1 / 4),
    ]
    assert lake.ask("SELECT heat_ratio FROM heat_map('film')") == [(1,), (0.6,), (0.4,)]
    assert lake.ask("SELECT sessions FROM retention('film', bucket_s := 5)") == [(2,), (3,), (1,), (1,), (1,)]
    assert lake.ask("FROM retention('nothing')") == []


def test_retention_against_contents_of_similar_length(lake: Table) -> None:
    """100 s of film, two starts: one played all, one the first quarter twice: 3, 1, 1 and 1 plays by 2 starts.

    Of similar length, from 80 to 125 s, are two others. The one of 80 s: one start, the first half: 1, 1, 0, 0.
    The one of 125 s: two starts, one played all: 0.5 throughout. Their mean: 0.75, 0.75, 0.25, 0.25.
    """

    def play(content: str, length_s: float, *pieces: tuple[float, float, int]) -> dict[str, Any]:
        played = [dict(zip(("start_s", "end_s", "passes"), piece, strict=True)) for piece in pieces]
        return {"content_id": content, "is_started": True, "length_s": length_s, "played_intervals": played}

    lake.put(
        play("film", 100.0, (0, 100, 1)),
        play("film", 100.0, (0, 25, 2)),
        play("shorter", 80.0, (0, 40, 1)),
        play("longer", 125.0, (0, 125, 1)),
        play("longer", 125.0),
        play("too long", 126.0, (0, 126, 9)),
        play("too short", 79.0, (0, 79, 9)),
        play("stream", 100.0, (0, 100, 9)) | {"is_live": True},
        {"content_id": "never played", "length_s": 100.0},
    )
    asked = "FROM relative_retention('{}', buckets := 4{})"
    assert lake.ask(asked.format("film", "")) == [
        (0, 0.25, 1.5, 2, 0.75, 2, 1),  # above both
        (0.25, 0.5, 0.5, 2, 0.75, 0.5 / 0.75, 0.25),  # below one, as the other
        (0.5, 0.75, 0.5, 2, 0.25, 2, 0.75),  # above one, as the other
        (0.75, 1, 0.5, 2, 0.25, 2, 0.75),
    ]
    columns = "SELECT similar_contents, relative_retention_ratio, rank_ratio "
    assert lake.ask(columns + asked.format("film", ", length_factor := 1.1")) == [(0, None, None)] * 4
    assert lake.ask(columns + asked.format("stream", "")) == []
    assert len(lake.ask("FROM relative_retention('film')")) == 100


# ---- ads and errors


def test_ad_delivery_by_ad_and_by_break(lake: Table) -> None:
    """Ad x (30 s): completed 30, skipped 5, aborted 10; ad y of unknown length once; one break without ads."""

    def ad(name: str, outcome: str, time_s: float, length_s: float | None) -> dict[str, Any]:
        rest = dict.fromkeys([field.name for field in SCHEMA.field("ads").type.value_type])
        return rest | {"ad_id": name, "outcome": outcome, "time_s": time_s, "length_s": length_s}

    def ad_break(index: int, ads: int) -> dict[str, Any]:
        rest = dict.fromkeys([field.name for field in SCHEMA.field("breaks").type.value_type])
        return rest | {"index": index, "offset_s": 0.0, "ads": ads, "outcome": "completed", "time_s": 20.0}

    lake.put(
        {"ads": [ad("x", "completed", 30, 30), ad("x", "skipped", 5, 30)], "breaks": [ad_break(1, 2)]},
        {
            "ads": [ad("x", "aborted", 10, 30), ad("y", "open", 1, None)],
            "breaks": [ad_break(1, 2), ad_break(2, 0)],
        },
    )
    columns = "ad_id, starts, sessions, completes, skips, aborted, open, completion_ratio, time_s, played_ratio"
    assert lake.ask(f"SELECT {columns} FROM ad_delivery ORDER BY ad_id") == [
        ("x", 3, 2, 1, 1, 1, 0, 1 / 3, 45, 45 / 90),
        ("y", 1, 1, 0, 0, 0, 1, 0, 1, None),
    ]
    columns = "break_index, breaks, empty_breaks, ads, completed, time_per_break_s"
    assert lake.ask(f"SELECT {columns} FROM ad_break_delivery ORDER BY 1") == [
        (1, 2, 0, 4, 2, 20),
        (2, 1, 1, 0, 1, 20),
    ]


def test_how_far_each_ad_played_and_what_failed_in_it(lake: Table) -> None:
    """Error E came as the first ad ended, so not in the second, which began right then.

    One that completed reached its end whatever the clock says. Unknown: one without length, and one that is open,
    unless its session fell silent and closed.
    """

    def ad(name: str, minutes: tuple[float, float], **known: Any) -> dict[str, Any]:
        rest = dict.fromkeys([field.name for field in SCHEMA.field("ads").type.value_type])
        began, ended = (at(minute) for minute in minutes)
        return rest | {"ad_id": name, "length_s": 60.0, "started_at": began, "ended_at": ended} | known

    error = {"at": at(1), "playhead_s": 0.0, "error_id": "E", "source": "ads", "is_before_start": False}
    lake.put(
        span(
            0,
            10,
            ads=[
                ad("failed", (0, 1), outcome="aborted", time_s=30.0),
                ad("fine", (1, 2), outcome="completed", time_s=59.0),
                ad("too long", (2, 4), outcome="aborted", time_s=120.0),
                ad("silent", (4, 5), outcome="open", time_s=15.0),
                ad("no length", (5, 6), outcome="skipped", time_s=10.0, length_s=None),
            ],
            playback_errors=[error],
        ),
        span(1, 2, state="provisional", ads=[ad("open", (1, 2), outcome="open", time_s=10.0)]),
        span(20, 30, ads=[ad("later", (20, 21), outcome="aborted", time_s=6.0)]),
    )
    columns = "SELECT ad_id, reached_ratio, error_id FROM ads_between"
    first = [
        ("failed", 0.5, "E"),
        ("fine", 1.0, None),
        ("no length", None, None),
        ("open", None, None),
        ("silent", 0.25, None),
        ("too long", 1.0, None),
    ]
    assert lake.ask(f"{columns}('{NOON}', '{at(15)}') ORDER BY ad_id") == first
    assert lake.ask(f"{columns}() WHERE ad_id = 'later'") == [("later", 0.1, None)]


def test_error_ranking(lake: Table) -> None:
    """Two errors E1 in one session, one more ended another of the same viewer; E2 came before the start."""

    def error(name: str, minute: float, *, before: bool = False) -> dict[str, Any]:
        return {
            "at": at(minute),
            "playhead_s": 0.0,
            "error_id": name,
            "source": "player",
            "is_before_start": before,
        }

    lake.put(
        {"playback_errors": [error("E1", 1), error("E1", 2)], "errors": 2, "user_id": "u", "content_id": "a"},
        {
            "playback_errors": [error("E2", 3, before=True), error("E1", 4)],
            "errors": 2,
            "user_id": "u",
            "content_id": "b",
            "is_failed": True,
        },
    )
    columns = "error_id, errors, sessions, viewers, contents, before_start, ended_sessions, first_at, last_at"
    assert lake.ask(f"SELECT {columns} FROM error_ranking") == [
        ("E1", 3, 2, 1, 2, 0, 1, at(1), at(4)),
        ("E2", 1, 1, 1, 1, 1, 0, at(3), at(3)),
    ]


# ---- viewers

DAY = 1440


def test_viewers_are_new_returning_or_lapsed_by_stated_windows(lake: Table) -> None:
    """The window is days 7 to 14: new began in it, back was there before it too, gone only in the week before."""
    lake.put(
        span(8 * DAY, 8 * DAY + 1, user_id="new", content_time_s=5.0),
        span(DAY, DAY + 1, user_id="back", content_time_s=70.0),
        span(9 * DAY, 9 * DAY + 1, user_id="back", content_time_s=7.0),
        span(DAY, DAY + 1, user_id="gone"),
        span(-DAY, -DAY + 1, user_id="long gone"),
        span(14 * DAY, 14 * DAY + 1, user_id="later"),
        span(8 * DAY, 8 * DAY + 1),
    )
    window = f"TIMESTAMPTZ '{at(7 * DAY)}', TIMESTAMPTZ '{at(14 * DAY)}'"
    asked = f"SELECT user_id, status, sessions, sessions_before, content_time_s FROM viewers_between({window}%s)"
    expected = [("back", "returning", 1, 1, 7), ("gone", "lapsed", 0, 1, 0), ("new", "new", 1, 0, 5)]
    assert lake.ask(asked % "" + " ORDER BY 1") == expected
    longer = lake.ask(asked % ", before_days := 30" + " ORDER BY 1")
    assert [row[:2] for row in longer] == [
        ("back", "returning"),
        ("gone", "lapsed"),
        ("long gone", "lapsed"),
        ("new", "new"),
    ]
    columns = "first_seen, last_seen, sessions, content_time_s, contents"
    back = lake.ask(f"SELECT {columns} FROM viewers WHERE user_id = 'back'")
    assert back == [(at(DAY), at(9 * DAY + 1), 2, 77, 0)]


def test_viewers_are_new_once_and_returning_afterwards(lake: Table) -> None:
    """By days of UTC, and by those of Auckland, where noon is midnight; a day that began before is left out."""
    lake.put(
        span(0, 1, user_id="a"),
        span(2, 3, user_id="a"),
        span(DAY, DAY + 1, user_id="a"),
        span(DAY + 30, DAY + 31, user_id="b"),
        span(DAY + 30, DAY + 31),
    )
    asked = (
        "SELECT begins::DATE::VARCHAR, new_viewers, returning_viewers, sessions FROM viewers_by_time('day', {})"
    )
    days = f"'{at(-DAY)}', '{at(2 * DAY)}'"
    first, second = (at(minute).strftime("%Y-%m-%d") for minute in (0, DAY))
    assert lake.ask(asked.format(days)) == [(first, 1, 0, 2), (second, 1, 1, 2)]
    assert lake.ask(asked.format(f"'{at(60)}', '{at(2 * DAY)}'")) == [(second, 1, 1, 2)]
    in_auckland = lake.ask(asked.format(f"{days}, zone := 'Pacific/Auckland'"))
    assert [row[1:] for row in in_auckland] == [(1, 0, 2), (1, 1, 2)]
    assert in_auckland[0][0] > first
    hours = lake.ask(asked.replace("'day'", "'hour'").format(days))
    assert [row[1:] for row in hours] == [(1, 0, 2), (1, 1, 2)]


def test_filters_leave_of_a_viewer_what_they_name(lake: Table) -> None:
    """u came to b after a: for b it is new, whatever it did before."""
    lake.put(
        span(0, 10, user_id="u", content_id="a", player_name="web"),
        span(DAY, DAY + 10, user_id="u", content_id="b", player_name="tv"),
        span(DAY, DAY + 10, user_id="v", content_id="a", player_name="phone"),
    )
    window = f"'{at(DAY)}', '{at(2 * DAY)}'"
    asked = "SELECT user_id, status FROM viewers_between({}{}) ORDER BY ALL"
    assert lake.ask(asked.format(window, "")) == [("u", "returning"), ("v", "new")]
    filters = ", filters := {player_name: ['tv', 'phone']}"
    assert lake.ask(asked.format(window, filters)) == [("u", "new"), ("v", "new")]
    assert lake.ask(f"SELECT new_viewers FROM viewers_by_time('hour', {window}{filters})") == [(2,)]
    assert lake.ask("SELECT number, viewers FROM cohorts_by('day', filters := {player_name: 'web'})") == [(0, 1)]
    assert lake.ask("SELECT number, viewers FROM cohorts_by('day')") == [(0, 1), (1, 1), (0, 1)]


def test_cohorts_by_first_week(lake: Table) -> None:
    """Two first seen in week 0, of whom one comes back in week 2; one first seen in week 1."""
    week = 7 * DAY
    lake.put(
        span(0, 1, user_id="a", content_time_s=10.0),
        span(5, 6, user_id="a", content_time_s=10.0),
        span(DAY, DAY + 1, user_id="b"),
        span(2 * week, 2 * week + 1, user_id="a", content_time_s=3.0),
        span(week, week + 1, user_id="c"),
    )
    columns = "cohort_week::DATE::VARCHAR, week_number, viewers, cohort_viewers, retained_ratio, sessions"
    assert lake.ask(f"SELECT {columns} FROM cohorts_by_week") == [
        ("2026-09-21", 0, 2, 2, 1, 3),
        ("2026-09-21", 2, 1, 2, 0.5, 1),
        ("2026-09-28", 0, 1, 1, 1, 1),
    ]


def test_what_is_watched_after_what(lake: Table) -> None:
    """u plays a, b 10 minutes later, a 2 days later; v plays a, then c; what never played is passed over."""
    lake.put(
        span(0, 10, user_id="u", content_id="a"),
        span(15, 16, user_id="u", content_id="never", is_started=False),
        span(20, 30, user_id="u", content_id="b"),
        span(2 * DAY, 2 * DAY + 9, user_id="u", content_id="a"),
        span(0, 10, user_id="v", content_id="a"),
        span(40, 50, user_id="v", content_id="c"),
        span(60, 70, content_id="d"),
    )
    columns = "content_id, next_content_id, sessions, viewers, gap_median_s, next_ratio"
    assert lake.ask(f"SELECT {columns} FROM sequences ORDER BY ALL") == [
        ("a", "b", 1, 1, 600, 1 / 3),
        ("a", "c", 1, 1, 1800, 1 / 3),
    ]
    assert len(lake.ask("FROM sequences_within(72)")) == 3
    of_a = lake.ask("SELECT content_id, next_content_id FROM sequences_within(72, filters := {content_id: ['a']})")
    assert of_a == [("a", "b"), ("a", "c")]
    window = f"'{at(15)}', '{at(DAY)}'"
    assert lake.ask(f"SELECT content_id, next_content_id FROM sequences_within(72, {window})") == [("b", "a")]


# ---- what to doubt


def test_what_is_odd_is_shown_and_counted(lake: Table) -> None:
    """One late, one without start, one with repeats, one with a clock an hour wrong, one event with a flag."""
    lake.put(
        {"session_id": "late", "late_events": 2, "version": 2},
        {"session_id": "startless", "has_start": False},
        {"session_id": "twice", "repeats": 3, "gap_s": 70.0},
        {"session_id": "clock", "clock_offset_ms": 3_600_000},
        {"session_id": "slow", "clock_spread_ms": 90_000, "is_capped": True, "events_after_end": 1},
    )
    lake.play(
        told((0.0, "sessionStart", 0.0), (1.0, "play", -1.0), flags=("playhead_range",), session_id="flagged")
    )
    for view, expected in [
        ("late_sessions", ["late"]),
        ("sessions_without_start", ["startless"]),
        ("repeats", ["twice"]),
        ("wrong_clocks", ["clock", "slow"]),
    ]:
        assert [row[0] for row in lake.ask(f"SELECT session_id FROM {view} ORDER BY 1")] == expected
    assert lake.ask("SELECT flag, events, sessions FROM flagged_events") == [("playhead_range", 2, 1)]
    counted = dict(lake.ask('SELECT "check", found FROM data_quality WHERE found > 0'))
    once = ["reopened by late events", "without sessionStart", "wrong clocks", "late uploads", "with unknown time"]
    once += ["with lists cut short", "with repeated events", "with events after the end"]
    assert counted == dict.fromkeys(once, 1) | {"flag playhead_range": 2}


# ---- the catalogue


def test_every_entry_of_the_catalogue_can_be_asked(lake: Table) -> None:
    """Each query of metric_catalog runs; the columns of `metrics` in one."""
    queries = dict(lake.ask("SELECT name, query FROM metric_catalog WHERE query IS NOT NULL"))
    assert len(queries) == len(CATALOGUE.metric) + sum(entry.where != NOT_MEASURED for entry in CATALOGUE.entry)
    lake.put(*outcomes(), span(0, 10, content_id="film"))
    columns = [name for name, query in queries.items() if query == f"SELECT {name} FROM metrics"]
    assert columns == [metric.name for metric in CATALOGUE.metric]
    assert list(lake.metrics(columns)) == columns
    for query in queries.keys() - set(columns):
        lake.ask(queries[query])


def test_the_catalogue_says_everything_about_each_metric(lake: Table) -> None:
    """No name twice, no empty definition, unit, source, set or place; ratios of sums name both sums."""
    rows = lake.ask('SELECT name, definition, unit, source, "set", stands FROM metric_catalog')
    assert len({row[0] for row in rows}) == len(rows) == len(CATALOGUE.every)
    assert all(all(row) for row in rows)
    assert all(metric.denominator for metric in CATALOGUE.metric if metric.how == "ratio")
    names = {row[0] for row in rows}
    sources = r"\w+_(?:adobe|mux|conviva|cta2066|newrelic|exoplayer|snowplow)\b"
    assert {word for row in CATALOGUE.every for word in re.findall(sources, row.unlike)} <= names


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ('[[metric]]\nname = "x"', "missing required field `meaning`"),
        ('[[metric]]\nname="x"\nmeaning="x"\nunit="s"\nhow="share"\nnumerator="1"', "Invalid enum value 'share'"),
        ('[[metric]]\nname="x"\nmeaning="x"\nunit="s"\nhow="sum"\nnumerator="1"\nof="most"', "Invalid enum value"),
        ('[[metric]]\nname="x"\nmeaning="x"\nunit="s"\nhow="ratio"\nnumerator="1"', "a ratio has a denominator"),
        ('[[entry]]\nname="x"\nmeaning="x"\nunit="s"\nwhere="view x"', "has an example query"),
        ('[[entry]]\nname="x"\nmeaning="x"\nunit="s"\nquerry="FROM x"', "unknown field `querry`"),
        ("[[metric]\n", "Expected ']]'"),
    ],
)
def test_a_mistake_in_the_catalogue_is_named(text: str, wrong: str) -> None:
    """A missing field, a typing error, an unknown set: the message says which, and in which file."""
    with pytest.raises(ValueError, match=r"startup\.toml: ") as found:
        parse_subject("startup", text)
    assert wrong in str(found.value)


def test_every_view_and_macro_is_in_the_catalogue() -> None:
    """Each view and macro that answers a question is named by an entry of the catalogue, or serves all of them."""
    made = set(re.findall(r"CREATE OR REPLACE (?:VIEW|MACRO) (\w+)(?: AS|.* AS TABLE)\n", definitions_sql()))
    named = " ".join(f"{entry.where} {entry.query}" for entry in CATALOGUE.entry)
    serving = {
        "counted_sessions",
        "metrics",
        "compare",
        "columns_of",
        *(name for name in made if name.startswith("metrics_")),
    }
    serving |= {
        "late_sessions",
        "flagged_events",
        "sessions_without_start",
        "repeats",
        "retried_starts",
        "wrong_clocks",
        "sessions_checked",
        "timeline_between",
        "open_now",
        "share_score",
        "drop_score",
        "spread_bucket",
        "bucket_value",
        "rolled_up_until",
    }
    assert {name for name in made - serving if not re.search(rf"\b{name}\b", named)} - {
        "concurrency_between"
    } == set()


def test_a_second_init_makes_definitions_anew_only_where_they_differ(tmp_path: Path) -> None:
    """Nothing changes at the second; a lake whose definitions are of another version gets today's."""
    lake = Lake(tmp_path)
    snapshots = "SELECT count(*) FROM ducklake_snapshots('lake')"
    before = lake.ask(snapshots)
    initialize(lake.place, partitions=1)
    assert lake.ask(snapshots) == before
    lake.do("DROP VIEW metrics", "DELETE FROM metric_catalog", "UPDATE definitions SET sha256 = 'older'")
    initialize(lake.place, partitions=1)
    assert lake.ask("SELECT sessions FROM metrics") == [(0,)]
    assert lake.ask("SELECT count(*) FROM metric_catalog") == [(len(CATALOGUE.every),)]


def test_the_dictionary_is_what_the_lake_says_of_itself(connection: duckdb.DuckDBPyConnection) -> None:
    """lake/DICTIONARY.md equals what is made from the comments; `python -m lake.dictionary` rewrites it."""
    assert DICTIONARY.read_text() == render(connection)
