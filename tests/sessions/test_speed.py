"""At what speed content plays: named by the player, steady by the playhead, or faster than can be believed."""

from typing import Any

import pytest
from rigs.watched import doings, pings, played, started, watched

BEGIN = [started(), (0, "play", 0)]


@pytest.mark.parametrize("rate", [0.25, 0.5, 0.75, 1.25, 1.5, 1.75, 2.0])
def test_content_that_plays_at_a_steady_rate_is_played(rate: float) -> None:
    """120 s of pings: all of it content, what the playhead passed over is played once, and nobody seeks."""
    facts = watched(*BEGIN, *pings(0, 120, head=0, rate=rate))
    assert (facts.content_time_s, facts.unique_played_s, facts.seeks) == (120, 120 * rate, 0)
    assert (facts.playback_rate, facts.gap_s, facts.stalls) == (rate, 0, 0)
    assert facts.flags == ["steady_rate"]
    assert doings(facts) == [("playing", 0, 120)]


def test_a_rate_just_above_one_is_found_in_long_intervals() -> None:
    """1.05x with pings of 50 s: 52.5 s further each time."""
    facts = watched(*BEGIN, *pings(0, 600, head=0, every_s=50, rate=1.05))
    assert (facts.content_time_s, facts.unique_played_s, facts.seeks, facts.playback_rate) == (600, 630, 0, 1.05)


def test_whole_seconds_of_playhead_are_steady_too() -> None:
    """1.25x in whole seconds: 12 and 13 s further in turn."""
    facts = watched(*BEGIN, *[(10 * n, "ping", int(12.5 * n)) for n in range(1, 13)])
    assert (facts.unique_played_s, facts.seeks) == (150, 0)
    assert facts.playback_rate == 1.25


def test_playing_as_the_clock_does_is_a_rate_of_one() -> None:
    """No flag for what is usual; and no rate where nothing played."""
    facts = watched(*BEGIN, *pings(0, 120, head=0))
    assert (facts.playback_rate, facts.flags) == (1, [])
    assert watched(started()).playback_rate is None


def test_a_rate_may_change_in_mid_session() -> None:
    """A minute at 1x, one at 2x, one at 1x: 60 + 120 + 60 s played in 180 s."""
    rows = [*pings(0, 60, head=0), *pings(60, 120, head=60, rate=2), *pings(120, 180, head=180)]
    facts = watched(*BEGIN, *rows)
    assert (facts.content_time_s, facts.unique_played_s, facts.seeks) == (180, 240, 0)
    assert facts.playback_rate == 1.33
    assert played(facts) == [(0, 240, 1)]


@pytest.mark.parametrize("to", [1000, 5])
def test_a_real_seek_at_a_steady_rate_is_one_seek(to: float) -> None:
    """A minute at 1.5x, a seek, a minute at 1.5x."""
    facts = watched(*BEGIN, *pings(0, 60, head=0, rate=1.5), (61, "ping", to), *pings(61, 121, head=to, rate=1.5))
    assert (facts.seeks, facts.content_time_s) == (1, 121)
    assert facts.playback_rate == 1.5


def test_seeks_of_which_no_three_are_alike_are_seeks() -> None:
    """20, 33 and 71 s further in 10 s each."""
    facts = watched(*BEGIN, (10, "ping", 20), (20, "ping", 53), (30, "ping", 124), (40, "ping", 134))
    assert (facts.seeks, facts.playback_rate, facts.flags) == (3, 1, [])


def test_two_intervals_of_one_ratio_are_seeks() -> None:
    """Two at 1.5x and the end: nobody knows, so they are two jumps, of which the last is no seek."""
    facts = watched(*BEGIN, *pings(0, 20, head=0, rate=1.5))
    assert (facts.seeks, facts.content_time_s, facts.playback_rate) == (1, 20, None)


def test_skipping_again_and_again_is_fast_forward_and_not_played() -> None:
    """+15 s every 10 s looks like 2.5x: a minute of it is content, one seek, and nothing played."""
    facts = watched(*BEGIN, *pings(0, 60, head=0, rate=2.5), *pings(60, 90, head=150))
    assert (facts.content_time_s, facts.fast_forward_s, facts.seeks) == (90, 60, 1)
    assert (played(facts), facts.flags) == ([(150, 180, 1)], ["fast_forward"])


NAMED = [
    {"params": {"playbackRate": 3}},
    {"params": {"media.playbackRate": 3.0}},
    {"custom_metadata": {"playbackRate": "3"}},
    {"custom_metadata": {"media.playbackRate": "3.0x"}},
]


@pytest.mark.parametrize("named", NAMED)
def test_a_named_rate_is_believed_however_high(named: dict[str, Any]) -> None:
    """3x, said by the ping at 10 s: all played, from the first interval on."""
    facts = watched(*BEGIN, (10, "ping", 10, named), *pings(10, 40, head=10, rate=3))
    assert (facts.unique_played_s, facts.seeks, facts.fast_forward_s, facts.flags) == (100, 0, 0, [])
    assert facts.playback_rate == 2.5


@pytest.mark.parametrize("name", ["3x", "playbackRate:3", "Speed=3x"])
def test_a_player_state_may_name_the_rate_while_it_is_on(name: str) -> None:
    """3x while the state is on; after its end the same moves are no play at 1x."""
    state = {"params": {"media.state.name": name}}
    rows = [(0, "stateStart", 0, state), *pings(0, 40, head=0, rate=3), (40, "stateEnd", 120, state)]
    facts = watched(*BEGIN, *rows, (50, "ping", 150), (60, "ping", 160))
    assert (facts.unique_played_s, facts.seeks, facts.playback_rate) == (130, 1, 2.6)
    update = {"params": {"statesStart": [state["params"]], "statesEnd": []}}
    facts = watched(*BEGIN, (0, "statesUpdate", 0, update), *pings(0, 40, head=0, rate=3))
    assert (facts.unique_played_s, facts.seeks) == (120, 0)


def test_a_state_that_names_the_rate_is_the_same_state_in_any_case() -> None:
    """ "Speed=3x" starts, and an update ends "speed=3X": the rate is over."""
    begun = (0, "stateStart", 0, {"params": {"media.state.name": "Speed=3x"}})
    over = {"params": {"statesStart": [], "statesEnd": [{"media.state.name": "speed=3X"}]}}
    facts = watched(
        *BEGIN, begun, *pings(0, 40, head=0, rate=3), (40, "statesUpdate", 120, over), (50, "ping", 150)
    )
    assert (facts.unique_played_s, facts.playback_rate) == (120, 3)


def test_what_an_event_says_twice_is_believed_in_the_order_of_params_metadata_and_state() -> None:
    """An event that names 2x as a state, 3x in its metadata and 1.5x in its params plays at 1.5x."""
    params: dict[str, Any] = {"media.state.name": "2x"}
    more = {"params": params, "custom_metadata": {"playbackRate": "3x"}}
    facts = watched(*BEGIN, (0, "stateStart", 0, more), *pings(0, 40, head=0, rate=3))
    assert (facts.unique_played_s, facts.playback_rate) == (120, 3)
    params |= {"media.playbackRate": 2.5, "playbackRate": 1.5}
    facts = watched(*BEGIN, (0, "stateStart", 0, more), *pings(0, 40, head=0, rate=1.5))
    assert (facts.unique_played_s, facts.playback_rate) == (60, 1.5)


@pytest.mark.parametrize("value", [0, -1, 17, True, "fast", None, [2]])
def test_a_value_that_is_no_rate_names_no_rate(value: Any) -> None:
    """Nonsense under the right key is ignored; a rate that is named holds if nothing plays."""
    facts = watched(started(), (0, "play", 0, {"params": {"playbackRate": value}}), *pings(0, 30, head=0))
    assert (facts.playback_rate, facts.seeks) == (1, 0)
    named = watched(started(), (0, "play", 0, {"params": {"playbackRate": 1.5}}))
    assert named.playback_rate == 1.5


def test_bitrate_and_chapters_have_the_time_that_a_rate_gives_back() -> None:
    """A podcast at 0.5x with pings of 61 s: what seemed silence is content, by its bitrate and in its chapter."""
    rows = [started(), (0, "chapterStart", 0), (0, "play", 0, {"qoe": {"media.qoe.bitrate": 1000}})]
    moves = pings(0, 244, head=0, every_s=61, rate=0.5)
    moves[2] = (*moves[2], {"qoe": {"media.qoe.bitrate": 3000}})
    facts = watched(*rows, *moves)
    assert (facts.content_time_s, facts.chapters[0].time_s) == (244, 244)
    assert facts.average_bitrate_bps == 1500


def test_the_interval_in_which_the_speed_changes_is_no_seek() -> None:
    """From 1x to 2x in the middle of 20 s: 35 s further, and played."""
    rows = [(10, "ping", 10), (30, "ping", 45), *pings(30, 90, head=45, rate=2)]
    facts = watched(*BEGIN, *rows)
    assert (facts.seeks, facts.unique_played_s, facts.content_time_s) == (0, 165, 90)


@pytest.mark.parametrize("at_s", [20, 21])
@pytest.mark.parametrize("slip", [0, 300])
def test_a_playhead_that_slips_just_before_the_speed_is_found_is_no_seek(at_s: float, slip: float) -> None:
    """0.5x from the start on, and one nonsensical playhead before the third interval ends: all was played."""
    rows = [*pings(0, 20, head=0, rate=0.5), (at_s, "ping", slip), *pings(20, 60, head=10, rate=0.5)]
    facts = watched(*BEGIN, *rows)
    assert (facts.seeks, played(facts), facts.content_time_s) == (0, [(0, 30, 1)], 60)
    assert (facts.playback_rate, facts.progress_pct) == (0.5, 0)


def test_a_jump_back_that_a_steady_rate_explains_is_no_seek_and_plays_nothing() -> None:
    """2x, and a look at 30 s in the first interval: the jump there is a seek, the one back is not."""
    facts = watched(*BEGIN, (1.5, "ping", 30), *pings(0, 20, head=0, every_s=2.5, rate=2))
    assert (facts.seeks, played(facts), facts.playback_rate) == (1, [(5, 40, 1)], 2)
