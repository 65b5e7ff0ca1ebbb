"""Sessions drawn at random: nearly any events a player could send, for property tests."""

import random
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from hypothesis import strategies as st

from rigs.session_model import as_json
from schemas.vocabulary import EVENT_TYPES
from sessions.admission import admitted
from sessions.event import Event
from sessions.recount import Report

T0 = 1_700_000_000_000
DAY_MS = 86_400_000
SPAN_MS_MAX = 5_000_000  # the recount has a label for each millisecond
STEPS_MS = [1_000, 299_000, 300_000, 301_000, 302_000, 3_600_000, 3_600_000, DAY_MS, DAY_MS + 200, 30 * DAY_MS]

NAMES = ["play"] * 6 + ["ping"] * 10 + ["pauseStart", "bufferStart"] * 3 + ["adBreakStart", "adBreakComplete"] * 3
NAMES += ["adStart"] * 4 + ["adComplete", "adComplete", "adSkip"]
NAMES += ["chapterStart", "chapterComplete", "chapterSkip"]
NAMES += ["stateStart", "stateEnd", "statesUpdate", "bitrateChange", "error", "sessionComplete", "sessionStart"]
NAMES += ["sessionEnd"]

PAUSES_MS = [0, 0, 1, 125, 499, 500, 500, 625, 1_000, 1_000, 1_500, 5_000, 10_000, 10_000, 10_000, 15_000, 30_000]
PAUSES_MS += [30_001, 60_000, 75_000, 90_000, 90_001, 120_000, 120_001, 130_000, 200_000]

MOVES = (
    ["clock"] * 8
    + ["stays"] * 8
    + ["slower", "nearly", "a bit more", "back", "far on", "far back", "unknown", "zero", "end"]
)

ROWS = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(PAUSES_MS), st.sampled_from(MOVES), st.integers(0, 11), st.booleans()
)

Row = tuple[str, int, str, int, bool]


def moved(head: float, move: str, passed_ms: int, *, end_s: float, is_live: bool) -> float:
    """Return the next playhead, in eighths of a second."""
    passed = passed_ms // 125 / 8
    to = {
        "clock": head + passed,
        "stays": head,
        "slower": head + passed // 2,
        "nearly": head + passed * 8 * 93 // 100 / 8,
        "a bit more": head + passed + 2,
        "back": head - 1,
        "far on": head + passed + 30,
        "far back": head - 40,
        "unknown": head,
        "zero": 0.0,
        "end": end_s,
    }[move]
    return to % 86_400 if is_live else max(to, 0.0)


def reports_of(rows: list[Row], chance: random.Random) -> list[Report]:
    """Make a session of rows; `chance` decides on content, start, arrival and repeats."""
    start = start_drawn(chance)
    is_live, end_s = start["media.contentType"] == "live", max(start["media.length"], 0)
    if chance.random() < 0.85:
        at = 0 if chance.random() < 0.8 else chance.randrange(len(rows))
        rows = [*rows[:at], ("sessionStart", 125, "stays", 0, False), *rows[at:]]
    ms, head = T0, 86_370.0 if is_live else 0.0
    said: list[Utterance] = []
    for name, passed_ms, move, number, with_qoe in rows:
        ms += passed_ms
        head = moved(head, move, passed_ms, end_s=end_s, is_live=is_live)
        qoe = {"media.qoe.bitrate": 1_000 * (1 + number), "media.qoe.droppedFrames": number} if with_qoe else {}
        said.append(Utterance(name, ms, -1.0 if move == "unknown" else head, number, qoe))
    return arrived(said, start, chance)


def start_drawn(chance: random.Random) -> dict[str, Any]:
    """Draw what a sessionStart says."""
    start: dict[str, Any] = {
        "media.contentType": "live" if chance.random() < 0.25 else "vod",
        "media.length": chance.choice([0, -1, 50, 100, 100, 1_000]),
    }
    start |= {"media.downloaded": True} if chance.random() < 0.1 else {}
    start |= {"media.streamType": chance.choice(["audio", "video"])} if chance.random() < 0.3 else {}
    return start


class Utterance(NamedTuple):
    """An event before it is put into its parts, and before it arrives."""

    name: str
    ms: int
    playhead_s: float
    number: int = 0
    qoe: Mapping[str, Any] = MappingProxyType({})
    rate: float | None = None


def arrived(said: list[Utterance], start: dict[str, Any], chance: random.Random) -> list[Report]:
    """Let events arrive: in any order, some twice, some over the limit, among ends that others sent."""
    offsets = list(range(2 * len(said)))
    if chance.random() < 0.5:
        chance.shuffle(offsets)
    hurry = chance.choice([0, 0, 0, 0.01, 0.4, 0.45, 0.6])  # uploaded later, in this part of their own time
    reports: list[Report] = []
    for k, (name, ms, playhead, number, qoe, rate) in enumerate(said):
        state = {"media.state.name": chance.choice(["s", "S"]) + str(number)}
        params: dict[str, Any] = {
            "sessionStart": start,
            "adStart": {"media.ad.length": float(number)},
            "stateStart": state,
            "stateEnd": state,
            "statesUpdate": {"statesStart": [state], "statesEnd": [{"media.state.name": f"s{11 - number}"}]},
        }.get(name, {})
        where = chance.choice(["qoe", "bare", "params"])
        if where == "bare":
            qoe = {key.removeprefix("media.qoe."): value for key, value in qoe.items()}
        elif where == "params":
            params, qoe = {**params, **qoe}, {}
        metadata: dict[str, Any] = {}
        if rate is not None:
            params, metadata = with_rate(name, rate, params, chance)
        received = T0 + 4_000_000 + int((ms - T0) * hurry) if hurry else ms + 50 + chance.randrange(5_000)
        event = Report(name, ms, received, offsets[k], playhead, params, dict(qoe), metadata=metadata)
        reports.append(event)
        if chance.random() < 0.05:
            again = max(offsets) + 1 + k
            reports.append(replace(event, offset=again, received_ms=received + 7, is_repeat=True))
    copies: list[Report] = []
    for k in range(chance.choice([0] * 8 + [1, 3])):  # ends that anybody may have sent, some of them twice
        other = chance.choice(reports)
        early_ms = chance.choice([0, 1, 100_000, 299_999, 300_000, 300_001, 400_000, other.ms - 1])
        offset = 4 * len(said) + k
        end = Report("sessionEnd", other.ms - early_ms, other.received_ms, offset, 0.0)
        reports.append(end)
        if other.ms % 3 == 0:
            again = 6 * len(said) + k
            copies.append(replace(end, offset=again, received_ms=end.received_ms + 7, is_repeat=True))
    for k in range(chance.choice([0, 0, 2])):
        reports.append(
            replace(chance.choice(reports), offset=5 * len(said) + k, is_repeat=False, is_over_limit=True)
        )
    if chance.random() < 0.2:
        by_other_clocks = by_a_clock_that_is_set(reports, chance)
        times = [
            event.order_ms for event in admitted(events_of(by_other_clocks))[1] if event.type.name != "sessionEnd"
        ]
        if max(times, default=0) - min(times, default=0) < SPAN_MS_MAX:
            return by_other_clocks
    return reports + copies


def by_a_clock_that_is_set(reports: list[Report], chance: random.Random) -> list[Report]:
    """Let a clock be set once or more often, or be right but for some events; mostly all arrive at once."""
    times = sorted(event.ms for event in reports)
    set_at = sorted(chance.choice(times) for _ in range(chance.choice([0, 1, 1, 1, 2, 2, 3, 4])))
    ahead_ms = [chance.choice([0, 0, 0, DAY_MS, -DAY_MS])]
    ahead_ms += [ahead_ms[0] + chance.choice([-1, 1]) * chance.choice(STEPS_MS) for _ in set_at]
    is_steady, is_odd = chance.random() < 0.7, chance.choice([0.0, 0.0, 0.05])
    found = []
    for event in reports:
        by_ms = ahead_ms[sum(moment <= event.ms for moment in set_at)]
        received_ms = event.ms + 50 + event.offset * 37 % 400 if is_steady else event.received_ms
        if chance.random() < is_odd:
            by_ms += chance.choice(STEPS_MS)
        ts = max(0, event.ms + by_ms)
        found.append(replace(event, ms=ts, received_ms=received_ms if event.ms > 1 else event.received_ms))
    return with_repeats_marked(found)


def with_repeats_marked(reports: list[Report]) -> list[Report]:
    """Return the events with those marked as repeats that say what one before them says; ends as drawn."""
    said: set[str] = set()
    found = []
    for event in sorted(reports, key=lambda event: event.offset):
        words = repr((event.name, event.ms, event.playhead_s, event.params, event.qoe, event.metadata))
        is_repeat = event.is_repeat if event.name == "sessionEnd" else words in said and not event.is_over_limit
        found.append(replace(event, is_repeat=is_repeat))
        said |= set() if event.is_over_limit else {words}
    return found


def with_rate(
    name: str, rate: float, params: dict[str, Any], chance: random.Random
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Let an event name a speed, as players do: params and custom metadata."""
    key = chance.choice(["playbackRate", "media.playbackRate"])
    if name in ("stateStart", "stateEnd"):
        text = chance.choice([f"{rate}x", f"playbackRate:{rate}", f"Speed={rate}x"])
        return {"media.state.name": text}, {}
    if chance.random() < 0.5:
        return {**params, key: rate}, {}
    return params, {key: chance.choice([rate, str(rate)])}


# ---- sessions as players and their viewers make them, reported badly


class Scene:
    """A session while it is made: what the viewer does goes on, what the player says of it is lost or wrong."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.start = chance, start_drawn(chance)
        self.is_live = self.start["media.contentType"] == "live"
        self.end_s = self.start["media.length"] if self.start["media.length"] > 0 else 1e9
        self.ms, self.head, self.rate = T0, 50_000.0 if self.is_live else 0.0, 1.0
        self.step_ms = chance.choice([1_000, 2_500, 5_000, 10_000, 10_000, 10_000, 50_000, 60_125])
        self.is_whole = chance.random() < 0.2  # playheads in whole seconds
        self.lost = chance.choice([0, 0, 0.05, 0.2])
        self.said: list[Utterance] = []
        self.say("sessionStart", is_sure=True)

    def say(self, name: str, *, is_sure: bool = False, head: float | None = None, **more: Any) -> None:
        """Say an event, unless it is lost."""
        if not is_sure and self.chance.random() < self.lost:
            return
        shown = self.head if head is None else head
        shown = float(int(shown)) if self.is_whole else int(shown * 8) / 8
        odd = self.chance.choice([-1.0, 0.0, shown + 300]) if self.chance.random() < 0.02 else shown
        self.said.append(Utterance(name, self.ms, min(odd, self.end_s), **more))

    def goes_on(self, *, moves: bool, pings: int, step_ms: int | None = None, rate: float | None = None) -> None:
        """Let time pass, with pings in it."""
        step_ms = self.step_ms if step_ms is None else step_ms
        for _ in range(pings):
            late = self.chance.choice([0, 0, 0, 125, 250])
            self.ms += step_ms + late
            if moves:
                self.head += (self.rate if rate is None else rate) * (step_ms + late) / 1000
                self.head = self.head % 86_400 if self.is_live else self.head
            self.say("ping")

    def plays(self) -> None:
        self.say("play")
        self.goes_on(moves=True, pings=self.chance.randrange(1, 8))

    def stands(self) -> None:
        self.goes_on(moves=False, pings=self.chance.randrange(1, 5))

    def pauses(self) -> None:
        self.say(self.chance.choice(["pauseStart", "bufferStart"]))
        self.goes_on(moves=self.chance.random() < 0.4, pings=self.chance.randrange(0, 5))

    def changes_rate(self) -> None:
        self.rate = self.chance.choice([0.25, 0.5, 1.0, 1.0, 1.125, 1.25, 1.5, 2.0, 2.5, 4.0])
        how = self.chance.random()
        if how < 0.15:
            self.say("stateStart", rate=self.rate)
        elif how < 0.3:
            self.say("ping", rate=self.rate)
        elif how < 0.4:
            self.say("stateEnd", rate=self.rate)
        self.goes_on(moves=True, pings=self.chance.randrange(2, 8))

    def shows_ads(self) -> None:
        length = self.chance.choice([0, 5, 8, 11])
        in_break = self.chance.random() < 0.7
        if in_break:
            self.say("adBreakStart")
        for _ in range(self.chance.randrange(1, 3)):
            self.say("adStart", number=length)
            self.goes_on(moves=self.chance.random() < 0.2, pings=1, step_ms=1_000 * (length or 5))
            self.say(self.chance.choice(["adComplete", "adComplete", "adSkip"]))
        if in_break:
            self.say("adBreakComplete")
        if self.chance.random() < 0.4:
            self.say("play")
        self.goes_on(moves=True, pings=self.chance.randrange(0, 6))

    def seeks(self) -> None:
        self.head = max(0.0, self.head + self.chance.choice([-300, -60, -10, 15, 15, 30, 300]))
        self.ms += self.chance.choice([0, 125, 1_000])
        if self.chance.random() < 0.5:
            self.say("bufferStart")
            self.goes_on(moves=False, pings=1, step_ms=self.chance.choice([125, 1_000, 3_000]))
        self.plays()

    def skips_on(self) -> None:
        """Press +15 s every 10 s."""
        for _ in range(self.chance.randrange(2, 7)):
            self.head += 15
            self.goes_on(moves=True, pings=1)

    def is_silent(self) -> None:
        silent_ms = self.chance.choice([30_000, 31_000, 55_000, 61_000, 90_000, 90_125, 121_000, 300_000])
        moved = self.chance.choice([0.0, 0.125, 0.5, 1.0, 1.0])
        self.goes_on(moves=True, pings=1, step_ms=silent_ms, rate=self.rate * moved)

    def fails(self) -> None:
        self.say("error")
        self.stands()

    def loops(self) -> None:
        for _ in range(self.chance.randrange(1, 8)):
            self.goes_on(moves=True, pings=1)
            self.head = self.head % self.end_s

    def reaches_the_end(self) -> None:
        self.head = max(self.head, self.end_s - 12) if self.end_s < 1e9 else self.head
        for _ in range(self.chance.randrange(1, 6)):
            self.goes_on(moves=True, pings=1)
            self.head = min(self.head, self.end_s)
        if self.chance.random() < 0.5:
            self.say("sessionComplete")

    def has_a_chapter(self) -> None:
        self.say(self.chance.choice(["chapterStart", "chapterComplete", "chapterSkip"]))
        self.goes_on(moves=True, pings=1)

    def changes_bitrate(self) -> None:
        number = self.chance.randrange(12)
        self.say("bitrateChange", qoe={"media.qoe.bitrate": 1_000 * (1 + number)})
        self.goes_on(moves=self.chance.random() < 0.5, pings=self.chance.randrange(1, 3))

    def is_torn_down(self) -> None:
        for name in ("pauseStart", "ping", "ping", "sessionEnd")[self.chance.randrange(4) :]:
            self.ms += self.chance.choice([0, 125, self.step_ms])
            self.say(name, head=0.0)


SCENES = [Scene.plays] * 4 + [Scene.stands, Scene.pauses, Scene.pauses, Scene.changes_rate, Scene.changes_rate]
SCENES += [
    Scene.shows_ads,
    Scene.shows_ads,
    Scene.seeks,
    Scene.skips_on,
    Scene.is_silent,
    Scene.fails,
    Scene.loops,
]
SCENES += [Scene.reaches_the_end, Scene.has_a_chapter, Scene.changes_bitrate]


def watched_of(chance: random.Random) -> list[Report]:
    """Make a session of scenes."""
    scene = Scene(chance)
    for _ in range(chance.randrange(1, 9)):
        chance.choice(SCENES)(scene)
    if chance.random() < 0.3:
        scene.is_torn_down()
    elif chance.random() < 0.5:
        scene.say("sessionEnd")
    if chance.random() < 0.05 and len(scene.said) > 1:
        del scene.said[0]
    return arrived(scene.said, scene.start, chance)


def drawn(seed: int) -> list[Report]:
    """Return the session that a seed makes: of scenes, or of nearly any events."""
    chance = random.Random(seed)
    if chance.random() < 0.6:
        return watched_of(chance)
    rows: list[Row] = [
        (
            chance.choice(NAMES),
            chance.choice(PAUSES_MS),
            chance.choice(MOVES),
            chance.randrange(12),
            chance.random() < 0.5,
        )
        for _ in range(chance.randrange(1, 41))
    ]
    return reports_of(rows, chance)


def sessions() -> st.SearchStrategy[list[Report]]:
    """Draw nearly any sequence of events, in an order of arrival of its own; or a session of scenes."""
    chance = st.integers(0, 1 << 32).map(random.Random)
    return st.one_of(
        st.builds(reports_of, st.lists(ROWS, min_size=1, max_size=40), chance), chance.map(watched_of)
    )


def events_of(reports: list[Report]) -> list[Event]:
    return [
        Event(
            event_id=str(event.offset),
            session_id="s",
            type=EVENT_TYPES[event.name],
            client_ms=event.ms,
            received_ms=event.received_ms,
            order_ms=event.ms,
            offset=event.offset,
            playhead_s=event.playhead_s,
            params=as_json(event.params or None),
            qoe=as_json(event.qoe or None),
            custom_metadata=as_json(event.metadata or None),
            flags=("over_limit",) if event.is_over_limit else ("repeat",) if event.is_repeat else (),
        )
        for event in reports
    ]
