"""One open session in memory: what is folded of it, and its reorder buffer. Pure.

Events take their place by (time, rank of the type, offset): by their timestamps, unless the clock was set
(`sessions/clock_steps.py`). The newest few stay in the reorder buffer,
where late events still find their place; what is older has been folded and is only numbers.
"""

from array import array
from bisect import bisect_left, insort

from consumers.closing import Closing, Limits
from lake.changes import Over
from sessions.admission import END_TOLERANCE_MS
from sessions.clock_steps import Clocks
from sessions.event import Event
from sessions.facts import SessionFacts
from sessions.fold import Fold
from sessions.identity import DENIED
from sessions.state import FAR_PAST

BUFFERED = 4  # events of a session that wait for earlier ones; more costs memory, fewer costs look-ups


class OpenSession:
    """One session in memory: the fold of its older events, its reorder buffer, and what closing depends on."""

    __slots__ = (
        "buffer",
        "closing",
        "first_offset",
        "fold",
        "folded_ms",
        "folded_rank",
        "has_news",
        "late_events",
        "said",
        "version",
    )

    def __init__(self, *, version: int, first_offset: int, limits: Limits) -> None:
        self.fold = Fold(length_ms=limits.length_ms, keys=limits.keys)
        self.closing = Closing(limits)
        self.buffer: list[Event] = []
        self.folded_ms, self.folded_rank = FAR_PAST, 0  # of the last event that was folded
        self.said: array[int] | None = None  # timestamps of folded events, in order, where others order them
        self.version = version
        self.first_offset = first_offset  # no event of it was stored before
        self.late_events = 0
        self.has_news = True  # since its row was written

    @property
    def has_end(self) -> bool:
        return self.closing.end_ms is not None

    def continues(self, event: Event) -> bool:
        """Take an event that just continues the session (`Closing.continues`); return whether it is one."""
        if not self.closing.continues(event):
            return False
        self.has_news = True
        self.place(event)
        return True

    def arrive(self, event: Event) -> bool:
        """Note what closing depends on, in order of offset; return whether its deadline may be earlier now."""
        self.has_news = True
        return self.closing.arrive(event)

    def count_over(self, over: Over) -> bool:
        """Count events that are over the limit; return whether the log's clock was put back before the last."""
        self.has_news = True
        self.fold.events_over_limit += over.events
        if over.is_denied:
            self.fold.consent = DENIED
        return self.closing.count_over(over)

    def is_end_in_doubt(self, event: Event) -> bool:
        """Return whether an event may take an end's effect away, or be an end without: all events decide that."""
        if event.type.ends:
            return self.buffer[-1].order_ms > event.order_ms + END_TOLERANCE_MS
        end_ms = self.closing.end_ms
        return end_ms is not None and event.order_ms > end_ms + END_TOLERANCE_MS

    def is_plainly_next(self, event: Event) -> bool:
        """Return whether an event is later than all before it, and so neither repeats one nor was read before.

        Where others than the timestamps order events, it may be either: its copy arrives later.
        """
        return (
            bool(self.buffer)
            and event.order_ms > self.buffer[-1].order_ms
            and event.order_ms == event.client_ms
            and self.closing.is_plain
        )

    def belongs_in_buffer(self, event: Event) -> bool:
        """Return whether an event, and any earlier one that says the same, belongs in the reorder buffer."""
        said = self.said
        if said is not None:
            place = bisect_left(said, event.client_ms)
            if place < len(said) and said[place] == event.client_ms:
                return False
        folded_ms = self.folded_ms
        return event.order_ms > folded_ms or (event.order_ms == folded_ms and event.type.rank > self.folded_rank)

    def place(self, event: Event) -> None:
        """Put an event into the reorder buffer, and fold what the buffer no longer holds."""
        buffer = self.buffer
        is_latest = not buffer or event.order_ms > buffer[-1].order_ms
        buffer.append(event)
        if not is_latest:
            buffer.sort(key=Event.order)
        if len(buffer) > BUFFERED:
            oldest = buffer.pop(0)
            self.fold.step(oldest)
            self.folded_ms, self.folded_rank = oldest.order_ms, oldest.type.rank
            if self.said is not None or oldest.order_ms != oldest.client_ms:
                self.said = array("q") if self.said is None else self.said
                insort(self.said, oldest.client_ms)

    def set_clocks(self, clocks: Clocks) -> None:
        """Keep what the events that arrived show of the clock."""
        self.closing.set_clocks(clocks)
        self.fold.segments, self.fold.clock_flag = clocks.believed, clocks.flag
        if self.said is None and clocks.has_steps:
            self.said = array("q")

    def facts(self) -> SessionFacts:
        """Return what is known of the session if nothing more came."""
        fold = self.fold.copy()
        for event in self.buffer:
            fold.step(event)
        return fold.facts()
