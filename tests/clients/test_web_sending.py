"""The client for web players in Chromium: how it sends, sends again, and says farewell."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from rigs.browser import needs_chromium, opened
from rigs.films import films
from rigs.ingest import Ingest, running
from rigs.relay import Relay, relay
from rigs.viewers import Sample, Scene, Viewers, facts_of, told_of, truth_of
from rigs.waiting import until

OF_TRUTH_S = 0.3
ANSWER_MS_MAX = 20_000
RETRY_MS_MIN = 500
RETRY_AFTER_S = 90
EVENTS_WAITING_MAX = 1_000
REFUSALS = [408, 408, 500, 503, 429]
"""Chromium itself repeats a request once that gets a 408 on a connection it had before."""
PLAYING = "await viewer.play(); await viewer.played(2.3);"
PAUSED = f"{PLAYING} viewer.pause();"  # a page that plays six films at once may be too slow with its last words
LEAVERS = {
    "answered": Scene(PAUSED),
    "keyed": Scene(PAUSED, more="options: {apiKey: 'k-1'}"),
    "unanswered": Scene(PLAYING, more="options: {consent: false, content: {id: 'unanswered'}}"),
    "keyed_unanswered": Scene(PAUSED, more="options: {apiKey: 'k-1'}"),
    "unheard": Scene(PAUSED, more="options: {content: {id: 'unheard'}}"),
    "hung": Scene(PAUSED),
}
EARLY = Scene("viewer.play().catch(() => 0); await viewer.pause_ms(400);", "film.webm?held=20&after=0")
RELAYS = ("refusing", "early", *LEAVERS)
pytestmark = needs_chromium


class Stage(NamedTuple):
    """A page, and what is behind it."""

    first: Viewers
    site: str
    ingest: Ingest
    relays: dict[str, Relay]


class Left(NamedTuple):
    """What a page left behind."""

    stage: Stage
    samples: dict[str, list[Sample]]

    def posts(self, name: str, path_end: str) -> list[Any]:
        """Return the POSTs of a viewing to paths that end so."""
        return self.stage.relays[name].posts(path_end)

    def session_of(self, content: str, source: str) -> str:
        """Return the id of the session of a content that came by a route."""

        def ids() -> set[str]:
            records = [each for each in self.stage.ingest.records() if each["source"].endswith(source)]
            starts = [each for each in records if each["data"].get("eventType") == "sessionStart"]
            return {each["subject"] for each in starts if each["data"]["params"]["media.id"] == content}

        (id,) = until(ids)
        return id


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An ingest behind relays, and a site of films."""
    folder = tmp_path_factory.mktemp("sending")
    with contextlib.ExitStack() as stack:
        ingest = stack.enter_context(running(folder / "data"))
        relays = {name: stack.enter_context(relay(ingest.url)) for name in RELAYS}
        site = stack.enter_context(films(ingest.url, *(each.url for each in relays.values())))
        page = stack.enter_context(opened(site, folder / "profile"))
        yield Stage(Viewers(page, ingest.url), site, ingest, relays)


@pytest.fixture(scope="module")
def refused(stage: Stage) -> dict[str, Any]:
    """A viewing whose start is refused five times, and then hangs; long waits last a hundredth."""
    hurried = """
        window.waits_ms = []; window.limits_ms = [];
        const later = setTimeout, limit = AbortSignal.timeout;
        window.setTimeout = (does, ms, ...rest) => {
            if (ms >= 500) waits_ms.push(ms);
            return later(does, ms >= 500 ? ms / 100 : ms, ...rest);
        };
        AbortSignal.timeout = (ms) => { limits_ms.push(ms); return limit.call(AbortSignal, ms / 20); };
    """
    relay = stage.relays["refusing"]
    relay.refusals = [(status, {}) for status in REFUSALS[:-1]]
    relay.refusals.append((REFUSALS[-1], {"Retry-After": str(RETRY_AFTER_S)}))
    relay.hangs = 1
    accepted = "viewings.refused.said.some((said) => said.status === 201)"
    with stage.first.beside(stage.site, before=hurried) as viewers:
        scene = f"await viewer.play(); await viewer.until(() => {accepted}); viewer.end();"
        viewers.view("refused", relay.url, Scene(scene))
        viewers.wait("refused")
        return {
            "said": viewers.said("refused"),
            **{name: viewers.page.evaluate(name) for name in ("waits_ms", "limits_ms")},
        }


def test_a_start_that_is_refused_for_now_is_sent_again(stage: Stage, refused: dict[str, Any]) -> None:
    """After 408, 429 and 5xx, with the same body and key."""
    starts = stage.relays["refusing"].posts("/sessions")
    assert [each.status for each in starts] == [*REFUSALS, 0, 201]
    assert len({(each.body, each.headers["idempotency-key"]) for each in starts}) == 1
    said = [said["status"] for said in refused["said"] if said["event"]["eventType"] == "sessionStart"]
    assert list(dict.fromkeys(said)) == [408, 500, 503, 429, 0, 201]


def test_waits_grow_and_keep_to_what_the_server_asks(refused: dict[str, Any]) -> None:
    """Half a second to a second, then twice that each time; `Retry-After` is a minimum."""
    failed = [said["status"] for said in refused["said"] if not 200 <= said["status"] < 300]
    assert len(refused["waits_ms"]) == len(failed)
    for number, (status, wait_ms) in enumerate(zip(failed, refused["waits_ms"], strict=True)):
        least_ms = RETRY_AFTER_S * 1_000 if status == 429 else RETRY_MS_MIN * 2**number
        most_ms = least_ms if status == 429 else 2 * least_ms
        assert least_ms <= wait_ms <= most_ms, (failed, refused["waits_ms"])


def test_a_request_that_hangs_is_given_up(refused: dict[str, Any]) -> None:
    """After 20 s; then it is sent again."""
    assert set(refused["limits_ms"]) == {ANSWER_MS_MAX}
    tries = [said for said in refused["said"] if said["event"]["eventType"] == "sessionStart"]
    assert [said["status"] for said in tries[-2:]] == [0, 201]
    assert "TimeoutError" in tries[-2]["words"]


def test_a_long_queue_takes_no_more_pings(stage: Stage) -> None:
    """A thousand events wait for an API that is down: what the viewer does is kept, pings are dropped."""
    down = """
        window.bodies = []; window.isUp = false;
        window.fetch = async (url, { body }) => {
            if (!isUp) throw new TypeError('down');
            bodies.push(JSON.parse(body));
            const headers = { Location: '/api/v1/sessions/1' };
            return new Response(null, { status: url.endsWith('/sessions') ? 201 : 204, headers });
        };
    """
    scene = f"""
        await viewer.play(); await viewer.played(0.3);
        viewer.video.playbackRate = 1.25; await viewer.played(0.3);
        for (let n = 0; n < {EVENTS_WAITING_MAX}; n++) viewer.player.state('mute', n % 2 === 0);
        viewer.video.playbackRate = 1.5; await viewer.played(0.3);
        viewer.player.chapter({{ index: 1, offset: 0, length: 6 }});
        window.isUp = true; viewer.end();
    """
    with stage.first.beside(stage.site, before=down) as viewers:
        viewers.view("queue", stage.ingest.url, Scene(scene))
        viewers.wait("queue")
        events = viewers.page.evaluate("bodies")
    kinds = [event["eventType"] for event in events]
    rates = [event["params"]["media.playbackRate"] for event in events if event["eventType"] == "ping"]
    assert rates == [1.25]
    assert kinds.count("stateStart") + kinds.count("stateEnd") == EVENTS_WAITING_MAX
    assert kinds[-2:] == ["chapterStart", "sessionEnd"]


@pytest.fixture(scope="module")
def left(stage: Stage) -> Left:
    """A page with several viewers that goes away; nothing is sent again before that."""
    patient = """
        const later = setTimeout;
        window.setTimeout = (does, ms, ...rest) => ms >= 500 ? 0 : later(does, ms, ...rest)
    """
    silent = "unanswered", "keyed_unanswered"
    for name in silent:
        stage.relays[name].is_down = True
    stage.relays["unheard"].loses_replies = 100
    stage.relays["hung"].hangs = 1

    def said() -> dict[str, object]:
        return {name: viewers.said(name) for name in LEAVERS}

    with stage.first.beside(stage.site, before=patient) as viewers:
        for name, scene in LEAVERS.items():
            viewers.view(name, stage.relays[name].url, scene)
        for name in LEAVERS:
            viewers.wait_for_scene(name)
        until(lambda: all(viewers.said(name) for name in (*silent, "unheard")), said)
        until(lambda: "play" in viewers.types("answered") and "play" in viewers.types("keyed"), said)
        for name in silent:
            stage.relays[name].is_down = False
        viewers.page.call("Page.navigate", url="about:blank")
        return Left(stage, viewers.kept_samples(stage.first.page))  # a page that is closed has half a second left


def test_a_farewell_is_a_text(left: Left) -> None:
    """Which takes no preflight, since a page that goes away may not wait for one."""
    until(lambda: b"sessionEnd" in left.posts("answered", "/events")[-1].body)
    farewell = left.posts("answered", "/events")[-1]
    assert farewell.status == 204
    assert farewell.headers["content-type"].startswith("text/plain")
    asked = left.stage.relays["answered"].asked
    assert [each.path for each in asked if each.method == "OPTIONS"] == ["/api/v1/sessions"]


def test_a_key_is_sent_with_everything(left: Left) -> None:
    """With the start, with events, and with the farewell, which is no beacon then."""
    until(lambda: b"sessionEnd" in left.posts("keyed", "/events")[-1].body)
    posts = [each for each in left.stage.relays["keyed"].asked if each.method == "POST"]
    assert len(posts) >= 3
    assert {each.headers.get("x-api-key") for each in posts} == {"k-1"}
    assert {each.status for each in posts} == {201, 204}


def test_a_whole_session_is_told_with_the_key(left: Left) -> None:
    """Though that takes a preflight as the page closes."""
    (whole,) = until(lambda: left.posts("keyed_unanswered", "/downloaded"))
    assert (whole.status, whole.headers["x-api-key"]) == (201, "k-1")
    assert b"sessionEnd" in whole.body


def test_a_session_whose_start_is_unanswered_is_told_as_the_page_closes(left: Left) -> None:
    """The API is there again by then: it gets the whole session at once, with what played, and a denial."""
    session = left.session_of("unanswered", "downloaded")
    until(lambda: left.stage.ingest.events(session)[-1]["data"]["eventType"] == "sessionEnd")
    (whole,) = left.posts("unanswered", "/downloaded")
    assert whole.headers["content-type"].startswith("text/plain")
    assert {record["consent"] for record in left.stage.ingest.events(session)} == {"denied"}
    facts, truth = facts_of(left.stage.ingest, session), truth_of(left.samples["unanswered"])
    assert facts.is_downloaded
    assert told_of(facts).content_s == pytest.approx(truth.content_s, abs=OF_TRUTH_S)
    assert told_of(facts).unique_s == pytest.approx(truth.unique_s, abs=OF_TRUTH_S)


def test_a_start_that_was_stored_but_not_answered_is_known_again(left: Left) -> None:
    """As the page closes there are two sessions of it: the lone start counts as a copy, by its hash."""
    lone, whole = (left.session_of("unheard", source) for source in ("sessions", "downloaded"))
    assert {record["data"]["eventType"] for record in left.stage.ingest.events(lone)} == {"sessionStart"}
    starts = [left.stage.ingest.events(session)[0] for session in (lone, whole)]
    assert starts[0]["requesthashes"] == starts[1]["requesthashes"]


def test_a_start_that_is_under_way_is_not_sent_twice(left: Left) -> None:
    """As the page closes the first try may still arrive: nothing else is sent."""
    left.session_of("unanswered", "downloaded")
    assert [(each.method, each.path) for each in left.stage.relays["hung"].asked if each.method == "POST"] == [
        ("POST", "/api/v1/sessions")
    ]


def test_a_viewer_who_leaves_before_the_length_is_known_has_a_session(stage: Stage) -> None:
    """Its start is sent as the page closes, and counts as any other."""
    relay = stage.relays["early"]
    with stage.first.beside(stage.site, before="0") as viewers:
        viewers.view("early", relay.url, EARLY)
        viewers.wait_for_scene("early")
        viewers.page.call("Page.navigate", url=stage.site)  # within the site, where the page's process lives on
        (start,) = until(lambda: relay.posts("/sessions"))
        until(lambda: start.status == 201)
    assert json.loads(start.body)["params"]["media.length"] == 0
    assert relay.posts("/downloaded") == []
