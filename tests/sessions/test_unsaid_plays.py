"""The player says that it does not play, and the playhead moves on: it plays."""

import pytest
from rigs.watched import doings, made, pings, played, started, watched

from sessions.fold import Fold

BEGIN = [started(), (0, "play", 0), (10, "ping", 10)]


@pytest.mark.parametrize("name", ["bufferStart", "pauseStart"])
@pytest.mark.parametrize("every_s", [1, 10, 50])
def test_content_plays_on_where_no_play_follows_a_wait(name: str, every_s: float) -> None:
    """Waiting at 12, no play ever; the playhead moves on from 14 to 1,264, as 20 minutes of pings say."""
    rows = [*BEGIN, (12, name, 12), (14, "ping", 12), *pings(14, 1_264, head=12, every_s=every_s)]
    facts = watched(*rows)
    assert (facts.content_time_s, facts.seeks, facts.unique_played_s) == (1_262, 0, 1_262)
    assert (facts.rebuffer_time_s, facts.pause_time_s) == ((2, 0) if name == "bufferStart" else (0, 2))
    assert (facts.flags, played(facts)) == (["play_unsaid"], [(0, 1_262, 1)])
    assert [doing for doing, _, _ in doings(facts)][0::2] == ["playing", "playing"]


def test_it_plays_since_the_playhead_moved_and_not_since_the_last_ping() -> None:
    """Buffering at 12; the ping at 20 says 16: 4 s of the 8 were played, the last ones."""
    facts = watched(*BEGIN, (12, "bufferStart", 12), (20, "ping", 16), *pings(20, 60, head=16))
    assert (facts.rebuffer_time_s, facts.content_time_s, facts.unique_played_s) == (4, 56, 56)
    assert doings(facts) == [("playing", 0, 12), ("buffering", 12, 16), ("playing", 16, 60)]


def test_it_plays_at_the_rate_it_had() -> None:
    """1.5x, then a pause at 60 without a play; the ping at 70 says 6 s more, which is 4 s of time."""
    rows = [started(), (0, "play", 0), *pings(0, 60, head=0, rate=1.5), (60, "pauseStart", 90), (70, "ping", 96)]
    facts = watched(*rows, *pings(70, 100, head=96, rate=1.5))
    assert (facts.pause_time_s, facts.content_time_s, facts.unique_played_s, facts.seeks) == (6, 94, 141, 0)


def test_two_observations_are_not_enough_if_they_span_less_than_15_s() -> None:
    """Two pings of 5 s that move in a pause change nothing but two seeks, three do."""
    rows = [*BEGIN, (10, "pauseStart", 10), *pings(10, 20, head=10, every_s=5)]
    facts = watched(*rows)
    assert (facts.pause_time_s, facts.content_time_s, facts.flags) == (10, 10, [])
    facts = watched(*rows, (25, "ping", 25))
    assert (facts.pause_time_s, facts.content_time_s, facts.seeks) == (0, 25, 0)


@pytest.mark.parametrize(
    "heads",
    [
        (10, 10, 10, 10),
        (10.5, 10.5, 10.5, 11),
        (40, 70, 100, 130),
        (15, 15, 20, 20),
        (20, 5, 15, 2),
        (-1, -1, -1, -1),
    ],
)
def test_a_pause_whose_playhead_does_not_move_on_is_a_pause(heads: tuple[float, ...]) -> None:
    """Standing, a frame or two, seeks, one move at a time, back and forth, unknown."""
    rows = [*BEGIN, (10, "pauseStart", 10), *[(20 + 10 * n, "ping", head) for n, head in enumerate(heads)]]
    facts = watched(*rows)
    assert (facts.pause_time_s, facts.content_time_s) == (40, 10)
    assert "play_unsaid" not in facts.flags


def test_a_live_playhead_in_a_pause_says_nothing() -> None:
    """It is the clock."""
    rows = [started(contentType="live"), (0, "play", 10), (10, "pauseStart", 20), *pings(10, 60, head=20)]
    facts = watched(*rows)
    assert (facts.pause_time_s, facts.content_time_s) == (50, 10)


PREROLL = [(0.5, "adStart", 0), (15.5, "adComplete", 0), (15.5, "adBreakComplete", 0)]


@pytest.mark.parametrize(
    "begin",
    [
        [(0.5, "play", 0), (0.5, "adBreakStart", 0), *PREROLL],
        [(0.5, "adBreakStart", 0), *PREROLL],
    ],
    ids=["a play in the very millisecond", "no play"],
)
def test_content_after_a_preroll_starts_when_the_playhead_says(begin: list[tuple[float, str, float]]) -> None:
    """The ping at 25.5 says 10: content plays since 15.5, and nobody knows how long it took to start."""
    facts = watched(started(), *begin, *pings(15.5, 135.5, head=0))
    assert (facts.is_started, facts.content_time_s, facts.ad_time_s, facts.join_s) == (True, 120, 15, 0.5)
    assert (facts.startup_s, facts.flags) == (None, ["play_unsaid", "startup_unknown"])
    assert (facts.first_playhead_s, facts.progress_pct, facts.rebuffer_time_s) == (0, 0, 0)
    assert doings(facts)[-1] == ("playing", 15.5, 135.5)


def test_a_session_of_pings_alone_was_watched() -> None:
    """Its first events were lost, play and sessionStart among them."""
    facts = watched(*pings(0, 60, head=300))
    assert (facts.content_time_s, facts.is_started, facts.startup_s, facts.has_start) == (50, True, None, False)
    assert facts.first_playhead_s == 310


def test_rebuffering_counts_from_an_unsaid_start() -> None:
    """Buffering 0 -> 2, then it plays unsaid; buffering 30 -> 33 is rebuffering."""
    rows = [started(), (0, "bufferStart", 0), (2, "ping", 0), *pings(2, 22, head=0)]
    facts = watched(*rows, (30, "bufferStart", 28), (33, "play", 28), (40, "ping", 35))
    assert (facts.buffer_time_s, facts.rebuffer_time_s, facts.rebuffers) == (5, 3, 1)
    assert facts.content_time_s == 35


def test_content_that_plays_on_after_completion_is_content() -> None:
    """Completed at 20, as 95 % are enough for this player; the playhead moves on for half a minute."""
    facts = watched(*BEGIN, (20, "sessionComplete", 20), *pings(20, 50, head=20))
    assert (facts.content_time_s, facts.idle_s, facts.is_completed) == (50, 0, True)


def test_a_seek_in_a_pause_is_no_seek_if_content_was_playing() -> None:
    """The seek to 500 before it stays one."""
    rows = [*BEGIN, (10, "pauseStart", 10), (15, "ping", 500)]
    facts = watched(*rows, *pings(15, 45, head=500))
    assert (facts.seeks, facts.pause_time_s, played(facts)) == (1, 5, [(0, 10, 1), (500, 530, 1)])


def test_a_seek_just_before_a_pause_that_is_none_stays_a_seek() -> None:
    """3 s back at the pauseStart, and on as if that was a slip; but as content played on, it was a seek."""
    facts = watched(*BEGIN, (10, "ping", 10), (11, "pauseStart", 7), (21, "ping", 11), *pings(21, 51, head=11))
    assert (facts.seeks, facts.flags) == (1, ["play_unsaid"])


def test_bitrate_and_chapters_get_what_turns_out_to_be_content() -> None:
    """In a chapter, a pause at 10 and no play: 40 s of content, 10 at 1000 bit/s, 20 at 1000, 10 at 5000."""
    qoe = {"qoe": {"media.qoe.bitrate": 5000}}
    rows = [started(), (0, "chapterStart", 0), (0, "play", 0, {"qoe": {"media.qoe.bitrate": 1000}})]
    rows += [(10, "pauseStart", 10), (20, "ping", 20), (30, "ping", 30, qoe), (40, "chapterComplete", 40)]
    facts = watched(*rows)
    assert (facts.chapters[0].time_s, facts.average_bitrate_bps) == (40, 2000)


def test_evidence_on_one_side_of_a_border_decides_nothing_on_the_other() -> None:
    """One observation in the pause, a chapter, and one more: what is on one side of the border stays a pause."""
    rows = [*BEGIN, (10, "pauseStart", 10), (20, "ping", 20), (20, "chapterStart", 20), (30, "ping", 30)]
    assert watched(*rows).pause_time_s == 20
    assert watched(*rows, (40, "ping", 40)).pause_time_s == 10


def test_one_overruled_wait_leaves_the_claims_after_it_as_they_are() -> None:
    """After the unsaid play, a pause that is one."""
    rows = [*BEGIN, (12, "bufferStart", 12), *pings(12, 42, head=12), (42, "pauseStart", 42), (52, "play", 42)]
    facts = watched(*rows, (62, "ping", 52))
    assert (facts.rebuffer_time_s, facts.pause_time_s, facts.content_time_s, facts.pauses) == (0, 10, 52, 1)


def test_a_session_without_evidence_believes_every_claim() -> None:
    """What the claims alone give is what `session show` prints next to the numbers."""
    fold = Fold(only_claims=True)
    for offset, row in enumerate([*BEGIN, (12, "bufferStart", 12), *pings(12, 72, head=12)]):
        fold.step(made(row, offset))
    assert (fold.facts().rebuffer_time_s, fold.facts().content_time_s, fold.facts().flags) == (60, 12, [])
    fold.step(made((10_872, "ping", 72), 99))
    assert (fold.facts().rebuffer_time_s, fold.facts().gap_s) == (10_860, 0)
