"""Each story of a generated week is found by the SQL that `players/README.md` gives."""

import contextlib
import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any

import duckdb
import pytest
from rigs.commands import SECRETS, playhead
from rigs.pages import reading, text_of

from lake.catalog import connect, location
from notebooks import questions
from notebooks.gallery import pages
from players.month.audience import COUNTRIES
from players.month.stories import DAY_MS, SLOW_CDN, SLOW_COUNTRY, Stories, kick_off, stories_before
from schemas.settings import Settings

README = Path(__file__).parents[2] / "players" / "README.md"
UNTIL = datetime(2025, 11, 22, 22, tzinfo=UTC)
UNTIL_MS = int(UNTIL.timestamp() * 1000)
VIEWERS = 800
Row = dict[str, Any]


class Week:
    """A lake with a generated week."""

    def __init__(self, folder: Path, settings: dict[str, str], connection: duckdb.DuckDBPyConnection) -> None:
        self.folder, self.settings = folder, settings
        self._connection = connection

    def ask(self, statement: str) -> list[Row]:
        """Return the rows of a query."""
        return self._connection.execute(statement).to_arrow_table().to_pylist()

    def story(self, title: str) -> list[Row]:
        """Return what the query of a story finds: the block of SQL after its title."""
        (statement,) = re.findall(
            rf"^\*\*{re.escape(title)}.*?^```sql\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL
        )
        return self.ask(statement)


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Week]:
    """A week of 800 viewers, made as a person makes it."""
    folder = tmp_path_factory.mktemp("week")
    settings = {**SECRETS, "PLAYHEAD_DATA_DIR": str(folder / "data")}
    until = UNTIL.strftime("%Y-%m-%dT%H:%M:%S")
    for arguments in (
        ("init",),
        ("simulate", "--history", "7d", "--viewers", str(VIEWERS), "--seed", "7", "--until", until),
        ("worker", "--until-read"),
    ):
        done = playhead(*arguments, cwd=folder, settings=settings, timeout_s=280)
        assert done.returncode == 0, done.stderr
    with contextlib.closing(connect(location(Settings(data_dir=folder / "data")), read_only=True)) as connection:
        yield Week(folder, settings, connection)


@pytest.fixture(scope="module")
def stories() -> Stories:
    """When the stories of this week happen."""
    return stories_before(UNTIL_MS)


@pytest.fixture(scope="module")
def shown(week: Week) -> Iterator[Callable[[str], str]]:
    """What a page shows of this week, run once as a script."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PLAYHEAD_DATA_DIR", str(week.folder / "data"))
        yield functools.cache(text_of)


def moment(at_ms: int) -> datetime:
    """Return a moment as the lake shows it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def test_sessions_close_as_they_would_have(week: Week) -> None:
    """What was silent for ten minutes when the week ended is closed, and only the rest is open."""
    rows = week.ask("SELECT state, close_reason, last_received_at FROM sessions")
    end = max(row["last_received_at"] for row in rows)
    assert timedelta(0) < UNTIL - end < timedelta(minutes=5)
    reasons = {row["close_reason"] for row in rows}
    assert {"ended", "idle", None} <= reasons
    for row in rows:
        if row["close_reason"] != "ended":
            is_silent = row["last_received_at"] < end - timedelta(minutes=10)
            assert (row["state"] == "final") is is_silent or row["close_reason"] == "stuck", row


def test_people_come_in_the_evening_and_at_weekends(week: Week) -> None:
    """Saturday has the most sessions; each evening has several times as many as the night."""
    days = week.story("Day and week.")
    assert len(days) == 7
    assert days[0]["day"] == "Saturday"
    for day in days:
        assert day["in_the_evening"] > 5 * day["in_the_night"], day


def test_a_tenth_of_the_contents_has_most_sessions(week: Week) -> None:
    """There are hits, and a long tail of contents with a session each."""
    first, *_, last = week.story("Hits and the long tail.")
    assert first["sessions"] > 8 * last["sessions"]
    assert last["sessions"] <= 2 * last["contents"]
    assert len(week.ask("SELECT DISTINCT site FROM sessions")) == 3


def test_a_release_is_bad(week: Week, stories: Stories) -> None:
    """It fails several times as often as every other version, since its date."""
    worst, second, *_ = week.story("A bad release.")
    assert (worst["player_name"], worst["app_version"]) == (stories.bad_app, stories.bad_version)
    assert worst["failed_ratio"] > 3 * second["failed_ratio"]
    released = moment(stories.bad_release.from_ms)
    assert released <= worst["since"] < released + timedelta(hours=12)


def test_the_page_on_releases_names_the_bad_one_and_no_other(
    shown: Callable[[str], str], stories: Stories
) -> None:
    """At the top, with the metric and by how much."""
    text = shown("releases")
    assert re.findall(r"<b>(\S+) (\S+) is worse than", text) == [(stories.bad_app, stories.bad_version)]
    assert re.search(r">failed to start</b>: [0-9.]+% instead of [0-9.]+%: \+[0-9.]+ points \(\+", text)


def test_a_cdn_is_away(week: Week, stories: Stories) -> None:
    """Its errors are all within 40 minutes, and of no other CDN."""
    (lost,) = week.story("A CDN is away for 40 minutes.")
    assert lost["cdn"] == stories.lost_cdn
    assert lost["sessions"] >= 10
    assert moment(stories.outage.from_ms) <= lost["from_at"]
    assert lost["to_at"] < moment(stories.outage.to_ms) + timedelta(minutes=2)
    assert timedelta(minutes=30) < lost["to_at"] - lost["from_at"] < timedelta(minutes=42)


def test_a_campaign_fails(week: Week, stories: Stories) -> None:
    """The worst days of ads are those of one campaign, at its time; on all other days most ads complete."""
    days = week.story("An ad campaign fails")
    bad = {
        (stories.lost_campaign, moment(at_ms).date())
        for at_ms in range(stories.failing_ads.from_ms, stories.failing_ads.to_ms + 1, DAY_MS // 2)
    }
    worst = days[0]
    assert (worst["campaign_id"], worst["day"]) in bad
    assert worst["completed_ratio"] < 0.3
    for day in days:
        if (day["campaign_id"], day["day"]) not in bad:
            assert day["completed_ratio"] > 0.6, day


def test_the_page_on_ads_names_the_campaign_that_fails(shown: Callable[[str], str], stories: Stories) -> None:
    """At the top, with the share of its ads that ended early; and the error that came with it."""
    named = re.findall(r"<b>([^<]*)</b>: [0-9.]+% of [0-9,]+ ads ended neither", shown("ads"))
    assert len(named) == 1
    assert named[0].endswith(stories.lost_campaign)
    assert "AD-VAST-402" in shown("ads")


@pytest.mark.parametrize("path", pages())
def test_every_page_has_numbers_of_the_week(shown: Callable[[str], str], path: str) -> None:
    """As a script: no cell fails, a number is there, and no page says that there is nothing to see."""
    text = shown(path)
    assert re.search(r"(n = |<b>|sessions: the first )[1-9]|>[0-9,]+ rows", text)
    assert "Nothing has arrived yet" not in text
    assert "There is nothing to see yet" not in text


def test_a_match_has_a_kick_off_storm(week: Week) -> None:
    """The busiest five minutes of any content are those around the kick-offs."""
    midnights = range(UNTIL_MS // DAY_MS * DAY_MS - 6 * DAY_MS, UNTIL_MS, DAY_MS)
    kick_offs = [moment(at_ms) for at_ms in map(kick_off, midnights) if at_ms is not None]
    assert len(kick_offs) == 2
    busiest = week.story("A live programme with a kick-off storm")
    around = [row for row in busiest if row["content_name"].startswith("Match of")]
    assert {row["content_name"] for row in around} == {f"Match of {at:%Y%m%d}" for at in kick_offs}
    for row in busiest[:2]:
        assert any(abs(row["five_minutes"] - at) <= timedelta(minutes=5) for at in kick_offs), row


def test_a_cdn_is_slow_in_one_country(week: Week) -> None:
    """There viewers wait for data several times as long as anywhere else, and longer for the first frame."""
    worst, second, *others = week.story("A CDN is slow in one country")
    assert (worst["cdn"], worst["country"]) == (SLOW_CDN, SLOW_COUNTRY)
    assert worst["rebuffer_ratio"] > 2.5 * second["rebuffer_ratio"]
    usual_s = median(row["startup_s"] for row in (second, *others))
    assert worst["startup_s"] > 1.3 * usual_s


def test_the_page_on_rebuffering_names_the_slow_cdn_in_its_country(week: Week) -> None:
    """Before the CDN alone and the country alone, and before any app or content."""
    with reading(week.folder / "data", timedelta(days=7), sample_min=10) as (lake, choice):
        worst = questions.most_different(lake, choice)[0]
    assert worst["combination"] == f"{SLOW_CDN} / {SLOW_COUNTRY}"


def test_a_robot_looks_at_everything(week: Week) -> None:
    """It is known by its User-Agent, stays for seconds, and has no nights."""
    viewers, robot = week.story("A robot")
    assert (viewers["is_bot"], robot["is_bot"]) == (False, True)
    assert 0.01 < robot["sessions"] / viewers["sessions"] < 0.1
    assert robot["content_time_s"] < 30 < viewers["content_time_s"]
    assert robot["in_the_night"] > 0.12 > 2 * viewers["in_the_night"]


def test_apps_have_devices_and_viewers_countries(week: Week) -> None:
    """Phones, tablets, televisions and desktops; half of the sessions are in one of seven countries."""
    rows = week.story("Devices and countries.")
    devices = {(row["player_name"], row["device_type"]) for row in rows}
    assert devices == {
        ("aurora-web", "desktop"),
        ("aurora-android", "phone"),
        ("aurora-ios", "phone"),
        ("aurora-ios", "tablet"),
        ("aurora-tv", "tv"),
    }
    by_country = Counter[str]()
    for row in rows:
        by_country[row["country"]] += row["sessions"]
    assert by_country.keys() == {country.code for country in COUNTRIES}
    assert 0.4 < by_country["DE"] / by_country.total() < 0.7


def test_a_test_group_waits_less(week: Week) -> None:
    """Half of the viewers are in it, and their startup is a fifth shorter or more."""
    preload, control = week.story("A test group")
    assert (preload["test_group"], control["test_group"]) == ("preload", "control")
    assert preload["startup_s"] < 0.85 * control["startup_s"]
    assert 0.7 < preload["sessions"] / control["sessions"] < 1.4


def test_viewers_differ_in_consent(week: Week) -> None:
    """Each way to be known, or not to be, has its sessions; nobody is known who denied."""
    rows = {(row["consent"], row["known_by"]): row["sessions"] for row in week.story("Consent.")}
    total = sum(rows.values())
    for wanted, least in {
        ("given", "analytics.visitorId"): 0.2,
        ("unknown", "tracking_session"): 0.04,
        ("denied", "nobody"): 0.07,
        ("unknown", "nobody"): 0.25,
    }.items():
        assert rows[wanted] > least * total, wanted
    assert [known_by for consent, known_by in rows if consent == "denied"] == ["nobody"]


def test_old_televisions_send_bodies_that_are_refused(week: Week) -> None:
    """Every refused body is one of theirs."""
    (refused,) = week.story("Televisions that were never updated")
    assert refused["reason"] == "invalid_event"
    assert "`/playerTime/ts`" in refused["detail"]
    assert refused["bodies"] >= 10


def test_phones_pass_tunnels(week: Week) -> None:
    """Only their events arrive late."""
    late = week.story("Tunnels.")
    assert {row["channel"] for row in late} == {"android", "ios"}
    assert sum(row["sessions"] for row in late) >= 5


def test_some_clocks_are_wrong(week: Week) -> None:
    """By minutes, or by the hours of another zone; such a session has the time of its arrival all the same."""
    rows = week.ask(
        """
        WITH told AS (
            SELECT session_id, min(epoch_ms(received_at) - epoch_ms(client_ts)) / 60000 AS minutes_late
            FROM events GROUP BY session_id
        )
        SELECT
            abs(minutes_late) > 2 AS is_wrong, abs(minutes_late) > 20 AS is_of_another_zone,
            count(*) AS sessions, list(DISTINCT round(minutes_late / 60)::INT) AS hours_late,
            max(abs(epoch_ms(started_at) - epoch_ms(first_received_at))) / 1000 AS corrected_to_s
        FROM told JOIN sessions USING (session_id) WHERE clock_offset_ms IS NOT NULL GROUP BY ALL ORDER BY ALL
        """
    )
    right, by_minutes, by_hours = rows
    assert [right["hours_late"], by_minutes["hours_late"]] == [[0], [0]]
    assert set(by_hours["hours_late"]) == {-1, 1, 9}
    for wrong in (by_minutes, by_hours):
        assert 0.005 < wrong["sessions"] / right["sessions"] < 0.06
        assert wrong["corrected_to_s"] < 5
    (found,) = week.ask("SELECT count(*) AS sessions FROM wrong_clocks WHERE abs(clock_offset_ms) > 120000")
    assert found["sessions"] == by_minutes["sessions"] + by_hours["sessions"]


def test_some_starts_are_retried(week: Week) -> None:
    """About one in a hundred."""
    (row,) = week.story("Lost replies.")
    assert 0.005 * row["starts"] < row["retried"] < 0.025 * row["starts"]


def test_the_lake_is_whole_and_its_numbers_are_right(week: Week) -> None:
    """Every record of the log is stored once; a recount of sessions gives the same numbers."""
    for options in (["--within", "1s"], ["--metrics", "--sample", "100", "--seed", "1"]):
        done = playhead("verify", *options, cwd=week.folder, settings=week.settings)
        assert done.returncode == 0, done.stdout
    (row,) = week.ask("SELECT count(*) AS events, count(DISTINCT session_id) AS sessions FROM events")
    assert row["events"] > 100_000
    assert row["sessions"] > 3_000
