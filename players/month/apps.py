"""The apps of a generated service: on which devices they run, how they report, and their releases. Pure."""

import random

import msgspec

from players.month.stories import DAY_MS, HOUR_MS, Stories, midnight_before

UPDATE_DAYS = 1.5  # after a release, on average


class Release(msgspec.Struct, frozen=True):
    """A version, and from when on viewers get it."""

    version: str
    from_ms: int


class App(msgspec.Struct, frozen=True, kw_only=True):
    """One app. `startup_s` is how long its viewers usually wait, `share` how many use it mostly.

    `stays` is how many never update it.
    `versions` are in order of release, one every two weeks, the last one before the history ends.
    """

    name: str
    channel: str
    share: float
    user_agents: tuple[str, ...]
    ping_s: float
    startup_s: float
    ends: float
    pings_paused: bool
    versions: tuple[str, ...]
    stays: float = 0.02
    bitrates: tuple[int, ...] = (900_000, 2_400_000, 4_800_000)


_WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
WEB = App(
    name="aurora-web",
    channel="web",
    share=42,
    user_agents=(
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/141.0.0.0 Safari/537.36",
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Chrome/141.0.0.0 Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/18.6 Safari/605.1.15",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0",
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_WEBKIT} Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
    ),
    ping_s=10.0,
    startup_s=0.9,
    ends=0.55,
    pings_paused=True,
    versions=("4.1.2", "4.2.0", "4.2.1", "4.3.0"),
)
ANDROID = App(
    name="aurora-android",
    channel="android",
    share=22,
    user_agents=(
        f"Mozilla/5.0 (Linux; Android 15; Pixel 9) {_WEBKIT} Version/4.0 Chrome/141.0.0.0 Mobile Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 14; SM-S921B) {_WEBKIT} Version/4.0 Chrome/140.0.0.0 Mobile Safari/537.36",
        f"Mozilla/5.0 (Linux; Android 13; SM-A546B) {_WEBKIT} Version/4.0 Chrome/139.0.0.0 Mobile Safari/537.36",
    ),
    ping_s=30.0,
    startup_s=1.3,
    ends=0.75,
    pings_paused=False,
    versions=("7.9.4", "7.10.0", "7.10.1"),
    bitrates=(600_000, 1_200_000, 2_400_000),
)
IOS = App(
    name="aurora-ios",
    channel="ios",
    share=18,
    user_agents=(
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Mobile/15E148",
        "Mozilla/5.0 (iPad; CPU OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    ),
    ping_s=30.0,
    startup_s=1.1,
    ends=0.8,
    pings_paused=False,
    versions=("7.8.0", "7.9.0", "7.9.1"),
    bitrates=(600_000, 1_200_000, 2_400_000),
)
TELEVISION = App(
    name="aurora-tv",
    channel="tv",
    share=18,
    user_agents=(
        "Mozilla/5.0 (SMART-TV; LINUX; Tizen 7.0) AppleWebKit/537.36 (KHTML, like Gecko) 94.0.4606.31/7.0 "
        "TV Safari/537.36",
        f"Mozilla/5.0 (Web0S; Linux/SmartTV) {_WEBKIT} Chrome/108.0.5359.211 Safari/537.36 WebAppManager",
        f"Mozilla/5.0 (Linux; Android 12; BRAVIA 4K VH22) {_WEBKIT} Chrome/140.0.0.0 Safari/537.36",
    ),
    ping_s=50.0,
    startup_s=2.1,
    ends=0.4,
    pings_paused=True,
    versions=("2.6.0", "2.7.0", "2.7.3"),
    stays=0.15,
    bitrates=(2_400_000, 4_800_000, 9_000_000),
)
APPS = (WEB, ANDROID, IOS, TELEVISION)
BOT_AGENTS = (
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
)


def releases(app: App, stories: Stories) -> list[Release]:
    """Return the releases of an app, the first long ago."""
    newest_ms = midnight_before(stories.bad_release.from_ms) - 5 * DAY_MS + 10 * HOUR_MS
    count = len(app.versions)
    made = [
        Release(version, newest_ms - (count - 1 - place) * 14 * DAY_MS)
        for place, version in enumerate(app.versions)
    ]
    made[0] = Release(made[0].version, 0)
    if app.name == stories.bad_app:
        made.append(Release(stories.bad_version, stories.bad_release.from_ms))
    return made


def version_at(app: App, releases: list[Release], at_ms: int, *, key: str) -> str:
    """Return the version that a viewer has: each release arrives after a while, which `key` decides.

    Nobody goes back to an older one.
    """
    rng = random.Random(key)
    found = releases[0].version
    if rng.random() < app.stays:
        return found
    for release in releases[1:]:
        if at_ms >= release.from_ms + rng.expovariate(1 / UPDATE_DAYS) * DAY_MS:
            found = release.version
    return found
