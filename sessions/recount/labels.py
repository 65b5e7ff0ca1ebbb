"""A label for every millisecond of a session: what the player did in it."""

from sessions.recount.told import Session, positive

LABELS = ["join", "content", "ad", "pause", "buffer", "idle", "stall", "gap", "ad-pause", "ad-buffer"]
NOTHING = 255


class Labels:
    """What the player did in each millisecond of a session, and in the interval before each event."""

    def __init__(self, session: Session, *, gap_ms: int) -> None:
        self.session, self.gap_ms = session, gap_ms
        self.events, self.heads = session.events, session.heads
        self.label()
        self.find_stalls()

    def label(self) -> None:
        first, last = self.events[0].ms, self.events[-1].ms
        self.first = first
        self.labels = bytearray([NOTHING]) * (last - first)
        self.intervals: list[str] = [""]  # what the player did before the event with this index
        self.lengths = [0]
        for i in range(1, len(self.events)):
            before, event = self.events[i - 1], self.events[i]
            if event is self.session.start and self.session.begins:
                self.intervals.append(self.session.doing(i - 1))
                self.lengths.append(0)
                continue
            label, length = self.session.doing(i - 1), event.ms - before.ms
            if label in ("content", "ad") and length > self.gap_ms and not self.is_known(i, label, length):
                label = "gap"
            self.intervals.append(label)
            self.lengths.append(length)
            self.paint(before.ms, event.ms, label)

    def paint(self, since: int, until: int, label: str) -> None:
        size = until - since
        self.labels[since - self.first : until - self.first] = bytes([LABELS.index(label)]) * size

    def is_known(self, i: int, label: str, length: int) -> bool:
        if label == "ad":
            ad = self.session.ad(i - 1)
            assert ad is not None
            return length <= self.gap_ms + (positive(ad.params.get("media.ad.length")) or 0) * 1000
        was, head = self.heads[i - 1], self.heads[i]
        if was is None or head is None or (self.session.is_live and self.session.knows_start(i)):
            return False
        missing = length - (head - was) * 1000
        return -2000 <= missing <= max(2000, length / 20)

    def count(self, label: str, since: int | None = None, until: int | None = None) -> int:
        low = 0 if since is None else since - self.first
        high = len(self.labels) if until is None else until - self.first
        return self.labels.count(LABELS.index(label), low, high)

    # ---- stalls: the playhead stands while content should play

    def is_border(self, i: int) -> bool:
        """A chapter begins with this event, or one that is open ends."""
        if self.events[i].name == "chapterStart":
            return True
        if self.events[i].name not in ("chapterComplete", "chapterSkip"):
            return False
        for event in reversed(self.events[:i]):
            if event.name.startswith("chapter"):
                return event.name == "chapterStart"
        return False

    def stands(self, i: int) -> bool:
        """The playhead stood since the event before; nothing is known of the time up to the sessionStart."""
        if self.events[i] is self.session.start and self.session.begins:
            return False
        return self.intervals[i] == "content" and self.heads[i] is not None and self.heads[i] == self.heads[i - 1]

    def find_stalls(self) -> None:
        self.stalls = 0
        i = 1
        while i < len(self.events):
            if not self.stands(i):
                i += 1
                continue
            stop = i
            while stop < len(self.events) and self.stands(stop):
                stop += 1
            self.look_at_standing(i - 1, stop - 1)
            i = stop

    def look_at_standing(self, since: int, until: int) -> None:
        """From the event `since` to the event `until` the playhead stood."""
        seen = [since]
        for i in range(since + 1, until + 1):
            if self.events[i].ms - self.events[seen[-1]].ms >= 500:
                seen.append(i)
            if len(seen) == 3:
                label = self.standing_is(i)
                self.stalls += label == "stall"
                self.paint(self.events[seen[0]].ms, self.events[i].ms, label)
                for k in range(i + 1, until + 1):
                    self.paint(self.events[k - 1].ms, self.events[k].ms, self.standing_is(k))
                return
            if self.is_border(i):
                seen = [i]

    def standing_is(self, i: int) -> str:
        head, end_s = self.heads[i], self.session.end_s
        assert head is not None
        return "idle" if end_s is not None and self.session.knows_start(i) and head >= end_s else "stall"
