"""The client for web players in Chromium: what it sends when an API, a page or a clock misbehaves."""

import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import pytest
from rigs.browser import needs_chromium, opened
from rigs.films import films
from rigs.ingest import Ingest, event, running, session_start
from rigs.relay import Relay, relay
from rigs.viewers import HLS, SHAKA, Sample, Scene, Viewers, differences, facts_of, modules, told_of, truth_of
from rigs.waiting import until

NEAR_S = 0.5
OF_TRUTH_S = 0.25
"""How far a single viewing may be from what really played, on a busy machine; of many 95 % are within 0.15 s."""
PING_S = 10.0
DOWN_S = 5.0
SHORT = "await viewer.play(); await viewer.played(0.5); viewer.end();"
ENDLESS = """attach: async (video) => {
    const media = new MediaSource();
    video.src = URL.createObjectURL(media);
    await new Promise((done) => media.addEventListener('sourceopen', done, { once: true }));
    const buffer = media.addSourceBuffer('video/webm; codecs="vp9,opus"');
    buffer.appendBuffer(await (await fetch('/film.webm')).arrayBuffer());
    await new Promise((done) => buffer.addEventListener('updateend', done, { once: true }));
    media.duration = Infinity;
}"""
FAILS = """
    viewer.video.autoplay = true;
    await viewer.until(() => viewings.%s.said.some(({ event }) => event.eventType === 'error')); viewer.end();
"""
INTERRUPTED = """
        await viewer.play(); await viewer.played(0.5);
        viewer.player.chapter({ index: 1, offset: 0, length: 6, friendlyName: 'One' });
        viewer.player.state('mute', true);
        viewer.video.playbackRate = 1.25;
        viewer.pause(); await viewer.until(() => window.isLost?.%s);
        await viewer.play(); await viewer.played(0.3); viewer.end();
"""
THROUGH_RELAYS = {
    "down": Scene("await viewer.play(); await viewer.at(7); viewer.end();"),
    "lost": Scene(
        "await viewer.play(); await viewer.played(1); viewer.seek(8); await viewer.played(1); viewer.end();"
    ),
    "counted": Scene("await viewer.play(); await viewer.played(1); viewer.seek(8); await viewer.ended();"),
    "forgotten": Scene(INTERRUPTED % "forgotten"),
    "over": Scene(INTERRUPTED % "over"),
}
DIRECTLY = {
    "granted": Scene(SHORT, more="options: {consent: true, userId: 'u-1'}"),
    "denied": Scene(SHORT, more="options: {consent: false, userId: 'u-1'}"),
    "not_asked": Scene(SHORT, more="options: {userId: 'u-1'}"),
    "ads": Scene("""
        await viewer.play(); await viewer.played(1);
        const pod = viewer.player.adBreak({ podFriendlyName: 'mid' });
        viewer.pause();
        const first = viewer.player.ad({ id: 'ad-1', length: 2 });
        await viewer.pause_ms(2200); first.complete();
        const second = viewer.player.ad({ id: 'ad-2', length: 15 });
        await viewer.pause_ms(500); second.skip(); pod.complete();
        await viewer.play(); await viewer.played(1); viewer.end();
    """),
    "live": Scene(SHORT, more="options: {content: {id: 'live', contentType: 'live'}}"),
    "endless": Scene(SHORT, more=ENDLESS),
    "radio": Scene(SHORT, more=f"options: {{content: {{id: 'radio', contentType: 'radio'}}}}, {ENDLESS}"),
    "replayed": Scene("""
        await viewer.play(); await viewer.played(0.3); viewer.seek(11.5); await viewer.ended();
        await viewer.play(); await viewer.played(0.5); viewer.end();
    """),
    "another": Scene(
        """
        await viewer.play(); await viewer.played(1);
        viewer.video.src = 'clip.webm'; await viewer.play(); await viewer.played(1); viewer.end();
        """,
        more="options: {content: () => ({id: document.title + viewings.another.video.currentSrc.slice(-9)})}",
    ),
    "refused": Scene(
        "await viewer.play(); await viewer.until(() => viewings.refused.said.length); viewer.end();",
        more="options: {params: {'media.show': {name: 'no text'}}}",
    ),
    "broken": Scene(
        "viewer.video.autoplay = true; await viewer.until(() => viewings.broken.said.length > 1); viewer.end();",
        src="missing.webm",
    ),
    "hls": Scene(FAILS % "hls", more=HLS.replace("film.m3u8", "missing.m3u8")),
    "shaka": Scene(FAILS % "shaka", more=SHAKA.replace("film.m3u8", "broken.m3u8")),
}
pytestmark = needs_chromium


class All(NamedTuple):
    """A page whose viewers have all begun, and what is behind it."""

    viewers: Viewers
    site: str
    ingest: Ingest
    relays: dict[str, Relay]
    ended: str
    """The path of a session that has ended before all this."""

    def starts(self, name: str) -> list[dict[str, Any]]:
        """Return the params of the sessionStarts of a viewing that were accepted."""
        self.viewers.wait(name)
        events = [said["event"] for said in self.viewers.said(name) if said["status"] == 201]
        return [event["params"] for event in events]

    def recorded(self, name: str) -> dict[str, Any]:
        """Return the params of a viewing's sessionStart, as the log has them."""
        self.viewers.wait(name)
        params: dict[str, Any] = self.ingest.events(self.viewers.session(name))[0]["data"]["params"]
        return params


@pytest.fixture(scope="module")
def all_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[All]:
    """A page on which all of these viewers are at once."""
    folder = tmp_path_factory.mktemp("behaviour")
    with contextlib.ExitStack() as stack:
        ingest = stack.enter_context(running(folder / "data"))
        ended, now_ms = ingest.start(session_start()), round(time.time() * 1000)
        ingest.post(f"{ended}/events", event("sessionEnd", ts=now_ms))
        relays = {name: stack.enter_context(relay(ingest.url)) for name in (*THROUGH_RELAYS, "cut")}
        site = stack.enter_context(films(ingest.url, *(each.url for each in relays.values()), modules=modules()))
        page = stack.enter_context(opened(site, folder / "profile"))
        relays["down"].is_down, relays["lost"].loses_replies = True, 3
        viewers = Viewers(page, ingest.url)
        for name, scene in THROUGH_RELAYS.items():
            viewers.view(name, relays[name].url, scene)
        for name, scene in DIRECTLY.items():
            viewers.view(name, ingest.url, scene)
        yield All(viewers, site, ingest, relays, ended)


def test_an_api_that_is_down_at_the_start_loses_nothing(all_of: All) -> None:
    """For 5 s no request is answered: there is one session, with what played in the meantime."""
    relay, began_s = all_of.relays["down"], time.monotonic()
    until(lambda: time.monotonic() - began_s > DOWN_S and len(all_of.viewers.said("down")) > 1)
    relay.is_down = False
    all_of.viewers.wait("down")
    tries = [said for said in all_of.viewers.said("down") if said["event"]["eventType"] == "sessionStart"]
    assert [said["status"] for said in tries] == [0] * (len(tries) - 1) + [201]
    assert "Failed to fetch" in tries[0]["words"]
    told = told_of(facts_of(all_of.ingest, all_of.viewers.session("down")))
    assert differences(truth_of(all_of.viewers.samples("down")), told, within_s=OF_TRUTH_S) == {}


def test_an_event_without_a_reply_is_sent_again_as_it_was(all_of: All) -> None:
    """The first three replies are lost: there is one session, and what came twice counts once."""
    all_of.viewers.wait("lost")
    session = all_of.viewers.session("lost")
    tries = all_of.relays["lost"].posts("/sessions")
    assert [each.status for each in tries] == [201] * 4
    assert len({(each.body, each.headers["idempotency-key"]) for each in tries}) == 1
    kinds = [record["data"]["eventType"] for record in all_of.ingest.events(session)]
    assert set(kinds) == {"sessionStart", "play", "bufferStart", "sessionEnd"}
    ids = [
        record["id"] for record in all_of.ingest.events(session) if record["data"]["eventType"] == "sessionStart"
    ]
    assert len(set(ids)) == 1
    assert told_of(facts_of(all_of.ingest, session)).seeks == 1


def test_a_session_takes_one_preflight(all_of: All) -> None:
    """That of its start; events are texts, which need none."""
    all_of.viewers.wait("counted")
    asked = [(each.method, each.path) for each in all_of.relays["counted"].asked]
    assert [path for method, path in asked if method == "OPTIONS"] == ["/api/v1/sessions"]
    assert len([path for method, path in asked if method == "POST"]) > 4


def test_a_user_is_named_with_consent_alone(all_of: All) -> None:
    """With it, the log has a pseudonym; without, nothing was sent."""
    assert len(all_of.recorded("granted")["analytics.visitorId"]) == 32
    assert all_of.starts("granted")[0]["analytics.visitorId"] == "u-1"
    for name in ("denied", "not_asked"):
        assert "u-1" not in json.dumps(all_of.viewers.said(name))
        assert "analytics.visitorId" not in all_of.recorded(name)
    consents = {
        name: all_of.ingest.events(all_of.viewers.session(name))[0].get("consent")
        for name in ("granted", "denied", "not_asked")
    }
    assert (consents["granted"], consents["not_asked"]) == ("given", None)
    assert consents["denied"] == "denied"


def test_ads_are_told_as_the_protocol_wants(all_of: All) -> None:
    """Content stands while they play, is neither paused nor sought, and there is a ping each second of an ad."""
    all_of.viewers.wait("ads")
    events = [said["event"] for said in all_of.viewers.said("ads")]
    kinds = [event["eventType"] for event in events]
    inside = events[kinds.index("adBreakStart") : kinds.index("adBreakComplete") + 1]
    assert [event["eventType"] for event in inside if event["eventType"] != "ping"] == [
        "adBreakStart",
        "adStart",
        "adComplete",
        "adStart",
        "adSkip",
        "adBreakComplete",
    ]
    assert len({event["playerTime"]["playhead"] for event in inside}) == 1
    assert len([event for event in inside if event["eventType"] == "ping"]) >= 1
    facts = facts_of(all_of.ingest, all_of.viewers.session("ads"))
    assert (facts.pauses, facts.seeks, facts.ads_completed, facts.ads_skipped) == (0, 0, 1, 1)
    assert facts.ad_time_s == pytest.approx(2.7, abs=NEAR_S)
    assert facts.content_time_s == pytest.approx(2.0, abs=NEAR_S)


def test_live_content_is_at_the_second_of_the_day(all_of: All) -> None:
    """Of the viewer's day; so is content without an end. Named otherwise, it has an unknown length."""
    for name in ("live", "endless"):
        (params,) = all_of.starts(name)
        assert (params["media.contentType"], params["media.length"]) == ("live", 86_400)
        for told in (said["event"]["playerTime"] for said in all_of.viewers.said(name)):
            happened = datetime.fromtimestamp(told["ts"] / 1000)  # noqa: DTZ006  (the viewer's day)
            second = happened.hour * 3600 + happened.minute * 60 + happened.second
            assert told["playhead"] == pytest.approx(second, abs=2), told
    (radio,) = all_of.starts("radio")
    assert (radio["media.contentType"], radio["media.length"]) == ("radio", 0)
    assert facts_of(all_of.ingest, all_of.viewers.session("radio")).length_s is None


def test_what_is_played_again_is_another_session(all_of: All) -> None:
    """After its end; it does not resume the first."""
    first, again = all_of.starts("replayed")
    assert (first["media.resume"], again["media.resume"]) == (False, False)
    kinds = all_of.viewers.types("replayed")
    assert kinds[kinds.index("sessionComplete") :] == [
        "sessionComplete",
        "sessionEnd",
        "sessionStart",
        "play",
        "sessionEnd",
    ]


def test_another_source_is_another_session(all_of: All) -> None:
    """Its content is asked for again, and the session before ends where its content was."""
    assert [params["media.id"] for params in all_of.starts("another")] == ["filmsfilm.webm", "filmsclip.webm"]
    end = next(
        said["event"] for said in all_of.viewers.said("another") if said["event"]["eventType"] == "sessionEnd"
    )
    assert end["playerTime"]["playhead"] == pytest.approx(1.0, abs=NEAR_S)
    assert "bufferStart" not in all_of.viewers.types("another")


def test_what_was_wrong_with_an_event_is_said(all_of: All) -> None:
    """`debug` gets the event, the status, and the server's words."""
    until(lambda: all_of.viewers.said("refused"))
    (said,) = all_of.viewers.said("refused")
    assert (said["event"]["eventType"], said["status"], said["session"]) == ("sessionStart", 400, None)
    assert "media.show" in said["words"]


def test_a_source_that_cannot_be_played_is_an_error(all_of: All) -> None:
    """Where the viewer wanted to play it: the session has failed before its start."""
    all_of.viewers.wait("broken")
    facts = facts_of(all_of.ingest, all_of.viewers.session("broken"))
    assert [error.error_id for error in facts.playback_errors] == ["MEDIA_ERR_SRC_NOT_SUPPORTED"]
    assert facts.is_failed
    assert not facts.is_started


@pytest.mark.parametrize(("name", "said"), [("hls", "hls.js manifestLoadError"), ("shaka", "shaka 1001")])
def test_adapters_tell_errors_that_end_playback(name: str, said: str, all_of: All) -> None:
    """Of hls.js a playlist that is missing, of Shaka Player a segment."""
    all_of.viewers.wait(name)
    facts = facts_of(all_of.ingest, all_of.viewers.session(name))
    assert [error.error_id for error in facts.playback_errors] == [said]


def test_a_new_session_begins_after_a_long_pause_and_after_a_day(all_of: All) -> None:
    """The clock jumps by half an hour in a pause, by a day in play; it is set back: times still increase."""
    with all_of.viewers.page.other(all_of.site) as page:
        viewers = Viewers(page, all_of.ingest.url)
        page.evaluate("window.ahead_ms = 0; const real = Date.now; Date.now = () => real() + ahead_ms; 0")
        scene = """
            const told = (type, count) => viewer.until(
                () => viewings.clock.said.filter(({ event }) => event.eventType === type).length === count);
            await viewer.play(); await viewer.played(0.5); viewer.pause();
            await told('pauseStart', 1); window.ahead_ms += 30.5 * 60_000; await told('sessionEnd', 1);
            await viewer.play(); await viewer.played(0.5);
            window.ahead_ms += 86_400_000; await told('sessionStart', 3);
            window.ahead_ms -= 3_600_000; viewer.seek(8); await viewer.played(1); viewer.end();
        """
        viewers.view("clock", all_of.ingest.url, Scene(scene))
        viewers.wait("clock")
        assert viewers.types("clock") == [
            *("sessionStart", "play", "pauseStart", "sessionEnd"),
            *("sessionStart", "play", "sessionEnd"),
            *("sessionStart", "play", "bufferStart", "play", "sessionEnd"),
        ]
        events = [said["event"] for said in viewers.said("clock")]
        resumed = [event["params"]["media.resume"] for event in events if event["eventType"] == "sessionStart"]
        assert resumed == [False, True, True]
        last = viewers.session("clock")
        times = [said["event"]["playerTime"]["ts"] for said in viewers.said("clock") if said["session"] == last]
        assert all(earlier < later for earlier, later in itertools.pairwise(times))
        assert times[-1] - times[-2] == pytest.approx(1_000, abs=NEAR_S * 1000)


def _watched_until_closed(all_of: All, api: str, *, until_s: float) -> tuple[str, list[Sample]]:
    """Watch a film on a page of its own, which then goes away; return the session, and what played."""
    all_of.relays["cut"].is_down = False
    with all_of.viewers.page.other(all_of.site) as page:
        viewers = Viewers(page, all_of.ingest.url)
        viewers.view("closed", api, Scene("await viewer.play();"))
        page.wait(lambda page: page.evaluate(f"viewings.closed.video.currentTime > {until_s}"))
        session = viewers.session("closed")
        all_of.relays["cut"].is_down = True
    return session, viewers.kept_samples(all_of.viewers.page)["closed"]


def test_a_page_that_closes_ends_its_session(all_of: All) -> None:
    """With what played up to that moment."""
    session, samples = _watched_until_closed(all_of, all_of.ingest.url, until_s=3)
    until(lambda: all_of.ingest.events(session)[-1]["data"]["eventType"] == "sessionEnd")
    told = told_of(facts_of(all_of.ingest, session))
    assert differences(truth_of(samples), told, within_s=OF_TRUTH_S) == {}


def test_a_farewell_that_is_lost_costs_one_ping(all_of: All) -> None:
    """The API is down when the page closes: what played since the last ping is missing, and no more."""
    session, samples = _watched_until_closed(all_of, all_of.relays["cut"].url, until_s=10.8)
    told, truth = told_of(facts_of(all_of.ingest, session)), truth_of(samples)
    assert truth.content_s - PING_S - NEAR_S < told.content_s < truth.content_s
    assert told.content_s > PING_S - NEAR_S


@pytest.mark.parametrize(("name", "status"), [("forgotten", 404), ("over", 410)])
def test_a_session_that_the_server_does_not_take_goes_on_in_another(name: str, status: int, all_of: All) -> None:
    """It is unknown, or has ended: a start that says it resumes, what was open, and then what was refused."""
    viewers, relay = all_of.viewers, all_of.relays[name]
    until(lambda: {"ping", "pauseStart"} <= set(viewers.types(name)))
    first = viewers.session(name)
    if status == 410:  # half a minute after its end a session takes nothing more
        later = event("ping", ts=round(time.time() * 1000))
        until(lambda: all_of.ingest.post(f"{all_of.ended}/events", later).status_code == status)
    relay.renamed[first] = all_of.ended.rpartition("/")[2] if status == 410 else "0" * len(first)
    viewers.page.evaluate(f"(window.isLost ??= {{}}).{name} = true")
    viewers.wait(name)
    said = viewers.said(name)
    (refused,) = [each["event"] for each in said if each["status"] == status]
    session = viewers.session(name)
    assert session != first
    events = [record["data"] for record in all_of.ingest.events(session)]
    assert [event["eventType"] for event in events[:5]] == [
        "sessionStart",
        "chapterStart",
        "pauseStart",
        "stateStart",
        "play",
    ]
    assert events[0]["params"]["media.resume"] is True
    assert events[0]["params"]["media.playbackRate"] == 1.25
    assert events[1]["params"]["media.chapter.friendlyName"] == "One"
    assert events[4] == refused
    times = [event["playerTime"]["ts"] for event in events]
    assert all(earlier < later for earlier, later in itertools.pairwise(times))
