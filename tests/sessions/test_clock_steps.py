"""Clocks that are set while a session runs: which time orders its events."""

import random
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs.drawn_sessions import events_of, sessions

from sessions.admission import admitted
from sessions.clock_steps import Clocks, clocks_of
from sessions.fold import fold_all
from sessions.recount import Report

SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
NOON_MS = 1_790_000_000_000
Pair = tuple[int, int]  # arrival, timestamp


def pings(
    since_s: float, until_s: float, *, ahead_ms: int = 0, every_s: float = 10.0, delay_ms: int = 50
) -> list[Pair]:
    """Return events that arrive as they happen, by a clock that is ahead; times are seconds of the session."""
    count = int((until_s - since_s) / every_s) + 1
    arrivals = [NOON_MS + round((since_s + every_s * n) * SECOND_MS) + delay_ms for n in range(count)]
    return [(received_ms, received_ms - delay_ms + ahead_ms) for received_ms in arrivals]


def uploaded(since_s: float, until_s: float, *, at_s: float, every_s: float = 10.0) -> list[Pair]:
    """Return events that all arrive later, one every 100 ms."""
    happened = pings(since_s, until_s, every_s=every_s)
    return [(NOON_MS + round(at_s * SECOND_MS) + 100 * n, client_ms) for n, (_, client_ms) in enumerate(happened)]


def happened_s(pairs: Iterable[Pair]) -> list[float]:
    """Return when each event happened, as far as the first clock tells, in seconds from the first."""
    every = list(pairs)
    clocks = clocks_of(every)
    times = [clocks.order_ms(client_ms, received_ms) for received_ms, client_ms in every]
    return [(each - times[0]) / SECOND_MS for each in times]


@pytest.mark.parametrize(
    "step_ms", [-5 * MINUTE_MS, 5 * MINUTE_MS, -HOUR_MS, HOUR_MS, -30 * DAY_MS, 7300 * DAY_MS]
)
def test_a_clock_that_is_set_does_not_move_events(step_ms: int) -> None:
    """Back or forward, by minutes or by years: the events after it go on where those before it ended."""
    session = [*pings(0, 60), *pings(70, 200, ahead_ms=step_ms)]
    assert happened_s(session) == [float(second) for second in range(0, 201, 10)]
    assert clocks_of(session).has_steps


@pytest.mark.parametrize("step_ms", [-299_999, 299_999])
def test_a_step_of_less_than_five_minutes_is_no_step(step_ms: int) -> None:
    """A device's clock is corrected by seconds, and networks are slow for minutes."""
    session = [*pings(0, 60), *pings(70, 200, ahead_ms=step_ms)]
    assert not clocks_of(session).has_steps
    assert happened_s(session)[-1] == pytest.approx(200 + step_ms / SECOND_MS)


@pytest.mark.parametrize(
    ("events", "every_s", "is_shown"), [(2, 30, False), (3, 9.99, False), (3, 10, True), (4, 7, True)]
)
def test_a_clock_shows_itself_by_three_events_over_twenty_seconds(
    events: int, every_s: float, is_shown: bool
) -> None:
    """Fewer, or within a shorter time, may be late, or nonsense."""
    session = [*pings(0, 60), *pings(70, 70 + every_s * (events - 1) + 0.001, ahead_ms=HOUR_MS, every_s=every_s)]
    assert clocks_of(session).has_steps is is_shown


@pytest.mark.parametrize(("spread_ms", "is_shown"), [(2_000, True), (2_001, False)])
def test_a_clock_shows_itself_by_delays_within_two_seconds(spread_ms: int, is_shown: bool) -> None:
    """Delays that differ by more are those of a network or of an upload."""
    late = [
        (received_ms + spread_ms * (n % 2), ts)
        for n, (received_ms, ts) in enumerate(pings(70, 200, ahead_ms=HOUR_MS))
    ]
    assert clocks_of([*pings(0, 60), *late]).has_steps is is_shown


def test_a_television_that_gets_the_time_after_a_second_is_recognized_by_its_first_events() -> None:
    """Its first clock is never steady; the second is."""
    session = [*pings(0, 1, ahead_ms=-30 * DAY_MS, every_s=1), *pings(10, 100)]
    assert happened_s(session) == [0.0, 1.0, *range(10, 101, 10)]


@pytest.mark.parametrize(
    "session",
    [
        uploaded(0, 3600, at_s=4000),
        [*uploaded(0, 1190, at_s=1200), *pings(1210, 1500)],
        [*pings(0, 300), *uploaded(310, 1500, at_s=1510), *pings(1520, 1800)],
        [*pings(0, 300), *uploaded(310, 700, at_s=1510), *pings(1520, 1800)],
        [*uploaded(0, 500, at_s=86_400), *uploaded(510, 1000, at_s=90_000)],
    ],
    ids=["whole", "then live", "between live", "partly lost", "in two parts"],
)
def test_an_upload_is_no_step(session: list[Pair]) -> None:
    """Its delays fall from event to event: they are times of waiting, and timestamps are right."""
    assert not clocks_of(session).has_steps
    assert happened_s(session) == [(client_ms - session[0][1]) / SECOND_MS for _, client_ms in session]


@pytest.mark.parametrize(
    ("step_ms", "late_s"),
    [*((step_ms, late_s) for step_ms in (-HOUR_MS, HOUR_MS) for late_s in (3, 30, 600, 3000)), (HOUR_MS, 7200)],
)
@pytest.mark.parametrize("at_s", [35, 95, 1205])
def test_a_late_event_is_dated_by_the_clock_of_its_time(step_ms: int, late_s: int, at_s: int) -> None:
    """Sent before the clock was set or after, and whenever it comes: it belongs where it happened."""
    live = [*pings(0, 90), *pings(100, 4000, ahead_ms=step_ms)]
    ahead_ms = step_ms if at_s > 95 else 0
    happened_ms = NOON_MS + at_s * SECOND_MS
    late = (happened_ms + late_s * SECOND_MS, happened_ms + ahead_ms)
    assert happened_s([*live, late])[-1] == pytest.approx(at_s, abs=0.06)


def test_a_clock_that_is_set_back_again_has_three_segments() -> None:
    """An hour back, and right again."""
    session = [*pings(0, 60), *pings(70, 200, ahead_ms=-HOUR_MS), *pings(210, 300)]
    assert happened_s(session) == [float(second) for second in range(0, 301, 10)]
    assert len(clocks_of(session).segments) == 3


@pytest.mark.parametrize(("steps", "is_lost"), [(3, False), (4, True)])
def test_after_more_than_three_steps_events_are_ordered_by_arrival(steps: int, is_lost: bool) -> None:
    """No clock is believed that is set again and again."""
    session = [pair for n in range(steps + 1) for pair in pings(100 * n, 100 * n + 90, ahead_ms=-n * HOUR_MS)]
    clocks = clocks_of(session)
    assert clocks.is_lost is is_lost
    assert happened_s(session) == [float(second) for second in range(0, 100 * (steps + 1), 10)]
    if is_lost:
        assert {clocks.order_ms(client_ms, received_ms) - received_ms for received_ms, client_ms in session} == {0}


def test_the_step_after_which_no_clock_is_believed_orders_all_events_before_it_by_other_times() -> None:
    """So what is known after it follows from all events; what comes later changes nothing of those before."""
    session = [pair for n in range(5) for pair in pings(100 * n, 100 * n + 90, ahead_ms=-n * HOUR_MS)]
    count = next(n for n in range(1, len(session)) if clocks_of(session[:n]).is_lost)
    (step_received_ms, step_client_ms), (received_ms, client_ms) = session[count - 1 : count + 1]
    assert clocks_of(session[: count - 1]).noted(step_client_ms, step_received_ms) is None
    assert clocks_of(session[:count]).noted(client_ms, received_ms) == clocks_of(session[: count + 1])


def test_a_clock_that_is_exactly_a_day_ahead_orders_all_its_events() -> None:
    """Some of them are ahead of their arrival by more than a day, some by less, as the network has it."""
    delays_ms = [5, 400, 90, 20, 300, 200, 10, 350]
    session = [
        (NOON_MS + 10_000 * n + delay, NOON_MS + 10_000 * n + DAY_MS + 200) for n, delay in enumerate(delays_ms)
    ]
    for count in range(1, len(session) + 1):
        assert happened_s(session[:count]) == [10.0 * n for n in range(count)]
    late = (session[-1][0] + 9_000, session[-1][1] + 1_000)
    assert happened_s([*session, late])[-1] == 71.0


def test_one_event_of_the_day_after_tomorrow_is_ordered_by_its_arrival() -> None:
    """Its timestamp is nonsense: the others are right."""
    odd = (NOON_MS + 65_050, NOON_MS + 2 * DAY_MS)
    assert happened_s([*pings(0, 60), odd, *pings(70, 100)])[7] == 65.0
    odd = (NOON_MS - 1_000, NOON_MS + 2 * DAY_MS)
    assert happened_s([*pings(0, 10), odd]) == [0.0, 10.0, -1.0]


# ---- whatever comes in whatever order

DELAYS_MS = (
    *(0, 0, 1, 50, 1_000, 1_999, 2_000, 2_001, 4_000, 299_999, 300_000, 300_001, 302_000, HOUR_MS, 30 * DAY_MS),
    *(-300_000, -300_001, -HOUR_MS, -DAY_MS + 1, -DAY_MS, -DAY_MS - 1, -DAY_MS - 2_001),
)
LIVE = st.tuples(st.sampled_from((0, 1, 500, 5_000, 10_000, 10_000, 19_999, 20_000)), st.sampled_from(DELAYS_MS))
ROWS = st.lists(st.tuples(LIVE, st.integers(1, 6)), max_size=12)


def drawn_session(rows: list[tuple[tuple[int, int], int]], chance: random.Random) -> list[Pair]:
    """Make a session of rows of events with one delay each, more or less; near ones overtake each other."""
    received_ms, found = NOON_MS, []
    for (pause_ms, delay_ms), events in rows:
        for _ in range(events):
            received_ms += pause_ms
            jitter_ms = chance.choice((0, 0, 0, 1, 700, 2_000))
            found.append(
                (received_ms + chance.choice((0, 0, 0, -600, -15_000)), received_ms - delay_ms - jitter_ms)
            )
    return found


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=500, deadline=None)
def test_event_by_event_gives_what_all_give_at_once(
    rows: list[tuple[tuple[int, int], int]], chance: random.Random
) -> None:
    """In any order: what is known after each event is what all so far show, and so is the order of all of them.

    An event that is just taken changes the time of no other, and has its timestamp.
    """
    session = drawn_session(rows, chance)
    if chance.random() < 0.2:
        chance.shuffle(session)
    known: Clocks | None = None
    times: list[int] = []
    for n, (received_ms, client_ms) in enumerate(session):
        so_far = session[: n + 1]
        at_once = clocks_of(so_far)
        if known is not None and known.takes(client_ms, received_ms):
            assert known.order_ms(client_ms, received_ms) == client_ms
        else:
            known = known and known.noted(client_ms, received_ms)
        if known is None:
            known, times = at_once, [at_once.order_ms(ts, arrival) for arrival, ts in so_far]
        else:
            times.append(known.order_ms(client_ms, received_ms))
        assert known == at_once
        assert times == [at_once.order_ms(ts, arrival) for arrival, ts in so_far]


def test_the_events_of_an_upload_are_just_taken() -> None:
    """Their delays fall second by second: all but those that end the very first run cost next to nothing."""
    session = uploaded(0, 600, at_s=3_600)
    clocks = clocks_of(session[:2])
    assert all(clocks.takes(client_ms, received_ms) for received_ms, client_ms in session[2:])
    assert clocks == clocks_of(session)


@given(ROWS, st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_in_the_log_changes_nothing(
    rows: list[tuple[tuple[int, int], int]], chance: random.Random
) -> None:
    """The same events in another order have the same clocks."""
    session = [*drawn_session(rows, chance), (NOON_MS, NOON_MS)]
    shuffled = chance.sample(session, len(session))
    assert clocks_of(session) == clocks_of(shuffled)


@given(
    st.lists(
        st.tuples(st.integers(60, 900), st.sampled_from((-1, 1)), st.integers(5 * MINUTE_MS, 40 * DAY_MS)),
        max_size=3,
    ),
    st.randoms(use_true_random=False),
)
@settings(max_examples=100, deadline=None)
def test_events_lie_as_far_apart_as_they_happened(
    steps: list[tuple[int, int, int]], chance: random.Random
) -> None:
    """Whenever and however far a clock is set, up to three times, and whatever a network adds up to a second."""
    ahead_ms, at_ms, session, happened = chance.randrange(-DAY_MS, DAY_MS), NOON_MS, [], []
    for lasts_s, sign, by_ms in [*steps, (300, 1, 0)]:
        for _ in range(lasts_s // 10):
            at_ms += 10_000
            happened.append(at_ms)
            session.append((at_ms + chance.randrange(1_000), at_ms + ahead_ms))
        ahead_ms += sign * (by_ms + 2_000)
    clocks = clocks_of(session)
    found = [clocks.order_ms(client_ms, received_ms) for received_ms, client_ms in session]
    assert all(abs((a - found[0]) - (b - happened[0])) <= 1_000 for a, b in zip(found, happened, strict=True))


@settings(max_examples=200, deadline=None)
@given(reports=sessions())
def test_nothing_arrives_before_it_happened(reports: list[Report]) -> None:
    """Whatever a session says, and however wrong its clock is: its moments lie before its arrivals."""
    events = events_of(reports)
    facts = fold_all(events)
    _, counted = admitted(events)
    known = [event for event in counted if not event.is_flagged("over_limit", "end_ignored")]
    assert all(event.order_ms + facts.clock_offset_ms <= event.received_ms for event in known)
    assert facts.ended_ms <= facts.last_received_ms
    starts = [event.received_ms for event in known if event.order_ms == facts.start_ms]
    assert facts.started_ms <= min(starts)
    assert all(span.ended_ms <= facts.last_received_ms for span in facts.spans)
