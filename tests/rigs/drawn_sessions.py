"""Sessions drawn at random: nearly any events a player could send, for property tests."""

import random
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from rigs.session_model import as_json
from schemas.vocabulary import EVENT_TYPES
from sessions.event import Event
from sessions.recount import Told

T0 = 1_700_000_000_000

NAMES = ["play"] * 6 + ["ping"] * 10 + ["pauseStart", "bufferStart"] * 3 + ["adBreakStart", "adBreakComplete"] * 3

PAUSES_MS = [0, 0, 1, 125, 499, 500, 500, 625, 1_000, 1_000, 1_500, 5_000, 10_000, 10_000, 10_000, 30_000]

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


def told_of(rows: list[Row], chance: random.Random) -> list[Told]:
    """Make a session of rows; `chance` decides on content, start, arrival and repeats."""
    is_live = chance.random() < 0.25
    length_s = chance.choice([0, -1, 50, 100, 100, 1_000])
    if chance.random() < 0.85:
        at = 0 if chance.random() < 0.8 else chance.randrange(len(rows))
        rows = [*rows[:at], ("sessionStart", 125, "stays", 0, False), *rows[at:]]
    offsets = list(range(2 * len(rows)))
    if chance.random() < 0.5:
        chance.shuffle(offsets)
    hurry = chance.choice([0, 0, 0, 0.01, 0.4, 0.45, 0.6])  # uploaded later, in this part of their own time
    start = {"media.contentType": "live" if is_live else "vod", "media.length": length_s}
    start |= {"media.downloaded": True} if chance.random() < 0.1 else {}
    told: list[Told] = []
    ms, head = T0, 86_370.0 if is_live else 0.0
    for k, (name, passed_ms, move, number, with_qoe) in enumerate(rows):
        ms += passed_ms
        head = moved(head, move, passed_ms, end_s=max(length_s, 0), is_live=is_live)
        state = {"media.state.name": chance.choice(["s", "S"]) + str(number)}
        params: dict[str, dict[str, Any]] = {
            "sessionStart": start,
            "adStart": {"media.ad.length": float(number)},
            "stateStart": state,
            "stateEnd": state,
            "statesUpdate": {"statesStart": [state], "statesEnd": [{"media.state.name": f"s{11 - number}"}]},
        }
        qoe = {"media.qoe.bitrate": 1_000 * (1 + number), "media.qoe.droppedFrames": number} if with_qoe else {}
        where = chance.choice(["qoe", "bare", "params"])
        if where == "bare":
            qoe = {key.removeprefix("media.qoe."): value for key, value in qoe.items()}
        elif where == "params":
            params[name], qoe = {**params.get(name, {}), **qoe}, {}
        playhead = -1.0 if move == "unknown" else head
        received = T0 + 4_000_000 + int((ms - T0) * hurry) if hurry else ms + 50 + chance.randrange(5_000)
        event = Told(name, ms, received, offsets[k], playhead, params.get(name, {}), qoe)
        told.append(event)
        if chance.random() < 0.05:
            again = max(offsets) + 1 + k
            told.append(replace(event, offset=again, received_ms=received + 7, is_repeat=True))
    for k in range(chance.choice([0] * 8 + [1, 3])):  # ends that anybody may have sent
        other = chance.choice(told)
        early_ms = chance.choice([0, 1, 100_000, 299_999, 300_000, 300_001, 400_000, other.ms - 1])
        offset = 4 * len(rows) + k
        told.append(Told("sessionEnd", other.ms - early_ms, other.received_ms, offset, 0.0))
    for k in range(chance.choice([0, 0, 2])):
        told.append(replace(chance.choice(told), offset=5 * len(rows) + k, is_repeat=False, is_over_limit=True))
    return told


def sessions() -> st.SearchStrategy[list[Told]]:
    """Draw nearly any sequence of events, in an order of arrival of its own."""
    chance = st.integers(0, 1 << 32).map(random.Random)
    return st.builds(told_of, st.lists(ROWS, min_size=1, max_size=40), chance)


def events_of(told: list[Told]) -> list[Event]:
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
            flags=("over_limit",) if event.is_over_limit else ("repeat",) if event.is_repeat else (),
        )
        for event in told
    ]
