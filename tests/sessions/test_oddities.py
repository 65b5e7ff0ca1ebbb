"""What players get wrong in a session: it counts as far as it means something, and the session has a flag."""

from typing import Any

import pytest
from rigs.drawn_sessions import T0, events_of
from rigs.recounted import differences

from sessions.facts import SessionFacts
from sessions.fold import fold_all
from sessions.recount import Report

FILM = {"media.id": "film", "media.length": 600.0, "media.contentType": "vod"}
ERROR_KEYS = [
    ("qoe", "media.qoe.errorID", "media.qoe.errorSource"),
    ("qoe", "media.qoe.errorID", "media.qoe.media.errorSource"),
    ("qoe", "media.errorId", "media.errorSource"),
    ("qoe", "errorID", "errorSource"),
    ("qoe", "errorId", "errorSource"),
    ("params", "media.qoe.errorID", "media.qoe.errorSource"),
    ("params", "media.errorId", "media.errorSource"),
]


def watched(*rows: tuple[Any, ...], start: dict[str, Any] = FILM) -> SessionFacts:
    """Fold a session of (seconds, type, playhead, parts), after a sessionStart and a play at 0 s."""
    reports = [Report("sessionStart", T0, T0, 0, 0.0, start)]
    for offset, (at_s, name, playhead, *parts) in enumerate([(0, "play", 0), *rows], 1):
        ms = T0 + round(at_s * 1000)
        reports.append(Report(name, ms, ms, offset, float(playhead), **(parts[0] if parts else {})))
    assert differences(events_of(reports)) == {}
    return fold_all(events_of(reports))


# ---- quality


@pytest.mark.parametrize(
    "parts",
    [
        {"qoe": {"media.qoe.bitrate": 5_000_000, "media.qoe.droppedFrames": 4, "media.qoe.timeToStart": 900}},
        {"qoe": {"bitrate": 5_000_000, "droppedFrames": 4, "timeToStart": 900}},
        {"params": {"media.qoe.bitrate": 5_000_000, "media.qoe.droppedFrames": 4, "media.qoe.timeToStart": 900}},
    ],
    ids=["qoeData", "bare names in qoeData", "params"],
)
def test_quality_counts_wherever_the_documentation_has_it(parts: dict[str, Any]) -> None:
    """In qoeData by either name, and in params by the long one; in any event."""
    facts = watched((0, "ping", 0, parts), (10, "ping", 10))
    assert (facts.average_bitrate_bps, facts.dropped_frames, facts.time_to_start_ms) == (5_000_000, 4, 900)
    assert facts.flags == []


def test_a_bare_name_in_params_is_no_quality() -> None:
    """There it may mean anything."""
    assert (
        watched((0, "ping", 0, {"params": {"bitrate": 5_000_000}}), (10, "ping", 10)).average_bitrate_bps is None
    )


def test_of_one_event_qoe_data_wins_and_what_comes_again_counts_again() -> None:
    """1 Mbit/s in qoeData for 10 s, 3 Mbit/s in params for 10 s, the same qoeData once more for 20 s: 1.5."""
    told = {"qoe": {"media.qoe.bitrate": 1_000_000}}
    facts = watched(
        (0, "ping", 0, {"params": {"media.qoe.bitrate": 9_000_000}, **told}),
        (10, "bitrateChange", 10, {"params": {"media.qoe.bitrate": 3_000_000}}),
        (20, "bitrateChange", 20, told),
        (40, "ping", 40),
    )
    assert (facts.average_bitrate_bps, facts.bitrate_changes) == (1_500_000, 2)


@pytest.mark.parametrize(
    ("bitrates", "flags"),
    [((3_200,), ["bitrate_kbps"]), ((99_999, 400), ["bitrate_kbps"]), ((100_000,), []), ((400, 5_000_000), [])],
)
def test_bitrates_that_are_all_small_are_probably_kbit_per_second(
    bitrates: tuple[int, ...], flags: list[str]
) -> None:
    """They are counted as they are reported, and the session is flagged."""
    rows = [(k, "bitrateChange", k, {"qoe": {"media.qoe.bitrate": rate}}) for k, rate in enumerate(bitrates)]
    facts = watched(*rows, (len(rows), "ping", len(rows)))
    assert facts.flags == flags
    assert facts.average_bitrate_bps == sum(bitrates) / len(bitrates)


@pytest.mark.parametrize(("part", "error_id", "source"), ERROR_KEYS)
def test_an_error_is_read_under_any_of_its_names(part: str, error_id: str, source: str) -> None:
    """Both spellings in both places, bare names in qoeData; an id may be a number."""
    facts = watched((5, "error", 5, {part: {error_id: 1_002, source: "player"}}))
    assert [(error.error_id, error.source) for error in facts.playback_errors] == [("1002", "player")]


# ---- names


@pytest.mark.parametrize(
    ("sent", "told"), [("VOD", "vod"), ("Live", "live"), ("LINEAR", "linear"), ("Podcast", "podcast")]
)
def test_content_types_in_any_case_are_one(sent: str, told: str) -> None:
    """The lake has them in lower case; what is live or linear is live."""
    facts = watched(start={**FILM, "media.contentType": sent})
    assert (facts.content_type, facts.is_live) == (told, told in ("live", "linear"))


def test_player_states_in_any_case_are_one() -> None:
    """As the documentation spells them now, or in lower case where it has no such state."""
    rows = [
        (at_s, name, at_s, {"params": {"media.state.name": state}})
        for at_s, name, state in [
            (1, "stateStart", "fullScreen"),
            (4, "stateEnd", "FULLSCREEN"),
            (5, "stateStart", "closedcaptioning"),
            (6, "stateStart", "Our.State"),
            (8, "stateEnd", "our.state"),
        ]
    ]
    facts = watched(*rows, (9, "sessionEnd", 9))
    assert [(state.name, state.starts, state.time_s) for state in facts.player_states] == [
        ("fullscreen", 1, 3),
        ("closedCaptioning", 1, 4),
        ("our.state", 1, 2),
    ]


# ---- units, and events out of their place


@pytest.mark.parametrize(
    ("length_s", "playhead", "is_flagged"),
    [(60, 10_000, True), (60, 600, False), (600, 605, False), (0, 10_000, False)],
)
def test_a_playhead_many_times_the_length_has_another_unit(
    length_s: float, playhead: float, is_flagged: bool
) -> None:
    """Milliseconds, probably: they are counted as they came, and the session is flagged."""
    start = {**FILM, "media.length": length_s}
    flags = watched((10, "ping", playhead), (20, "ping", playhead), start=start).flags
    assert ("playhead_units" in flags) is is_flagged


@pytest.mark.parametrize(("playhead", "flags"), [(1_763_000_000, ["playhead_units"]), (80_000, [])])
def test_a_live_playhead_of_many_days_has_another_unit(playhead: float, flags: list[str]) -> None:
    """Seconds since 1970, say, where the second of the day is due."""
    live = {**FILM, "media.contentType": "live", "media.length": 60}
    assert watched((10, "ping", playhead), (20, "ping", playhead + 10), start=live).flags == flags


BREAK = [(5, "adBreakStart", 5), (5, "adStart", 5, {"params": {"media.ad.length": 5.0}})]
STATE = {"params": {"media.state.name": "mute"}}


@pytest.mark.parametrize(
    "rows",
    [
        [(5, "adStart", 5)],
        [(5, "adComplete", 5)],
        [(5, "adBreakStart", 5), (10, "adSkip", 5)],
        [*BREAK, (10, "adComplete", 5), (11, "adComplete", 5)],
        [(5, "adBreakComplete", 5)],
        [(5, "chapterComplete", 5)],
        [(5, "chapterStart", 5), (6, "chapterSkip", 6), (7, "chapterComplete", 7)],
        [(5, "stateEnd", 5, STATE)],
        [(5, "stateStart", 5, STATE), (6, "stateEnd", 6, STATE), (7, "stateEnd", 7, STATE)],
    ],
    ids=lambda rows: " ".join(row[1] for row in rows),
)
def test_what_makes_no_sense_where_it_comes_is_flagged(rows: list[tuple[Any, ...]]) -> None:
    """An ad outside of a break; the end of what is not open."""
    assert "out_of_place" in watched(*rows, (20, "ping", 15)).flags


@pytest.mark.parametrize(
    "rows",
    [
        [*BREAK, (10, "adComplete", 5), (10, "adBreakComplete", 5)],
        [*BREAK, (8, "adSkip", 5), (8, "adStart", 5), (10, "adComplete", 5), (10, "adBreakComplete", 5)],
        [*BREAK, (10, "adBreakComplete", 5)],
        [(5, "chapterStart", 5), (6, "chapterComplete", 6), (6, "chapterStart", 6), (7, "chapterSkip", 7)],
        [(5, "stateStart", 5, STATE), (6, "stateEnd", 6, STATE)],
        [(5, "sessionComplete", 5)],
    ],
    ids=lambda rows: " ".join(row[1] for row in rows),
)
def test_what_comes_in_its_place_is_not_flagged(rows: list[tuple[Any, ...]]) -> None:
    """Ads within breaks, ends of what is open."""
    assert watched(*rows, (20, "ping", 15)).flags == []


def test_content_that_is_completed_and_never_played_is_flagged() -> None:
    """No play, no start, and yet it says that it was played to its end."""
    reports = [Report("sessionStart", T0, T0, 0, 0.0, FILM), Report("sessionComplete", T0 + 9, T0 + 9, 1, 600.0)]
    assert fold_all(events_of(reports)).flags == ["out_of_place"]
