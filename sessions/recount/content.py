"""Main content as the player reports it: what silence, speed and freezes of the playhead make of it."""

from dataclasses import dataclass, field

from sessions.recount.played import Coverage
from sessions.recount.report import Session
from sessions.recount.speed import Speed

LABELS = ("join", "content", "ad", "pause", "buffer", "idle", "stall", "gap", "ad-pause", "ad-buffer", "outside")
NOTHING = 255
SILENT_MS = 15_000


@dataclass
class Run:
    """A run of evidence: its events, each the base of the next, and what was found by them."""

    bases: list[int]
    seen: list[int] = field(default_factory=list)  # indexes of observations
    moves: list[tuple[int, float]] = field(default_factory=list)  # of each: its base, seconds of play
    is_decided: bool = False
    label: str = "stall"

    def overrules(self, session: Session) -> bool:
        if len(self.seen) >= 3:
            return True
        first = self.bases[0]
        return len(self.seen) == 2 and session.events[self.seen[1]].ms - session.events[first].ms >= 15_000


class Content:
    """The milliseconds of a session, painted with what it did, and the rules for main content."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.events, self.heads = session.events, session.heads
        self.speed = Speed(session)
        self.played = Coverage(session, self.speed)
        self.labels = bytearray([NOTHING]) * (self.events[-1].ms - self.events[0].ms)
        self.claimed: list[str] = [""]
        self.rates = [1.0] * len(self.events)  # in force in the interval up to each event
        self.freeze: Run | None = None
        self.borders: set[int] = set()  # events that end a freeze
        self.ended_freezes: set[int] = set()  # events at which a frozen playhead moves on
        self.unmoved: list[tuple[int, int, str]] = []  # runs in which nothing had played yet
        self.stalls = 0
        self.cut: dict[int, list[tuple[int, int]]] = {}  # what is unknown of intervals, as it is not borne out
        self.counted_heads: list[int] = []  # events whose playhead counts for progress
        self.first_at: int | None = None  # the first known playhead of main content

    def paint(self, since: int, until: int, label: str) -> None:
        first = self.events[0].ms
        self.labels[since - first : until - first] = bytes([LABELS.index(label)]) * max(0, until - since)

    def sum_ms(self, label: str, since: int | None = None, until: int | None = None) -> int:
        low = 0 if since is None else since - self.events[0].ms
        high = len(self.labels) if until is None else until - self.events[0].ms
        return self.labels.count(LABELS.index(label), max(low, 0), max(high, 0))

    def count_head(self, i: int) -> None:
        """Main content plays at an event, or began to."""
        self.counted_heads.append(i)
        if self.first_at is None and self.heads[i] is not None:
            self.first_at = i

    def is_borne_out(self, i: int, length: int) -> bool:
        was, head = self.heads[i - 1], self.heads[i]
        if was is None or head is None or not self.session.is_recorded(i):
            return False
        ahead = (head - was) / self.speed.rate - length / 1000
        return -tolerance_s(length) <= ahead <= 2

    def count_content(self, i: int, since: int, until: int) -> None:
        was, head = self.heads[i - 1], self.heads[i]
        if not self.session.is_recorded(i) or was is None or head is None:
            self.freeze = None
            self.paint(since, until, "content")
            self.played.look(i)
            self.speed.begin(i)
            return
        if head == was:
            self.count_freeze(i, since, until)
            return
        ends_freeze = self.freeze is not None and self.freeze.is_decided
        self.freeze = None
        is_fast = self.look_at_speed(i)
        is_slip = self.played.passes_over(i, plays=True)
        self.played.look(i, is_fast=is_fast)
        if is_slip:
            self.speed.begin(i)
        self.rates[i] = self.speed.rate
        self.count_move(i, since, until, head - was, ends_freeze=ends_freeze)

    def look_at_speed(self, i: int) -> bool:
        """Look whether the speed is another one; return whether it is fast forward."""
        found, seen = self.speed.look(i)
        if found == "steady":
            before = [one for one in seen[:-3] if one.at in self.played.jumps]
            for one in (*before, *seen[-3:-1]):
                self.played.turn_into_play(one.at)
                for since, until in self.cut.pop(one.at, []):
                    self.paint(since, until, "content")
        if found == "fast":
            self.played.turn_into_one_seek(*(one.at for one in seen[:2]))
        return found in ("fast", "faster")

    def count_move(self, i: int, since: int, until: int, moved: float, *, ends_freeze: bool) -> None:
        """How much of an interval in which the playhead moved was content."""
        was, head, rate = self.heads[i - 1], self.heads[i], self.speed.rate
        assert was is not None
        assert head is not None
        length, end = until - since, self.session.end_at(i)
        is_borne_out = moved < 0 or moved / rate >= length / 1000 - tolerance_s(length)
        if ends_freeze and moved > 0 and not is_borne_out:
            self.ended_freezes.add(i)
            self.paint(since, until - round(moved * 1000 / rate), "stall")
            self.paint(until - round(moved * 1000 / rate), until, "content")
            self.speed.begin(i)
            return
        if end is not None and was < end - 1 <= head and not ends_freeze:
            reached = round((min(head, end) - was) * 1000 / rate)
            if length - reached > 2000:
                self.paint(since, since + reached, "content")
                self.paint(since + reached, until, "idle")
                self.speed.begin(i)
                return
        self.paint(since, until, "content")
        if length >= SILENT_MS and not is_borne_out:
            played = since + round(moved * 1000 / rate)
            self.paint(played, until, "gap")
            self.cut[i] = [(played, until)]

    def count_freeze(self, i: int, since: int, until: int) -> None:
        """The playhead did not move, while main content should play."""
        is_explained = self.is_freeze_explained(i)
        self.look_at_speed(i)
        self.played.look(i)
        if is_explained:
            self.freeze = None
            self.paint(since, until, "idle")
            self.speed.begin(i)
            return
        label = "stall" if self.played.ranges else "gap" if self.names_length(i) else "content"
        if until - since >= SILENT_MS and label != "content":
            self.paint(since, until, "gap")
            self.cut[i] = [(since, until)]
        else:
            self.paint(since, until, "content")
        self.observe_freeze(i, label)
        if self.freeze is not None and self.freeze.is_decided and label != "content":
            self.speed.begin(i)

    def names_length(self, i: int) -> bool:
        return self.session.end_at(i) is not None and self.session.params.get("media.streamType") != "audio"

    def observe_freeze(self, i: int, label: str) -> None:
        run = self.freeze
        if run is None:
            run = self.freeze = Run([i - 1], label=label)
        if self.events[i].ms - self.events[run.bases[-1]].ms >= 500:
            run.bases.append(i)
            run.seen.append(i)
        if run.is_decided or run.overrules(self.session):
            since = self.events[run.bases[0]].ms
            self.paint(since, self.events[i].ms, run.label)
            if not run.is_decided:
                run.is_decided = True
                if run.label == "stall":
                    self.stalls += 1
                    self.freeze_began_in(run.bases[0])
                else:
                    self.unmoved.append((since, since, run.label))
            if run.label != "stall":
                self.unmoved[-1] = (since, self.events[i].ms, run.label)

    def freeze_began_in(self, i: int) -> None:
        """The playhead stopped in the interval up to an event: what is not borne out of it was a stall already."""
        if i == 0 or self.claimed[i] != "content" or i in self.borders or self.session.begins_at(i):
            return
        was, head, rate = self.heads[i - 1], self.heads[i], self.rates[i]
        if was is None or head is None or head <= was or i in self.ended_freezes:
            return
        length = self.session.length_ms(i)
        if (head - was) / rate < length / 1000 - tolerance_s(length):
            rest = length - round((head - was) * 1000 / rate)
            self.cut.pop(i, None)
            self.paint(self.events[i].ms - rest, self.events[i].ms, "stall")

    def is_freeze_explained(self, i: int) -> bool:
        """The playhead is at the end, where an error came, or at 0 since the player was torn down."""
        head, end = self.heads[i], self.session.end_at(i)
        assert head is not None
        if end is not None and head >= end - 1:
            return True
        error = next((k for k in range(i - 1, -1, -1) if self.events[k].name in ("error", "play")), None)
        if error is not None and self.events[error].name == "error" and self.heads[error] == head:
            return True
        return head == 0 and any(other for other in self.heads[:i] if other is not None)


def tolerance_s(ms: float) -> float:
    """Return 2 s, or a twentieth of the time, whichever is more."""
    return max(2.0, ms / 20_000)
