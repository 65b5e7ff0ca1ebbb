"""A session as its player told it: the events that count, in order, and what held after each of them."""

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
class Told:
    """One event as a player told it; `ms` is the time that it is ordered by."""

    name: str
    ms: int
    received_ms: int
    offset: int
    playhead_s: float
    params: dict[str, Any] = field(default_factory=dict)
    qoe: dict[str, Any] = field(default_factory=dict)
    is_repeat: bool = False
    is_over_limit: bool = False

    def quality(self, name: str) -> list[Any]:
        """Return what the event says of a quality, what is believed most at the end."""
        return [self.params.get(f"media.qoe.{name}"), self.qoe.get(f"media.qoe.{name}", self.qoe.get(name))]


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
    """One session, told in any order: what counts of it, and what each event left behind."""

    def __init__(self, told: list[Told], *, length_ms: int, is_downloaded: bool) -> None:
        within = [event for event in told if not event.is_over_limit]
        self.over_limit = len(told) - len(within)
        heard = [event for event in within if not self.is_false_end(event, within)]
        self.ignored = len(within) - len(heard)
        self.all: list[Told] = sorted(heard, key=lambda event: (event.ms, PLACE[event.name], event.offset))
        fresh = [event for event in self.all if not event.is_repeat]
        self.start = next((event for event in fresh if event.name == "sessionStart"), None)
        self.end = next((event for event in fresh if event.name == "sessionEnd"), None)
        at_start = fresh.index(self.start) if self.start else -1
        at_end = fresh.index(self.end) if self.end else len(fresh)
        self.begins = self.start is not None and at_start < at_end
        self.start_ms = self.start.ms if self.start and self.begins else self.all[0].ms
        self.events: list[Told] = [
            event
            for index, event in enumerate(fresh)
            if index <= at_end
            and event.ms <= length_ms + (self.start_ms if self.begins and index >= at_start else self.all[0].ms)
        ]
        self.after_end = len(fresh) - len(self.events)
        self.params: dict[str, Any] = self.start.params if self.start else {}
        self.is_downloaded: bool = self.params.get("media.downloaded") is True or is_downloaded
        self.is_live: bool = str(self.params.get("media.contentType")).lower() in ("live", "linear")
        length_s = positive(self.params.get("media.length"))
        self.end_s = None if self.is_live else length_s
        self.heads = [event.playhead_s if 0 <= event.playhead_s < 1e13 else None for event in self.events]

    @staticmethod
    def is_false_end(end: Told, told: list[Told]) -> bool:
        """It would end the session more than five minutes before what had been heard of it by then."""
        return (end.name == "sessionEnd" and not end.is_repeat) and any(
            event.name != "sessionEnd"
            and not event.is_repeat
            and event.received_ms <= end.received_ms
            and event.ms - end.ms > 5 * 60 * 1000
            for event in told
        )

    # ---- looking back from the event with index `i`: what holds from it on

    def in_break(self, i: int) -> bool:
        for event in reversed(self.events[: i + 1]):
            if event.name in ("adBreakStart", "adBreakComplete"):
                return event.name == "adBreakStart"
        return False

    def break_start(self, i: int) -> Told:
        return next(event for event in reversed(self.events[: i + 1]) if event.name == "adBreakStart")

    def moves_ad(self, i: int) -> bool:
        """A move inside a break; but a pause at the very moment the break starts is main content's."""
        event = self.events[i]
        if event.name not in MOVES or not self.in_break(i):
            return False
        return event.name != "pauseStart" or event.ms != self.break_start(i).ms

    def moves_main(self, i: int) -> bool:
        return self.events[i].name in MOVES and not self.moves_ad(i)

    def main(self, i: int) -> str:
        for k in range(i, -1, -1):
            if self.events[k].name == "sessionComplete":
                return "idle"
            if self.moves_main(k):
                return MOVES[self.events[k].name]
        return "starting"

    def of_break(self, i: int) -> str:
        for k in range(i, -1, -1):
            if self.moves_ad(k):
                return MOVES[self.events[k].name]
            if self.events[k].name in ("adBreakStart", "adStart"):
                return "playing"
        raise AssertionError("asked outside of a break")

    def ad(self, i: int) -> Told | None:
        for event in reversed(self.events[: i + 1]):
            if event.name == "adStart":
                return event
            if event.name in ("adComplete", "adSkip", "adBreakStart", "adBreakComplete"):
                return None
        return None

    def doing(self, i: int) -> str:
        if self.in_break(i):
            player = self.of_break(i)
            if player == "playing":
                return "idle" if self.ad(i) is None else "ad"
            return {"paused": "ad-pause", "buffering": "ad-buffer"}[player]
        return {
            "starting": "join",
            "playing": "content",
            "paused": "pause",
            "buffering": "buffer",
            "idle": "idle",
        }[self.main(i)]

    def is_started(self, i: int) -> bool:
        return any(self.events[k].name == "play" and self.moves_main(k) for k in range(i + 1))

    def knows_start(self, i: int) -> bool:
        if self.start is None:
            return False
        passed = (self.start.ms, PLACE["sessionStart"], self.start.offset)
        return passed <= (self.events[i].ms, PLACE[self.events[i].name], self.events[i].offset)
