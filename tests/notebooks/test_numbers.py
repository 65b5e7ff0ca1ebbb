"""The numbers of pages, run as scripts, are those of SQL over the events as they were sent."""

from collections.abc import Iterator
from importlib import resources
from typing import Any

import pytest
from rigs.lake import Lake
from rigs.pages import text_of
from rigs.shown import charts, table, tiles
from rigs.two_crowds import BUSINESS, TECHNICAL, two_crowds

WEEK = {"period": "last 7 days", "n": "1"}
# Of each session: when it began, when main content played and how long ads had until then, milliseconds.
SESSIONS = """
    WITH sessions AS (
        SELECT
            session_id,
            min(epoch_ms(client_ts)) AS began,
            min(epoch_ms(client_ts)) FILTER (event_type = 'play') AS played,
            min(epoch_ms(client_ts)) FILTER (event_type = 'adStart') AS ad_played,
            max(epoch_ms(client_ts)) FILTER (event_type = 'adBreakComplete') - ad_played AS ads,
            max(epoch_ms(client_ts)) FILTER (event_type = 'sessionEnd') AS ended,
            coalesce(bool_or(event_type = 'error'), false) AS has_error
        FROM lake.events GROUP BY session_id
    )
"""
# Of each session: its last playhead without what was jumped over, and its waits for data, seconds.
WAITS = """
    WITH told AS (
        SELECT
            session_id, event_type, epoch_ms(client_ts) AS ms, playhead_s AS head,
            lag(event_type) OVER one AS type_before, lag(playhead_s) OVER one AS head_before,
            lag(epoch_ms(client_ts)) OVER one AS ms_before, lead(epoch_ms(client_ts)) OVER one AS ms_after
        FROM lake.events WINDOW one AS (PARTITION BY session_id ORDER BY log_offset)
    ), waits AS (
        SELECT
            session_id,
            max(head) - coalesce(sum(head - head_before) FILTER (event_type = 'bufferStart'), 0) AS content,
            coalesce(sum(ms_after - ms) FILTER (event_type = 'bufferStart'), 0) / 1000 AS buffered,
            coalesce(sum(ms_after - ms) FILTER (event_type = 'bufferStart' AND head > head_before), 0) / 1000
                AS jumped,
            coalesce(sum(ms - ms_before)
                FILTER (event_type = 'ping' AND type_before = 'ping' AND head = head_before), 0) / 1000 AS stood
        FROM told GROUP BY session_id HAVING bool_or(event_type = 'play')
    )
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """The lake, which is also that of this process's environment."""
    made = two_crowds(tmp_path_factory.mktemp("crowds") / "data")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PLAYHEAD_DATA_DIR", str(made.settings.data_dir))
        yield made


def percent(share: float) -> str:
    """Return a share as pages show it."""
    return f"{share:.2%}" if share < 0.1 else f"{share:.1%}"


def pairs(rows: list[dict[str, Any]], *columns: str) -> list[tuple[Any, ...]]:
    """Return columns of rows."""
    return [tuple(row[column] for column in columns) for row in rows]


def test_startup_has_the_distribution_of_the_waits(lake: Lake) -> None:
    """From the start to main content without the ads between them, in quarters of a second; 10 is 10 and more."""
    shown = text_of("startup", **WEEK)
    plain = lake.ask(
        f"{SESSIONS} SELECT least((played - began - coalesce(ads, 0)) // 250, 40) / 4 AS from_s, count(*) "
        "FROM sessions WHERE played IS NOT NULL GROUP BY from_s ORDER BY from_s"
    )
    assert len(plain) > 20
    assert plain[-1][0] == 10
    (drawn,) = charts(shown, "from_s", "unknown")
    assert pairs(drawn, "from_s", "sessions") == plain
    assert f"n = {sum(count for _, count in plain)} sessions that started" in shown


def test_startup_has_the_funnel_and_how_long_those_waited_who_left(lake: Lake) -> None:
    """Of sessions that ended: all, with a frame of an ad or of content, with content; waits end with an ad."""
    shown = text_of("startup", **WEEK)
    ((*plain,),) = lake.ask(
        f"{SESSIONS} SELECT count(*), count(coalesce(ad_played, played)), count(played) "
        "FROM sessions WHERE ended IS NOT NULL"
    )
    assert plain == sorted(set(plain), reverse=True)
    (funnel,) = charts(shown, "step")
    assert [row["sessions"] for row in funnel] == plain
    exits = lake.ask(
        f"{SESSIONS} SELECT least((coalesce(ad_played, ended) - began) // 1000, 30) AS from_s, count(*) "
        "FROM sessions WHERE ended IS NOT NULL AND played IS NULL AND NOT has_error GROUP BY ALL ORDER BY from_s"
    )
    assert exits[-1][0] == 30
    (drawn,) = [rows for rows in charts(shown, "from_s", "sessions") if "unknown" not in rows[0]]
    assert pairs(drawn, "from_s", "sessions") == exits


def test_rebuffering_has_who_suffers_and_why(lake: Lake) -> None:
    """Sessions over 1 %, the time lost, the part after jumps of the playhead, and the part that no player told."""
    shown = tiles(text_of("rebuffering", **WEEK))
    ((over, lost_s, jumped, stood),) = lake.ask(
        f"""
        {WAITS} SELECT
            avg((buffered + stood > 0.01 * (content + buffered + stood))::INT), sum(buffered + stood),
            sum(jumped) / sum(buffered + stood), sum(stood) / sum(buffered + stood)
        FROM waits
        """
    )
    assert 0 < jumped < stood < over < 1
    assert shown["sessions that suffer"] == percent(over)
    assert shown["lost in all"] == f"{lost_s:.1f} s"
    assert shown["of it after seeks"] == percent(jumped)
    assert shown["of it unsaid"] == percent(stood)


def test_failures_rank_errors_by_the_sessions_that_they_ended(lake: Lake) -> None:
    """With how many sessions had each at all, and before main content."""
    plain = lake.ask(
        """
        WITH told AS (
            SELECT
                session_id, event_type, qoe->>'media.qoe.errorID' AS error,
                bool_or(event_type = 'play') OVER (PARTITION BY session_id ORDER BY log_offset) AS has_played,
                lead(event_type) OVER (PARTITION BY session_id ORDER BY log_offset) AS next
            FROM lake.events
        )
        SELECT
            error, count(*), count(DISTINCT session_id), count(DISTINCT session_id) FILTER (NOT has_played),
            count(DISTINCT session_id) FILTER (next = 'sessionEnd') AS ended
        FROM told WHERE event_type = 'error' GROUP BY error ORDER BY ended DESC
        """
    )
    assert {error for error, *_ in plain} == {BUSINESS, TECHNICAL}
    ranked = table(text_of("failures", **WEEK), "error", "ended sessions")
    assert pairs(ranked, "error", "errors", "sessions", "before start", "ended sessions") == plain


def test_failures_are_business_where_the_address_says_so(lake: Lake) -> None:
    """By the error that ended a session; of all sessions that ended."""
    ended = dict(
        lake.ask(
            """
            SELECT error, count(*) / (SELECT count(*) FROM lake.events WHERE event_type = 'sessionEnd')
            FROM (
                SELECT
                    event_type, qoe->>'media.qoe.errorID' AS error,
                    lead(event_type) OVER (PARTITION BY session_id ORDER BY log_offset) AS next
                FROM lake.events
            ) WHERE event_type = 'error' AND next = 'sessionEnd' GROUP BY error
            """
        )
    )
    shown = tiles(text_of("failures", **WEEK, business=BUSINESS))
    assert (shown["business"], shown["technical"]) == (percent(ended[BUSINESS]), percent(ended[TECHNICAL]))


@pytest.mark.parametrize(
    ("address", "condition"),
    [
        ({"find": "tv04"}, "starts_with(session_id, 'tv04')"),
        ({"find": "tv-1"}, "params->>'analytics.visitorId' = 'tv-1'"),
        ({"error": TECHNICAL} | WEEK, f"qoe->>'media.qoe.errorID' = '{TECHNICAL}'"),
    ],
)
def test_a_search_for_sessions_finds_those_and_no_others(
    lake: Lake, address: dict[str, str], condition: str
) -> None:
    """By the first characters of the id, by the viewer at any time, by an error in the period."""
    plain = lake.ask(f"SELECT DISTINCT session_id FROM lake.events WHERE {condition} ORDER BY session_id DESC")
    assert 1 < len(plain) <= 8  # a page of the table
    found = table(text_of("session", **address), "session_id")
    assert sorted(pairs(found, "session_id"), reverse=True) == plain


def test_an_example_is_answered(lake: Lake) -> None:
    """On which days of the week people watch, by the events."""
    questions = (resources.files("lake") / "QUESTIONS.md").read_text()
    (title,) = [line.removeprefix("### ") for line in questions.splitlines() if "On which day of the week" in line]
    plain = lake.ask(
        """
        SELECT isodow(to_timestamp(began / 1000)) AS weekday, count(*)
        FROM (SELECT session_id, min(epoch_ms(client_ts)) AS began FROM lake.events GROUP BY session_id)
        GROUP BY weekday ORDER BY weekday
        """
    )
    assert len(plain) > 3
    answer = table(text_of("ask", question=title), "weekday", "sessions")
    assert pairs(answer, "weekday", "sessions") == plain
