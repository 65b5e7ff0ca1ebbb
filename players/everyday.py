"""Everyday kinds of session: usual viewing, other speeds, rare pings, small losses. Pure."""

import random

import msgspec

from players.kind import Kinds, draw_screen
from players.screen import Content, Screen
from players.viewing import (
    begin,
    film,
    leave,
    live,
    pause,
    press_play,
    see_episode,
    see_the_end,
    seek,
    seek_somewhere,
    wander,
)

KINDS = Kinds()


@KINDS.add("a film", 215)
def _film(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    begin(screen, from_s=rng.choice((0.0, 0.0, 0.0, rng.uniform(30.0, 500.0))))
    wander(screen, rng.choice((0, 1, 2, 4, 7)))
    see_the_end(screen) if rng.random() < 0.3 else leave(screen)
    return screen


@KINDS.add("live", 110)
def _live(rng: random.Random) -> Screen:
    screen = draw_screen(rng, live(rng))
    begin(screen)
    wander(screen, rng.choice((0, 1, 2, 4)))
    screen.watch(rng.uniform(0.0, 2400.0))
    leave(screen)
    return screen


@KINDS.add("an episode with ads in breaks", 180)
def _episode(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    see_episode(screen)
    see_the_end(screen) if rng.random() < 0.2 else leave(screen)
    return screen


@KINDS.add("live with ads in breaks", 40)
def _live_with_ads(rng: random.Random) -> Screen:
    screen = draw_screen(rng, live(rng))
    see_episode(screen)
    leave(screen)
    return screen


@KINDS.add("left before the first frame", 50)
def _bounce(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    press_play(screen)
    screen.let(rng.uniform(0.5, 9.0), "starting")
    if rng.random() < 0.3:
        screen.say("error")
    screen.unsure("startup", or_unknown=True)
    leave(screen)
    return screen


@KINDS.add("watched offline, uploaded later", 15)
def _offline(rng: random.Random) -> Screen:
    screen = draw_screen(rng, ends=True)
    begin(screen)
    wander(screen, rng.choice((0, 1, 2, 4)))
    leave(screen)
    later_ms = screen.began_ms + screen.at_ms + rng.randrange(60_000, 86_400_000)
    screen.sent = [
        msgspec.structs.replace(sent, received_ms=later_ms + rank * 3) for rank, sent in enumerate(screen.sent)
    ]
    return screen


@KINDS.add("a stall without an event", 20, rebuffer=None)
def _silent_stall(rng: random.Random) -> Screen:
    """The picture is frozen, and the player reports nothing but pings."""
    screen = draw_screen(rng)
    begin(screen)
    screen.unreported = rng.choice((1, 1, 2))
    for _ in range(screen.unreported):
        screen.watch(rng.uniform(20.0, 200.0))
        standing_s = rng.uniform(0.5, 12.0) * screen.ping_s
        screen.let(standing_s, "standing")
        # Three observations in a row show it, or two that span 15 s: fewer may be a slow timer.
        if standing_s < max(30.0, 4 * screen.ping_s):
            screen.unsure("rebuffer", less_s=standing_s)
            screen.unsure("watch", more_s=standing_s)
    screen.watch(rng.uniform(3 * screen.ping_s, 300.0))
    leave(screen)
    return screen


@KINDS.add("pings lost, doubled and late", 40)
def _losses(rng: random.Random) -> Screen:
    """Some pings never arrive, some events arrive twice, some arrive a minute late."""
    screen = draw_screen(rng, ping_s=rng.choice((5.0, 10.0, 15.0)))
    begin(screen)
    wander(screen, 2)
    leave(screen)
    arrived = []
    for sent in screen.sent:
        roll = rng.random()
        if roll < 0.07 and sent.event_type == "ping":
            continue
        late_ms = rng.randrange(90_000) if roll > 0.97 else 0
        arrived.append(msgspec.structs.replace(sent, received_ms=sent.received_ms + late_ms))
        if 0.9 < roll < 0.94:
            arrived.append(msgspec.structs.replace(sent, received_ms=sent.received_ms + rng.randrange(1, 9_000)))
    screen.sent = arrived
    screen.unreported = 3  # two in a row may be lost
    return screen


@KINDS.add("a playhead that is wrong once", 20)
def _slip(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    begin(screen)
    screen.watch(rng.uniform(60.0, 300.0))
    screen.reported_s = rng.choice((0.0, -1.0, 1e6))
    screen.say("ping")
    screen.reported_s = None
    screen.watch(rng.uniform(40.0, 300.0))
    leave(screen)
    return screen


# ---- speed


@KINDS.add("at another speed", 25)
def _speed(rng: random.Random) -> Screen:
    screen = draw_screen(rng, ping_s=rng.choice((5.0, 10.0, 15.0, 30.0, 50.0)), step_s=0.001)
    screen.rate = rng.choice((0.25, 0.5, 0.75, 0.9, 1.05, 1.1, 1.25, 1.5, 1.75, 2.0))
    begin(screen)
    screen.watch(rng.uniform(6.0, 40.0) * screen.ping_s)
    if rng.random() < 0.4:
        pause(screen, rng.uniform(3.0, 60.0))
        screen.watch(rng.uniform(4.0, 20.0) * screen.ping_s)
    leave(screen)
    return screen


@KINDS.add("another speed, whole seconds of playhead", 5)
def _speed_in_steps(rng: random.Random) -> Screen:
    screen = draw_screen(rng, ping_s=rng.choice((10.0, 15.0, 30.0)), step_s=1.0)
    screen.rate = rng.choice((0.5, 0.75, 1.25, 1.5, 1.75, 2.0))
    begin(screen)
    screen.watch(rng.uniform(10.0, 40.0) * screen.ping_s)
    leave(screen)
    return screen


@KINDS.add("a speed that changes", 10)
def _speed_changes(rng: random.Random) -> Screen:
    screen = draw_screen(rng, Content(length_s=7200.0), ping_s=rng.choice((5.0, 10.0, 15.0, 30.0)), step_s=0.001)
    begin(screen)
    speeds = rng.sample((0.5, 0.75, 1.0, 1.25, 1.5, 2.0), rng.choice((2, 3)))
    for speed in speeds:
        screen.rate = speed
        screen.watch(rng.uniform(8.0, 25.0) * screen.ping_s)
    screen.unreported = len(speeds)
    leave(screen)
    return screen


@KINDS.add("a seek at another speed", 5)
def _speed_and_seek(rng: random.Random) -> Screen:
    screen = draw_screen(rng, Content(length_s=7200.0), ping_s=rng.choice((5.0, 10.0, 15.0)), step_s=0.001)
    screen.rate = rng.choice((0.5, 1.25, 1.5, 2.0))
    begin(screen)
    screen.watch(rng.uniform(8.0, 25.0) * screen.ping_s)
    to_s = rng.choice((screen.position_s + rng.uniform(200.0, 900.0), screen.position_s * rng.uniform(0.0, 0.3)))
    if rng.random() < 0.5:
        seek(screen, to_s)
    else:
        screen.seek(to_s)
    screen.watch(rng.uniform(8.0, 25.0) * screen.ping_s)
    screen.unreported = 2
    leave(screen)
    return screen


@KINDS.add("a speed that the player names", 8)
def _named_speed(rng: random.Random) -> Screen:
    """Named with `play` or as a player state; then it may be more than double speed."""
    screen = draw_screen(rng, Content(length_s=7200.0), ping_s=rng.choice((5.0, 10.0, 30.0)))
    screen.rate = rng.choice((0.5, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0))
    press_play(screen)
    screen.let(rng.uniform(0.3, 3.0), "starting")
    screen.show()
    name = rng.choice(("media.playbackRate", "playbackRate", "a state"))
    if name == "a state":
        screen.say("stateStart", {"media.state.name": f"{screen.rate:g}x"})
        screen.say("play")
    else:
        screen.say("play", {name: screen.rate})
    screen.watch(rng.uniform(2.0, 20.0) * screen.ping_s)
    seek_somewhere(screen)
    screen.watch(rng.uniform(2.0, 20.0) * screen.ping_s)
    leave(screen)
    return screen


@KINDS.add("+15 s pressed again and again", 4)
def _presses(rng: random.Random) -> Screen:
    """To the server it looks like 2.5 times the speed: how much was played is unknown."""
    screen = draw_screen(rng, Content(length_s=7200.0), ping_s=10.0, step_s=0.001)
    begin(screen)
    screen.watch(rng.uniform(60.0, 200.0))
    presses = rng.randrange(6, 30)
    for _ in range(presses):
        screen.watch(10.0)
        screen.position_s += 15.0
    screen.watch(rng.uniform(60.0, 200.0))
    screen.seeks = None
    screen.unsure("unique", less_s=10.0 * presses)
    screen.unsure("watch", less_s=10.0 * presses)
    leave(screen)
    return screen


# ---- rare pings


@KINDS.add("a hidden tab", 40)
def _hidden(rng: random.Random) -> Screen:
    """The timers of a hidden tab run once a minute."""
    screen = draw_screen(rng, rng.choice((live, film))(rng))
    begin(screen)
    screen.watch(rng.uniform(0.0, 120.0))
    screen.ping_every(rng.choice((60.1, 60.5, 61.0, 75.0, 88.0)))
    screen.watch(rng.uniform(300.0, 1800.0))
    if rng.random() < 0.5:
        screen.ping_every(screen.habits.ping_s)
        screen.say("ping")
        screen.watch(rng.uniform(60.0, 300.0))
    leave(screen)
    return screen


@KINDS.add("a slow podcast in a pocket", 5)
def _slow_podcast(rng: random.Random) -> Screen:
    screen = draw_screen(rng, Content(length_s=7200.0, is_audio=True), ping_s=rng.choice((60.5, 61.0, 75.0)))
    screen.rate = rng.choice((0.5, 0.75, 1.25, 1.5))
    begin(screen)
    screen.watch(rng.uniform(600.0, 1800.0))
    leave(screen)
    return screen


@KINDS.add("frozen for less than a minute", 10)
def _frozen(rng: random.Random) -> Screen:
    """The system suspends a player in the background: silent for 55 s, and 2 s further in the content."""
    screen = draw_screen(rng, ping_s=rng.choice((5.0, 10.0)))
    begin(screen)
    screen.unreported = rng.choice((1, 3))
    for _ in range(screen.unreported):
        screen.watch(rng.uniform(30.0, 100.0))
        screen.let(rng.uniform(20.0, 58.0), "over", is_awake=False)
    screen.watch(rng.uniform(30.0, 100.0))
    leave(screen)
    return screen
