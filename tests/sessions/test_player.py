"""What the player says that it does: pauses, buffering, stalls, errors, quality, player states."""

from rigs.watched import watched


def test_lost_pings_are_no_gap_where_the_playhead_moved_as_the_clock_did() -> None:
    """Five minutes without a ping, and the playhead is five minutes on: content, and played."""
    facts = watched((0, "sessionStart", 0), (0, "play", 0), (300, "pauseStart", 299))
    assert (facts.content_time_s, facts.gap_s, facts.unique_played_s) == (300, 0, 299)


def test_a_pause_without_pings_is_a_pause_however_long() -> None:
    """Two hours in pause, without a word: pause 7200, no gap."""
    facts = watched((0, "sessionStart", 0), (0, "play", 0), (10, "pauseStart", 10), (7210, "play", 10))
    assert (facts.pause_time_s, facts.gap_s, facts.content_time_s) == (7200, 0, 10)


def test_play_twice_is_one_play() -> None:
    """Players send play at the start and again a second later: content 10 s, one start, no stall."""
    facts = watched((0, "sessionStart", 0), (1, "play", 0), (2, "play", 1), (11, "ping", 10))
    assert (facts.content_time_s, facts.startup_s, facts.stalls) == (10, 1, 0)


def test_a_second_pause_in_a_pause_adds_no_pause() -> None:
    """pauseStart, ping, pauseStart, play: one pause of 9 s; likewise buffering, once of 3 s."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (1, "pauseStart", 1),
        (4, "ping", 1),
        (6, "pauseStart", 1),
        (10, "play", 1),
        (11, "bufferStart", 2),
        (12, "bufferStart", 2),
        (14, "play", 2),
    )
    assert (facts.pauses, facts.pause_time_s, facts.buffers, facts.buffer_time_s) == (1, 9, 1, 3)
    assert (facts.rebuffers, facts.rebuffer_time_s) == (1, 3)


def test_what_follows_completion_without_a_play_is_idle() -> None:
    """Complete at 10, a ping at 20, the end at 25: content 10, idle 15; a play would make it content again."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (10, "sessionComplete", 10), (20, "ping", 10)]
    facts = watched(*rows, (25, "sessionEnd", 10))
    assert (facts.content_time_s, facts.idle_s, facts.is_completed, facts.stalls) == (10, 15, True, 0)
    again = watched(*rows, (25, "play", 0), (28, "sessionEnd", 3))
    assert (again.content_time_s, again.idle_s) == (13, 15)


def test_the_content_stalls_when_three_events_see_one_playhead() -> None:
    """Plays to 10; pings at 20 and 30 see 10; at 40 it has moved: stall 10 -> 30 = 20, content 10 + 10."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (10, "ping", 10), (20, "ping", 10)]
    assert (watched(*rows).stalls, watched(*rows).content_time_s) == (0, 20)
    facts = watched(*rows, (30, "ping", 10), (40, "ping", 20))
    assert (facts.stalls, facts.stall_time_s, facts.content_time_s) == (1, 20, 20)
    longer = watched(*rows, (30, "ping", 10), (40, "ping", 10), (45, "pauseStart", 10), (50, "play", 10))
    assert (longer.stalls, longer.stall_time_s, longer.content_time_s, longer.pause_time_s) == (1, 35, 10, 5)


def test_events_that_come_together_are_one_observation() -> None:
    """Four events within 2 ms at the first frame, and the next after 10 s: no stall."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (0.001, "bitrateChange", 0),
        (0.001, "stateStart", 0, {"params": {"media.state.name": "mute"}}),
        (0.002, "ping", 0),
        (10.002, "ping", 10),
    )
    assert (facts.stalls, facts.content_time_s) == (0, 10.002)


def test_a_playhead_that_stays_at_the_end_of_recorded_content_is_idle() -> None:
    """The content is 600 s long; a player whose playhead stays at 600 neither stalls nor plays."""
    facts = watched(
        (0, "sessionStart", 0), (0, "play", 590), (10, "ping", 600), (20, "ping", 600), (30, "ping", 600)
    )
    assert (facts.content_time_s, facts.idle_s, facts.stalls) == (10, 20, 0)


def test_a_stall_takes_its_time_from_the_chapter_and_from_the_bitrate() -> None:
    """Chapter 0 -> 40, stall 10 -> 30: 20 s. Bitrate 1000 until 20, then 3000: (10 x 1000 + 10 x 3000) / 20."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "chapterStart", 0),
        (0, "play", 0, {"qoe": {"media.qoe.bitrate": 1000}}),
        (10, "ping", 10),
        (20, "bitrateChange", 10, {"qoe": {"media.qoe.bitrate": 3000}}),
        (30, "ping", 10),
        (40, "chapterComplete", 20),
    )
    assert (facts.chapters[0].time_s, facts.stall_time_s, facts.average_bitrate_bps) == (20, 20, 2000)


def test_bitrate_is_weighted_by_the_time_it_played() -> None:
    """1 Mbit/s for 10 s, 4 Mbit/s for 30 s, a pause not counted: (10 + 120) / 40 = 3.25 Mbit/s."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0, {"qoe": {"media.qoe.bitrate": 1_000_000}}),
        (10, "bitrateChange", 10, {"qoe": {"media.qoe.bitrate": 4_000_000}}),
        (15, "pauseStart", 15),
        (99, "play", 15),
        (124, "ping", 40),
    )
    assert (facts.average_bitrate_bps, facts.bitrate_changes) == (3_250_000, 1)


def test_bitrate_before_it_is_known_weighs_nothing() -> None:
    """Unknown for 10 s, then 2000 for 10 s: 2000. A bitrateChange that names none is a change all the same."""
    facts = watched(
        (0, "sessionStart", 0),
        (0, "play", 0),
        (10, "ping", 10, {"qoe": {"media.qoe.bitrate": 2000}}),
        (15, "bitrateChange", 15, {"qoe": {}}),
        (20, "ping", 20),
    )
    assert (facts.average_bitrate_bps, facts.bitrate_changes) == (2000, 1)
    assert watched((0, "sessionStart", 0)).average_bitrate_bps is None


def test_the_last_dropped_frames_and_time_to_start_count() -> None:
    """Dropped frames are cumulative, so the last value is the session's; nonsense among them is passed over."""
    facts = watched(
        (0, "sessionStart", 0),
        (1, "play", 0, {"qoe": {"media.qoe.droppedFrames": 3, "media.qoe.timeToStart": 1364}}),
        (9, "ping", 8, {"qoe": {"media.qoe.droppedFrames": 17, "media.qoe.bitrate": "fast"}}),
        (10, "ping", 9, {"qoe": {"media.qoe.droppedFrames": True, "media.qoe.timeToStart": -1}}),
    )
    assert (facts.dropped_frames, facts.time_to_start_ms, facts.average_bitrate_bps) == (17, 1364, None)


def test_errors_are_read_in_all_three_forms() -> None:
    """In qoeData, in params, and in neither; the second came after the first frame."""
    facts = watched(
        (0, "sessionStart", 0),
        (1, "error", 0, {"qoe": {"media.qoe.errorID": "E1", "media.qoe.errorSource": "player"}}),
        (2, "play", 0),
        (3, "error", 1, {"params": {"media.errorId": "E2", "media.errorSource": "external"}}),
        (4, "error", -1),
    )
    found = [
        (error.error_id, error.source, error.is_before_start, error.playhead_s) for error in facts.playback_errors
    ]
    assert found == [("E1", "player", True, 0), ("E2", "external", False, 1), (None, None, False, None)]
    assert (facts.errors, facts.errors_before_start) == (3, 1)


def test_a_session_failed_where_an_error_was_the_last_that_happened() -> None:
    """An error, then pings at the same playhead: failed. A play or a move after it: not failed."""
    rows = [(0, "sessionStart", 0), (0, "play", 0), (5, "error", 5), (15, "ping", 5)]
    assert watched(*rows).is_failed
    assert not watched(*rows, (25, "ping", 15)).is_failed
    assert not watched(*rows, (25, "play", 5)).is_failed


def test_player_states_are_counted_and_timed_ten_of_them() -> None:
    """fullScreen 1 -> 4 and 6 -> 9 = 6 s in 2 starts; several in one event; the eleventh state is dropped."""
    many = [{"media.state.name": f"s{i}"} for i in range(12)]
    facts = watched(
        (0, "sessionStart", 0),
        (1, "stateStart", 0, {"params": {"media.state.name": "fullScreen"}}),
        (2, "stateStart", 0, {"params": {"media.state.name": "fullScreen"}}),
        (4, "stateEnd", 0, {"params": {"media.state.name": "fullScreen"}}),
        (6, "statesUpdate", 0, {"params": {"statesStart": [{"media.state.name": "fullScreen"}]}}),
        (
            9,
            "statesUpdate",
            0,
            {"params": {"statesEnd": [{"media.state.name": "fullScreen"}], "statesStart": many}},
        ),
        (10, "sessionEnd", 0),
    )
    assert (facts.states, facts.is_capped, facts.concurrent_states_max) == (10, True, 9)
    assert [(s.name, s.starts, s.time_s) for s in facts.player_states[:2]] == [("fullscreen", 2, 6), ("s0", 1, 1)]


def test_odd_params_do_no_harm() -> None:
    """Keys of other types than documented are passed over, but for a number as an id."""
    facts = watched(
        (0, "sessionStart", 0, {"params": {"media.id": 7, "media.length": True, "visitor.customerIDs": {"a": 1}}}),
        (1, "statesUpdate", 0, {"params": {"statesStart": [1, {"media.state.name": None}], "statesEnd": "x"}}),
        (1, "stateStart", 0, {"params": None}),
        (2, "adBreakStart", 0, {"params": {"media.ad.podIndex": 1.5}}),
        (3, "adStart", 0, {"params": None}),
        (4, "error", 0, {"params": {"media.errorId": 5}, "qoe": {"media.qoe.errorID": []}}),
    )
    assert (facts.content_id, facts.length_s, facts.states, facts.user_id) == ("7", None, 0, None)
    assert (facts.ads_started, facts.errors) == (1, 1)
