"""What happens in a generated history besides everyday viewing: the stories that an analyst can find. Pure.

All of them are in the last week before the end, so that a week has each of them, and the weeks before are what
they compare with. `README.md` of the folder above lists them.
"""

from datetime import UTC, datetime

import msgspec

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 86_400_000
MATCH_MS = 2 * HOUR_MS
_KICK_OFF_MS = 19 * HOUR_MS  # after midnight, UTC
_MATCH_WEEKDAYS = (2, 5)  # Wednesday and Saturday

CDNS = ("northstar", "fastlane", "edgewise")
SLOW_CDN, SLOW_COUNTRY = "edgewise", "PL"
"""Where one CDN is slow in one country, all the time."""

TEST_GROUPS = ("control", "preload")
"""In the second the player loads content before the viewer presses play."""


class Window(msgspec.Struct, frozen=True):
    """From one moment to another: milliseconds since 1970, the end excluded."""

    from_ms: int
    to_ms: int

    def has(self, at_ms: int) -> bool:
        return self.from_ms <= at_ms < self.to_ms

    @property
    def length_ms(self) -> int:
        return self.to_ms - self.from_ms


class Stories(msgspec.Struct, frozen=True, kw_only=True):
    """When each story happens.

    `bad_release`: from then on viewers of `bad_app` get `bad_version`. `outage`: `lost_cdn` answers nobody.
    `failing_ads`: the ads of `lost_campaign` do not load.
    """

    bad_release: Window
    bad_app: str = "aurora-android"
    bad_version: str = "7.11.0"
    outage: Window
    lost_cdn: str = CDNS[0]
    failing_ads: Window
    lost_campaign: str = "winter-offer"


def stories_before(until_ms: int) -> Stories:
    """Return the stories of a history that ends at `until_ms`."""
    midnight_ms = midnight_before(until_ms)
    days_ms = (midnight_ms - 2 * DAY_MS, midnight_ms - DAY_MS)
    outage_ms = next(day_ms for day_ms in days_ms if kick_off(day_ms) is None) + 19 * HOUR_MS + 10 * MINUTE_MS
    return Stories(
        bad_release=Window(midnight_ms - 3 * DAY_MS + 9 * HOUR_MS, until_ms),
        outage=Window(outage_ms, outage_ms + 40 * MINUTE_MS),
        failing_ads=Window(midnight_ms - 6 * DAY_MS + 12 * HOUR_MS, midnight_ms - 4 * DAY_MS + 12 * HOUR_MS),
    )


def kick_off(day_ms: int) -> int | None:
    """Return when the match of a day begins, if there is one; `day_ms` is its midnight, UTC."""
    weekday = datetime.fromtimestamp(day_ms / 1000, UTC).weekday()
    return day_ms + _KICK_OFF_MS if weekday in _MATCH_WEEKDAYS else None


def midnight_before(at_ms: int) -> int:
    """Return the last midnight, UTC."""
    return at_ms // DAY_MS * DAY_MS


def date_of(at_ms: int) -> str:
    """Return the date of a moment, UTC, as 20261128."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y%m%d")
