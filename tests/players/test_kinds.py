"""Does the simulator know what viewers saw, and are the numbers of the fold close to it?"""

import random
from functools import cache

import msgspec
import pytest
from rigs.viewed import TOTAL_ERROR_MAX, Judged, judge, mix_of

from players.everyday import KINDS as EVERYDAY
from players.kinds import KINDS, play_kind
from players.lies import KINDS as LIES
from players.screen import Content, Habits, Screen, Span
from players.trouble import KINDS as TROUBLE
from players.viewing import press_play
from schemas.media import check_event, read_json
from schemas.vocabulary import EVENT_TYPES

SESSIONS = 120
LONG_SESSIONS = 6


@cache
def judged_of(kind: str) -> list[Judged]:
    """Return some sessions of a kind, folded and compared."""
    return [judge(kind, 5, number) for number in range(LONG_SESSIONS if KINDS[kind].is_long else SESSIONS)]


def make_screen(content: Content | None = None, **habits: object) -> Screen:
    """Return a screen that shows content from its first frame on."""
    chosen = Habits(**habits)  # type: ignore[arg-type]
    screen = Screen(random.Random(1), chosen, content or Content(), began_ms=1_790_000_000_000)
    press_play(screen)
    screen.show()
    screen.say("play")
    return screen


def test_what_a_viewer_sees_does_not_depend_on_what_the_player_reports() -> None:
    """A player that pings, one that does not, one with lost events, one with wrong playheads: one truth."""
    seen = []
    for ping_s, lost, reported_s in (
        (10.0, set(), None),
        (1e6, set(), None),
        (10.0, {"play"}, None),
        (10.0, set(), 0.0),
    ):
        screen = make_screen(ping_s=ping_s)
        screen.lost, screen.reported_s = lost, reported_s
        screen.watch(30.0)
        screen.let(20.0, "paused")
        screen.let(7.0, "standing")
        screen.rate = 1.5
        screen.watch(40.0)
        screen.say("sessionEnd")
        seen.append(msgspec.structs.replace(screen.seen(), interval_s=0.0))
    assert seen[0].watch == Span(70.0, 70.0)
    assert seen[0].rebuffer == Span(7.0, 7.0)
    assert seen[0].unique == Span(90.0, 90.0)
    assert seen == [seen[0]] * 4


def test_content_moves_only_while_it_plays() -> None:
    """Recorded content stays in place in pauses, waits, ads and sleep; a live clock runs on."""
    recorded, broadcast = make_screen(), make_screen(Content(is_live=True))
    began_s = broadcast.position_s
    for screen in (recorded, broadcast):
        screen.watch(10.0)
        for doing in ("paused", "buffering", "seeking", "standing", "ad", "ad outside", "over"):
            screen.let(5.0, doing)
        screen.let(25.0, "over", is_awake=False)
    assert recorded.position_s == pytest.approx(10.0)
    assert broadcast.position_s - began_s == pytest.approx(70.0)


def test_a_loop_and_a_second_look_are_no_more_unique_content() -> None:
    """What is seen twice counts once, whether the clip wraps or the viewer goes back."""
    loop = make_screen(Content(length_s=15.0, loop_s=15.0))
    loop.watch(40.0)
    back = make_screen()
    back.watch(40.0)
    back.seek(30.0)
    back.watch(20.0)
    assert loop.seen().unique.high_s == pytest.approx(15.0)
    assert back.seen().unique.high_s == pytest.approx(50.0)


@pytest.mark.parametrize(
    ("span", "found_s", "error_s"),
    [
        (Span(10.0, 10.0), 10.0, 0.0),
        (Span(10.0, 20.0), 13.0, 0.0),
        (Span(10.0, 20.0), 7.0, -3.0),
        (Span(10.0, 20.0), 24.0, 4.0),
        (Span(10.0, 20.0), None, float("-inf")),
        (Span(10.0, 20.0, or_unknown=True), None, 0.0),
        (Span(10.0, 20.0, or_unknown=True), 24.0, 4.0),
        (Span(None, None), None, 0.0),
        (Span(None, None), 3.0, float("inf")),
    ],
)
def test_an_error_is_the_distance_from_the_right_answers(
    span: Span, found_s: float | None, error_s: float
) -> None:
    """Inside the span it is 0; unknown is right only where allowed; a number is wrong if there is none."""
    assert span.error_s(found_s) == error_s


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_session_again_and_another_seed_a_sibling(kind: str) -> None:
    """Kinds are drawn from a seed, and differ between seeds."""
    assert play_kind(kind, 1, 0) == play_kind(kind, 1, 0)
    assert play_kind(kind, 1, 0) != play_kind(kind, 2, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_all_events_of_a_kind_are_valid(kind: str) -> None:
    """What simulated players send is accepted."""
    for number in range(3):
        for sent in play_kind(kind, 3, number)[0]:
            body = {"eventType": sent.event_type, "playerTime": {"ts": sent.ts_ms, "playhead": sent.playhead_s}}
            if sent.params is not None:
                body["params"] = sent.params
            event_type, _ = check_event(read_json(msgspec.json.encode(body)), now_ms=sent.received_ms)
            assert event_type is EVENT_TYPES[sent.event_type]


def test_names_of_kinds_are_unique_and_the_mix_is_mostly_everyday() -> None:
    """No kind replaces another of its name, and misleading kinds are a small part of a realistic mix."""
    assert len(KINDS) == len(EVERYDAY) + len(TROUBLE) + len(LIES)
    assert sum(kind.share for kind in EVERYDAY.values()) > 0.7 * sum(kind.share for kind in KINDS.values())


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_close_to_what_the_viewer_saw(kind: str) -> None:
    """Every number of every session of a kind is within its bound, or unknown where nobody can know it."""
    wrong = {each.number: each.out for each in judged_of(kind) if each.out}
    assert not wrong


def test_the_watch_time_of_a_realistic_mix_is_right() -> None:
    """The total is within half a percent, and 99 of 100 sessions are within one ping interval."""
    mix = mix_of({kind: judged_of(kind) for kind in KINDS})
    assert abs(mix.total_error) < TOTAL_ERROR_MAX
    assert mix.p99_intervals <= 1.0
