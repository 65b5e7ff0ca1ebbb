"""What viewers and players usually do, scene by scene: watch, pause, seek, wait, see ads, leave. Pure."""

import random
from collections.abc import Sequence
from typing import Any

from players.screen import Content, Habits, Screen

PINGS_S = (5.0, 10.0, 10.0, 10.0, 10.0, 15.0, 30.0)


def draw_habits(rng: random.Random, **fixed: object) -> Habits:
    """Draw how a player reports; `fixed` habits are as given."""
    drawn = {
        "ping_s": rng.choice(PINGS_S),
        "is_steady": rng.random() < 0.7,
        "pings_paused": rng.random() < 0.7,
        "pings_buffering": rng.random() < 0.6,
        "step_s": rng.choice((0.001, 0.001, 0.001, 0.25, 1.0)),
        "unknown_s": rng.choice((0.0, 0.0, -1.0)),
        "clock_ms": rng.choice((0, 0, 0, rng.randrange(-1_200_000, 1_200_000), 3_600_000, -63_072_000_000)),
        "delay_ms": rng.choice((20, 100, 400)),
        "plays_twice": rng.random() < 0.3,
        "ends": rng.random() < 0.7,
    }
    return Habits(**(drawn | fixed))  # type: ignore[arg-type]


def film(rng: random.Random) -> Content:
    """Draw recorded content, ten minutes to two hours long."""
    return Content(length_s=float(rng.choice((600, 1320, 1800, 2700, 7200))), is_audio=rng.random() < 0.15)


def live(rng: random.Random) -> Content:
    """Draw live content."""
    return Content(length_s=rng.choice((86_400.0, 0.0, -1.0)), is_live=True, is_clock=rng.random() < 0.7)


def press_play(screen: Screen) -> None:
    """Open the session; there is no frame yet."""
    content = screen.content
    kind = "live" if content.is_live else ("audio" if content.is_audio else "vod")
    params = {
        "analytics.trackingServer": "metrics.example.com",
        "analytics.reportSuite": "example-suite",
        "visitor.marketingCloudOrgId": "0123456789ABCDEF@ExampleOrg",
        "media.id": "content-1",
        "media.length": content.length_s,
        "media.contentType": kind,
        "media.streamType": "audio" if content.is_audio else "video",
        "media.playerName": "a player",
        "media.channel": "web",
    }
    screen.say("sessionStart", params)


def await_first_frame(screen: Screen, *, from_s: float = 0.0) -> None:
    """Wait for the first frame, which may be in the middle of the content; some players report buffering."""
    rng = screen.rng
    screen.let(round(rng.choice((0.25, 0.5, 1.2, 3.7)) * rng.uniform(0.8, 1.3), 3), "starting")
    if rng.random() < 0.25:
        screen.say("bufferStart")
        screen.let(rng.choice((0.3, 1.1, 4.0)), "starting")
    screen.position_s += from_s
    screen.show()
    screen.say("play")
    if screen.habits.plays_twice:
        screen.watch(1.0)
        screen.say("play")


def begin(screen: Screen, *, from_s: float = 0.0) -> None:
    """Press play, and see the first frame."""
    press_play(screen)
    await_first_frame(screen, from_s=from_s)


def pause(screen: Screen, seconds: float) -> None:
    """Pause for a while."""
    screen.say("pauseStart")
    screen.let(seconds, "paused")
    screen.say("play")


def buffer(screen: Screen, seconds: float) -> None:
    """Run out of data, and wait for more."""
    screen.say("bufferStart")
    screen.let(seconds, "buffering")
    screen.say("play")


def seek(screen: Screen, to_s: float, *, waiting_s: float = 0.0) -> None:
    """Seek as SDKs report it: a pause, then `play` elsewhere. Some buffer, at the old position or the new."""
    if waiting_s and screen.rng.random() < 0.4:
        screen.say("bufferStart")
        screen.let(waiting_s, "seeking")
        screen.seek(to_s)
        screen.say("play")
        return
    screen.say("pauseStart")
    screen.let(screen.rng.choice((0.3, 1.0, 4.0)), "paused")
    screen.seek(to_s)
    if waiting_s:
        screen.say("bufferStart")
        screen.let(waiting_s, "seeking")
    screen.say("play")


def seek_somewhere(screen: Screen) -> None:
    """Seek forward or back by at least a minute; live content is only paused."""
    rng, content = screen.rng, screen.content
    if content.is_live:
        pause(screen, rng.uniform(1.0, 30.0))
        return
    back = screen.position_s > 90.0 and rng.random() < 0.5
    to_s = rng.uniform(0.0, screen.position_s - 60.0) if back else screen.position_s + rng.uniform(60.0, 240.0)
    if to_s < content.length_s - 60.0:
        seek(screen, to_s, waiting_s=rng.choice((0.0, 0.8, 2.5)))


def ad_break(
    screen: Screen, lengths_s: Sequence[float], *, reported_length_s: float | None = None, breaks: bool = True
) -> None:
    """See ads. The player reports their lengths, or `reported_length_s` instead."""
    if breaks:
        screen.say("adBreakStart", {"media.ad.podIndex": 1, "media.ad.podSecond": max(0.0, screen.position_s)})
    for place, length_s in enumerate(lengths_s):
        if place or screen.rng.random() < 0.4:
            screen.let(0.2, "between ads")
        see_ad(screen, length_s, place + 1, reported_length_s=reported_length_s)
    if breaks:
        screen.say("adBreakComplete")


def see_ad(
    screen: Screen,
    length_s: float,
    place: int = 1,
    *,
    reported_length_s: float | None = None,
    is_outside: bool = False,
) -> None:
    """See one ad, mostly to its end; in a break some are skipped or paused, and some buffer."""
    screen.ads += not is_outside
    screen.say("adStart", ad_params(length_s if reported_length_s is None else reported_length_s, place))
    if is_outside or reported_length_s is not None or screen.lost:
        screen.let(length_s, "ad outside" if is_outside else "ad")
        screen.say("adComplete")
        return
    roll = screen.rng.random()
    screen.let(length_s / 2, "ad")
    if roll < 0.1:
        screen.say("adSkip")
        return
    if roll < 0.2:
        screen.say("pauseStart")
        screen.let(screen.rng.choice((2.0, 20.0, 100.0)), "paused")
        screen.say("play")
    elif roll < 0.3:
        screen.say("bufferStart")
        screen.let(screen.rng.choice((0.5, 3.0)), "ad waits")
        screen.say("play")
    screen.let(length_s / 2, "ad")
    screen.say("adComplete")


def ad_params(length_s: float, place: int = 1) -> dict[str, Any]:
    """Return the parameters of an ad."""
    return {
        "media.ad.id": f"ad-{place}",
        "media.ad.length": length_s,
        "media.ad.podPosition": place,
        "media.ad.playerName": "ads",
    }


def chapter_params(number: int) -> dict[str, Any]:
    """Return the parameters of a chapter."""
    return {"media.chapter.index": number + 1, "media.chapter.offset": 10.0 * number, "media.chapter.length": 10.0}


def some_ads(rng: random.Random) -> tuple[float, ...]:
    """Draw the ads of one break."""
    return tuple(rng.choice((6.0, 10.0, 15.0, 20.0, 30.0)) for _ in range(rng.choice((1, 1, 2, 3))))


def leave(screen: Screen) -> None:
    """Leave; some players report it."""
    screen.let(0.005, "over")
    if screen.habits.ends:
        screen.say("sessionEnd")


def see_the_end(screen: Screen) -> None:
    """Watch to the end of the content, and leave."""
    screen.watch(1e9)
    screen.is_completed = True
    screen.let(0.01, "over")
    screen.say("sessionComplete")
    screen.let(screen.rng.choice((0.001, 0.2, 3.0, 25.0)), "over")
    leave(screen)


def see_episode(screen: Screen) -> None:
    """See content with ad breaks, mostly after a pre-roll."""
    rng = screen.rng
    press_play(screen)
    if rng.random() < 0.7:
        screen.let(rng.choice((0.1, 0.6)), "starting")
        ad_break(screen, some_ads(rng))
    await_first_frame(screen)
    for _ in range(rng.choice((0, 1, 2))):
        wander(screen, rng.choice((0, 1, 2)))
        ad_break(screen, some_ads(rng))
        if rng.random() < 0.7:
            screen.say("play")
    screen.watch(rng.uniform(20.0, 400.0))


def wander(screen: Screen, scenes: int) -> None:
    """Watch, with pauses, buffering and seeks in between."""
    rng = screen.rng
    for _ in range(scenes):
        screen.watch(rng.uniform(20.0, 200.0))
        if screen.left_s < 10.0:
            return
        roll = rng.random()
        if roll < 0.4:
            pause(screen, rng.choice((2.0, 15.0, 70.0, 300.0)) * rng.uniform(0.8, 1.2))
        elif roll < 0.7:
            buffer(screen, rng.choice((0.4, 1.5, 6.0, 22.0)) * rng.uniform(0.8, 1.2))
        else:
            seek_somewhere(screen)
    screen.watch(rng.uniform(5.0, 300.0))
