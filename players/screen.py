"""A player as it really is: what is on its screen, what a viewer sees, and what it reports. Pure.

The truth comes from the player's real state and from two clocks, the wall's and the content's. It is never
computed from the events: events are what the player reports, which may be late, wrong, incomplete or missing.
"""

import random
from typing import Any, Literal

import msgspec

DAY_S = 86_400.0

Doing = Literal[
    "starting",
    "playing",
    "ad",
    "ad outside",
    "ad waits",
    "between ads",
    "paused",
    "buffering",
    "seeking",
    "standing",
    "over",
]
_SUMS = ("watch", "startup", "rebuffer", "seeking", "ad", "ad_outside")
_WAITING: frozenset[Doing] = frozenset(("buffering", "seeking", "standing"))


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """How a player reports.

    `is_steady`: it pings at a fixed beat; otherwise the interval starts again at each event. `step_s` is the
    resolution of its playheads. `unknown_s` is the playhead that it reports before the first frame. `clock_ms` is
    its clock minus the true one. `ends`: it sends `sessionEnd` when the viewer leaves.
    """

    ping_s: float = 10.0
    is_steady: bool = True
    pings_paused: bool = True
    pings_buffering: bool = True
    step_s: float = 0.001
    unknown_s: float = 0.0
    clock_ms: int = 0
    delay_ms: int = 50
    plays_twice: bool = False
    ends: bool = True


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is played. A `length_s` of 0 is unknown. `loop_s`: it starts over after this long.

    `is_clock`: the playhead of live content is the second of the day; else it counts from the first frame.
    """

    length_s: float = 1800.0
    is_live: bool = False
    is_audio: bool = False
    is_clock: bool = True
    loop_s: float = 0.0


class Sent(msgspec.Struct, frozen=True, gc=False):
    """One event: its time by the player's clock, and its arrival by the true one."""

    event_type: str
    ts_ms: int
    received_ms: int
    playhead_s: float
    params: dict[str, Any] | None = None


class Span(msgspec.Struct, frozen=True):
    """The right answers for one number: from `low_s` to `high_s`, and "unknown" where `or_unknown`.

    `low_s` and `high_s` differ where the events do not decide; both are None if there is no such number.
    """

    low_s: float | None
    high_s: float | None
    or_unknown: bool = False

    def error_s(self, found_s: float | None) -> float:
        """Return how far a number is outside of the span, negative where it is too small."""
        if found_s is None:
            return 0.0 if self.or_unknown or self.low_s is None else float("-inf")
        if self.low_s is None or self.high_s is None:
            return 0.0 if self.or_unknown else float("inf")
        return min(0.0, found_s - self.low_s) + max(0.0, found_s - self.high_s)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a viewer saw, by number. None: the kind leaves it open.

    `watch` is how long content played, by the clock on the wall. `rebuffer` is how long the viewer waited after
    the first frame, reported or not, and `seeking` the part of it that a seek caused. `unique` is how much of the
    content was on the screen at least once, `played` the same with every pass. `ads` counts those in breaks.
    `rate` is the speed of playing, None if it changed. `playing` is when content played, by the true clock.
    `watched_s` is the watch time itself, for totals. `interval_s` is the longest time between two pings,
    `unreported` how many changes no event reported, so that each is known to one ping interval.
    """

    watch: Span
    startup: Span
    rebuffer: Span
    ad: Span
    unique: Span
    played: Span
    seeking: Span
    ad_outside: Span
    watched_s: float
    is_started: bool
    is_completed: bool | None
    seeks: tuple[int, int] | None
    ads: int
    chapters: int
    last_playhead: Span | None
    rate: float | None
    rate_max: float
    playing: list[tuple[int, int]]
    interval_s: float
    unreported: int


class Screen:
    """One session as it happens. The wall clock is `at_ms`, the content's is `position_s`."""

    def __init__(self, rng: random.Random, habits: Habits, content: Content, *, began_ms: int) -> None:
        self.rng, self.habits, self.content, self.began_ms = rng, habits, content, began_ms
        self.at_ms = 0
        self.position_s = rng.uniform(1000, 80_000) // 1 if content.is_live and content.is_clock else 0.0
        self.rate = 1.0
        self.clock_ms = habits.clock_ms
        self.ping_s = habits.ping_s
        self.interval_s = habits.ping_s
        self.unreported = 1
        """How many changes no event reports: each is known only to one ping interval."""
        self.is_started = False
        self.is_completed: bool | None = False
        self.seeks: tuple[int, int] | None = (0, 0)
        self.reported_s: float | None = None
        """The playhead that the player reports, where it is not the true one."""
        self.ads = self.chapters = 0
        self.lost: set[str] = set()
        """The event types that are lost on the way."""
        self.sent: list[Sent] = []
        self._due_ms = round(habits.ping_s * 1000)
        self._saw: dict[str, float] = dict.fromkeys(_SUMS, 0.0)
        self._reported = self._saw.copy()
        self._unsure: dict[str, tuple[float, float, bool]] = {}
        self._played: list[tuple[float, float]] = []
        self._playing: list[tuple[int, int]] = []
        self._moved_s = 0.0
        self._rates: set[float] = set()
        self._sent_at_seek = -4

    # ---- what happens

    def let(self, seconds: float, doing: Doing, *, is_awake: bool = True) -> None:
        """Let time pass. A device that is not awake does nothing meanwhile, and nobody watches it."""
        end_ms = self.at_ms + round(seconds * 1000)
        if not is_awake:
            self.position_s += seconds if self.content.is_live and self.content.is_clock else 0.0
            self.at_ms = end_ms
            self._due_ms = max(self._due_ms, end_ms + self.rng.randrange(1, 1000))
            return
        while self.at_ms < end_ms:
            to_ms = min(end_ms, self._due_ms)
            self._pass(to_ms - self.at_ms, doing)
            if self.at_ms >= self._due_ms:
                self._due_ms = self.at_ms + round(self.ping_s * 1000) + self.rng.randrange(4)
                if self._pings(doing):
                    self._say("ping", None)

    @property
    def left_s(self) -> float:
        """Seconds of content from here to its end."""
        content = self.content
        has_end = content.length_s > 0 and not content.is_live and not content.loop_s
        return content.length_s - self.position_s if has_end else float("inf")

    def watch(self, seconds: float) -> None:
        """Let the content play, at most to its end."""
        seconds = min(seconds, self.left_s / self.rate)
        if seconds > 0.001:
            self.let(seconds, "playing")

    def show(self) -> None:
        """The first frame is there."""
        self.is_started = True

    def seek(self, to_s: float) -> None:
        """Move to another position in the content."""
        self.position_s = round(to_s, 3)
        self._sent_at_seek = len(self.sent)
        if self.seeks is not None:
            self.seeks = (self.seeks[0] + 1, self.seeks[1] + 1)

    def ping_every(self, seconds: float) -> None:
        """Let the player ping at another interval, as a browser does in a hidden tab."""
        pinged_ms = self._due_ms - round(self.ping_s * 1000)
        self.ping_s, self.interval_s = seconds, max(self.interval_s, seconds)
        self._due_ms = max(self.at_ms, pinged_ms + round(seconds * 1000))

    def say(self, event_type: str, params: dict[str, Any] | None = None) -> None:
        """Let the player send an event now."""
        if not self.habits.is_steady:
            self._due_ms = self.at_ms + round(self.ping_s * 1000)
        if event_type not in self.lost:
            self._say(event_type, params)

    def _say(self, event_type: str, params: dict[str, Any] | None) -> None:
        now_ms = self.began_ms + self.at_ms
        delay_ms = self.rng.randrange(5, 5 + self.habits.delay_ms)
        self.sent.append(Sent(event_type, now_ms + self.clock_ms, now_ms + delay_ms, self._playhead_s(), params))
        self._reported = self._saw.copy()

    def _playhead_s(self) -> float:
        if self.reported_s is not None:
            return self.reported_s
        if not self.is_started and self.position_s == 0.0:
            return self.habits.unknown_s
        step_s = self.habits.step_s
        playhead_s = self.position_s // step_s * step_s if step_s > 0.001 else self.position_s
        return round(playhead_s % DAY_S if self.content.is_live else playhead_s, 3)

    def _pings(self, doing: Doing) -> bool:
        if doing == "paused":
            return self.habits.pings_paused
        if doing in ("buffering", "seeking", "ad waits"):
            return self.habits.pings_buffering
        return doing not in ("starting", "between ads")

    def _pass(self, milliseconds: int, doing: Doing) -> None:
        self.at_ms += milliseconds
        seconds = milliseconds / 1000
        if doing == "playing":
            self._saw["watch"] += seconds
            self._note_playing(milliseconds)
            self._play(seconds * self.rate)
            return
        if doing == "ad":
            self._saw["ad"] += seconds
        elif doing == "ad outside":
            self._saw["ad_outside"] += seconds
        elif doing == "starting" or (doing in _WAITING and not self.is_started):
            self._saw["startup"] += seconds
        elif doing in _WAITING:
            self._saw["rebuffer"] += seconds
            self._saw["seeking"] += seconds if doing == "seeking" else 0.0
        if self.content.is_live and self.content.is_clock:
            self.position_s += seconds

    def _note_playing(self, milliseconds: int) -> None:
        to_ms = self.began_ms + self.at_ms
        from_ms = to_ms - milliseconds
        if self._playing and self._playing[-1][1] == from_ms:
            from_ms = self._playing.pop()[0]
        self._playing.append((from_ms, to_ms))

    def _play(self, moved_s: float) -> None:
        self._rates.add(self.rate)
        self._moved_s += moved_s
        while moved_s > 1e-9:
            end_s = self.content.loop_s or float("inf")
            part_s = min(moved_s, end_s - self.position_s)
            to_s = self.position_s + part_s
            if self._played and self._played[-1][1] == self.position_s:
                self._played[-1] = (self._played[-1][0], to_s)
            else:
                self._played.append((self.position_s, to_s))
            self.position_s = 0.0 if to_s >= end_s - 1e-9 else to_s
            moved_s -= part_s

    # ---- what is true

    def unsure(self, name: str, *, less_s: float = 0.0, more_s: float = 0.0, or_unknown: bool = False) -> None:
        """Widen a span: the viewer saw the number, but the events do not show it exactly."""
        for each in ("unique", "played") if name == "unique" else (name,):
            before = self._unsure.get(each, (0.0, 0.0, False))
            self._unsure[each] = (before[0] + less_s, before[1] + more_s, before[2] or or_unknown)

    def seen(self) -> Seen:
        """Return what the viewer saw. What happened after the last event was reported to nobody."""
        low, high = self._reported, self._saw
        seeks = self.seeks
        if seeks is not None and len(self.sent) < self._sent_at_seek + 4:  # one playhead alone may be a slip
            seeks = (seeks[0] - 1, seeks[1])
        has_position = self.is_started and not self.content.is_live
        return Seen(
            watch=self._span("watch", high["watch"], high["watch"]),
            startup=self._span("startup", high["startup"], high["startup"])
            if self.is_started
            else Span(None, None),
            rebuffer=self._span("rebuffer", low["rebuffer"], high["rebuffer"]),
            ad=self._span("ad", low["ad"], high["ad"]),
            ad_outside=self._span("ad_outside", low["ad_outside"], high["ad_outside"]),
            unique=self._span("unique", _union_s(self._played), _union_s(self._played)),
            played=self._span("played", self._moved_s, self._moved_s),
            seeking=self._span("seeking", low["seeking"], high["seeking"]),
            watched_s=high["watch"],
            is_started=self.is_started,
            is_completed=self.is_completed,
            seeks=seeks,
            last_playhead=self._span("last_playhead", self.position_s, self.position_s) if has_position else None,
            ads=self.ads,
            chapters=self.chapters,
            rate=min(self._rates) if len(self._rates) == 1 else None,
            rate_max=max(self._rates, default=1.0),
            playing=self._playing,
            interval_s=self.interval_s,
            unreported=self.unreported,
        )

    def _span(self, name: str, low_s: float, high_s: float) -> Span:
        less_s, more_s, or_unknown = self._unsure.get(name, (0.0, 0.0, False))
        return Span(max(0.0, low_s - less_s), high_s + more_s, or_unknown)


def _union_s(played: list[tuple[float, float]]) -> float:
    total_s, reached_s = 0.0, float("-inf")
    for start_s, end_s in sorted(played):
        if end_s > reached_s:
            total_s += end_s - max(start_s, reached_s)
            reached_s = end_s
    return total_s
