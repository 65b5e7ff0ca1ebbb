"""What of the content was played, where the playhead jumped, slipped, wrapped and was reset."""

from itertools import pairwise

from sessions.recount.report import Session
from sessions.recount.speed import Speed

DAY_S = 86_400.0


class Coverage:
    """The ranges of content that a session played, its jumps, seeks, slips and loops."""

    def __init__(self, session: Session, speed: Speed) -> None:
        self.session, self.speed = session, speed
        self.heads = session.heads
        self.ranges: list[tuple[float, float]] = []
        self.loops: dict[int, list[tuple[float, float]]] = {}
        self.due: list[float] = [0.0]
        self.is_looked_at: list[bool] = [False]
        self.found: set[int] = set()  # all jumps
        self.jumps: set[int] = set()  # those that are seeks, so far
        self.slips: dict[int, bool] = {}  # the event whose playhead was one: whether there had been a jump to it

    def begin(self) -> None:
        """Begin with the next interval, which may not be looked at."""
        self.due.append(0.0)
        self.is_looked_at.append(False)

    def allowed_s(self, i: int) -> float:
        seconds = self.session.length_ms(i) / 1000
        return max(1.0, self.speed.rate) * seconds + max(2.0, seconds / 20)

    def moved(self, i: int) -> tuple[float, bool]:
        """Return how far the playhead moved, and whether it wrapped at midnight."""
        was, head = self.heads[i - 1], self.heads[i]
        assert was is not None
        assert head is not None
        moved = head - was
        if not self.session.is_recorded(i) and moved < -DAY_S / 2:
            return moved + DAY_S, True
        return moved, False

    def is_jump(self, i: int, *, plays: bool) -> bool:
        """Return whether the playhead moved otherwise than it may, with main content playing or not."""
        moved, _ = self.moved(i)
        if plays:
            return not self.wraps(i) and not -2 <= moved <= self.allowed_s(i)
        seconds = self.session.length_ms(i) / 1000
        most = 2.0 if self.session.is_recorded(i) else seconds + max(2.0, seconds / 20)
        return not -2 <= moved <= most

    def passes_over(self, i: int, *, plays: bool) -> bool:
        """Return whether the event before was a slip: this one goes on from the one before that."""
        if i < 2 or not self.is_looked_at[i - 1]:
            return False
        anchor, between, head = self.heads[i - 2], self.heads[i - 1], self.heads[i]
        if anchor is None or head is None:
            return False
        if between is not None and (i - 1 not in self.jumps or not self.is_jump(i, plays=plays)):
            return False
        due = self.speed.rate * self.session.length_ms(i) / 1000 if plays else 0.0
        return abs(head - anchor - self.due[i - 1] - due) <= 2

    def wraps(self, i: int) -> bool:
        """Return whether recorded content passed its end and went on from 0."""
        was, head, end = self.heads[i - 1], self.heads[i], self.session.end_at(i)
        if end is None or was is None or head is None or head >= was:
            return False
        seconds = self.session.length_ms(i) / 1000
        return abs(head + end - was - self.speed.rate * seconds) <= max(2.0, seconds / 20)

    def note(self, i: int, *, plays: bool = True) -> None:
        """Note that an interval is one of main content, and what is due in it."""
        self.is_looked_at[i] = True
        self.due[i] = self.speed.rate * self.session.length_ms(i) / 1000 if plays else 0.0

    def look(self, i: int, *, plays: bool = True, is_fast: bool = False) -> None:
        """Look at an interval of main content: it plays, or is in a pause or in buffering."""
        is_slip = self.passes_over(i, plays=plays)
        self.note(i, plays=plays)
        was, head = self.heads[i - 1], self.heads[i]
        if was is None or head is None:
            if is_slip:
                self.pass_over(i)
            return
        moved, is_midnight = self.moved(i)
        if plays and self.wraps(i):
            end = self.session.end_at(i)
            assert end is not None
            self.loops[i] = [(was, end), (0.0, head)]
            self.add(*self.loops[i])
        elif self.is_jump(i, plays=plays):
            if is_fast:
                return
            self.found.add(i)
            if is_slip:
                self.pass_over(i)
            else:
                self.jumps.add(i)
        elif plays and moved > 0:
            self.add(*([(was, DAY_S), (0.0, head)] if is_midnight else [(was, head)]))

    def add(self, *ranges: tuple[float, float]) -> None:
        """Note what was played; of a range without a second nothing was."""
        self.ranges += [(low, high) for low, high in ranges if low < high]

    def pass_over(self, i: int) -> None:
        """The playhead of the event before was a slip."""
        self.slips[i - 1] = i - 1 in self.jumps
        self.jumps -= {i - 1}
        anchor, head = self.heads[i - 2], self.heads[i]
        assert anchor is not None
        assert head is not None
        if self.due[i - 1] + self.due[i] > 0 and head > anchor:
            self.add((anchor, head))

    # ---- what is found afterwards

    def turn_into_play(self, i: int) -> None:
        """A steady rate explains a jump: it was played."""
        was, head = self.heads[i - 1], self.heads[i]
        if i in self.jumps:
            self.jumps -= {i}
            if was is not None and head is not None and head > was:
                self.add((was, head))

    def turn_into_one_seek(self, first: int, second: int) -> None:
        self.jumps = (self.jumps - {first}) | {second}

    def forget_jumps(self, base: int, until: int) -> None:
        """In the run of an unsaid play no seek and no slip is looked for."""
        run = set(range(base + 1, until + 1))
        self.jumps -= run
        self.found -= run
        if self.slips.pop(base, False):
            self.jumps.add(base)
        for i in range(base + 1, until):
            self.slips.pop(i, None)

    def play(self, base: int, until: int) -> None:
        was, head = self.heads[base], self.heads[until]
        assert was is not None
        assert head is not None
        self.add((was, head))

    # ---- the end of it

    def reset_at(self) -> int | None:
        """Return the event from which on a torn down player said 0, if it did."""
        known = [i for i, head in enumerate(self.heads) if head is not None]
        zeros = len(known)
        while zeros and self.heads[known[zeros - 1]] == 0:
            zeros -= 1
        is_recorded = self.session.is_recorded(len(self.heads) - 1)
        return known[zeros] if is_recorded and 0 < zeros < len(known) else None

    def seeks(self) -> int:
        return len(self.jumps - {len(self.heads) - 1, self.reset_at()})

    def loops_at(self) -> list[int]:
        return [i for i in self.loops if i != self.reset_at()]

    def passes(self) -> list[tuple[float, float, int]]:
        """Cut what was played at every border, count for each piece the ranges that cover it, join equals."""
        borders = sorted({border for stretch in self.ranges for border in stretch})
        found: list[tuple[float, float, int]] = []
        for low, high in pairwise(borders):
            passes = sum(since <= low and high <= until for since, until in self.ranges)
            if self.session.end_s is not None:
                high = min(high, self.session.end_s)
            if not passes or low >= high:
                continue
            if found and found[-1][1:] == (low, passes):
                found[-1] = (found[-1][0], high, passes)
            else:
                found.append((low, high, passes))
        return found
