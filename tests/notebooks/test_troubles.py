"""What pages say of rebuffering and errors, where one CDN is bad in one country, and one version fails."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from rigs.lake import Lake, record_value, write_told
from rigs.pages import reading

from lake.reading import Reader
from notebooks import questions
from notebooks.filters import Choice

START_MS = int(datetime(2026, 8, 3, 12, tzinfo=UTC).timestamp() * 1000)
DAY_MS = 86_400_000
APART_MS = 60_000
EACH = 10  # sessions of each CDN in each country
CDNS, COUNTRIES = ("north", "south"), ("PL", "DE", None)
BAD = ("north", "PL")
NEW_MS = START_MS + len(CDNS) * len(COUNTRIES) * EACH * APART_MS  # from then on there is version 2.0


class Told(msgspec.Struct, frozen=True):
    """One session: when it began, its version, CDN and country, and the error that it had, if any."""

    start_ms: int
    version: str = "1.0"
    cdn: str = "south"
    country: str | None = "DE"
    error: str | None = None
    stalls: bool = False
    fails: bool = False

    def events(self) -> Iterator[tuple[int, str, float, dict[str, Any]]]:
        """Yield what the player says: milliseconds from the start, event, playhead, and what else is in it."""
        more = {} if self.error is None else {"qoeData": {"media.qoe.errorID": self.error}}
        yield 0, "sessionStart", 0, {"media.sdkVersion": self.version, "media.cdn": self.cdn}
        if self.fails:
            yield 1000, "error", 0, more
            yield 2000, "sessionEnd", 0, {}
            return
        yield 1000, "play", 0, {}
        if self.error is not None:
            yield 6000, "error", 5, more
        yield 11_000, "ping", 10, {}
        stalled_ms = 5000 * self.stalls
        if self.stalls:
            yield 12_000, "bufferStart", 11, {}
            yield 17_000, "play", 11, {}
        yield 21_000 + stalled_ms, "ping", 20, {}
        yield 31_000 + stalled_ms, "sessionEnd", 30, {}


def every_session() -> Iterator[Told]:
    """Yield the sessions: ten of 1.0 on every CDN in every country, then twenty of 2.0.

    OLD was there a month before and is in two sessions, MIDDLE was there 20 days before and is in one; NEW ends
    every second session of 2.0.
    """
    yield Told(NEW_MS - 30 * DAY_MS + DAY_MS // 2, error="OLD")
    yield Told(START_MS - 20 * DAY_MS, version="0.9", error="MIDDLE")
    places = [(cdn, country) for cdn in CDNS for country in COUNTRIES for _ in range(EACH)]
    for number, (cdn, country) in enumerate(places):
        error = {3: "OLD", 33: "OLD", 50: "MIDDLE"}.get(number)
        start_ms = START_MS + number * APART_MS
        yield Told(start_ms, cdn=cdn, country=country, error=error, stalls=(cdn, country) == BAD)
    for number in range(20):
        is_bad = number % 2 == 0
        yield Told(NEW_MS + number * APART_MS, "2.0", error="NEW" if is_bad else None, fails=is_bad)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The lake of these sessions."""
    made = Lake(tmp_path_factory.mktemp("troubles") / "data")
    values = []
    for number, told in enumerate(every_session()):
        for place, (after_ms, name, head, more) in enumerate(told.events()):
            at_ms = told.start_ms + after_ms
            value = record_value(
                f"e{number}.{place}", f"s{number}", name, ts=at_ms, received_ms=at_ms, playhead=head, **more
            )
            if name == "sessionStart" and told.country:
                value = msgspec.json.encode(msgspec.json.decode(value) | {"country": told.country})
            values.append((at_ms, value))
    with made.writer() as writer:
        write_told(writer, writer.load(0, None), sorted(values))
    return made


@pytest.fixture(scope="module")
def asked(lake: Lake) -> Iterator[tuple[Reader, Choice]]:
    """A reader of it, and the choice of its last two hours."""
    with reading(lake.settings.data_dir, timedelta(hours=2), sample_min=5) as found:
        yield found


# ---- rebuffering


def test_the_cdn_that_is_bad_in_one_country_is_named_first(asked: tuple[Reader, Choice]) -> None:
    """Neither the CDN, which is well elsewhere, nor the country, which is well on another CDN."""
    worst, second, *_ = questions.most_different(*asked)
    assert (worst["combination"], worst["n"], worst["share"], worst["rest_share"]) == ("north / PL", EACH, 1, 0)
    assert second["score"] < worst["score"]


def test_sessions_of_an_unknown_country_are_among_all_others(asked: tuple[Reader, Choice]) -> None:
    """What is filtered by is not what an unknown value is called in the combination."""
    lake, choice = asked
    chosen = msgspec.structs.replace(choice, among={"country": ["PL", "unknown"]})
    worst = questions.most_different(lake, chosen)[0]
    assert (worst["combination"], worst["n"], worst["rest_share"]) == ("north / PL", EACH, 0)
    unknown = msgspec.structs.replace(choice, among={"country": ["unknown", "DE"]})
    assert questions.most_different(lake, unknown) == []
