"""Misleading kinds of session: devices asleep, ads without an end, clocks that are set, lost events. Pure."""

import random

from players.kind import Kinds, draw_screen
from players.screen import Content, Screen
from players.viewing import (
    ad_break,
    ad_params,
    begin,
    buffer,
    film,
    leave,
    live,
    pause,
    press_play,
    see_ad,
    seek,
    some_ads,
    wander,
)

KINDS = Kinds()
HOUR_S = 3600.0
WAITING_SILENCE_S = 120.0
"""Longer silence than this is unknown while a player waits for data."""


def _sleep_s(rng: random.Random) -> float:
    return rng.choice((rng.uniform(300.0, 900.0), rng.uniform(1.0, 12.0) * HOUR_S))


@KINDS.add("asleep while it buffers", 8)
def _asleep_buffering(rng: random.Random) -> Screen:
    screen = draw_screen(rng, pings_buffering=False)
    begin(screen)
    screen.watch(rng.uniform(5.0, 300.0))
    screen.say("bufferStart")
    screen.let(rng.uniform(0.0, 20.0), "buffering")
    screen.let(_sleep_s(rng), "over", is_awake=False)
    screen.let(rng.uniform(0.0, 3.0), "buffering")
    screen.unsure("rebuffer", less_s=30.0, more_s=120.0)
    if rng.random() < 0.6:
        screen.say("play")
        screen.watch(rng.uniform(20.0, 300.0))
    leave(screen)
    return screen


@KINDS.add("asleep before the first frame", 6)
def _asleep_starting(rng: random.Random) -> Screen:
    screen = draw_screen(rng, pings_buffering=False)
    press_play(screen)
    if rng.random() < 0.4:
        screen.let(rng.uniform(0.1, 1.0), "starting")
        screen.say("bufferStart")
    screen.let(rng.uniform(0.5, 10.0), "starting")
    screen.let(_sleep_s(rng), "over", is_awake=False)
    screen.let(rng.uniform(0.1, 2.0), "starting")
    screen.show()
    screen.say("play")
    screen.watch(rng.uniform(20.0, 300.0))
    screen.unsure("startup", or_unknown=True)
    leave(screen)
    return screen


@KINDS.add("asleep while it plays", 15)
def _asleep_playing(rng: random.Random) -> Screen:
    screen = draw_screen(rng, rng.choice((live, film))(rng))
    begin(screen)
    screen.watch(rng.uniform(20.0, 300.0))
    screen.let(_sleep_s(rng), "over", is_awake=False)
    screen.watch(rng.uniform(20.0, 300.0))
    screen.unreported = 2
    leave(screen)
    screen.seeks = None if screen.content.is_live else screen.seeks
    return screen


@KINDS.add("asleep in a pause", 8)
def _asleep_paused(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    begin(screen)
    screen.watch(rng.uniform(20.0, 300.0))
    screen.say("pauseStart")
    screen.let(_sleep_s(rng), "paused", is_awake=False)
    screen.say("play")
    screen.watch(rng.uniform(20.0, 300.0))
    leave(screen)
    return screen


@KINDS.add("asleep in an ad", 3, ad=None)
def _asleep_in_ad(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    begin(screen)
    screen.watch(rng.uniform(20.0, 300.0))
    screen.ads += 1
    screen.say("adBreakStart", {"media.ad.podIndex": 1, "media.ad.podSecond": 1.0})
    screen.say("adStart", ad_params(30.0))
    screen.let(10.0, "ad")
    screen.let(_sleep_s(rng), "over", is_awake=False)
    screen.let(20.0, "ad")
    screen.say("adComplete")
    screen.say("adBreakComplete")
    screen.watch(rng.uniform(20.0, 300.0))
    # The silence may contain the rest of the ad, or none of it.
    screen.unsure("ad", less_s=30.0, more_s=5.0)
    leave(screen)
    return screen


@KINDS.add("buffers for minutes", 10)
def _long_wait(rng: random.Random) -> Screen:
    """Some players do not ping while they buffer; the viewer waits all the same, for minutes."""
    screen = draw_screen(rng)
    begin(screen)
    longest_s = 400.0 if screen.habits.pings_buffering else WAITING_SILENCE_S - 1.0
    for _ in range(rng.choice((1, 2))):
        screen.watch(rng.uniform(20.0, 200.0))
        buffer(screen, rng.uniform(61.0, longest_s))
    screen.watch(rng.uniform(20.0, 200.0))
    leave(screen)
    return screen


# ---- advertisements


@KINDS.add("pre-roll, and no play after it", 20)
def _no_play_after_pre_roll(rng: random.Random) -> Screen:
    """Some players send `play` before the ads, even in the same millisecond, and never again."""
    screen = draw_screen(rng)
    press_play(screen)
    screen.let(rng.choice((0.3, 0.5, 1.0)), "starting")
    screen.position_s = rng.choice((0.0, 0.0, rng.uniform(30.0, 500.0)))
    if rng.random() < 0.6:
        screen.say("play")
    if rng.random() < 0.3:
        screen.let(0.05, "starting")
    ad_break(screen, some_ads(rng))
    screen.show()
    screen.unreported = (
        2 if screen.habits.unknown_s < 0.0 else 1
    )  # the first frame, where no playhead shows it, and the last
    screen.watch(rng.uniform(8.0, 40.0) * screen.ping_s)
    screen.unsure("startup", less_s=1.0, more_s=1.0, or_unknown=True)
    leave(screen)
    return screen


@KINDS.add("the end of the break is lost", 15, ad=5.0)
def _ads_without_end(rng: random.Random) -> Screen:
    """`adBreakComplete` is lost, or `adComplete` as well; mostly there is a `play` when content continues."""
    content = rng.choice((live, film, film))(rng)
    screen = draw_screen(rng, content)
    begin(screen)
    screen.watch(rng.uniform(5.0, 200.0))
    screen.lost = set(rng.choice((("adBreakComplete",), ("adBreakComplete", "adComplete"))))
    ad_break(screen, (rng.choice((6.0, 10.0, 15.0, 30.0)),))
    if content.is_live or rng.random() < 0.7:  # a live playhead moves during ads too: no evidence
        screen.say("play")
    screen.unreported = 2  # where content continues, and where the viewer leaves
    screen.watch(rng.uniform(8.0, 60.0) * screen.ping_s)
    leave(screen)
    return screen


@KINDS.add("the end of the break is lost, ads without a length", 3, ad=None)
def _ads_without_length(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    begin(screen)
    screen.watch(rng.uniform(5.0, 200.0))
    screen.lost = {"adBreakComplete", "adComplete"}
    ad_break(screen, (rng.choice((6.0, 10.0, 15.0, 30.0)),), reported_length_s=0.0)
    if rng.random() < 0.7:
        screen.say("play")
    screen.unreported = 2  # where content continues, and where the viewer leaves
    screen.watch(rng.uniform(8.0, 60.0) * screen.ping_s)
    leave(screen)
    return screen


@KINDS.add("a long ad without a ping", 3)
def _long_ad(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    begin(screen)
    screen.watch(rng.uniform(5.0, 200.0))
    screen.ping_every(1000.0)
    ad_break(screen, (rng.uniform(60.0, 180.0),))
    screen.ping_every(screen.habits.ping_s)
    screen.interval_s = screen.habits.ping_s
    screen.say("play")
    screen.watch(rng.uniform(20.0, 200.0))
    leave(screen)
    return screen


@KINDS.add("server-side ads, the playhead stands", 20)
def _server_side_ads(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    begin(screen)
    for _ in range(rng.choice((1, 2, 3))):
        screen.watch(rng.uniform(20.0, 200.0))
        for place in range(rng.choice((1, 1, 2))):
            see_ad(screen, rng.choice((10.0, 15.0, 30.0)), place + 1, is_outside=True)
    screen.watch(rng.uniform(20.0, 200.0))
    leave(screen)
    return screen


@KINDS.add("server-side ads, the playhead moves on", 10)
def _stitched_ads(rng: random.Random) -> Screen:
    """The ads are part of the stream, and its playhead counts them. An overlay on content looks the same."""
    screen = draw_screen(rng, rng.choice((live, film))(rng))
    begin(screen)
    for _ in range(rng.choice((1, 2))):
        screen.watch(rng.uniform(20.0, 200.0))
        length_s = rng.choice((10.0, 15.0, 30.0))
        screen.say("adStart", ad_params(length_s))
        for _ in range(round(length_s)):
            if not (screen.content.is_live and screen.content.is_clock):
                screen.position_s += 1.0
            screen.let(1.0, "ad outside")
        screen.say("adComplete")
        screen.unsure("unique", more_s=length_s)
        screen.unsure("watch", more_s=length_s)
        screen.unsure("ad_outside", less_s=length_s)
    screen.watch(rng.uniform(20.0, 200.0))
    leave(screen)
    return screen


# ---- clocks that are set


@KINDS.add("a clock set by hours", 6)
def _clock_set(rng: random.Random) -> Screen:
    """Set back or forward by 5 minutes to 5 hours, once or twice, and long enough before the end to be told."""
    screen = draw_screen(rng, Content(length_s=7200.0), delay_ms=100)
    begin(screen)
    for _ in range(rng.choice((1, 1, 2))):
        wander(screen, rng.choice((0, 1)))
        screen.watch(60.0)
        screen.clock_ms += rng.choice((-1, 1)) * rng.choice((305_000, 1_800_000, 3_600_000, 18_000_000))
        screen.watch(60.0)
    wander(screen, rng.choice((0, 1)))
    screen.watch(60.0)
    leave(screen)
    return screen


@KINDS.add("a television that gets the time", 5, startup=0.5)
def _clock_comes_right(rng: random.Random) -> Screen:
    """Its clock is days off, until it gets the time from the network while playing."""
    days = rng.choice((-1, 1, 7, -30, 30, -7300))
    screen = draw_screen(rng, clock_ms=days * 86_400_000 + rng.randrange(1000), delay_ms=100)
    begin(screen)
    screen.watch(rng.uniform(5.0, 200.0))
    screen.clock_ms = 0
    screen.watch(rng.uniform(60.0, 600.0))
    leave(screen)
    return screen


@KINDS.add("a date exactly a day ahead", 3, startup=0.5, rebuffer=2.0, seeking=2.0)
def _a_day_ahead(rng: random.Random) -> Screen:
    """Only the delays decide which events are too far ahead to be believed."""
    screen = draw_screen(rng, clock_ms=86_400_000 + rng.randrange(-20, 420), delay_ms=400)
    begin(screen)
    wander(screen, rng.choice((0, 1, 2)))
    leave(screen)
    return screen


# ---- events that are lost


@KINDS.add("no play after buffering or a pause", 25)
def _no_play(rng: random.Random) -> Screen:
    """The player still reports that it waits, while its playhead moves on for up to an hour."""
    screen = draw_screen(rng, Content(length_s=7200.0), pings_buffering=True, pings_paused=True)
    screen.rate = rng.choice((1.0, 1.0, 1.0, 1.25, 1.5))
    begin(screen)
    screen.watch(rng.uniform(10.0, 300.0))
    is_pause = rng.random() < 0.5
    screen.say("pauseStart" if is_pause else "bufferStart")
    # When it continued between two pings is unknown.
    waited_s = rng.uniform(0.5, 0.9 * screen.ping_s)
    screen.let(waited_s, "paused" if is_pause else "buffering")
    screen.watch(rng.uniform(8.0, 120.0) * screen.ping_s)
    screen.unsure("rebuffer", less_s=screen.ping_s, more_s=screen.ping_s)
    # The first move after it may have been a short seek as well; a speed takes three pings to be found.
    screen.unsure("seeking", more_s=2 * screen.ping_s)
    screen.seeks = (0, 1) if screen.rate == 1.0 else None
    screen.unreported = 1 if screen.rate == 1.0 else 3
    leave(screen)
    return screen


@KINDS.add("a pause without an event", 10)
def _unreported_pause(rng: random.Random) -> Screen:
    """The events look like those of a stall."""
    screen = draw_screen(rng, Content(length_s=7200.0))
    screen.lost = {"pauseStart"}
    begin(screen)
    screen.watch(rng.uniform(20.0, 300.0))
    paused_s = rng.uniform(3.5, 20.0) * screen.ping_s
    pause(screen, paused_s)
    screen.unreported = 2  # where it was paused, and where the viewer leaves
    screen.watch(rng.uniform(20.0, 300.0))
    screen.unsure("rebuffer", more_s=paused_s + screen.ping_s)
    leave(screen)
    return screen


@KINDS.add("a seek that buffers", 20)
def _seek_waits(rng: random.Random) -> Screen:
    screen = draw_screen(rng, Content(length_s=7200.0))
    begin(screen)
    for _ in range(rng.choice((1, 2, 3))):
        screen.watch(rng.uniform(20.0, 200.0))
        seek(screen, screen.position_s + rng.uniform(60.0, 300.0), waiting_s=rng.uniform(0.5, 20.0))
    screen.watch(rng.uniform(20.0, 200.0))
    leave(screen)
    return screen
