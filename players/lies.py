"""Kinds of session whose playheads are wrong, and those that never end. Pure."""

import random

from players.kind import Kinds, draw_screen
from players.screen import Content, Screen
from players.viewing import (
    ad_break,
    begin,
    chapter_params,
    film,
    leave,
    live,
    seek,
)

KINDS = Kinds()
HOUR_S = 3600.0

# ---- playheads that are wrong


@KINDS.add("a playhead that never moves, live or audio", 8)
def _never_moves(rng: random.Random) -> Screen:
    """Some players do not know the playhead of live content, audio, or content without a length."""
    contents = (live(rng), Content(length_s=1800.0, is_audio=True), Content(length_s=0.0))
    screen = draw_screen(rng, rng.choice(contents))
    screen.reported_s = rng.choice((0.0, 0.0, -1.0))
    begin(screen)
    screen.watch(rng.uniform(60.0, 1200.0))
    screen.unsure("unique", less_s=1e9)
    screen.unsure("last_playhead", less_s=1e9, or_unknown=True)
    leave(screen)
    return screen


@KINDS.add("a playhead that never moves, recorded", 4, rebuffer=None)
def _never_moves_recorded(rng: random.Random) -> Screen:
    """Whether it played is unknown; that it stalled all the time is wrong."""
    screen = draw_screen(rng, Content(length_s=1800.0))
    screen.reported_s = 0.0
    begin(screen)
    screen.watch(rng.uniform(60.0, 1200.0))
    screen.unsure("watch", less_s=1e9, or_unknown=True)
    screen.unsure("unique", less_s=1e9, or_unknown=True)
    screen.unsure("last_playhead", less_s=1e9, or_unknown=True)
    leave(screen)
    return screen


@KINDS.add("a stall at the start", 4, rebuffer=None)
def _stands_first(rng: random.Random) -> Screen:
    screen = draw_screen(rng, step_s=0.001)
    begin(screen)
    screen.let(rng.uniform(4.0, 20.0) * screen.ping_s, "standing")
    screen.watch(rng.uniform(60.0, 600.0))
    leave(screen)
    return screen


@KINDS.add("an error, and the player keeps pinging", 8)
def _error_and_pings(rng: random.Random) -> Screen:
    """The screen shows an error; some viewers press play again."""
    screen = draw_screen(rng)
    begin(screen)
    screen.watch(rng.uniform(20.0, 300.0))
    screen.say("error")
    screen.let(rng.uniform(3.0, 40.0) * screen.ping_s, "over")
    if rng.random() < 0.4:
        screen.say("play")
        screen.watch(rng.uniform(20.0, 300.0))
    leave(screen)
    return screen


@KINDS.add("left open at the end", 15)
def _stays_at_the_end(rng: random.Random) -> Screen:
    """The content is over, no event reports it, and the player keeps pinging."""
    screen = draw_screen(rng, Content(length_s=rng.choice((30.0, 60.0, 180.0, 600.0))))
    begin(screen)
    screen.watch(1e9)
    screen.let(rng.uniform(1.0, 60.0) * screen.ping_s, "over")
    screen.is_completed = None
    leave(screen)
    return screen


@KINDS.add("a clip in a loop", 8)
def _loop(rng: random.Random) -> Screen:
    length_s = rng.choice((15.0, 20.0, 60.0))
    content = Content(length_s=length_s, loop_s=length_s)
    screen = draw_screen(rng, content, ping_s=rng.choice((5.0, 10.0)), step_s=0.001)
    begin(screen)
    screen.watch(rng.uniform(2.0, 12.0) * length_s)
    screen.unsure("last_playhead", less_s=length_s, more_s=length_s)
    leave(screen)
    return screen


@KINDS.add("torn down: the last playheads are 0", 25)
def _torn_down(rng: random.Random) -> Screen:
    screen = draw_screen(rng)
    begin(screen)
    screen.watch(rng.uniform(60.0, 1200.0))
    if rng.random() < 0.2:
        screen.watch(1e9)
        screen.is_completed = True
        screen.let(0.01, "over")
        screen.say("sessionComplete")
        screen.let(0.01, "over")
    screen.reported_s = rng.choice((0.0, 0.0, 0.0, -1.0))
    if rng.random() < 0.5:
        screen.say("pauseStart")
    if rng.random() < 0.3 and screen.reported_s == 0.0:
        screen.let(rng.uniform(0.5, 3.0) * screen.ping_s, "over")
    screen.say("sessionEnd")
    return screen


# ---- sessions that never end


@KINDS.add("live for 30 hours", 0.2, is_long=True)
def _thirty_hours(rng: random.Random) -> Screen:
    screen = draw_screen(rng, live(rng), ping_s=rng.choice((30.0, 50.0)))
    begin(screen)
    screen.watch(rng.uniform(25.0, 31.0) * HOUR_S)
    for name in ("watch", "unique"):
        screen.unsure(name, less_s=screen.at_ms / 1000 - 24 * HOUR_S)
    leave(screen)
    return screen


@KINDS.add("stuck for hours", 1, is_long=True, rebuffer=None)
def _stuck(rng: random.Random) -> Screen:
    """The picture is frozen, and nobody is there."""
    screen = draw_screen(rng, ping_s=rng.choice((10.0, 30.0)))
    begin(screen)
    screen.watch(rng.uniform(60.0, 300.0))
    stood_s = rng.uniform(1.0, 5.0) * HOUR_S
    screen.let(stood_s, "standing")
    screen.unsure("rebuffer", less_s=stood_s)
    if rng.random() < 0.5:
        screen.watch(rng.uniform(60.0, 300.0))
    leave(screen)
    return screen


@KINDS.add("paused, and keeps pinging", 1, is_long=True)
def _paused_for_ever(rng: random.Random) -> Screen:
    screen = draw_screen(rng, rng.choice((live, film))(rng), ping_s=rng.choice((10.0, 30.0)), pings_paused=True)
    begin(screen)
    screen.watch(rng.uniform(60.0, 300.0))
    screen.say("pauseStart")
    screen.let(rng.uniform(1.0, 8.0) * HOUR_S, "paused")
    return screen


@KINDS.add("very many ads, chapters and seeks", 0.3, is_long=True, unique=600.0)
def _many(rng: random.Random) -> Screen:
    """More than any list holds: played ranges are joined, so unique content may be off by a tenth."""
    screen = draw_screen(rng, Content(length_s=36_000.0), ping_s=10.0, step_s=0.001)
    begin(screen)
    for number in range(rng.randrange(600, 900)):
        screen.say("chapterStart", chapter_params(number))
        screen.watch(rng.uniform(4.0, 12.0))
        screen.say("chapterComplete")
        screen.chapters += 1
        if number % 3 == 0:
            ad_break(screen, (6.0,))
            screen.say("play")
        else:
            seek(screen, (screen.position_s + rng.uniform(1000.0, 30_000.0)) % 35_000.0)
    screen.watch(30.0)
    screen.unsure("played", less_s=1e9, more_s=1e9)
    leave(screen)
    return screen
