"""A lake of two crowds that differ in all that a page shows, and of a last day that differs from those before.

`film` is played by `web`, `series` by `tv`. Each session is a few events with true clocks, so that plain SQL over
`events` can say what happened in it.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from rigs.lake import Lake, record_value, write_told

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
Events = Iterator[tuple[float, str, float, dict[str, Any]]]  # seconds from the start, type, playhead, more
BUSINESS, TECHNICAL = "NO-SUBSCRIPTION", "NET-1"


class Crowd(msgspec.Struct, frozen=True):
    """Who they are, and how they wait, buffer and fail."""

    content: str
    player: str
    version: str
    step_s: float
    every: int
    error: str
    campaign: str = ""


class Told(msgspec.Struct, frozen=True):
    """One session: of whom, its place in its crowd, and when it began, seconds before the end of the lake."""

    crowd: Crowd
    number: int
    before_s: float


WEB = Crowd("film", "web", "1.0", 0.3, 4, TECHNICAL)
TV = Crowd("series", "tv", "7", 0.9, 3, BUSINESS, "winter")
NEW_WEB, NEW_TV = msgspec.structs.replace(WEB, version="2.0", every=5), msgspec.structs.replace(TV, every=2)
TOLD = [
    *[Told(WEB, number, 5 * DAY_S - number * 2.5 * HOUR_S) for number in range(24)],
    *[Told(TV, number, 4 * DAY_S - number * 2 * HOUR_S) for number in range(16)],
    *[Told(NEW_WEB, 24 + number, 20 * HOUR_S - number * 1500) for number in range(46)],
    *[Told(NEW_TV, 16 + number, 18 * HOUR_S - number * 2000) for number in range(30)],
    Told(NEW_WEB, 70, 70),
    Told(NEW_TV, 46, 65),
]
"""The last two are open when the lake ends: they play for a minute, and no longer."""


def events_of(told: Told) -> Events:
    """Return what the player of a session says."""
    crowd, number = told.crowd, told.number
    start: dict[str, Any] = {"media.id": crowd.content, "media.name": crowd.content, "media.length": 60}
    start |= {"media.playerName": crowd.player, "media.sdkVersion": crowd.version}
    yield 0, "sessionStart", 0, start | {"analytics.visitorId": f"{crowd.player}-{number % 9}"}
    wait_s = crowd.step_s * (1 + number % 13)
    if told.before_s < 100:
        yield wait_s, "play", 0, {}
        yield from [(wait_s + at_s, "ping", at_s, {}) for at_s in (10, 20, 30, 40)]
        return
    if number % crowd.every == 1:  # leaves while it waits; of eight one after an ad
        if number % 8 == 1:
            yield 0.5, "adBreakStart", 0, {"params": {"media.ad.podIndex": 1, "media.ad.podSecond": 0}}
            yield 0.5, "adStart", 0, {"params": _ad(crowd, 1)}
        yield 4 * wait_s, "sessionEnd", 0, {}
        return
    if number % 11 == 2:
        yield wait_s, "error", 0, _error(crowd)
        yield wait_s + 1, "sessionEnd", 0, {}
        return
    if crowd.campaign:
        yield wait_s, "adBreakStart", 0, {"params": {"media.ad.podIndex": 1, "media.ad.podSecond": 0}}
        for place in range(1 + number % 2):
            yield wait_s, "adStart", 0, {"params": _ad(crowd, place + 1)}
            wait_s += 10
            yield wait_s, "adSkip" if number % 3 else "adComplete", 0, {}
        yield wait_s, "adBreakComplete", 0, {}
    yield wait_s, "play", 0, {}
    yield from _played(crowd, number, wait_s)


def _played(crowd: Crowd, number: int, at_s: float) -> Events:
    """Play a minute from a moment on: buffer, jump, stall or fail on the way."""
    head_s = 10.0
    yield at_s + 10, "ping", head_s, {}
    at_s += 10
    match number % crowd.every:
        case 0:  # waits for data
            yield at_s, "bufferStart", head_s, {}
            at_s += 3 + crowd.step_s
            yield at_s, "play", head_s, {}
        case 2:  # jumps, and waits for data
            head_s += 20
            yield at_s, "bufferStart", head_s, {}
            at_s += 2
            yield at_s, "play", head_s, {}
        case 3 if number % 2:  # says nothing, and stands still
            yield from [(at_s + stood_s, "ping", head_s, {}) for stood_s in (10, 20)]
            at_s += 20
    left_after_s = 10.0 * (1 + number % 4)
    for _ in range(int(min(left_after_s, 60 - head_s) // 10)):
        at_s, head_s = at_s + 10, head_s + 10
        yield at_s, "ping", head_s, {}
    if number % 13 == 5:
        yield at_s, "error", head_s, _error(crowd)
    if head_s >= 60:
        yield at_s, "sessionComplete", head_s, {}
    yield at_s + 0.001, "sessionEnd", head_s, {}


def _error(crowd: Crowd) -> dict[str, Any]:
    return {"qoeData": {"media.qoe.errorID": crowd.error, "media.qoe.errorSource": "player"}}


def _ad(crowd: Crowd, position: int) -> dict[str, Any]:
    named = {"media.ad.id": f"{crowd.campaign}-ad", "media.ad.campaignId": crowd.campaign or "none"}
    return named | {"media.ad.length": 10, "media.ad.podPosition": position}


def two_crowds(folder: Path) -> Lake:
    """Make the lake; it ends an hour before the last midnight, so that yesterday and the last week are in it."""
    end_ms = int((time.time() // DAY_S * DAY_S - HOUR_S) * 1000)
    values = []
    for told in TOLD:
        session = f"{told.crowd.player}{told.number:03}"
        for place, (after_s, name, head, more) in enumerate(events_of(told)):
            at_ms = end_ms - int(told.before_s * 1000) + int(after_s * 1000)
            value = record_value(
                f"{session}.{place}", session, name, ts=at_ms, received_ms=at_ms, playhead=head, **more
            )
            values.append((at_ms, value))
    lake = Lake(folder)
    with lake.writer() as writer:
        write_told(writer, writer.load(0, None), sorted(values))
    return lake
