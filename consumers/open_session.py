"""One open session in memory: what is folded of it, its reorder buffer, and when it closes. Pure.

Events take their place by (client time, rank of the type, arrival). The newest few stay in the reorder buffer,
where late events still find their place; what is older has been folded and is only numbers.
"""

import msgspec

from lake.changes import CloseReason, Over
from schemas.settings import Settings
from sessions.event import Event
from sessions.facts import SessionFacts
from sessions.fold import DENIED, END_IGNORED, END_TOLERANCE_MS, EVENTS_MAX, REPEAT, Fold

BUFFERED = 4  # events of a session that wait for earlier ones; more costs memory, fewer costs look-ups
CLOCK_BACK_MS = 300_000


class Limits(msgspec.Struct, frozen=True):
    """When a session closes without a sessionEnd: milliseconds of the partition's watermark."""

    idle_ms: int
    stuck_ms: int
    length_ms: int
    events_max: int = EVENTS_MAX  # that a session folds

    @classmethod
    def of(cls, settings: Settings) -> "Limits":
        """Return the limits that the settings name."""
        return cls(
            idle_ms=int(settings.session_idle_s * 1000),
            stuck_ms=int(settings.session_stuck_s * 1000),
            length_ms=int(settings.session_length_s * 1000),
        )


class OpenSession:
    """One session in memory: the fold of its older events, its reorder buffer, and what closing depends on."""

    __slots__ = (
        "ahead",
        "buffer",
        "end_ms",
        "first_received_ms",
        "fold",
        "has_news",
        "last_folded",
        "last_received_ms",
        "late_events",
        "moved_ms",
        "playhead_s",
        "stored",
        "version",
    )

    def __init__(self, *, version: int, length_ms: int) -> None:
        self.fold = Fold(length_ms=length_ms)
        self.buffer: list[Event] = []
        self.last_folded: tuple[int, int] | None = None
        self.ahead: set[int] | None = None  # client_ms of folded events that are ordered by arrival instead
        self.version = version
        self.late_events = 0
        self.first_received_ms = 0
        self.last_received_ms = 0
        self.moved_ms = 0
        self.playhead_s: float | None = None
        self.stored = 0
        self.end_ms: int | None = None  # of the first end that takes effect
        self.has_news = True  # since its row was written

    @property
    def has_end(self) -> bool:
        return self.end_ms is not None

    def arrive(self, event: Event) -> bool:
        """Note what closing depends on, in order of offset; return whether the log's clock was put back before."""
        self.has_news = True
        self.stored += 1
        self.first_received_ms = self.first_received_ms or event.received_ms
        received_ms = event.received_ms
        if received_ms > self.last_received_ms:
            self.last_received_ms = received_ms
        if event.playhead_s != self.playhead_s:
            self.playhead_s = event.playhead_s
            if received_ms > self.moved_ms:
                self.moved_ms = received_ms
        if event.type.ends and not event.is_flagged(REPEAT, END_IGNORED):
            self.end_ms = event.order_ms if self.end_ms is None else min(self.end_ms, event.order_ms)
        return received_ms < self.last_received_ms - CLOCK_BACK_MS and self._follow_clock(received_ms)

    def pass_over(self, over: Over) -> bool:
        """Count events that are over the limit: they keep the session open, and may deny consent.

        Return whether the log's clock was put back before the last of them.
        """
        self.has_news = True
        self.stored += over.events
        self.fold.events_over_limit += over.events
        if over.is_denied:
            self.fold.consent = DENIED
        self.last_received_ms = max(self.last_received_ms, over.received_ms)
        put_back = over.received_ms < self.last_received_ms - CLOCK_BACK_MS
        return put_back and self._follow_clock(over.received_ms)

    def _follow_clock(self, received_ms: int) -> bool:
        self.last_received_ms = received_ms
        self.moved_ms = min(self.moved_ms, received_ms)
        self.first_received_ms = min(self.first_received_ms, received_ms)
        return True

    def is_end_in_doubt(self, event: Event) -> bool:
        """Return whether an event may take an end's effect away, or be an end without: all events decide that."""
        if event.type.ends:
            return self.buffer[-1].order_ms > event.order_ms + END_TOLERANCE_MS
        return self.end_ms is not None and event.order_ms > self.end_ms + END_TOLERANCE_MS

    def is_plainly_next(self, event: Event) -> bool:
        """Return whether an event is later than all before it, and so neither repeats one nor was read before.

        One that is ordered by its arrival may be either, as its copy arrives later.
        """
        order_ms = event.order_ms
        return (
            bool(self.buffer)
            and order_ms > self.buffer[-1].order_ms
            and order_ms == event.client_ms
            and self.ahead is None
        )

    def belongs_in_buffer(self, event: Event) -> bool:
        """Return whether an event, and any earlier one that says the same, belongs in the reorder buffer."""
        if self.ahead is not None and event.client_ms in self.ahead:
            return False
        return self.last_folded is None or (event.order_ms, event.type.rank) > self.last_folded

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
            self.last_folded = (oldest.order_ms, oldest.type.rank)
            if oldest.order_ms != oldest.client_ms:
                self.ahead = self.ahead or set()
                self.ahead.add(oldest.client_ms)

    def facts(self) -> SessionFacts:
        """Return what is known of the session if nothing more came."""
        fold = self.fold.copy()
        for event in self.buffer:
            fold.step(event)
        return fold.facts()

    def deadline_ms(self, limits: Limits) -> tuple[int, CloseReason]:
        """Return the watermark at which it closes, and why."""
        deadlines: tuple[tuple[int, CloseReason], ...] = (
            (self.last_received_ms + limits.idle_ms, "idle"),
            (self.moved_ms + limits.stuck_ms, "stuck"),
            (self.first_received_ms + limits.length_ms, "too_long"),
        )
        return min(deadlines)
