"""The audience of a generated service: who the viewers are, and when each of them comes. Pure.

A viewer of a seed and number is always the same. Most of them come now and then, a few every day; some are new in
the period, some do not come back.
"""

import math
import random
from collections.abc import Iterator
from typing import Literal

import msgspec

from players.month.apps import APPS, App
from players.month.stories import CDNS, DAY_MS, HOUR_MS, TEST_GROUPS, Window, kick_off
from players.personas import opaque

SITES = ("aurora-tv", "aurora-news", "aurora-sport")
Denial = Literal["", "Sec-GPC", "X-Consent"]

# By hour of the viewer's day: how many sessions begin, of 100, on working days; and what is watched then.
_HOURS = (1.2, 0.6, 0.4, 0.3, 0.4, 0.9, 2.4, 4.0, 4.1, 3.2, 3.0, 3.5, 5.0, 4.6, 3.7, 3.8, 4.4, 5.6, 7.4, 9.2)
HOURS = (*_HOURS, 12.0, 11.0, 6.4, 2.9)
_NEWS_HOURS = frozenset((6, 7, 8, 9, 12, 13, 19))
_WEEKDAYS = (0.92, 0.9, 0.95, 0.95, 1.05, 1.2, 1.25)  # Monday first
VISITS_A_DAY = 0.62
ATTENDS = 0.16  # of those who like sport as much as most, at each match
STORM_MS = 240_000  # most of a match's viewers come within four minutes of the kick-off


class Country(msgspec.Struct, frozen=True):
    """A country: its share of the viewers, its clock, how often each of `CDNS` serves it, and some regions."""

    code: str
    share: float
    ahead_ms: int
    cdns: tuple[float, float, float]
    regions: tuple[str, ...]


COUNTRIES = (
    Country("DE", 55, HOUR_MS, (45, 35, 20), ("NW", "BY", "BW", "BE", "HH")),
    Country("AT", 12, HOUR_MS, (45, 35, 20), ("9", "6", "5")),
    Country("CH", 9, HOUR_MS, (40, 40, 20), ("ZH", "BE", "VD")),
    Country("PL", 9, HOUR_MS, (20, 30, 50), ("14", "12", "24")),
    Country("FR", 6, HOUR_MS, (30, 50, 20), ("IDF", "ARA", "PAC")),
    Country("GB", 6, 0, (30, 50, 20), ("ENG", "SCT")),
    Country("US", 3, -5 * HOUR_MS, (20, 60, 20), ("NY", "CA")),
)


class Viewer(msgspec.Struct, frozen=True, kw_only=True):
    """Who a viewer is. `clock_ms` is the device's clock minus the true one, `here` when the viewer is one.

    `user_id` is known to the service; `tells_by` is how the player names it, if the viewer logs in. The player of
    a viewer with a `denial` sends no identity. Nobody looks at a content for longer than `looks_s_max`.
    """

    number: int
    country: Country
    region: str
    address: str
    apps: tuple[App, App]
    agents: tuple[str, str]
    user_id: str
    tells_by: Literal["", "visitorId", "tracking"]
    denial: Denial
    group: str
    clock_ms: int
    delay_ms: int
    visits_a_day: float
    tastes: tuple[float, ...]
    here: Window
    looks_s_max: float = math.inf

    def rng(self, *what: object) -> random.Random:
        """Return what decides about one thing that this viewer does."""
        return random.Random("/".join(map(str, (self.user_id, *what))))


class Coming(msgspec.Struct, frozen=True, order=True):
    """A viewer comes: when, to which site, and for which match, by its kick-off; 0 if for none."""

    at_ms: int
    viewer: int
    site: str
    match_ms: int = 0


def make_viewer(seed: int, number: int, period: Window) -> Viewer:
    """Return the viewer of this seed and number, for whom `period` is the whole history."""
    rng = random.Random(f"month/{seed}/{number}")
    country = rng.choices(COUNTRIES, [each.share for each in COUNTRIES])[0]
    first, second = rng.choices(APPS, [each.share for each in APPS], k=2)
    roll = rng.random()
    return Viewer(
        number=number,
        country=country,
        region=rng.choice(country.regions),
        address=f"198.{18 + number // 32_000 % 2}.{number // 125 % 256}.{1 + number % 250}",
        apps=(first, second),
        agents=(rng.choice(first.user_agents), rng.choice(second.user_agents)),
        user_id=f"user-{opaque('month', seed, number)}",
        tells_by="visitorId" if roll < 0.35 else "tracking" if roll < 0.45 else "",
        denial="Sec-GPC" if roll > 0.9 else "X-Consent" if roll > 0.85 else "",
        group=rng.choice(TEST_GROUPS),
        clock_ms=_clock_ms(rng),
        delay_ms=rng.choice((20, 60, 60, 150, 400)),
        visits_a_day=min(6.0, VISITS_A_DAY * rng.lognormvariate(-0.5, 1.0)),
        tastes=tuple(rng.uniform(0.3, 1.0) ** 2 * weight for weight in (50.0, 32.0, 18.0)),
        here=_here(rng, period),
    )


def _clock_ms(rng: random.Random) -> int:
    """Most clocks are right to a second or two; some are minutes off, or in another zone."""
    roll = rng.random()
    if roll < 0.95:
        return rng.randrange(-1_500, 1_500)
    return rng.randrange(-900_000, 900_000) if roll < 0.99 else rng.choice((-HOUR_MS, HOUR_MS, -9 * HOUR_MS))


def _here(rng: random.Random, period: Window) -> Window:
    """A fifth of the viewers are new in the period, a seventh of all do not come back before it ends."""
    from_ms = period.from_ms + int(max(0.0, rng.uniform(-4.0, 1.0)) * period.length_ms)
    to_ms = from_ms + int(min(1.0, rng.uniform(0.0, 7.0)) * period.length_ms)
    return Window(from_ms, period.to_ms if to_ms >= from_ms + period.length_ms else to_ms)


def comings(viewer: Viewer, day_ms: int) -> Iterator[Coming]:
    """Return when a viewer comes on a day, by its midnight, UTC; in no order."""
    rng = viewer.rng(day_ms)
    match_ms = kick_off(day_ms)
    if match_ms is not None and rng.random() < ATTENDS * viewer.tastes[2] / 8.5:
        spread_ms = STORM_MS if rng.random() < 0.7 else 12 * STORM_MS
        yield Coming(match_ms + int(rng.gauss(0, 0.5) * spread_ms), viewer.number, SITES[2], match_ms)
    weekday = (day_ms // DAY_MS + 3) % 7
    for _ in range(_poisson(rng, viewer.visits_a_day * _WEEKDAYS[weekday])):
        hour = rng.choices(range(24), HOURS)[0]
        at_ms = day_ms + hour * HOUR_MS + rng.randrange(HOUR_MS) - viewer.country.ahead_ms
        yield Coming(at_ms, viewer.number, _site(rng, viewer, hour))


def _site(rng: random.Random, viewer: Viewer, hour: int) -> str:
    films, news, sport = viewer.tastes
    return rng.choices(SITES, (films, news * (3.0 if hour in _NEWS_HOURS else 0.7), sport))[0]


def _poisson(rng: random.Random, mean: float) -> int:
    count, left = -1, math.exp(-mean)
    product = 1.0
    while product > left:
        count += 1
        product *= rng.random()
    return count


def cdn_of(rng: random.Random, country: Country) -> str:
    """Draw the CDN that serves a viewer now."""
    return rng.choices(CDNS, country.cdns)[0]
