"""What a generated service offers: series and films, news of the day, matches; few hits and a long tail. Pure."""

import random
from functools import cached_property
from itertools import accumulate
from typing import Literal

import msgspec

from players.month.audience import SITES
from players.month.stories import DAY_MS, MATCH_MS, date_of, kick_off, midnight_before

SERIES = 24
EPISODES = 12
FILMS = 120
CLIPS_A_DAY = 14
TAIL = 1.1  # the n-th title is watched n**-TAIL times as often as the first
_FIRST = (
    "Harbour",
    "Winter",
    "Silent",
    "Northern",
    "Last",
    "Paper",
    "Glass",
    "Second",
    "Hidden",
    "Golden",
    "Summer",
)
_SECOND = ("Lights", "Street", "Harvest", "Border", "Letters", "Garden", "Station", "Promise", "Island", "Company")
_GENRES = ("crime", "comedy", "documentary", "drama", "family")


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One content. A live one has no length; `ends_ms` is when a match is over."""

    id: str
    name: str
    site: str
    kind: Literal["episode", "film", "clip", "live"]
    length_s: float
    genre: str
    show: str = ""
    season: str = ""
    episode: str = ""
    ends_ms: int = 0

    @property
    def is_live(self) -> bool:
        return self.kind == "live"


class Catalogue:
    """Everything that can be watched, by seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        rng = random.Random(f"month/{seed}/catalogue")
        titles = [f"{first} {second}" for first in _FIRST for second in _SECOND]
        rng.shuffle(titles)
        self._series = [self._make_series(rng, name) for name in titles[:SERIES]]
        self._films = [
            Item(
                id=f"film-{number + 1:03}",
                name=f"The {name}",
                site=SITES[0],
                kind="film",
                length_s=float(rng.randrange(5_000, 8_000)),
                genre=rng.choice(_GENRES),
            )
            for number, name in enumerate((titles[SERIES:] * 2)[:FILMS])
        ]

    def _make_series(self, rng: random.Random, name: str) -> list[Item]:
        length_s, genre = rng.choice((1_320.0, 2_640.0)), rng.choice(_GENRES)
        slug = name.lower().replace(" ", "-")
        return [
            Item(
                id=f"{slug}-s01e{number:02}",
                name=f"{name}, episode {number}",
                site=SITES[0],
                kind="episode",
                length_s=length_s + rng.randrange(-60, 60),
                genre=genre,
                show=name,
                season="1",
                episode=str(number),
            )
            for number in range(1, EPISODES + 1)
        ]

    @cached_property
    def _tails(self) -> dict[int, list[float]]:
        return {
            count: list(accumulate((place + 1) ** -TAIL for place in range(count)))
            for count in (SERIES, EPISODES, FILMS, CLIPS_A_DAY)
        }

    def _by_rank(self, rng: random.Random, count: int) -> int:
        return rng.choices(range(count), cum_weights=self._tails[count])[0]

    def choose(self, rng: random.Random, site: str, at_ms: int) -> Item:
        """Draw what somebody watches who comes to a site."""
        if site == SITES[0]:
            if rng.random() < 0.2:
                return self._films[self._by_rank(rng, FILMS)]
            return self._series[self._by_rank(rng, SERIES)][self._by_rank(rng, EPISODES)]
        if site == SITES[1]:
            return self._live_news() if rng.random() < 0.2 else self._clip(rng, at_ms)
        return self._highlight(rng, at_ms)

    def after(self, item: Item) -> Item | None:
        """Return the next episode, which many players start by themselves."""
        series = next((each for each in self._series if each[0].show == item.show), None)
        number = int(item.episode or 0)
        return series[number] if series is not None and 0 < number < len(series) else None

    def match(self, kick_off_ms: int) -> Item:
        """Return the live programme of a match."""
        return Item(
            id=f"match-{date_of(kick_off_ms)}",
            name=f"Match of {date_of(kick_off_ms)}",
            site=SITES[2],
            kind="live",
            length_s=86_400.0,
            genre="football",
            show="Matchday",
            ends_ms=kick_off_ms + MATCH_MS,
        )

    def _live_news(self) -> Item:
        return Item(
            id="news-24", name="Aurora News 24", site=SITES[1], kind="live", length_s=86_400.0, genre="news"
        )

    def _clip(self, rng: random.Random, at_ms: int) -> Item:
        """News is from today, or of yesterday."""
        day_ms = midnight_before(at_ms) - (DAY_MS if rng.random() < 0.25 else 0)
        number = self._by_rank(rng, CLIPS_A_DAY) + 1
        length_s = random.Random(f"{self._seed}/{day_ms}/{number}").randrange(45, 260)
        return Item(
            id=f"news-{date_of(day_ms)}-{number:02}",
            name=f"News of {date_of(day_ms)}, {number}",
            site=SITES[1],
            kind="clip",
            length_s=float(length_s),
            genre="news",
            show="Aurora News",
        )

    def _highlight(self, rng: random.Random, at_ms: int) -> Item:
        """Highlights are of the last matches; the newest is the one that most want to see."""
        matches = [
            kick_off_ms
            for back in range(21)
            if (kick_off_ms := kick_off(midnight_before(at_ms) - back * DAY_MS)) is not None
            and kick_off_ms + MATCH_MS < at_ms
        ]
        kick_off_ms = matches[min(len(matches) - 1, int(rng.expovariate(1.0)))]
        number = 1 + min(7, int(rng.expovariate(0.6)))
        return Item(
            id=f"highlight-{date_of(kick_off_ms)}-{number}",
            name=f"Highlights of {date_of(kick_off_ms)}, {number}",
            site=SITES[2],
            kind="clip",
            length_s=120.0 + 45.0 * number,
            genre="football",
            show="Matchday",
        )
