"""The client for web players in Chromium: what it tells of a viewing, when sessions end, what it says itself."""

import contextlib
import itertools
import statistics
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from rigs.browser import needs_chromium, opened
from rigs.films import films
from rigs.ingest import Ingest, running
from rigs.viewers import Scene, Viewers, facts_of
from rigs.waiting import until

NEAR_S = 0.1
PING_MS = 10_000
TICK_MS = 1_000
SHORT = "await viewer.play(); await viewer.played(0.5); viewer.end();"
SCENES = {
    "dropped": Scene(
        SHORT, more="attach: (video) => { video.getVideoPlaybackQuality = () => ({ droppedVideoFrames: 7 }); }"
    ),
    "quality": Scene("""
        viewer.player.quality({ bitrate: 1_000_000, framesPerSecond: 25 });
        await viewer.play(); await viewer.played(0.5);
        viewer.player.quality({ bitrate: 2_000_000 }); await viewer.played(0.3); viewer.end();
    """),
    "sought": Scene("""
        await viewer.play(); await viewer.played(0.5); viewer.pause(); await viewer.pause_ms(200);
        viewer.seek(8); await viewer.pause_ms(1600); await viewer.play(); await viewer.played(0.5); viewer.end();
    """),
    "twice": Scene("""
        await viewer.play(); await viewer.played(0.5);
        const debug = (said) => viewings.twice.said.push(said);
        viewer.player = client.playhead(viewer.video, { url: api, content: { id: 'second' }, debug });
        await viewer.played(0.5); viewer.end();
    """),
}
WRONG = {
    "nothing": "url: api",
    "none": "url: api, content: () => undefined",
    "a text": "url: api, content: 'film-1'",
    "thrown": "url: api, content: () => { throw new Error('no such film'); }",
    "nowhere": "content: { id: 'film-1' }",
    "not an address": "url: 'http://', content: { id: 'film-1' }",
}
pytestmark = needs_chromium


class Stage(NamedTuple):
    """A page, and what is behind it."""

    first: Viewers
    site: str
    ingest: Ingest

    def told(self, name: str) -> list[dict[str, Any]]:
        """Return the events of a viewing of the first page, in their order."""
        self.first.wait(name)
        return events_of(self.first, name)

    def beside(self, *, before: str) -> contextlib.AbstractContextManager[Viewers]:
        """Open another page, once all viewings of the first one are over: hidden, they would pause."""
        for name in SCENES:
            self.first.wait(name)
        return self.first.beside(self.site, before=before)


def events_of(viewers: Viewers, name: str) -> list[dict[str, Any]]:
    """Return the events that the server answered, in their order."""
    return [said["event"] for said in viewers.said(name)]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events."""
    return [event["eventType"] for event in events]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A page on which the viewers of `SCENES` are at once."""
    folder = tmp_path_factory.mktemp("told")
    with contextlib.ExitStack() as stack:
        ingest = stack.enter_context(running(folder / "data"))
        site = stack.enter_context(films(ingest.url))
        page = stack.enter_context(opened(site, folder / "profile"))
        viewers = Viewers(page, ingest.url)
        for name, scene in SCENES.items():
            attach = scene.more.replace("attach: (video) => {", "attach: (video) => { video.src = 'film.webm';")
            viewers.view(name, ingest.url, Scene(scene.does, more=attach))
        yield Stage(viewers, site, ingest)


# ---- what is told


def test_dropped_frames_are_told(stage: Stage) -> None:
    """As many as the element counts."""
    stage.told("dropped")
    assert facts_of(stage.ingest, stage.first.session("dropped")).dropped_frames == 7


def test_a_ping_is_told_each_ten_seconds_of_playing(stage: Stage) -> None:
    """On a page whose clock runs ten times as fast, and its ticks too; in a pause there are none."""
    hurried = """
        const now = Date.now, every = setInterval, began = now();
        Date.now = () => began + (now() - began) * 10;
        window.setInterval = (does, ms) => every(does, ms < 1000 ? ms : ms / 10);
    """
    scene = """
        await viewer.play(); await viewer.played(6);
        viewer.pause(); await viewer.pause_ms(2000); viewer.end();
    """
    with stage.beside(before=hurried) as viewers:
        viewers.view("pings", stage.ingest.url, Scene(scene))
        viewers.wait("pings")
        events = events_of(viewers, "pings")
    count = len(events) - 4
    assert kinds(events) == ["sessionStart", "play", *["ping"] * count, "pauseStart", "sessionEnd"]
    times_ms = [event["playerTime"]["ts"] for event in events[1:-2]]
    gaps_ms = [later - earlier for earlier, later in itertools.pairwise(times_ms)]
    assert count >= 4
    assert min(gaps_ms) > PING_MS - TICK_MS
    assert statistics.median(gaps_ms) < PING_MS + TICK_MS


def test_what_a_player_knows_of_quality_is_told(stage: Stage) -> None:
    """With the next event, and another bitrate by an event of its own."""
    events = stage.told("quality")
    assert kinds(events) == ["sessionStart", "play", "bitrateChange", "sessionEnd"]
    qoe = [event.get("qoeData", {}) for event in events]
    assert (qoe[1]["media.qoe.bitrate"], qoe[1]["media.qoe.framesPerSecond"]) == (1_000_000, 25)
    assert qoe[2]["media.qoe.bitrate"] == 2_000_000
    assert facts_of(stage.ingest, stage.first.session("quality")).bitrate_changes == 1


def test_a_seek_in_a_pause_is_told_in_the_pause(stage: Stage) -> None:
    """By a ping where the viewer went, within a second or so."""
    events = stage.told("sought")
    assert kinds(events) == ["sessionStart", "play", "pauseStart", "ping", "play", "sessionEnd"]
    assert events[3]["playerTime"]["playhead"] == pytest.approx(8, abs=NEAR_S)


def test_a_second_client_of_an_element_ends_the_first(stage: Stage) -> None:
    """So nothing is told twice."""
    stage.told("twice")
    told: dict[str, list[str]] = {}
    for said in stage.first.said("twice"):
        told.setdefault(said["session"], []).append(said["event"]["eventType"])
    assert list(told.values()) == [["sessionStart", "play", "sessionEnd"]] * 2


# ---- pages that are hidden, left and shown again; clocks


@pytest.fixture(scope="module")
def visited(stage: Stage) -> dict[str, Any]:
    """A page that is hidden, goes away, and comes back; its viewer consented, and asks for privacy."""
    before = "Object.defineProperty(navigator, 'globalPrivacyControl', { value: true })"
    scene = """
        const hide = (is) => {
            Object.defineProperty(document, 'hidden', { value: is, configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));
        };
        await viewer.play(); await viewer.played(0.5); hide(true); await viewer.played(0.5); hide(false);
        dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }));
        await viewer.pause_ms(300);
        dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }));
        await viewer.played(0.5); viewer.end();
    """
    with stage.beside(before=before) as viewers:
        viewers.view("visited", stage.ingest.url, Scene(scene, more="options: { consent: true, userId: 'u-1' }"))
        viewers.wait("visited")
        sessions = list(dict.fromkeys(said["session"] for said in viewers.said("visited")))
        until(lambda: stage.ingest.events(sessions[0])[-1]["data"]["eventType"] == "sessionEnd")
        return {
            "said": viewers.said("visited"),
            "events": [[record["data"] for record in stage.ingest.events(each)] for each in sessions],
        }


def test_a_page_that_is_hidden_tells_where_content_is(visited: dict[str, Any]) -> None:
    """By a ping at once, as a hidden page may be ended without a word."""
    events = visited["events"][0]
    assert kinds(events) == ["sessionStart", "play", "ping", "sessionEnd"]
    assert events[2]["playerTime"]["playhead"] < events[3]["playerTime"]["playhead"] - 0.3


def test_a_page_that_comes_back_goes_on_in_another_session(visited: dict[str, Any]) -> None:
    """One that resumes: the first ended as the page went away."""
    first, again = visited["events"]
    assert kinds(again) == ["sessionStart", "play", "sessionEnd"]
    assert [events[0]["params"]["media.resume"] for events in (first, again)] == [False, True]


def test_global_privacy_control_is_kept_to(visited: dict[str, Any]) -> None:
    """No user id leaves the page, whatever the viewer said otherwise."""
    assert visited["said"]
    assert "u-1" not in str(visited["said"])


@pytest.fixture(scope="module")
def ahead(stage: Stage) -> Iterator[Viewers]:
    """Viewers on a page whose clock jumps: by 10 s without metadata, by two hours in a pause."""
    late = """
        viewer.play().catch(() => 0); await viewer.pause_ms(200); window.ahead_ms += 10_500;
        await viewer.until(() => viewings.late.said.length || viewer.video.readyState); viewer.end();
    """
    slept = """
        await viewer.play(); await viewer.played(0.5); viewer.pause();
        await viewer.until(() => viewings.slept.said.length > 2);
        window.ahead_ms += 2 * 3_600_000; await viewer.pause_ms(1500);
        await viewer.play(); await viewer.played(0.5); viewer.end();
    """
    before = "window.ahead_ms = 0; const real = Date.now; Date.now = () => real() + ahead_ms"
    with stage.beside(before=before) as viewers:
        viewers.view("late", stage.ingest.url, Scene(late, "film.webm?held=15&after=0"))
        viewers.wait("late")
        viewers.view("slept", stage.ingest.url, Scene(slept))
        viewers.wait("slept")
        yield viewers


def test_a_start_waits_ten_seconds_for_the_length(ahead: Viewers) -> None:
    """Then it is told without one."""
    start, *_, end = events_of(ahead, "late")
    assert (start["eventType"], start["params"]["media.length"]) == ("sessionStart", 0)
    assert end["playerTime"]["ts"] - start["playerTime"]["ts"] > 10_000


def test_a_session_of_a_device_that_slept_is_over(ahead: Viewers) -> None:
    """The server ended it long ago, so nothing is sent of it; what plays then is another, which resumes."""
    events = events_of(ahead, "slept")
    assert kinds(events) == ["sessionStart", "play", "pauseStart", "sessionStart", "play", "sessionEnd"]
    assert events[3]["params"]["media.resume"] is True


# ---- what the client says itself


def test_debug_prints_what_the_server_answers(stage: Stage) -> None:
    """Its words, as a warning, if it refused an event."""
    before = """
        window.printed = [];
        for (const kind of ['log', 'warn']) console[kind] = (...all) => printed.push([kind, ...all.map(String)])
    """
    scene = """
        await viewer.play(); await viewer.until(() => printed.length > 1);
        viewer.player.state(7, true); await viewer.until(() => printed.some(([kind]) => kind === 'warn'));
        viewer.end();
    """
    with stage.beside(before=before) as viewers:
        viewers.view("printed", stage.ingest.url, Scene(scene, more="options: { debug: true }"))
        viewers.wait_for_scene("printed")
        printed = viewers.page.evaluate("printed")
    assert ["log", "playhead:", "sessionStart", "201"] in [each[:4] for each in printed]
    (warned,) = [each for each in printed if each[0] == "warn"]
    assert warned[1:4] == ["playhead:", "stateStart", "400"]
    assert "media.state.name" in warned[4]


@pytest.fixture(scope="module")
def wrong(stage: Stage) -> dict[str, Any]:
    """A page that forgot what is played, or where to tell it: what it threw, printed, and left running."""
    before = """
        window.faults = []; window.printed = []; window.timers = new Set();
        addEventListener('error', ({ message }) => faults.push(message));
        addEventListener('unhandledrejection', ({ reason }) => faults.push(String(reason)));
        console.error = (words, options) => printed.push([options.player, words]);
        const [every, stop] = [setInterval, clearInterval];
        window.setInterval = (...all) => { const id = every(...all); timers.add(id); return id; };
        window.clearInterval = (id) => { timers.delete(id); stop(id); };
        window.watch = async (options) => {
            const video = document.createElement('video');
            Object.assign(video, { muted: true, src: 'film.webm' });
            document.body.append(video);
            const player = client.playhead(video, options);
            const until = async (is) => { while (!is()) await new Promise((done) => setTimeout(done, 10)); };
            await video.play(); await until(() => video.currentTime > 1.2);
            player.adBreak().complete(); player.ad({ id: 'a', length: 1 }).complete();
            player.chapter({ index: 1, offset: 0, length: 6 }).complete(); player.state('mute', true);
            player.error('DRM-1'); player.quality({ bitrate: 1 });
            video.dispatchEvent(new Event('error'));
            player.end(); video.pause(); video.currentTime = 5;
            await video.play(); await until(() => video.currentTime > 5.3);
            return player.session;
        }
    """
    each = ", ".join(f"watch({{ player: '{name}', {options} }})" for name, options in WRONG.items())
    with stage.beside(before=before) as viewers:
        sessions = viewers.page.evaluate(f"Promise.all([{each}])")
        found = {name: viewers.page.evaluate(name) for name in ("faults", "printed")}
        return {**found, "timers": viewers.page.evaluate("timers.size"), "sessions": sessions}


def test_a_page_that_passes_no_content_or_address_is_told_so_once(wrong: dict[str, Any]) -> None:
    """In the console, with what to pass, whether or not `debug` is on."""
    assert sorted(name for name, _ in wrong["printed"]) == sorted(WRONG)
    assert all("{url, content: {id, name}}" in words for _, words in wrong["printed"])


def test_a_page_that_passes_no_content_or_address_goes_on(wrong: dict[str, Any]) -> None:
    """Nothing is thrown, whatever it calls; there is no session, and `end` stops the timer."""
    assert wrong["faults"] == []
    assert wrong["sessions"] == [None] * len(WRONG)
    assert wrong["timers"] == 0


def test_content_that_is_known_later_begins_a_session_then(stage: Stage) -> None:
    """A function may return nothing at first."""
    scene = """
        await viewer.play(); await viewer.played(0.5); window.film = { id: 'film-1' };
        await viewer.played(1); viewer.end();
    """
    with stage.beside(before="console.error = () => 0") as viewers:
        viewers.view("later", stage.ingest.url, Scene(scene, more="options: { content: () => window.film }"))
        viewers.wait("later")
        start, *others = events_of(viewers, "later")
    assert start["params"]["media.id"] == "film-1"
    assert start["playerTime"]["playhead"] > 0.4
    assert kinds(others) == ["play", "sessionEnd"]
