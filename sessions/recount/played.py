"""What of the content was played, and where the playhead jumped."""

from itertools import pairwise

from sessions.recount.labels import Labels
from sessions.recount.told import Session

DAY_S = 86_400.0


class Played:
    """The stretches of content that a session played, its seeks, and the events whose playhead was a slip."""

    def __init__(self, session: Session, labels: Labels) -> None:
        self.session, self.labels = session, labels
        self.heads = session.heads
        self.follow_playhead()

    def follow_playhead(self) -> None:
        self.played: list[tuple[float, float]] = []
        sought: list[bool] = [False]
        blank: list[bool] = [False]  # an unknown playhead after a known one
        self.slips: set[int] = set()
        advances: list[float] = [0.0]
        for i in range(1, len(self.session.events)):
            sought.append(False)
            label = self.labels.intervals[i]
            passed = self.labels.lengths[i] / 1000
            advances.append(passed if label == "content" else 0.0)
            was, head = self.heads[i - 1], self.heads[i]
            blank.append(False)
            if label not in ("content", "pause", "buffer"):
                continue
            if label != "content" and not self.session.is_started(i - 1):
                continue
            if was is None or head is None:
                blank[i] = head is None and was is not None
                if blank[i - 1] and head is not None:
                    self.passes_over(i, advances)
                continue
            live = self.session.is_live and self.session.knows_start(i)
            moved = head - was
            wraps = live and moved < -DAY_S / 2
            if wraps:
                moved += DAY_S
            if label == "content" and 0 < moved <= passed + 2:
                self.played += [(was, DAY_S), (0.0, head)] if wraps else [(was, head)]
            if -2 <= moved <= (passed if live else advances[i]) + 2:
                continue
            if sought[i - 1] and self.passes_over(i, advances):
                sought[i - 1] = False
                continue
            sought[i] = True
        self.seeks = sum(sought[:-1])

    def passes_over(self, i: int, advances: list[float]) -> bool:
        """The playhead of event `i` fits that of two events before: the one between was a slip."""
        anchor, head, due = self.heads[i - 2], self.heads[i], advances[i - 1] + advances[i]
        assert anchor is not None
        assert head is not None
        if abs(head - anchor - due) > 2:
            return False
        self.slips.add(i - 1)
        if due and head > anchor:
            self.played.append((anchor, head))
        return True

    def passes(self) -> list[tuple[float, float, int]]:
        """Cut what was played at every border, count for each piece the stretches that cover it, join equals."""
        borders = sorted({border for stretch in self.played for border in stretch})
        found: list[tuple[float, float, int]] = []
        for low, high in pairwise(borders):
            passes = sum(since <= low and high <= until for since, until in self.played)
            if self.session.end_s is not None:
                high = min(high, self.session.end_s)
            if not passes or low >= high:
                continue
            if found and found[-1][1:] == (low, passes):
                found[-1] = (found[-1][0], high, passes)
            else:
                found.append((low, high, passes))
        return found
