"""What the page about content shows, over a lake where it is known who left a content where."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rigs.lake import Lake, told_values, write_told
from rigs.pages import reading, text_of

from lake.reading import Reader
from notebooks import contents
from notebooks.connect import read
from notebooks.curves import TICKS_MAX, bars, clock
from notebooks.filters import Choice

START_MS = int(datetime(2026, 8, 3, 12, tzinfo=UTC).timestamp() * 1000)
FILM, OTHER, CHANNEL = "![film](http://site.example/a.png)", "other", "channel"
LENGTH_S = 60
LEFT_AT_S = 20
LEFT, COMPLETED, JUMPED = 12, 8, 5
METRICS = ["completion_ratio_adobe_content", "watched_ratio"]


def leaves() -> Iterator[tuple[float, str, float]]:
    """Seconds from the start, event and playhead of a viewer who leaves at 20 s."""
    yield from [(0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10), (20, "sessionEnd", 20)]


def completes() -> Iterator[tuple[float, str, float]]:
    """Of one who sees all of it."""
    yield from [(0, "sessionStart", 0), (0, "play", 0)]
    yield from [(at, "ping", at) for at in range(10, LENGTH_S, 10)]
    yield from [(LENGTH_S, "sessionComplete", LENGTH_S), (LENGTH_S + 1, "sessionEnd", LENGTH_S)]


def jumps() -> Iterator[tuple[float, str, float]]:
    """Of one who goes back from 30 s to 10 s, and sees the rest."""
    yield from [(0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10), (20, "ping", 20), (30, "pauseStart", 30)]
    yield from [(31, "play", 10)]
    yield from [(at + 21, "ping", at) for at in range(20, LENGTH_S, 10)]
    yield from [(LENGTH_S + 21, "sessionComplete", LENGTH_S), (LENGTH_S + 22, "sessionEnd", LENGTH_S)]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """25 plays of a film with a hostile name, 4 of another, which all complete, and 3 of a live channel."""
    made = Lake(tmp_path_factory.mktemp("contents") / "data")
    played = [(FILM, leaves)] * LEFT + [(FILM, completes)] * COMPLETED + [(FILM, jumps)] * JUMPED
    played += [(OTHER, completes)] * 4 + [(CHANNEL, leaves)] * 3
    told: list[tuple[int, bytes]] = []
    for number, (content, script) in enumerate(played):
        params: dict[str, Any] = {"media.id": content, "media.name": content, "media.length": LENGTH_S}
        if content == CHANNEL:
            params |= {"media.contentType": "live", "media.length": 86_400}
        events = ((*event, params if event[1] == "sessionStart" else {}) for event in script())
        told += told_values(number, START_MS + number * 1000, events)
    with made.writer() as writer:
        write_told(writer, writer.load(0, None), sorted(told))
    return made


@pytest.fixture(scope="module")
def asked(lake: Lake) -> Iterator[tuple[Reader, Choice]]:
    """A reader of it, and the choice of all of it."""
    with reading(lake.settings.data_dir, timedelta(days=7), sample_min=10) as found:
        yield found


@pytest.fixture
def film(asked: tuple[Reader, Choice]) -> contents.Content:
    """The film, as the page lists it."""
    return contents.contents(*asked, METRICS)[0]


def test_contents_are_listed_by_their_plays_with_metrics_of_the_catalogue(asked: tuple[Reader, Choice]) -> None:
    """Each with the numbers of `metrics_by_content`; a live one has no length."""
    lake, choice = asked
    found = contents.contents(lake, choice, METRICS)
    assert [(each.content_id, each.plays, each.length_s, each.is_live) for each in found] == [
        (FILM, LEFT + COMPLETED + JUMPED, LENGTH_S, False),
        (OTHER, 4, LENGTH_S, False),
        (CHANNEL, 3, None, True),
    ]
    shown = {each.content_id: {name: each.measures[name]["value"] for name in METRICS} for each in found}
    plain = read(lake, f"SELECT content_id, {', '.join(METRICS)} FROM metrics_by_content").to_pylist()
    assert {row.pop("content_id"): pytest.approx(row) for row in plain} == shown


def test_filters_leave_their_sessions_in_every_number(
    asked: tuple[Reader, Choice], film: contents.Content
) -> None:
    """Of several values of a dimension too."""
    lake, choice = asked
    none = msgspec.structs.replace(choice, among={"player": ["elsewhere", "nowhere"]})
    assert contents.contents(lake, none, METRICS) == []
    assert {row["sessions"] for row in contents.retention(lake, none, film)} <= {0}
    assert contents.leaving(lake, none, film) == []
    assert contents.seeks(lake, none, film)[0]["seeks"] == 0
    both = msgspec.structs.replace(choice, among={"player": ["elsewhere", "p"]})
    assert contents.retention(lake, both, film) == contents.retention(lake, choice, film)


def test_retention_falls_where_they_left_and_grows_where_they_jumped_back(
    asked: tuple[Reader, Choice], film: contents.Content
) -> None:
    """In shares of all plays, within the band of each."""
    by_start = {row["from_s"]: row for row in contents.retention(*asked, film)}
    assert by_start[0]["unique_retention_ratio"] == 1
    assert by_start[15]["absolute_retention_ratio"] == pytest.approx(1 + JUMPED / film.plays)
    assert by_start[40]["unique_retention_ratio"] == pytest.approx((COMPLETED + JUMPED) / film.plays)
    assert by_start[15]["heat_ratio"] == 1
    for row in by_start.values():
        assert row["low"] <= row["unique_retention_ratio"] + 1e-9
        assert row["unique_retention_ratio"] <= row["high"] + 1e-9


def test_a_content_is_compared_with_others_of_its_length(
    asked: tuple[Reader, Choice], film: contents.Content
) -> None:
    """The other one keeps all of its viewers to the end."""
    last = contents.relative(*asked, film)[-1]
    assert last["similar_contents"] == 1
    assert last["relative_retention_ratio"] == pytest.approx((COMPLETED + JUMPED) / film.plays)
    assert 0 < last["from_s"] < LENGTH_S


def test_leaving_points_are_where_they_left(asked: tuple[Reader, Choice], film: contents.Content) -> None:
    """Of all closed plays; those who completed did not leave."""
    assert (film.closed, film.completed, film.unknown) == (film.plays, COMPLETED + JUMPED, 0)
    (row,) = contents.leaving(*asked, film)
    assert row["from_s"] <= LEFT_AT_S < row["to_s"]
    assert row["sessions"] == LEFT
    assert row["low"] < row["left_ratio"] == LEFT / film.plays < row["high"]


def test_seeks_have_where_they_began_and_where_they_went(
    asked: tuple[Reader, Choice], film: contents.Content
) -> None:
    """All of them backward by 20 s; every bucket of the content has a row for the chart."""
    whole, by_bucket = contents.seeks(*asked, film)
    assert (whole["seeks"], whole["sessions"], whole["forward"], whole["backward_s"]) == (JUMPED, JUMPED, 0, 20)
    assert sum(row["away"] for row in by_bucket if row["from_s"] <= 30 < row["from_s"] + film.bucket_s) == JUMPED
    assert (
        sum(row["to_here"] for row in by_bucket if row["from_s"] <= 10 < row["from_s"] + film.bucket_s) == JUMPED
    )
    places = [row["from_s"] for row in contents.gapless(by_bucket, film)]
    assert places == sorted(set(places))
    assert places[0] == 0
    assert places[-1] >= LENGTH_S - film.bucket_s


def test_the_page_says_first_where_most_leave(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """With how many of how many, and the interval; a name from a player is text."""
    monkeypatch.setenv("PLAYHEAD_DATA_DIR", str(lake.settings.data_dir))
    shown = text_of("content")
    assert f"<b>{FILM}</b>" in shown
    assert f"Most leave between {clock(LEFT_AT_S)} and" in shown
    assert f"{LEFT:,} of {LEFT + COMPLETED + JUMPED:,} closed plays, 48.0% (" in shown


@pytest.mark.parametrize("last_s", [1.0, 90.0, 5_000.0, 86_400.0, 4e12])
def test_charts_are_small_however_long_a_content_is(last_s: float) -> None:
    """Players may send any playhead."""
    content = contents.Content("a", "a", 1, 1, 0, 0, None, True, (0.0, last_s), {})
    rows = contents.gapless([], content)
    assert len(rows) <= contents.BUCKETS_MAX + 1
    drawn = [{"from_s": row["from_s"], "to_s": row["from_s"], "value": 0, "shown": ""} for row in rows]
    chart = bars(drawn, title="nothing", ends=content.ends).to_dict()
    assert 1 <= len(chart["encoding"]["x"]["axis"]["values"]) <= TICKS_MAX + 1


@pytest.mark.parametrize(("position_s", "shown"), [(0, "0:00"), (65.9, "1:05"), (3_661, "1:01:01")])
def test_a_position_is_shown_as_players_show_it(position_s: float, shown: str) -> None:
    """Minutes and seconds, and hours if there are any."""
    assert clock(position_s) == shown
