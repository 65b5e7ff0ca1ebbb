"""A session as its player reported it: the events that count, in order, and what held after each of them."""

import re
from dataclasses import dataclass, field
from typing import Any

ORDER = [
    ["sessionStart"],
    ["adComplete", "adSkip"],
    ["adBreakComplete"],
    ["chapterComplete", "chapterSkip"],
    ["stateEnd"],
    ["adBreakStart"],
    ["adStart"],
    ["chapterStart"],
    ["stateStart", "statesUpdate"],
    ["play", "pauseStart", "bufferStart"],
    ["bitrateChange", "error", "ping"],
    ["sessionComplete"],
    ["sessionEnd"],
]
PLACE = {name: place for place, group in enumerate(ORDER) for name in group}
STATES = ("fullscreen", "mute", "closedCaptioning", "pictureInPicture", "inFocus")
MOVES = {"play": "playing", "pauseStart": "paused", "bufferStart": "buffering"}


@dataclass(frozen=True)
class Report:
    """One event as a player reported it; `ms` is its timestamp, and then the time that orders it (`clocks.py`)."""

    name: str
    ms: int
    received_ms: int
    offset: int
    playhead_s: float
    params: dict[str, Any] = field(default_factory=dict)
    qoe: dict[str, Any] = field(default_factory=dict)
    is_repeat: bool = False
    is_over_limit: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)

    def quality(self, name: str) -> list[Any]:
        """Return what the event says of a quality, what is believed most at the end."""
        return [self.params.get(f"media.qoe.{name}"), self.qoe.get(f"media.qoe.{name}", self.qoe.get(name))]

    def states(self, key: str) -> list[str]:
        """Return the player states that the event starts ("statesStart") or ends ("statesEnd")."""
        said: list[Any] = []
        if self.name == ("stateStart" if key == "statesStart" else "stateEnd"):
            said = [self.params.get("media.state.name")]
        elif self.name == "statesUpdate" and isinstance(self.params.get(key), list):
            said = [entry.get("media.state.name") for entry in self.params[key] if isinstance(entry, dict)]
        return [name for name in map(state_name, said) if name is not None]


def speed_of(value: Any, *, pattern: re.Pattern[str] | None = None) -> float | None:
    """Return a speed that a player names: a number, or a text where there is a pattern for it."""
    if isinstance(value, str) and pattern is not None:
        found = pattern.fullmatch(value)
        value = next((float(part) for part in found.groups() if part), None) if found else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 < value <= 16 else None


def state_name(name: Any) -> str | None:
    """Return the one spelling of a player state's name."""
    if not isinstance(name, str):
        return None
    return next((known for known in STATES if known.lower() == name.lower()), name.lower())


def positive(value: Any) -> float | None:
    """Return a number above 0 that is not absurd, whatever a player sent."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 < value < 1 << 53 else None


class Session:
    """One session, in any order: what counts of it, and what each event left behind."""

    def __init__(self, reports: list[Report], *, length_ms: int, is_downloaded: bool) -> None:
        within = [event for event in reports if not event.is_over_limit]
        self.over_limit = len(reports) - len(within)
        heard = [event for event in within if not self.is_false_end(event, within)]
        self.ignored = len(within) - len(heard)
        self.all: list[Report] = sorted(heard, key=lambda event: (event.ms, PLACE[event.name], event.offset))
        fresh = [event for event in self.all if not event.is_repeat]
        self.start = next((event for event in fresh if event.name == "sessionStart"), None)
        self.end = next((event for event in fresh if event.name == "sessionEnd"), None)
        at_start = fresh.index(self.start) if self.start else -1
        at_end = fresh.index(self.end) if self.end else len(fresh)
        self.begins = self.start is not None and at_start < at_end
        first_ms = (fresh or self.all)[0].ms
        self.start_ms = self.start.ms if self.start and self.begins else first_ms
        self.events: list[Report] = [
            event
            for index, event in enumerate(fresh)
            if index <= at_end
            and event.ms <= length_ms + (self.start_ms if self.begins and index >= at_start else first_ms)
        ]
        self.after_end = len(fresh) - len(self.events)
        self.last_ms = fresh[-1].ms if fresh else self.all[-1].ms
        self.params: dict[str, Any] = self.start.params if self.start else {}
        self.is_downloaded: bool = self.params.get("media.downloaded") is True or is_downloaded
        self.is_live: bool = str(self.params.get("media.contentType")).lower() in ("live", "linear")
        length_s = positive(self.params.get("media.length"))
        self.end_s = None if self.is_live else length_s
        self.heads = [event.playhead_s if 0 <= event.playhead_s < 1e13 else None for event in self.events]

    @staticmethod
    def is_false_end(end: Report, reports: list[Report]) -> bool:
        """It would end the session more than five minutes before events that had arrived by then."""
        return (end.name == "sessionEnd" and not end.is_repeat) and any(
            event.name != "sessionEnd"
            and not event.is_repeat
            and event.received_ms <= end.received_ms
            and event.ms - end.ms > 5 * 60 * 1000
            for event in reports
        )

    # ---- what holds at the event with index `i`

    def knows_start(self, i: int) -> bool:
        if self.start is None:
            return False
        passed = (self.start.ms, PLACE["sessionStart"], self.start.offset)
        return passed <= (self.events[i].ms, PLACE[self.events[i].name], self.events[i].offset)

    def is_recorded(self, i: int) -> bool:
        """Not known to be live."""
        return not (self.is_live and self.knows_start(i))

    def end_at(self, i: int) -> float | None:
        """The end of recorded content, as far as it is known by then."""
        return self.end_s if self.knows_start(i) else None

    def begins_at(self, i: int) -> bool:
        """The interval up to this event has no length: it leads up to the sessionStart."""
        return self.begins and self.events[i] is self.start

    def length_ms(self, i: int) -> int:
        return 0 if self.begins_at(i) else self.events[i].ms - self.events[i - 1].ms
