"""By which clock each event of a session was dated, found in the whole list of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sessions.recount.report import Report

SPREAD_MS = 2_000
SET_MS = 5 * 60 * 1000
DAY_MS = 24 * 60 * 60 * 1000
CLOCKS_MAX = 4  # beyond this, none is believed


@dataclass(frozen=True)
class Heard:
    """One event that was heard, by its arrival and the player's clock."""

    received_ms: int
    ms: int

    @property
    def delay_ms(self) -> int:
        return self.received_ms - self.ms


@dataclass(frozen=True)
class Clock:
    """A clock with a constant offset, from the last event by the clock before to the first event by the next."""

    offset_ms: int
    since_ms: float = float("-inf")
    first_ms: float = float("-inf")


def dated(reports: list[Report]) -> list[Report]:
    """Return the events with the times that order them."""
    heard = [Heard(event.received_ms, event.ms) for event in reports if not event.is_over_limit]
    heard.sort(key=lambda each: (each.received_ms, each.ms))
    runs = runs_of(heard)
    clocks = clocks_of(heard, runs)
    return [replace(event, ms=date_of(event, clocks, is_one_run=len(runs) == 1)) for event in reports]


def runs_of(heard: Sequence[Heard]) -> list[list[Heard]]:
    runs: list[list[Heard]] = []
    low = high = 0
    for each in heard:
        delay_ms = each.delay_ms
        if runs and max(high, delay_ms) - min(low, delay_ms) <= SPREAD_MS:
            runs[-1].append(each)
            low, high = min(low, delay_ms), max(high, delay_ms)
        else:
            runs.append([each])
            low = high = delay_ms
    return runs


def least_delay(heard: Sequence[Heard]) -> int:
    return min(each.delay_ms for each in heard)


def evidence(run: Sequence[Heard]) -> Sequence[Heard] | None:
    """Return the beginning of a run that shows a clock: three events or more, over twenty seconds."""
    for count in range(3, len(run) + 1):
        if run[count - 1].received_ms - run[0].received_ms >= 20_000:
            return run[:count]
    return None


def clocks_of(heard: Sequence[Heard], runs: Sequence[Sequence[Heard]]) -> list[Clock]:
    """Return the clocks of the session, one after the other; none where nothing shows any."""
    clocks: list[Clock] = []
    for place, run in enumerate(runs):
        shown = evidence(run)
        if shown is None:
            continue
        offset_ms = least_delay(shown)
        if not clocks and (place != 1 or abs(offset_ms - least_delay(runs[0])) < SET_MS):
            clocks = [Clock(least_delay(run))]
        clocks = clocks or [Clock(least_delay(runs[0]))]
        if abs(offset_ms - clocks[-1].offset_ms) >= SET_MS:
            earlier = heard[: sum(map(len, runs[:place]))]
            seen = [each for each in earlier if abs(each.delay_ms - clocks[-1].offset_ms) <= SPREAD_MS]
            clocks = [*clocks, Clock(offset_ms, seen[-1].received_ms, run[0].received_ms)]
            if len(clocks) > CLOCKS_MAX:
                break  # nothing is dated by any of them
    return clocks


def date_of(event: Report, clocks: Sequence[Clock], *, is_one_run: bool) -> int:
    """Return the time that orders an event: by the first clock, as far as it is known."""
    delay_ms = event.received_ms - event.ms
    if len(clocks) > CLOCKS_MAX:
        return event.received_ms
    if not clocks:
        return event.received_ms if delay_ms < -DAY_MS and not is_one_run else event.ms
    first = clocks[0]
    if len(clocks) == 1:
        return event.ms if delay_ms >= first.offset_ms - SET_MS else event.received_ms - first.offset_ms
    ends = [clock.first_ms for clock in clocks[1:]] + [float("inf")]
    offsets = [
        clock.offset_ms
        for clock, end_ms in zip(clocks, ends, strict=True)
        if delay_ms >= clock.offset_ms - SPREAD_MS
        and clock.since_ms - SPREAD_MS <= event.ms + clock.offset_ms <= end_ms + SPREAD_MS
    ]
    return (event.ms + max(offsets) if offsets else event.received_ms) - first.offset_ms
