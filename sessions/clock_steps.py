"""Clocks that are set while a session runs: which of its events were dated by which clock. Pure.

A delay is arrival - timestamp. All events of a session that take effect (`admission.py`), repeats among them, are
looked at in the order of (arrival, timestamp), whatever their order in the log. A *run* is a row of them whose
delays lie within 2 s (`STEADY_MS`); an event that does not fit begins the next run. A run is *steady* from the
event on with which it has 3 events over 20 s of arrivals: its events were sent as they happened, by one clock. In
an upload the delay falls second by second, so no run is steady.

* The first clock of a session is that of its first steady run; its offset is the least delay of the run. But where
  the very first run was not steady, the second is, and they are off by 5 minutes or more (`STEP_MS`), the first
  clock is that of the very first run.
* A run that becomes steady, off by 5 minutes or more from the clock before, shows that the clock was set: it
  begins a segment. The offset of the segment is the least delay of its events up to the one that made it steady.

A segment lasts, by its own clock and offset, from the last event that came with the delay of the clock before (2 s
more or less) to the first event of the next segment's run, with a tolerance of 2 s at both ends. An event belongs
to a segment if it lies within the segment's time and its delay is at least the segment's offset less 2 s. If it
fits several, it belongs to the one with the greatest offset, which makes it least late. It is ordered by its
timestamp plus the offset of its segment less that of the first, which is the time of the first clock. An event
that belongs to no segment is ordered by its arrival, converted to the first clock too.

Where the clock was not set, events are ordered by their timestamps. But nothing arrives before it happened: an
event whose delay falls short of the clock's offset by more than 5 minutes is ordered by its arrival, by it.
As long as no run was steady, one that is ahead of its arrival by more than a day is ordered by its arrival, unless
all events are one run: then the clock is so far ahead.

After more than three steps (`SEGMENTS_MAX`) no clock is believed, and all events are ordered by arrival.

A session has one of these flags: `clock_set`, where its clock was set up to three times; `clock_unsteady`, where
it was set more often; `clock_odd`, where it was not set, and an event is ordered by its arrival.
"""

from collections.abc import Iterable
from copy import copy
from itertools import zip_longest
from typing import Any

import msgspec
from msgspec.structs import replace

from schemas.media import AHEAD_MS_MAX
from sessions.event import Event
from sessions.facts import ClockSegment
from sessions.state import FAR_FUTURE, FAR_PAST, Segment, State, stored_directly

STEADY_MS = 2_000
STEADY_EVENTS = 3
STEADY_ARRIVALS_MS = 20_000
STEP_MS = 300_000
SEGMENTS_MAX = 4


@stored_directly
class Clocks(msgspec.Struct, gc=False):
    """What the events of a session so far show of its clocks. Make it with `clocks_of`, or of its very first run.

    Of the run that goes on: its least and greatest delay, its first arrival, how many events it has; whether it is
    the very first, whether it is steady, whether it shows the first clock. `last_ms` and `last_client_ms` are of
    the last event in order, `least_ms` is the least delay of all. `head_ms` is that of the very first run, if it
    was not steady and only this one came after it. `seen_ms` is the last arrival with the clock of the last
    segment, `judged_ms` the one with which a run was last found to be steady.
    """

    lo_ms: int
    hi_ms: int
    first_ms: int
    last_ms: int
    last_client_ms: int
    events: int
    least_ms: int
    is_first: bool = True
    is_steady: bool = False
    is_base: bool = False
    is_lost: bool = False
    head_ms: int | None = None
    segments: tuple[Segment, ...] = ()
    seen_ms: int = FAR_PAST
    judged_ms: int = FAR_PAST

    @classmethod
    def of_first_run(cls, lo_ms: int, hi_ms: int, *, first_ms: int, last_ms: int, events: int) -> "Clocks":
        """Return what is known where all delays lie within 2 s."""
        clocks = cls(lo_ms, hi_ms, first_ms, last_ms, last_ms - lo_ms, events, lo_ms)
        clocks._judge_run()
        return clocks

    @property
    def has_steps(self) -> bool:
        """Whether the clock was set, so that timestamps alone order no events."""
        return len(self.segments) > 1

    @property
    def believed(self) -> tuple[Segment, ...]:
        """The segments that tell by which times events are ordered; none where the timestamps do."""
        is_asked = self.has_steps or (not self.is_first and self.least_ms < self._least_plain_ms())
        return self.segments if is_asked and not self.is_lost else ()

    @property
    def flag(self) -> str:
        """The flag of the session; empty where its timestamps order all events."""
        if self.is_lost:
            return "clock_unsteady"
        if self.has_steps:
            return "clock_set"
        return "clock_odd" if self._is_by_arrival(self.least_ms) else ""

    def _is_by_arrival(self, delay_ms: int) -> bool:
        """Return whether an event with this delay is ordered by its arrival, where the clock was not set."""
        if self.segments:
            return delay_ms < self.segments[0].offset_ms - STEP_MS
        return delay_ms < -AHEAD_MS_MAX and not self.is_first

    def _least_plain_ms(self) -> int:
        """Return the delay from which on an event is ordered by its timestamp, whether a clock is known or not."""
        return max(-AHEAD_MS_MAX, self.segments[0].offset_ms - STEP_MS) if self.segments else -AHEAD_MS_MAX

    def order_ms(self, client_ms: int, received_ms: int) -> int:
        """Return the time by which an event is ordered."""
        if self.is_lost:
            return received_ms
        if self.has_steps:
            return self._by_first_clock(client_ms, received_ms)
        if not self._is_by_arrival(received_ms - client_ms):
            return client_ms
        return received_ms - (self.segments[0].offset_ms if self.segments else 0)

    def _by_first_clock(self, client_ms: int, received_ms: int) -> int:
        offset_ms, until_ms = FAR_PAST, FAR_FUTURE
        for segment in reversed(self.segments):
            each_ms = segment.offset_ms
            if (
                offset_ms < each_ms <= received_ms - client_ms + STEADY_MS
                and segment.since_ms - STEADY_MS <= client_ms + each_ms <= until_ms + STEADY_MS
            ):
                offset_ms = each_ms
            until_ms = segment.first_ms
        happened_ms = received_ms if offset_ms == FAR_PAST else client_ms + offset_ms
        return happened_ms - self.segments[0].offset_ms

    def takes(self, client_ms: int, received_ms: int) -> bool:
        """Take one more event if it clearly leaves the order of all others as it is; return whether it was taken.

        Nearly every event of a session whose delays vary, as in an upload, is of this kind: it is the last in
        order, it is ordered by its timestamp, and it neither ends the very first run nor makes one steady.
        """
        delay_ms = received_ms - client_ms
        if (
            self.is_first
            or self.is_lost
            or len(self.segments) > 1
            or received_ms < self.last_ms
            or (received_ms == self.last_ms and client_ms < self.last_client_ms)
            or (delay_ms < self.lo_ms and self.is_base)
            or (not self.is_steady and received_ms - self.first_ms >= STEADY_ARRIVALS_MS)
            or delay_ms < self._least_plain_ms()
        ):
            return False
        return self.note(client_ms, received_ms)

    def noted(self, client_ms: int, received_ms: int) -> "Clocks | None":
        """Return what is known with one more event; None if that takes all events of the session.

        That is where it came before others, and where others are now ordered by other times.
        """
        after = copy(self)
        return after if after.note(client_ms, received_ms) and after._keeps_order_of(self) else None

    def _keeps_order_of(self, before: "Clocks") -> bool:
        """Return whether all events that were known before are ordered as they were."""
        if self.is_lost or before.is_lost:
            return self.is_lost == before.is_lost
        if self.has_steps:
            return self.segments == before.segments
        if self.is_first or before.least_ms >= max(self._least_plain_ms(), before._least_plain_ms()):
            return True
        return bool(self.segments) if before.is_first else self.segments == before.segments

    def note(self, client_ms: int, received_ms: int) -> bool:
        """Take one more event; return whether what is known is still right, as it fits between the others."""
        delay_ms = received_ms - client_ms
        is_last = received_ms > self.last_ms or (received_ms == self.last_ms and client_ms >= self.last_client_ms)
        lo_ms, hi_ms = min(self.lo_ms, delay_ms), max(self.hi_ms, delay_ms)
        if hi_ms - lo_ms <= STEADY_MS and not self.is_lost:
            if not is_last and not self.is_first and received_ms <= max(self.first_ms, self.judged_ms):
                return False
            self.lo_ms, self.hi_ms = lo_ms, hi_ms
            self.first_ms = min(self.first_ms, received_ms)
            self.events += 1
        elif not is_last:
            return False
        elif not self.is_lost:
            self._end_run()
            self.lo_ms = self.hi_ms = delay_ms
            self.first_ms, self.events = received_ms, 1
        if is_last:
            self.last_ms, self.last_client_ms = received_ms, client_ms
        if delay_ms < self.least_ms:
            self.least_ms = delay_ms
        if not self.is_lost:
            self._judge_run()
        if self.segments and abs(delay_ms - self.segments[-1].offset_ms) <= STEADY_MS:
            self.seen_ms = max(self.seen_ms, received_ms)
        return True

    def _end_run(self) -> None:
        self.head_ms = None
        if self.is_first and not self.is_steady:
            self.head_ms, self.seen_ms = self.lo_ms, self.last_ms
        self.is_first = self.is_steady = self.is_base = False

    def _judge_run(self) -> None:
        """See whether the run is steady by now, and shows another clock."""
        if self.is_base and self.lo_ms != self.segments[0].offset_ms:
            self.segments = (Segment(self.lo_ms),)
        span_ms = self.last_ms - self.first_ms
        if self.is_steady or self.events < STEADY_EVENTS or span_ms < STEADY_ARRIVALS_MS:
            return
        self.is_steady = True
        if not self.is_first:
            self.judged_ms = self.last_ms
        before_ms = self.segments[-1].offset_ms if self.segments else self.head_ms
        if before_ms is not None and abs(self.lo_ms - before_ms) >= STEP_MS:
            before = self.segments or (Segment(before_ms),)
            self.segments = (*before, Segment(self.lo_ms, self.seen_ms, self.first_ms))
            self.is_lost = len(self.segments) > SEGMENTS_MAX
        elif not self.segments:
            self.segments, self.is_base = (Segment(self.lo_ms),), True
        else:
            return
        self.seen_ms = self.last_ms


def clocks_of(pairs: Iterable[tuple[int, int]]) -> Clocks:
    """Return what all (arrival, timestamp) of a session's events show of its clocks; at least one pair."""
    every = sorted(pairs)
    delays = [received_ms - client_ms for received_ms, client_ms in every]
    (first_ms, _), (last_ms, last_client_ms) = every[0], every[-1]
    lo_ms, hi_ms = min(delays), max(delays)
    if hi_ms - lo_ms <= STEADY_MS:  # one run, as of nearly every session
        clocks = Clocks.of_first_run(lo_ms, hi_ms, first_ms=first_ms, last_ms=last_ms, events=len(every))
        clocks.last_client_ms = last_client_ms
        return clocks
    clocks = Clocks.of_first_run(delays[0], delays[0], first_ms=first_ms, last_ms=first_ms, events=1)
    for received_ms, client_ms in every[1:]:
        clocks.note(client_ms, received_ms)
    return clocks


def dated(event: Event, clocks: Clocks) -> Event:
    """Return an event with the time that orders it."""
    order_ms = clocks.order_ms(event.client_ms, event.received_ms)
    return event if event.order_ms == order_ms else replace(event, order_ms=order_ms)


def facts_of_clocks(state: State) -> dict[str, Any]:
    """Return by which clocks a session's events are dated, by the name of `SessionFacts`."""
    segments = state.segments
    if not segments and state.delay_min_ms < -AHEAD_MS_MAX:
        segments = (Segment(state.delay_min_ms),)
    ends = [each.first_ms for each in segments[1:]]
    return {
        "clocks": [
            ClockSegment(None if each.since_ms == FAR_PAST else each.since_ms, until_ms, each.offset_ms)
            for each, until_ms in zip_longest(segments, ends)
        ]
    }
