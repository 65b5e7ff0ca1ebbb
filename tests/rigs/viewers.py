"""Viewers in a real browser: what they do with a video, what really played, and what Playhead makes of it."""

import contextlib
import itertools
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from consumers.decode import decode
from eventlog import Record
from rigs.browser import Page
from rigs.ingest import Ingest
from rigs.node_packages import WEB, node_modules
from rigs.waiting import until
from sessions.event import Event
from sessions.facts import SessionFacts
from sessions.fold import fold_all

SCRIPT = Path(__file__).with_name("viewer.js").read_text()
STANDS_S = 1e-4
LOOP_S = 1.0
SEEK_S = 2.0
Sample = tuple[float, float, int, int, float]
"""Milliseconds of the page, `currentTime`, whether it is paused, whether it has ended, the speed."""


class Truth(msgspec.Struct, frozen=True):
    """What played, by samples of `currentTime`: durations in seconds, and counts."""

    content_s: float
    pause_s: float
    buffer_s: float
    unique_s: float
    seeks: int
    loops: int
    pauses: int
    is_completed: bool


DURATIONS = tuple(name for name in Truth.__struct_fields__ if name.endswith("_s"))


def truth_of(samples: list[Sample]) -> Truth:
    """Return what these samples show, from the first move of the playhead to its end."""
    content = pause = buffer = 0.0
    seeks = loops = pauses = 0
    ranges: list[tuple[float, float]] = []
    has_moved = is_completed = False
    farthest = max(head for _, head, *_ in samples)
    for (was_ms, was, was_paused, _, _), (ms, head, paused, ended, rate) in itertools.pairwise(samples):
        passed_s, moved_s = (ms - was_ms) / 1000, head - was
        has_moved = has_moved or 0 < moved_s < SEEK_S
        if not has_moved:
            continue
        if paused and not was_paused and not ended:
            pauses += 1
        if 0 < moved_s <= passed_s * rate + LOOP_S / 4:
            content += passed_s
            ranges.append((was, head))
        elif was_paused:
            pause += passed_s
        elif abs(moved_s) <= STANDS_S or moved_s > 0:
            buffer += passed_s
        if was > farthest - LOOP_S and head < LOOP_S and not was_paused:
            loops += 1
            content += passed_s
            ranges += [(was, farthest), (0.0, head)]
        elif abs(moved_s) > SEEK_S:
            seeks += 1
        if ended:
            is_completed = True
            break
    return Truth(content, pause, buffer, _union_s(ranges), seeks, loops, pauses, is_completed)


def _union_s(ranges: list[tuple[float, float]]) -> float:
    """Return how many seconds of content are in one of these ranges or more."""
    total, until = 0.0, 0.0
    for start, end in sorted(ranges):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def told_of(facts: SessionFacts) -> Truth:
    """Return what Playhead says of a session, in the terms of the truth."""
    return Truth(
        content_s=facts.content_time_s,
        pause_s=facts.pause_time_s,
        buffer_s=facts.rebuffer_time_s + facts.stall_time_s + facts.gap_s,
        unique_s=facts.unique_played_s,
        seeks=facts.seeks,
        loops=facts.loops,
        pauses=facts.pauses,
        is_completed=facts.is_completed,
    )


def differences(truth: Truth, told: Truth, *, within_s: float) -> dict[str, tuple[float, float]]:
    """Return what was told otherwise than it was: durations that differ by more than this, and counts."""
    were, said = msgspec.structs.asdict(truth), msgspec.structs.asdict(told)
    return {
        name: (were[name], said[name])
        for name in Truth.__struct_fields__
        if abs(said[name] - were[name]) > (within_s if name in DURATIONS else 0)
    }


def modules() -> dict[str, Path]:
    """Return what a site serves for its pages to import: hls.js and Shaka Player, and what watches them."""
    packages = node_modules()
    return {
        "hls.mjs": packages / "hls.js" / "dist" / "hls.mjs",
        "shaka.js": packages / "shaka-player" / "dist" / "shaka-player.compiled.js",
        "watch-hls.js": WEB / "hls.js",
        "watch-shaka.js": WEB / "shaka.js",
    }


def facts_of(ingest: Ingest, session: str) -> SessionFacts:
    """Return the numbers of a session, folded from what the ingest wrote into its log."""
    events = []
    for offset, record in enumerate(ingest.events(session)):
        value = msgspec.json.encode({key: of for key, of in record.items() if key not in ("key", "partition")})
        received_ms = round(datetime.fromisoformat(record["receivedtime"]).timestamp() * 1000)
        event = decode(Record(record["partition"], offset, record["key"].encode(), value, received_ms))
        assert isinstance(event, Event), event
        events.append(event)
    return fold_all(events)


class Scene(msgspec.Struct, frozen=True):
    """What a viewer does: the body of a function of `viewer` (`viewer.js`), the film, and more options of it."""

    does: str
    src: str = "film.webm"
    more: str = ""


HLS = """attach: async (video, player) => {
    const { default: Hls } = await import(`${location.origin}/hls.mjs`);
    const { watchHls } = await import(`${location.origin}/watch-hls.js`);
    const hls = new Hls({ enableWorker: false });
    watchHls(player, hls);
    hls.loadSource('/film.m3u8');
    hls.attachMedia(video);
}"""
SHAKA = """attach: async (video, player) => {
    await new Promise((done, failed) => {
        const script = document.createElement('script');
        Object.assign(script, { src: '/shaka.js', onload: done, onerror: failed });
        document.head.append(script);
    });
    const { watchShaka } = await import(`${location.origin}/watch-shaka.js`);
    const player_of_shaka = new shaka.Player();
    watchShaka(player, player_of_shaka);
    await player_of_shaka.attach(video);
    player_of_shaka.load('/film.m3u8');
}"""
PARTS = """
    await viewer.play(); await viewer.played(1.5);
    viewer.pause(); await viewer.pause_ms(1500);
    await viewer.play(); await viewer.played(1);
    viewer.seek(%s); await viewer.ended();
"""
SCENES = {
    "parts": Scene(PARTS % 9),
    "throttled": Scene("await viewer.play(); await viewer.at(7); viewer.end();", "film.webm?held=7.5&after=32000"),
    "fast": Scene("""
        await viewer.play(); await viewer.at(1.5);
        viewer.video.playbackRate = 1.5; await viewer.at(8); viewer.end();
    """),
    "loop": Scene("await viewer.play(); await viewer.pause_ms(7500); viewer.end();", "clip.webm", "loop: true"),
    "sought": Scene("""
        await viewer.play(); await viewer.played(1);
        viewer.pause(); await viewer.pause_ms(400); viewer.seek(8); await viewer.pause_ms(1300);
        await viewer.play(); await viewer.played(1);
        viewer.seek(2); await viewer.played(1.5); viewer.seek(6); await viewer.played(1); viewer.end();
    """),
    "hls": Scene(PARTS % 5, more=HLS),
    "shaka": Scene(PARTS % 5, more=SHAKA),
}


class Viewers:
    """The viewers of one page, whose client is imported from an ingest: `client` and `api` on the page."""

    def __init__(self, page: Page, ingest_url: str) -> None:
        self.page, self._ingest_url = page, ingest_url
        page.wait(lambda page: page.evaluate("document.title") == "films")
        page.evaluate(SCRIPT)
        self._kept_as: str = page.evaluate("keptAs")
        page.evaluate(f"""
            window.api = {json.dumps(ingest_url)};
            import({json.dumps(f"{ingest_url}/playhead.js")}).then(module => {{ window.client = module; }})
        """)

    @contextlib.contextmanager
    def beside(self, site: str, *, before: str) -> Iterator["Viewers"]:
        """Open another page of the site in the same browser, on which this script has run, and close it."""
        with self.page.other(site) as page:
            viewers = Viewers(page, self._ingest_url)
            page.evaluate(f"{before}; 0")
            yield viewers

    def view(self, name: str, api: str, scene: Scene) -> None:
        """Let a viewer watch a film, with the client telling this API of it."""
        self.page.evaluate(f"""
            view({json.dumps(name)}, {json.dumps(api)}, client.playhead, {{
                src: {json.dumps(scene.src)}, does: async (viewer) => {{ {scene.does} }}, {scene.more}
            }}); 0
        """)

    def wait_for_scene(self, name: str) -> None:
        """Wait until a viewer has done everything."""
        self.page.wait(lambda page: page.evaluate(f"viewings[{json.dumps(name)}].isOver"))
        error = self.page.evaluate(f"viewings[{json.dumps(name)}].error")
        assert error is None, (name, error)

    def wait(self, name: str) -> None:
        """Wait until a viewer has done everything, and the server has answered the last event."""
        self.wait_for_scene(name)
        until(lambda: self._is_told(name), lambda: self.said(name))

    def _is_told(self, name: str) -> bool:
        """Return whether the server accepted an end that is no earlier than the viewing's."""
        ended_ms = self.page.evaluate(f"viewings[{json.dumps(name)}].endedAt")
        return any(
            said["event"]["eventType"] == ("sessionEnd" if ended_ms else "sessionComplete")
            and said["event"]["playerTime"]["ts"] >= ended_ms
            for said in self.said(name)
            if said["status"] == 204
        )

    def types(self, name: str) -> list[str]:
        """Return the types of the events that the server accepted, in the order of their times."""
        events = [said["event"] for said in self.said(name) if 200 <= said["status"] < 300]
        return [event["eventType"] for event in sorted(events, key=lambda event: event["playerTime"]["ts"])]

    def samples(self, name: str) -> list[Sample]:
        """Return what was sampled so far."""
        found: list[Sample] = self.page.evaluate(f"viewings[{json.dumps(name)}].samples")
        return found

    def kept_samples(self, page: Page) -> dict[str, list[Sample]]:
        """Wait until this page has gone away, and return its samples by viewing; `page` shows the same site."""
        kept_there = f"localStorage.getItem({json.dumps(self._kept_as)})"
        text = until(lambda: page.evaluate(kept_there), "no samples kept")
        kept: dict[str, list[Sample]] = json.loads(text)
        return kept

    def said(self, name: str) -> list[dict[str, Any]]:
        """Return each answer of the server so far, as `debug` gets it."""
        found: list[dict[str, Any]] = self.page.evaluate(f"viewings[{json.dumps(name)}].said")
        return found

    def session(self, name: str) -> str:
        """Return the id of the newest session of a viewing."""
        return str([said["session"] for said in self.said(name) if said["session"]][-1])
