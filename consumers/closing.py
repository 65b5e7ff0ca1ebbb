"""When a session closes, and what opens a closed one again. Pure.

A session closes at its sessionEnd, or when the watermark of its partition passes one of these deadlines:

* `idle`: `idle_ms` after its last event.
* `stuck`: `stuck_ms` in which it sent nothing but pings of one playhead, as a player does that was left paused.
* `too_long`: `length_ms` after the first arrival of its events. A session that goes on after that (late data, or a
  player whose clock runs slow) closes when it is idle or stuck.

A later event opens it again, and it closes as its next version. But a player may ping for days. So an event that
changes no number of a session that is over is stored, flagged `after_close`, and opens nothing:

* after the session's end, and more than a minute after it by arrival too (posts overtake each other by seconds,
  and what had arrived before the end may prove that it is a false one);
* later than `length_ms` after the start, by the player's clock and by arrival;
* a ping of the same playhead, later than all before it, that arrives when the session is stuck already;
* a repeat, once the session ended a minute ago or a deadline has passed.

A sessionStart where none is known, and the first denial of consent, count wherever they come. The next event that
counts has the session folded again with all its events, so what was passed over is then what it was: a pause of
three hours is a pause of three hours.

All of this follows from the session's events in the order of the log; batches and restarts change nothing.
"""

from collections.abc import Iterable, Sequence
from copy import copy
from operator import attrgetter

import msgspec
from msgspec.structs import replace

from consumers.log_clock import CLOCK_BACK_MS
from lake.changes import CloseReason, History, Over
from schemas.settings import Settings
from schemas.vocabulary import EVENT_TYPES
from sessions.admission import END_IGNORED, END_TOLERANCE_MS, EVENTS_MAX, OVER_LIMIT, REPEAT, is_over_limit
from sessions.clock_steps import STEADY_MS, Clocks, clocks_of, dated
from sessions.dimensions import ANY_KEYS, DimensionKeys
from sessions.event import AFTER_CLOSE, Event
from sessions.identity import DENIED
from sessions.state import FAR_FUTURE, FAR_PAST, stored_directly

JUDGED_MAX = 100_000  # events retaken, per batch and session, to judge those after one whose time is in doubt
OVERTAKEN_MS = 60_000  # after an end, by arrival; shorter makes the order of arrival matter, longer more versions
_PINGS = frozenset(name for name, row in EVENT_TYPES.items() if row.only_reports)


class Limits(msgspec.Struct, frozen=True):
    """When a session closes without a sessionEnd, in milliseconds of the partition's watermark; what it keeps."""

    idle_ms: int
    stuck_ms: int
    length_ms: int
    events_max: int = EVENTS_MAX  # that a session folds
    keys: DimensionKeys = ANY_KEYS

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits that the settings name."""
        return cls(
            idle_ms=int(settings.session_idle_s * 1000),
            stuck_ms=int(settings.session_stuck_s * 1000),
            length_ms=int(settings.session_length_s * 1000),
            keys=DimensionKeys.parse(settings.dimension_columns, settings.dimension_keys),
        )


@stored_directly
class Closing(msgspec.Struct, gc=False):
    """What of a session's events decides when it closes and what opens it again."""

    limits: Limits
    stored: int = 0
    first_received_ms: int = 0
    last_received_ms: int = 0
    moved_ms: int = 0  # arrival of the last event that was more than a ping of the same playhead
    playhead_s: float | None = None
    has_end: bool = False  # whether a sessionEnd came, with effect or without
    end_ms: int | None = None  # of the first end that takes effect
    is_denied: bool = False
    passed_since: int | None = None  # first offset that the fold lacks, as it was passed over

    # The order of events: the latest, the start, and from when on nothing counts.
    latest_ms: int = FAR_PAST
    first_ms: int = FAR_FUTURE
    start_ms: int | None = None
    over_ms: int = FAR_FUTURE  # of an end that nothing so far contradicts, with its arrival
    over_received_ms: int = 0
    until_ms: int = FAR_FUTURE
    is_plain: bool = True  # the order of all events is by their timestamps, and all are known by what they say

    # The clock: least and greatest delay while all lie within 2 s, and else what is known of it.
    delay_min_ms: int = FAR_FUTURE
    delay_max_ms: int = FAR_PAST
    clocks: Clocks | None = None

    @classmethod
    def after(cls, history: History, limits: Limits) -> "Closing":
        """Return what is known of a session of which the lake has this."""
        closing = cls(limits)
        events, last_offset = history.events, history.last_offset
        counted = [each for each in events if each.offset <= last_offset and not each.is_flagged(OVER_LIMIT)]
        if counted:
            clocks = clocks_of((each.received_ms, each.client_ms) for each in counted)
            closing.take_all(dated(event, clocks) for event in counted)
            closing.set_clocks(clocks)
        if history.over.events:
            closing.count_over(history.over)
        closing.pass_over_all(event for event in events if event.offset > last_offset)
        return closing

    def take_all(self, events: Iterable[Event]) -> bool:
        """Take what was stored up to the last event that counts, as it was taken then; return as `arrive` does."""
        is_earlier = False
        for event in sorted(events, key=attrgetter("offset")):
            if event.is_flagged(AFTER_CLOSE):
                self.pass_over(event)
            else:
                is_earlier = self.arrive(event) or is_earlier
        self.passed_since = None
        return is_earlier

    def pass_over_all(self, events: Iterable[Event]) -> None:
        """Pass over what was stored after the last event that counts."""
        for event in sorted(events, key=attrgetter("offset")):
            self.pass_over(self.dated(event) or event)

    def continues(self, event: Event) -> bool:
        """Take an event that just continues its session, as nearly every event does; return whether it is one.

        It is later than all before it by its own timestamp, and so neither repeats one nor was read before. It
        arrives after them too, it is folded, it starts and ends nothing, it cannot be passed over (`passes`), and
        its delay moves no other event. Of such an event `arrive` notes only this.
        """
        order_ms, received_ms, row = event.client_ms, event.received_ms, event.type
        if (
            order_ms <= self.latest_ms
            or not self.first_ms <= order_ms <= self.until_ms
            or not self.last_received_ms <= received_ms <= self.moved_ms + self.limits.stuck_ms
            or event.flags
            or row.starts
            or row.ends
            or self.end_ms is not None
            or self.passed_since is not None
            or self.stored >= self.limits.events_max
            or not self.is_plain
        ):
            return False
        delay_ms = received_ms - order_ms
        if not self.delay_min_ms <= delay_ms <= self.delay_max_ms and not self._takes_delay(event, delay_ms):
            return False
        self.stored += 1
        self.last_received_ms = received_ms
        self.latest_ms = order_ms
        if event.playhead_s != self.playhead_s or row.name not in _PINGS:
            self.playhead_s = event.playhead_s
            self.moved_ms = received_ms
        if event.consent == DENIED:
            self.is_denied = True
        return True

    def arrive(self, event: Event) -> bool:
        """Take an event that counts, in order of offset; return whether its deadline may be earlier now."""
        self.stored += 1
        received_ms, order_ms, row = event.received_ms, event.order_ms, event.type
        if not self.first_received_ms:
            self.first_received_ms = received_ms
        is_earlier = False
        if received_ms > self.last_received_ms:
            self.last_received_ms = received_ms
        elif received_ms < self.first_received_ms:
            self.first_received_ms, is_earlier = received_ms, True
        is_repeat = bool(event.flags) and event.is_flagged(REPEAT)
        if not is_repeat and (event.playhead_s != self.playhead_s or row.name not in _PINGS):
            self.playhead_s = event.playhead_s
            if received_ms > self.moved_ms:
                self.moved_ms = received_ms
        if event.consent == DENIED:
            self.is_denied = True
        if (
            order_ms < self.first_ms
            or row.starts
            or row.ends
            or (order_ms > self.over_ms + END_TOLERANCE_MS and received_ms <= self.over_received_ms)
        ):
            self._bound(event, is_repeat=is_repeat)
        self._note_order(event)
        put_back = received_ms < self.last_received_ms - CLOCK_BACK_MS
        return (put_back and self._follow_clock(received_ms)) or is_earlier

    def _takes_delay(self, event: Event, delay_ms: int) -> bool:
        """Return whether what an event shows of the clock leaves the order of all events, and note it if so."""
        if self.clocks is not None:
            return self.clocks.takes(event.client_ms, event.received_ms)
        lo_ms, hi_ms = min(self.delay_min_ms, delay_ms), max(self.delay_max_ms, delay_ms)
        if self.delay_max_ms == FAR_PAST or hi_ms - lo_ms > STEADY_MS:
            return False
        self.delay_min_ms, self.delay_max_ms = lo_ms, hi_ms
        return True

    def clocks_with(self, event: Event) -> Clocks | None:
        """Return what is known of the clock with one more event; None if that takes all events of the session."""
        clocks = self._clocks()
        if clocks is None:
            return clocks_of([(event.received_ms, event.client_ms)])
        return clocks.noted(event.client_ms, event.received_ms)

    def _clocks(self) -> Clocks | None:
        if self.clocks is not None or self.delay_max_ms == FAR_PAST:
            return self.clocks
        return Clocks.of_first_run(
            self.delay_min_ms,
            self.delay_max_ms,
            first_ms=self.first_received_ms,
            last_ms=self.last_received_ms,
            events=self.stored,
        )

    def _keep_clocks(self) -> None:
        """Keep what is known of the clock by itself: what was stored is no longer all that shows it."""
        self.clocks, self.delay_min_ms, self.delay_max_ms = self._clocks(), FAR_FUTURE, FAR_PAST

    def dated(self, event: Event) -> Event | None:
        """Return an event with the time that orders it; None if that takes all events of the session."""
        clocks = self.clocks_with(event)
        return None if clocks is None else dated(event, clocks)

    def set_clocks(self, clocks: Clocks) -> None:
        """Keep what the events that were taken show of the clock."""
        is_short = clocks.is_first and (clocks.first_ms, clocks.last_ms, clocks.events) == (
            self.first_received_ms,
            self.last_received_ms,
            self.stored,
        )
        self.clocks = None if is_short else clocks
        self.delay_min_ms = clocks.lo_ms if is_short else FAR_FUTURE
        self.delay_max_ms = clocks.hi_ms if is_short else FAR_PAST

    def _bound(self, event: Event, *, is_repeat: bool) -> None:
        """Work out from when on nothing counts, with an event that may move the start or the end."""
        order_ms = event.order_ms
        if not event.type.ends:  # it may be a false one
            self.first_ms = min(self.first_ms, order_ms)
        if event.type.starts and not is_repeat:
            self.start_ms = order_ms if self.start_ms is None else min(self.start_ms, order_ms)
        if event.type.ends and not is_repeat:
            if not event.is_flagged(END_IGNORED):
                self.end_ms = order_ms if self.end_ms is None else min(self.end_ms, order_ms)
            if order_ms < self.over_ms and self.latest_ms <= order_ms + END_TOLERANCE_MS:
                self.over_ms, self.over_received_ms = order_ms, event.received_ms
        elif order_ms > self.over_ms + END_TOLERANCE_MS and event.received_ms <= self.over_received_ms:
            self.over_ms = FAR_FUTURE  # that end was a false one
        began_ms = self.first_ms if self.start_ms is None else self.start_ms
        self.until_ms = min(self.over_ms, began_ms + self.limits.length_ms)

    def _note_order(self, event: Event) -> None:
        if event.type.ends:
            self.has_end = True
        if event.order_ms > self.latest_ms:
            self.latest_ms = event.order_ms
        if event.order_ms != event.client_ms:
            self.is_plain = False

    def count_over(self, over: Over) -> bool:
        """Count events that are over the limit: they keep the session open, and may deny consent.

        Return whether the log's clock was put back before the last of them.
        """
        self._keep_clocks()
        self.stored += over.events
        self.is_plain = False
        self.is_denied = self.is_denied or over.is_denied
        self.last_received_ms = max(self.last_received_ms, over.received_ms)
        put_back = over.received_ms < self.last_received_ms - CLOCK_BACK_MS
        return put_back and self._follow_clock(over.received_ms)

    def _follow_clock(self, received_ms: int) -> bool:
        self.last_received_ms = received_ms
        self.moved_ms = min(self.moved_ms, received_ms)
        self.first_received_ms = min(self.first_received_ms, received_ms)
        return True

    def passes(self, event: Event) -> bool:
        """Return whether an event changes no number of a session that is over."""
        if (event.consent == DENIED and not self.is_denied) or (event.type.starts and self.start_ms is None):
            return False
        received_ms = event.received_ms
        has_ended = self.over_ms != FAR_FUTURE and received_ms > self.over_received_ms + OVERTAKEN_MS
        if event.order_ms > self.until_ms:
            is_after_end = has_ended and event.order_ms > self.over_ms
            if is_after_end or (event.order_ms <= self.over_ms and received_ms > self._longest_ms()):
                return True
        elif event.is_flagged(REPEAT):
            return has_ended or received_ms > self.deadline_ms()[0]
        return (
            received_ms > self.moved_ms + self.limits.stuck_ms
            and event.playhead_s == self.playhead_s
            and event.order_ms > self.latest_ms
            and event.type.name in _PINGS
        )

    def is_certainly_new(self, event: Event) -> bool:
        """Return whether an event is later than all before it, and so neither repeats one nor was read before."""
        return event.order_ms > self.latest_ms and not event.flags and self.is_plain

    def pass_over(self, event: Event) -> Event:
        """Take an event that changes nothing; return it flagged as that."""
        if not event.is_flagged(AFTER_CLOSE):
            event = event.flagged(AFTER_CLOSE)
            is_over = is_over_limit(
                event, stored=self.stored, has_end=self.has_end, events_max=self.limits.events_max
            )
            if is_over and not event.is_flagged(OVER_LIMIT):
                event = event.flagged(OVER_LIMIT)
        if self.passed_since is None:
            self.passed_since = event.offset
            self._keep_clocks()
        self.stored += 1
        self._note_order(event)
        return event

    def _longest_ms(self) -> int:
        return self.first_received_ms + self.limits.length_ms

    def deadline_ms(self) -> tuple[int, CloseReason]:
        """Return the watermark at which the session closes if nothing more comes, and why."""
        limits = self.limits
        length = self._longest_ms()
        idle, stuck = self.last_received_ms + limits.idle_ms, self.moved_ms + limits.stuck_ms
        if self.last_received_ms > length:
            deadlines: tuple[tuple[int, CloseReason], ...] = ((idle, "too_long"), (stuck, "stuck"))
        else:
            deadlines = ((idle, "idle"), (stuck, "stuck"), (length, "too_long"))
        return min(deadlines)


def with_passed(fresh: Sequence[Event], closing: Closing | None, history: History | None = None) -> list[Event]:
    """Return new events of a session, flagged where they change nothing; if none changes anything, take them all.

    `closing` is None if it is not known: then every event may change something. So may an event whose time
    depends on all events of the session. Those after it are judged by `history`, which holds all events before
    these; without it, or if that takes too long, they are not judged.
    """
    if closing is None:
        return list(fresh)
    trial = copy(closing)
    judged: list[Event] = []
    left = JUDGED_MAX
    for event in fresh:
        clocks = trial.clocks_with(event)
        if clocks is not None:
            event = dated(event, clocks)
        if clocks is not None and trial.passes(event):
            event = trial.pass_over(event)
        elif event.is_flagged(OVER_LIMIT):
            trial.count_over(Over.of([event]))
        elif clocks is not None:
            trial.arrive(event)
            trial.set_clocks(clocks)
        elif history is None or left <= 0:
            return [*judged, *fresh[len(judged) :]]
        else:
            known = replace(history, events=[*history.events, *judged, event])
            trial = Closing.after(known, trial.limits)
            left -= len(known.events)
        judged.append(event)
    if all(event.is_flagged(AFTER_CLOSE) for event in judged):
        for event in judged:
            closing.pass_over(event)
    return judged
