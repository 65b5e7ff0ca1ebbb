"""What the pages ask, over lakes of every kind: nothing fails, and the numbers are those of plain SQL."""

import atexit
import functools
import shutil
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from rigs.lake import Lake, record_value, write_values
from rigs.odd_lake import odd_lake
from rigs.pages import reading, text_of

from lake.reading import Reader
from notebooks import audiences, filters, programmes, questions
from notebooks.connect import read
from notebooks.filters import Choice
from notebooks.gallery import pages

PLAYS_S = 60
SESSIONS = 40


@functools.cache
def template(sessions: int) -> Path:
    """Return the folder of a lake of sessions that begin a second after each other and play for a minute.

    Every fourth buffers for 5 s.
    """
    folder = Path(tempfile.mkdtemp(prefix="playhead-pages-"))
    atexit.register(shutil.rmtree, folder)
    lake = Lake(folder)
    now_ms = time.time_ns() // 1_000_000 // 60_000 * 60_000 - 3_600_000
    values: list[tuple[int, bytes]] = []
    for number in range(sessions):
        start_ms = now_ms + number * 1000
        values += [
            (
                start_ms + at,
                record_value(
                    f"e{number}.{place}",
                    f"s{number:03}",
                    name,
                    ts=start_ms + at,
                    received_ms=start_ms + at,
                    playhead=head,
                ),
            )
            for place, (name, at, head) in enumerate(told(buffers=number % 4 == 0))
        ]
    with lake.writer() as writer:
        held = writer.load(0, None)
        write_values(writer, held, [value for _, value in sorted(values)], appended_ms=max(values)[0])
    return folder


@functools.cache
def oddities() -> Path:
    """Return the folder of a lake with every oddity."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-odd-"))
    atexit.register(shutil.rmtree, folder)
    odd_lake(folder, start_ms=time.time_ns() // 1_000_000 - 7_200_000)
    return folder


def told(*, buffers: bool) -> Iterator[tuple[str, int, float]]:
    """What one player says: event, milliseconds from the start, playhead."""
    yield "sessionStart", 0, 0.0
    yield "play", 1000, 0.0
    for played_s in range(10, PLAYS_S, 10):
        yield "ping", 1000 + played_s * 1000 + 5000 * (buffers and played_s > 10), float(played_s)
        if buffers and played_s == 10:
            yield "bufferStart", 11_000, 10.0
            yield "play", 16_000, 10.0
    yield "sessionEnd", 1000 + PLAYS_S * 1000 + 5000 * buffers, float(PLAYS_S)


def lake_with(folder: Path, sessions: int) -> None:
    """Make a lake of so many sessions."""
    shutil.copytree(template(sessions), folder)


@pytest.fixture(params=["no lake", "an empty lake", "one session", "forty sessions", "every oddity"])
def environment(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The settings of one kind of lake, in this process's environment; return its name."""
    match request.param:
        case "an empty lake":
            Lake(tmp_path / "data")
        case "one session":
            lake_with(tmp_path / "data", 1)
        case "forty sessions":
            lake_with(tmp_path / "data", SESSIONS)
        case "every oddity":
            shutil.copytree(oddities(), tmp_path / "data")
    monkeypatch.setenv("PLAYHEAD_DATA_DIR", str(tmp_path / "data"))
    return str(request.param)


@pytest.mark.parametrize("path", pages())
def test_every_page_runs_over_every_lake(environment: str, path: str) -> None:
    """Where there is nothing to see, the page says what to do next instead."""
    shown = text_of(path)
    if environment == "no lake":
        assert "playhead init" in shown
    elif environment == "an empty lake":
        assert "Nothing has arrived yet" in shown


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[tuple[Reader, Choice]]:
    """A lake of forty sessions, and the choice of all of them."""
    lake_with(tmp_path / "data", SESSIONS)
    with reading(tmp_path / "data", timedelta(hours=2)) as found:
        yield found


def choice_of(newest: datetime, **among: list[str]) -> Choice:
    """Choose the two hours up to a moment, and a bit."""
    until = newest + timedelta(milliseconds=1)
    return Choice(until - timedelta(hours=2), until, timedelta(hours=2), among, 1, "UTC")


def test_metrics_of_a_page_are_those_of_the_catalogue(asked: tuple[Reader, Choice]) -> None:
    """Without filters a page shows what the view `metrics` has."""
    lake, choice = asked
    names = ["sessions", "startup_s_median_newrelic", "rebuffer_ratio_cta2066", "content_time_s"]
    (shown,) = questions.metrics(lake, choice, names)
    (plain,) = read(lake, f"SELECT {', '.join(names)} FROM metrics").to_pylist()
    assert {name: shown[name] for name in names} == plain
    assert shown["n"] == SESSIONS
    assert shown["content_time_s"] == SESSIONS * PLAYS_S


def test_what_is_compared_with_is_the_time_before(asked: tuple[Reader, Choice]) -> None:
    """Nothing happened then."""
    lake, choice = asked
    assert questions.metrics(lake, choice.before(), ["sessions"]) == [{"n": 0, "sessions": 0}]


@pytest.mark.parametrize("back", [timedelta(hours=2), timedelta(minutes=1), timedelta(days=7)])
def test_times_that_are_asked_together_have_the_numbers_of_each(
    asked: tuple[Reader, Choice], back: timedelta
) -> None:
    """Times that touch, overlap or are far apart; also one in which nothing happened."""
    lake, choice = asked
    half = msgspec.structs.replace(choice, until=choice.until - timedelta(seconds=80), back=back)
    times = [half, choice, half.before()]
    names = ["sessions", "startup_s_median_newrelic", "content_time_s"]
    assert questions.metrics_of_times(lake, times, names) == [
        questions.metrics(lake, each, names)[0] for each in times
    ]


def test_a_filter_leaves_what_it_names(asked: tuple[Reader, Choice]) -> None:
    """Also `unknown`, where the player did not say."""
    lake, choice = asked
    newest = choice.until - timedelta(milliseconds=1)
    assert questions.metrics(lake, choice_of(newest, cdn=["unknown"]), ["sessions"])[0]["n"] == SESSIONS
    assert questions.metrics(lake, choice_of(newest, cdn=["elsewhere"]), ["sessions"])[0]["n"] == 0


def test_the_audience_is_the_time_that_was_played(asked: tuple[Reader, Choice]) -> None:
    """Minutes in the mean, added up, are the seconds of main content; and so are their parts."""
    lake, choice = asked
    wide = choice_of(choice.until + timedelta(minutes=1))
    minutes = audiences.watched(lake, wide, wide.since).drawn
    assert sum(minute["viewers"] for minute in minutes) * 60 == pytest.approx(SESSIONS * PLAYS_S)
    parts = audiences.by_value(lake, wide, "player_name")
    assert sum(part["viewers"] for part in parts) * 60 == pytest.approx(SESSIONS * PLAYS_S)


def test_the_audience_has_only_what_is_whole_within_the_period(asked: tuple[Reader, Choice]) -> None:
    """A minute that began before it has all of its viewers in a longer period, and is not drawn in this one."""
    lake, choice = asked
    choice = choice_of(choice.until + timedelta(minutes=1))
    short = msgspec.structs.replace(choice, since=choice.until - timedelta(seconds=135))
    every = audiences.watched(lake, choice, choice.since).drawn
    drawn = audiences.watched(lake, short, choice.since).drawn
    assert drawn
    assert drawn == [row for row in every if row["begins"] >= short.since]
    parts = audiences.by_value(lake, short, "player_name")
    assert sum(row["viewers"] for row in parts) == pytest.approx(sum(row["viewers"] for row in drawn))


def test_the_audience_is_compared_and_has_its_sessions(asked: tuple[Reader, Choice]) -> None:
    """Each time has the buckets that it has alone, and n is of the period; of another CDN there is nobody."""
    lake, choice = asked
    short = msgspec.structs.replace(choice_of(choice.until + timedelta(minutes=1)), back=timedelta(minutes=1))
    points, sessions = audiences.compared(lake, short, short.before().since)
    for series, when, back in (("this period", short, timedelta(0)), (short.compared, short.before(), short.back)):
        alone = audiences.watched(lake, when, short.before().since).drawn
        assert [(point["at"], point["value"]) for point in points if point["series"] == series] == [
            (questions.as_clock(row["begins"] + back), row["viewers"]) for row in alone
        ]
    plain = read(lake, "SELECT DISTINCT session_id FROM spans WHERE doing = 'playing' AND ended_at > started_at")
    assert sessions == plain.num_rows > 0
    elsewhere = msgspec.structs.replace(short, among={"cdn": ["elsewhere"]})
    assert audiences.compared(lake, elsewhere, short.since)[1] == 0
    assert audiences.compared(lake, short, short.until) == ([], 0)


def test_a_programme_has_an_audience_and_a_mistyped_row_says_what_is_wrong(asked: tuple[Reader, Choice]) -> None:
    """The other rows keep their numbers; a row that was added and not filled yet says nothing."""
    lake, choice = asked
    times = {"since": f"{choice.since}", "until": f"{choice.until + timedelta(minutes=1)}"}
    schedule: list[dict[str, str | None]] = [
        {"programme": "all of it", **times},
        {"programme": "mistyped", **times, "until": "8 pm"},
        {"programme": "the wrong way round", "since": times["until"], "until": times["since"]},
        {"programme": "", "since": "", "until": None, "channel": ""},
    ]
    (answer,), wrong = programmes.audience(lake, schedule)
    assert (answer["programme"], answer["sessions"]) == ("all of it", SESSIONS)
    assert wrong == [
        "mistyped: `until` is '8 pm', which is no time: write 2026-08-03 20:15, or 2026-08-03 20:15+02",
        "the wrong way round: `until` is not after `since`",
    ]


@pytest.mark.parametrize("address", [None, "", "{", "7", "[]", '["a"]', '"text"'])
def test_an_address_without_a_schedule_gets_the_usual_one(address: str | None) -> None:
    """Also one that was cut off when it was sent."""
    usual = {"programme": "the newest hour", "since": "a", "until": "b", "channel": ""}
    assert programmes.schedule_in(address, usual) == [usual]


def test_those_who_watched_at_a_moment_are_those_with_a_span_then(asked: tuple[Reader, Choice]) -> None:
    """By the view of spans, each session once; nobody a week before."""
    lake, choice = asked
    moment = choice.until - timedelta(seconds=75)
    (plain,) = read(
        lake,
        "SELECT count(DISTINCT session_id) AS n FROM spans "
        "WHERE doing = 'playing' AND started_at <= $moment AND ended_at > $moment",
        moment=moment,
    ).to_pylist()
    assert 0 < plain["n"] < SESSIONS
    week_before = moment - timedelta(days=7)
    assert questions.watching_at(lake, choice, moment, week_before) == plain["n"]
    assert questions.watching_at(lake, choice, week_before, week_before) == 0


def test_what_was_before_the_lake_began_is_unknown(asked: tuple[Reader, Choice]) -> None:
    """It is not drawn as nobody watching, and no number says 0."""
    lake, choice = asked
    began = filters.first_moment(lake)
    assert began is not None
    drawn = [row["begins"] for row in audiences.watched(lake, choice, began).drawn]
    assert drawn
    assert min(drawn) >= began
    compared, _ = audiences.compared(lake, choice, began)
    assert {row["series"] for row in compared} == {"this period"}
    assert questions.watching_at(lake, choice, began - timedelta(seconds=1), began) is None


def test_a_choice_is_scored_where_health_knows_its_value(asked: tuple[Reader, Choice]) -> None:
    """All, one value of one dimension, one version of one player; nothing else."""
    _, choice = asked
    newest = choice.until
    scored = {
        "all": {},
        "cdn": {"cdn": ["east"]},
        "no country": {"country": ["unknown"]},
        "version": {"player": ["web"], "app version": ["2.0"]},
        "a version of any player": {"app version": ["2.0"]},
        "two values": {"cdn": ["east", "west"]},
        "two dimensions": {"cdn": ["east"], "site": ["news"]},
    }
    assert {name: questions.scored_by(choice_of(newest, **among)) for name, among in scored.items()} == {
        "all": ("all", None),
        "cdn": ("cdn", "east"),
        "no country": ("country", None),
        "version": ("app_version", "web 2.0"),
        "a version of any player": None,
        "two values": None,
        "two dimensions": None,
    }


def test_a_score_is_that_of_the_last_complete_minute(asked: tuple[Reader, Choice]) -> None:
    """Forty sessions have no past to be compared with, so nothing can be said; of a stranger there is no row."""
    lake, choice = asked
    minute = choice.until.replace(second=0, microsecond=0)
    (newest,) = read(
        lake,
        "SELECT minute, scores FROM health_by_minute($since) WHERE dimension = 'all' ORDER BY minute DESC LIMIT 1",
        since=minute - timedelta(hours=1),
    ).to_pylist()
    assert newest["minute"] == minute - timedelta(minutes=1)
    assert questions.health(lake, minute, "all", None) == newest["scores"]
    assert questions.health(lake, minute, "cdn", "elsewhere") is None


def test_no_combination_differs_where_all_are_alike(asked: tuple[Reader, Choice]) -> None:
    """Every session has the same player and content."""
    lake, choice = asked
    assert questions.most_different(lake, choice) == []
