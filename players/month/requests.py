"""The requests of a whole history in the order of their arrival, as they reach the ingest. Pure.

A session's id is in the reply to its start, which only the sender sees: so a request names its visit, and the
sender puts the session into the path, and the tracking session into the headers.
"""

import heapq
import math
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from players.bodies import bytes_of
from players.month.apps import APPS, BOT_AGENTS, WEB, App, releases, version_at
from players.month.audience import COUNTRIES, SITES, Coming, Viewer, cdn_of, comings, make_viewer
from players.month.catalogue import Catalogue
from players.month.network import arrivals
from players.month.stories import DAY_MS, Window, midnight_before, stories_before
from players.month.visits import Visit, play_visit
from players.screen import Sent

QUALITY = "media.qoe."
COUNTRY_HEADER, REGION_HEADER = b"cf-ipcountry", b"cf-region-code"
FIRST_APP = 0.8  # how often a viewer uses the first of two apps
BOT_VISITS = 0.02  # a day, for each viewer
BOT_LOOKS_S = 20.0
BOT_ADDRESS = "198.19.255.7"
FAULTY_APP, FAULTY_VERSION, FAULTY_PINGS = "aurora-tv", "2.6.0", 0.06
"""Televisions that were never updated: now and then a timestamp is a text."""


class Post(msgspec.Struct, frozen=True, gc=False):
    """One request. `visit` is a number, `at_ms` the arrival, milliseconds since 1970.

    `kind`: `tracking` makes the visit's tracking session, `start` its session, and `event` adds to that. The
    headers are as they arrive behind a proxy, which says where the sender is.
    """

    at_ms: int
    visit: int
    kind: Literal["tracking", "start", "event"]
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class History:
    """All requests of `viewers` in a period. The same seed and period give the same requests."""

    def __init__(self, *, viewers: int, seed: int, period: Window) -> None:
        self.period = period
        self._seed = seed
        self._viewers = [make_viewer(seed, number, period) for number in range(viewers)]
        self._catalogue = Catalogue(seed)
        self._stories = stories_before(period.to_ms)
        self._releases = {app.name: releases(app, self._stories) for app in APPS}
        self._bot = make_bot(seed, period)

    def posts(self) -> Iterator[Post]:
        """Yield the requests that arrive in the period, in the order of arrival."""
        waiting: list[tuple[int, int, list[Post]]] = []  # what is left of each visit, the next request last
        following: list[tuple[int, int, Visit]] = []  # visits that follow at once on others
        number = 0

        def begin(visit: Visit) -> Iterator[Post]:
            nonlocal number
            yield from _arriving_before(visit.at_ms, waiting)
            number += 1
            played = play_visit(visit, self._stories, self._catalogue)
            posts = self._posts_of(number, visit, played.sent)
            heapq.heappush(waiting, (posts[-1].at_ms, number, posts))
            if (next_one := played.follow_up) is not None and self.period.has(next_one.at_ms):
                heapq.heappush(following, (next_one.at_ms, number, next_one))

        for coming in self._comings():
            while following and following[0][0] <= coming.at_ms:
                yield from begin(heapq.heappop(following)[2])
            yield from begin(self._visit_of(coming))
        while following:
            yield from begin(heapq.heappop(following)[2])
        yield from _arriving_before(self.period.to_ms, waiting)

    def _comings(self) -> Iterator[Coming]:
        """Yield who comes when, in order."""
        first_ms = midnight_before(self.period.from_ms)
        here = {viewer.number: viewer.here for viewer in (*self._viewers, self._bot)}
        ahead: list[Coming] = []
        for day_ms in range(first_ms - DAY_MS, self.period.to_ms + 2 * DAY_MS, DAY_MS):
            ahead += [coming for viewer in self._viewers for coming in comings(viewer, day_ms)]
            ahead += bot_comings(self._bot, day_ms, viewers=len(self._viewers))
            ahead.sort()
            # Clocks of countries differ by hours: the rest of a day comes later.
            due_before_ms = day_ms - DAY_MS // 2
            due = [coming for coming in ahead if coming.at_ms < due_before_ms]
            ahead = ahead[len(due) :]
            yield from (each for each in due if self.period.has(each.at_ms) and here[each.viewer].has(each.at_ms))

    def _visit_of(self, coming: Coming) -> Visit:
        viewer = self._bot if coming.viewer == self._bot.number else self._viewers[coming.viewer]
        rng = viewer.rng("visit", coming.at_ms)
        place = 0 if rng.random() < FIRST_APP else 1
        app: App = viewer.apps[place]
        if coming.match_ms:
            item = self._catalogue.match(coming.match_ms)
        else:
            item = self._catalogue.choose(rng, coming.site, coming.at_ms)
        key = f"{viewer.user_id}/{app.name}"
        return Visit(
            viewer=viewer,
            app=app,
            user_agent=viewer.agents[place],
            version=version_at(app, self._releases[app.name], coming.at_ms, key=key),
            item=item,
            cdn=cdn_of(rng, viewer.country),
            at_ms=coming.at_ms,
        )

    def _posts_of(self, number: int, visit: Visit, sent: list[Sent]) -> list[Post]:
        """Return the requests of a visit, the last one first."""
        viewer = visit.viewer
        headers = _headers_of(visit)
        rng = viewer.rng("wire", visit.at_ms)
        start, *rest = arrivals(sent, rng, channel=visit.app.channel)
        posts = []
        if viewer.tells_by == "tracking":
            body = b"" if viewer.denial else msgspec.json.encode({"user_id": viewer.user_id})
            posts.append(Post(visit.at_ms, number, "tracking", body, headers))
        metadata = {"cdn": visit.cdn, "testGroup": viewer.group}
        posts.append(Post(start.received_ms, number, "start", bytes_of(_body(start, metadata)), headers))
        is_faulty = (visit.app.name, visit.version) == (FAULTY_APP, FAULTY_VERSION)
        for each in rest:
            if each.event_type == start.event_type:  # again, because its reply was lost
                posts.append(Post(each.received_ms, number, "start", posts[-1].body, headers))
                continue
            is_spoiled = is_faulty and each.event_type == "ping" and rng.random() < FAULTY_PINGS
            body = bytes_of(_body(each), "ts as text" if is_spoiled else "")
            posts.append(Post(each.received_ms, number, "event", body, headers))
        posts.reverse()
        return posts


def _arriving_before(at_ms: int, waiting: list[tuple[int, int, list[Post]]]) -> Iterator[Post]:
    """Yield the requests of all visits that arrive before a moment."""
    while waiting and waiting[0][0] < at_ms:
        _, number, posts = waiting[0]
        post = posts.pop()
        if posts:
            heapq.heapreplace(waiting, (posts[-1].at_ms, number, posts))
        else:
            heapq.heappop(waiting)
        yield post


def make_bot(seed: int, period: Window) -> Viewer:
    """Return a robot that looks at one content after the other, from one address, day and night."""
    viewer = make_viewer(seed, -1, period)
    return msgspec.structs.replace(
        viewer,
        country=COUNTRIES[-1],
        region=COUNTRIES[-1].regions[0],
        address=BOT_ADDRESS,
        apps=(WEB, WEB),
        agents=BOT_AGENTS,
        tells_by="",
        denial="",
        clock_ms=0,
        here=period,
        looks_s_max=BOT_LOOKS_S,
    )


def bot_comings(bot: Viewer, day_ms: int, *, viewers: int) -> Iterator[Coming]:
    """Return when the robot comes on a day: at equal intervals, the more often the more viewers there are."""
    visits = math.ceil(BOT_VISITS * viewers)
    for place in range(visits):
        yield Coming(day_ms + place * DAY_MS // visits + 7_000, bot.number, SITES[place % len(SITES)])


def _headers_of(visit: Visit) -> tuple[tuple[bytes, bytes], ...]:
    viewer = visit.viewer
    headers = [
        (b"content-type", b"application/json"),
        (b"user-agent", visit.user_agent.encode()),
        (b"x-forwarded-for", viewer.address.encode()),
        (COUNTRY_HEADER, viewer.country.code.encode()),
        (REGION_HEADER, viewer.region.encode()),
    ]
    if viewer.denial:
        headers.append((viewer.denial.lower().encode(), b"1" if viewer.denial == "Sec-GPC" else b"denied"))
    return tuple(headers)


def _body(sent: Sent, metadata: dict[str, str] | None = None) -> dict[str, Any]:
    """Return the body of an event."""
    body: dict[str, Any] = {
        "eventType": sent.event_type,
        "playerTime": {"playhead": sent.playhead_s, "ts": sent.ts_ms},
    }
    if sent.params:
        quality = {key: value for key, value in sent.params.items() if key.startswith(QUALITY)}
        if len(quality) < len(sent.params):
            body["params"] = {key: value for key, value in sent.params.items() if key not in quality}
        if quality:
            body["qoeData"] = quality
    if metadata:
        body["customMetadata"] = metadata
    return body
