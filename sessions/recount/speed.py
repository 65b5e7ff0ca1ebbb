"""At what speed main content plays: named, or found from the playhead."""

import re
from dataclasses import dataclass

from sessions.recount.report import Session, speed_of

KEYS = ("media.playbackRate", "playbackRate")
NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?)x?")
STATE = re.compile(r"(?:playbackrate|speed)[ :=]?([0-9]+(?:\.[0-9]+)?)x?|([0-9]+(?:\.[0-9]+)?)x", re.IGNORECASE)


@dataclass(frozen=True)
class Observation:
    """How far the playhead moved from one event to another, at least 2 s later."""

    since: int
    at: int
    move_s: float
    seconds: float

    def fits(self, rate: float) -> bool:
        due = rate * self.seconds
        off = abs(self.move_s - due)
        return off <= 0.03 * due or (self.move_s == int(self.move_s) and off <= 1)


def named_in(session: Session, i: int) -> tuple[float | None, str | None]:
    """Return the speed that an event names, and the player state by which it does, if by one."""
    event = session.events[i]
    found: tuple[float | None, str | None] = (None, None)
    for name in event.states("statesStart"):
        speed = speed_of(name, pattern=STATE)
        found = (speed, name) if speed is not None else found
    for part, pattern in ((event.metadata, NUMBER), (event.params, None)):
        for key in KEYS:
            speed = speed_of(part.get(key), pattern=pattern)
            found = (speed, None) if speed is not None else found
    return found


class Speed:
    """The rate in force, and the observations that may change it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.steady = 1.0
        self.named: float | None = None
        self.named_last: float | None = None
        self.by_state: str | None = None
        self.base: int | None = None
        self.window: list[Observation] = []
        self.left: Observation | None = None  # the one that left the window last
        self.fast: float | None = None
        self.fast_ms = 0
        self.moves_s, self.steady_ms = 0.0, 0

    @property
    def rate(self) -> float:
        return self.steady if self.named is None else self.named

    def begin(self, i: int) -> None:
        """Begin again at an event."""
        self.window, self.fast, self.left = [], None, None
        self.base = i if self.session.heads[i] is not None else None

    def look(self, i: int) -> tuple[str, list[Observation]]:
        """Look at an event of reported main content, with the playhead known before and now.

        Returns what it found, and by which observations: "steady" or "fast" by three, "faster" by one more.
        """
        head = self.session.heads[i]
        assert self.base is not None
        assert head is not None
        ms = self.session.events[i].ms - self.session.events[self.base].ms
        if ms < 2000:
            return "", []
        was = self.session.heads[self.base]
        assert was is not None
        seen = Observation(self.base, i, head - was, ms / 1000)
        self.base = i
        if seen.move_s <= 0:
            self.window, self.fast = [], None
            return "", []
        if self.fast is not None:
            if seen.fits(self.fast):
                self.fast_ms += ms
                return "faster", [seen]
            self.fast = None
        if seen.fits(self.rate):
            self.window = []
            self.count([seen])
            return "", []
        return self.look_at_window(seen)

    def look_at_window(self, seen: Observation) -> tuple[str, list[Observation]]:
        if self.named is not None:
            return "", []
        self.window.append(seen)
        if len(self.window) < 3:
            return "", []
        three = self.window
        ratio = sum(one.move_s for one in three) / sum(one.seconds for one in three)
        if ratio < 0.2 or not all(one.fits(ratio) for one in three):
            self.left, self.window = three[0], three[1:]
            return "", []
        self.window = []
        if ratio > 2.06:
            self.fast = ratio
            self.fast_ms += round(sum(one.seconds for one in three) * 1000)
            return "fast", three
        low, self.steady = self.steady, 1.0 if abs(ratio - 1) <= 0.03 else round(ratio, 2)
        self.count(three)
        low, high = sorted((low, self.steady))
        left = self.left
        is_beside = left is not None and left.at == three[0].since
        if left is not None and is_beside and low * left.seconds - 2 <= left.move_s <= high * left.seconds + 2:
            return "steady", [left, *three]
        return "steady", three

    def count(self, seen: list[Observation]) -> None:
        self.moves_s += sum(one.move_s for one in seen)
        self.steady_ms += round(sum(one.seconds for one in seen) * 1000)

    def name(self, i: int) -> bool:
        """Take what an event names; return whether it changed anything."""
        session = self.session
        if self.by_state is not None and self.by_state in session.events[i].states("statesEnd"):
            self.named = self.by_state = None
            self.begin(i)
        speed, state = named_in(session, i)
        if speed is None:
            return False
        self.named, self.by_state, self.named_last = speed, state, speed
        self.begin(i)
        return True

    def of_session(self) -> float | None:
        """Return the speed of the session."""
        return round(self.moves_s * 1000 / self.steady_ms, 2) if self.steady_ms else self.named_last
