"""One visit: a viewer plays one content, and what the stories do to that. Pure.

What happens is played on a `Screen`, like every kind of session, so a visit is a player with a real state.
"""

import math
import random
from typing import Any

import msgspec

from players.month.apps import App
from players.month.audience import Viewer, cdn_of
from players.month.catalogue import Catalogue, Item
from players.month.stories import SLOW_CDN, SLOW_COUNTRY, TEST_GROUPS, Stories
from players.screen import DAY_S, Content, Habits, Screen, Sent
from players.viewing import buffer, leave, pause, seek_somewhere

CAMPAIGNS = {"winter-offer": 40, "city-bank": 30, "new-car": 20, "house-ads": 10}
AD_LENGTHS_S = (10.0, 15.0, 20.0, 30.0)
BREAK_EVERY_S = 900.0  # of episodes and films
ERRORS = {"NET-1001": 55, "DRM-6007": 25, "SRC-404": 20}
TRIES_MAX = 3
BUFFERS_A_MINUTE = 0.03
ACTS_A_MINUTE = 0.06  # of the viewer: pauses, seeks
RECOVERS_S = 10.0  # after buffering, until the player takes a higher bitrate


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """A viewer on one app, one content, one CDN. `tries` counts how often it failed before."""

    viewer: Viewer
    app: App
    user_agent: str
    version: str
    item: Item
    cdn: str
    at_ms: int
    tries: int = 0


class Played(msgspec.Struct, frozen=True):
    """What a visit was: its events, and the visit that follows at once, if any."""

    sent: list[Sent]
    follow_up: Visit | None


class _Trouble(msgspec.Struct, frozen=True):
    """How well a visit goes: odds that it fails, how much longer it starts, waits for each minute of watching."""

    fails: float
    startup_factor: float
    buffers_a_minute: float


def play_visit(visit: Visit, stories: Stories, catalogue: Catalogue) -> Played:
    """Play a visit; the same visit gives the same events."""
    rng = visit.viewer.rng(visit.at_ms, visit.item.id, visit.tries)
    screen = _screen_of(rng, visit)
    screen.say("sessionStart", _start_params(visit))
    trouble = _trouble(visit, stories)
    follow_up = None
    if _come_to_first_frame(screen, visit, stories, trouble):
        if _watch(screen, visit, stories, trouble):
            follow_up = _next_episode(screen, visit, catalogue)
        elif rng.random() < 0.7:
            follow_up = _again(screen, visit)
    elif screen.sent[-1].event_type == "error" and rng.random() < 0.6:
        follow_up = _again(screen, visit)
    leave(screen)
    return Played(screen.sent, follow_up)


def _screen_of(rng: random.Random, visit: Visit) -> Screen:
    app, viewer, item = visit.app, visit.viewer, visit.item
    habits = Habits(
        ping_s=app.ping_s,
        pings_paused=app.pings_paused,
        clock_ms=viewer.clock_ms,
        delay_ms=viewer.delay_ms,
        ends=rng.random() < app.ends,
    )
    screen = Screen(rng, habits, Content(length_s=item.length_s, is_live=item.is_live), began_ms=visit.at_ms)
    if item.is_live:
        screen.position_s = visit.at_ms / 1000 % DAY_S
    return screen


def _start_params(visit: Visit) -> dict[str, Any]:
    item, app = visit.item, visit.app
    params = {
        "analytics.trackingServer": "metrics.aurora.example",
        "analytics.reportSuite": item.site,
        "visitor.marketingCloudOrgId": "0123456789ABCDEF@AdobeOrg",
        "media.id": item.id,
        "media.name": item.name,
        "media.length": item.length_s,
        "media.contentType": "live" if item.is_live else "vod",
        "media.streamType": "video",
        "media.playerName": app.name,
        "media.channel": app.channel,
        "media.sdkVersion": visit.version,
        "media.libraryVersion": "3.2.1",
        "media.network": "Aurora",
        "media.genre": item.genre,
        "media.show": item.show,
        "media.season": item.season,
        "media.episode": item.episode,
    }
    if visit.viewer.tells_by == "visitorId" and not visit.viewer.denial:
        params["analytics.visitorId"] = visit.viewer.user_id
    return {key: value for key, value in params.items() if value != ""}


def _trouble(visit: Visit, stories: Stories) -> _Trouble:
    fails, factor, buffers = 0.008, 1.0, BUFFERS_A_MINUTE
    if visit.cdn == SLOW_CDN and visit.viewer.country.code == SLOW_COUNTRY:
        factor, buffers = 1.6, 8 * BUFFERS_A_MINUTE
    if visit.app.name == stories.bad_app and visit.version == stories.bad_version:
        fails, factor = 0.16, factor * 1.5
    if visit.viewer.group == TEST_GROUPS[1]:
        factor *= 0.7
    return _Trouble(fails, factor, buffers)


# ---- until the first frame


def _come_to_first_frame(screen: Screen, visit: Visit, stories: Stories, trouble: _Trouble) -> bool:
    """Start; return whether the viewer sees content, and does not leave or fail before."""
    rng = screen.rng
    if _is_lost(screen, visit, stories):
        screen.let(rng.uniform(6.0, 15.0), "starting")
        _fail(screen, "CDN-503")
        return False
    if (visit.item.kind != "clip" and not visit.item.is_live) or rng.random() < 0.3:
        screen.let(rng.uniform(0.1, 0.5), "starting")
        _see_ads(screen, stories, count=rng.choice((1, 1, 2)))
    if rng.random() < trouble.fails:
        screen.let(rng.uniform(1.0, 6.0), "starting")
        _fail(screen, rng.choices(list(ERRORS), list(ERRORS.values()))[0])
        return False
    waits_s = rng.lognormvariate(math.log(visit.app.startup_s * trouble.startup_factor), 0.55)
    patience_s = rng.expovariate(1 / 45.0)
    screen.let(min(waits_s, patience_s), "starting")
    if patience_s < waits_s:
        return False
    screen.show()
    screen.say("play")
    _get_bitrate(screen, rng.choices(visit.app.bitrates, (1, 3, 6))[0])
    return True


def _is_lost(screen: Screen, visit: Visit, stories: Stories) -> bool:
    """Whether the visit's CDN does not answer now."""
    return visit.cdn == stories.lost_cdn and stories.outage.has(screen.began_ms + screen.at_ms)


def _get_bitrate(screen: Screen, bitrate_bps: int) -> None:
    screen.say("bitrateChange", {"media.qoe.bitrate": bitrate_bps})


def _fail(screen: Screen, error_id: str, *, source: str = "player") -> None:
    screen.say("error", {"media.qoe.errorID": error_id, "media.qoe.errorSource": source})


# ---- from the first frame on


def _watch(screen: Screen, visit: Visit, stories: Stories, trouble: _Trouble) -> bool:
    """Watch until the viewer has enough or the content ends; return False if the CDN was lost meanwhile."""
    rng, item = screen.rng, visit.item
    left_s = min(_wanted_s(rng, visit), visit.viewer.looks_s_max)
    break_in_s = BREAK_EVERY_S if item.kind in ("episode", "film") else math.inf
    while left_s > 0 and screen.left_s > 0.01:
        incident_s = rng.expovariate((trouble.buffers_a_minute + ACTS_A_MINUTE) / 60)
        piece_s = min(left_s, incident_s, break_in_s, _until_outage_s(screen, visit, stories))
        screen.watch(piece_s)
        left_s -= piece_s
        break_in_s -= piece_s
        if _is_lost(screen, visit, stories):
            screen.say("bufferStart")
            screen.let(rng.uniform(12.0, 45.0), "buffering")
            _fail(screen, "CDN-503")
            return False
        if screen.left_s <= 0.01 or left_s <= 0:
            break
        if break_in_s <= 0:
            _see_ads(screen, stories, count=2)
            screen.say("play")
            break_in_s = BREAK_EVERY_S
        elif incident_s <= piece_s:
            _incident(screen, visit, trouble)
    if screen.left_s <= 0.01:
        screen.is_completed = True
        screen.say("sessionComplete")
    return True


def _wanted_s(rng: random.Random, visit: Visit) -> float:
    """How long the viewer wants to watch: many leave soon, many see the end, few leave in between."""
    item = visit.item
    if item.is_live:
        wanted_s = rng.expovariate(1 / (1_500.0 if item.ends_ms else 500.0))
        return min(wanted_s, (item.ends_ms - visit.at_ms) / 1000) if item.ends_ms else wanted_s
    soon, whole = {"clip": (0.2, 0.55), "episode": (0.4, 0.25), "film": (0.5, 0.15)}[item.kind]
    roll = rng.random()
    if roll < soon:
        return item.length_s * rng.uniform(0.01, 0.12)
    return math.inf if roll > 1 - whole else item.length_s * rng.uniform(0.1, 0.95)


def _until_outage_s(screen: Screen, visit: Visit, stories: Stories) -> float:
    left_ms = stories.outage.from_ms - screen.began_ms - screen.at_ms
    return left_ms / 1000 + 0.001 if visit.cdn == stories.lost_cdn and left_ms >= 0 else math.inf


def _incident(screen: Screen, visit: Visit, trouble: _Trouble) -> None:
    """Something happens: the player waits for data, or the viewer pauses, seeks, or wants the whole screen."""
    rng = screen.rng
    if rng.random() < trouble.buffers_a_minute / (trouble.buffers_a_minute + ACTS_A_MINUTE):
        buffer(screen, rng.lognormvariate(0.9, 0.8))
        _get_bitrate(screen, visit.app.bitrates[0])
        screen.watch(RECOVERS_S)
        _get_bitrate(screen, visit.app.bitrates[1])
        return
    roll = rng.random()
    if roll < 0.45:
        pause(screen, rng.lognormvariate(3.0, 1.3))
    elif roll < 0.8:
        seek_somewhere(screen)
    elif visit.app.channel == "web":
        screen.say("stateStart", {"media.state.name": "fullscreen"})
    elif rng.random() < 0.05:
        _fail(screen, "SUB-2002")


def _see_ads(screen: Screen, stories: Stories, *, count: int) -> None:
    """See a break. The ads of a campaign that fails are begun, and do not load."""
    rng = screen.rng
    screen.say("adBreakStart", {"media.ad.podIndex": 1, "media.ad.podSecond": max(0.0, screen.position_s)})
    for place in range(1, count + 1):
        campaign = rng.choices(list(CAMPAIGNS), list(CAMPAIGNS.values()))[0]
        length_s = rng.choice(AD_LENGTHS_S)
        params = {
            "media.ad.id": f"{campaign}-{length_s:.0f}",
            "media.ad.name": f"{campaign} {length_s:.0f} s",
            "media.ad.campaignId": campaign,
            "media.ad.advertiser": campaign.partition("-")[0],
            "media.ad.length": length_s,
            "media.ad.podPosition": place,
            "media.ad.playerName": "aurora-ads",
        }
        screen.ads += 1
        screen.say("adStart", params)
        is_failing = campaign == stories.lost_campaign and stories.failing_ads.has(screen.began_ms + screen.at_ms)
        if is_failing and rng.random() < 0.85:
            screen.let(4.0, "ad waits")
            _fail(screen, "AD-VAST-402", source="ads")
        elif rng.random() < 0.12:
            screen.let(min(length_s, 5.0), "ad")
            screen.say("adSkip")
        else:
            screen.let(length_s, "ad")
            screen.say("adComplete")
    screen.say("adBreakComplete")


# ---- what follows


def _next_episode(screen: Screen, visit: Visit, catalogue: Catalogue) -> Visit | None:
    """Many who saw an episode to its end see the next one."""
    following = catalogue.after(visit.item)
    if not screen.is_completed or following is None or screen.rng.random() < 0.35:
        return None
    at_ms = screen.began_ms + screen.at_ms + screen.rng.randrange(2_000, 20_000)
    return msgspec.structs.replace(visit, item=following, at_ms=at_ms, tries=0)


def _again(screen: Screen, visit: Visit) -> Visit | None:
    """Who fails tries once more, and may be sent to another CDN."""
    if visit.tries + 1 >= TRIES_MAX:
        return None
    at_ms = screen.began_ms + screen.at_ms + screen.rng.randrange(1_000, 30_000)
    cdn = cdn_of(screen.rng, visit.viewer.country)
    return msgspec.structs.replace(visit, cdn=cdn, at_ms=at_ms, tries=visit.tries + 1)
