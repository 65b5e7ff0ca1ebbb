"""The numbers of a session the slow way: label every millisecond, then ask the whole session.

Nothing here shares code or tables with the fold, on purpose: `playhead verify --metrics` and the tests hold the
two against each other. The fold carries a state from event to event; this looks at the whole list of events, again
for each question: what the player did in a millisecond is found by looking back for the last event that decides
it, durations are counted millisecond by millisecond, and a second of content was played as often as there are
stretches that cover it.
"""

from dataclasses import dataclass, field
from itertools import pairwise
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
MOVES = {"play": "playing", "pauseStart": "paused", "bufferStart": "buffering"}
LABELS = ["join", "content", "ad", "pause", "buffer", "idle", "stall", "gap", "ad-pause", "ad-buffer"]
NOTHING = 255
DAY_S = 86_400.0


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


def positive(value: Any) -> float | None:
    """Return a number above 0 that is not absurd, whatever a player sent."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 < value < 1 << 53 else None


class Recount:
    """One session, told in any order. `numbers()` has what the fold's facts must equal."""

    def __init__(self, told: list[Told], *, gap_ms: int, length_ms: int, is_downloaded: bool = False) -> None:
        within = [event for event in told if not event.is_over_limit]
        self.over_limit = len(told) - len(within)
        heard = [event for event in within if not self.is_false_end(event, within)]
        self.ignored = len(within) - len(heard)
        self.all: list[Told] = sorted(heard, key=lambda event: (event.ms, PLACE[event.name], event.offset))
        self.gap_ms = gap_ms
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
        self.label()
        self.find_stalls()
        self.follow_playhead()

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

    # ---- every millisecond gets a label

    def label(self) -> None:
        first, last = self.events[0].ms, self.events[-1].ms
        self.first = first
        self.labels = bytearray([NOTHING]) * (last - first)
        self.intervals: list[str] = [""]  # what the player did before the event with this index
        self.lengths = [0]
        for i in range(1, len(self.events)):
            before, event = self.events[i - 1], self.events[i]
            if event is self.start and self.begins:
                self.intervals.append(self.doing(i - 1))
                self.lengths.append(0)
                continue
            label, length = self.doing(i - 1), event.ms - before.ms
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
            ad = self.ad(i - 1)
            assert ad is not None
            return length <= self.gap_ms + (positive(ad.params.get("media.ad.length")) or 0) * 1000
        was, head = self.heads[i - 1], self.heads[i]
        if was is None or head is None or (self.is_live and self.knows_start(i)):
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
        if self.events[i] is self.start and self.begins:
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
        head = self.heads[i]
        assert head is not None
        return "idle" if self.end_s is not None and self.knows_start(i) and head >= self.end_s else "stall"

    # ---- what was played, what was jumped

    def follow_playhead(self) -> None:
        self.played: list[tuple[float, float]] = []
        sought: list[bool] = [False]
        blank: list[bool] = [False]  # an unknown playhead after a known one
        self.slips: set[int] = set()
        advances: list[float] = [0.0]
        for i in range(1, len(self.events)):
            sought.append(False)
            label = self.intervals[i]
            passed = self.lengths[i] / 1000
            advances.append(passed if label == "content" else 0.0)
            was, head = self.heads[i - 1], self.heads[i]
            blank.append(False)
            if label not in ("content", "pause", "buffer"):
                continue
            if label != "content" and not self.is_started(i - 1):
                continue
            if was is None or head is None:
                blank[i] = head is None and was is not None
                if blank[i - 1] and head is not None:
                    self.passes_over(i, advances)
                continue
            live = self.is_live and self.knows_start(i)
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
            if self.end_s is not None:
                high = min(high, self.end_s)
            if not passes or low >= high:
                continue
            if found and found[-1][1:] == (low, passes):
                found[-1] = (found[-1][0], high, passes)
            else:
                found.append((low, high, passes))
        return found

    # ---- lists

    def pieces(self, starts: str, ends: dict[str, str], *, in_break: bool) -> list[tuple[int, int, str]]:
        """Return (index of the start, index of the end, outcome) of ads, breaks or chapters."""
        found = []
        for i, event in enumerate(self.events):
            if event.name != starts or (in_break and not self.in_break(i)):
                continue
            last = len(self.events) - 1
            stop = next((k for k in range(i + 1, last + 1) if self.events[k].name in ends), None)
            found.append((i, last, "open") if stop is None else (i, stop, ends[self.events[stop].name]))
        return found

    def ads(self) -> list[tuple[int, str]]:
        ends = {"adComplete": "completed", "adSkip": "skipped"}
        ends |= dict.fromkeys(("adStart", "adBreakStart", "adBreakComplete", "sessionEnd"), "aborted")
        return [
            (self.count("ad", self.events[i].ms, self.events[k].ms), outcome)
            for i, k, outcome in self.pieces("adStart", ends, in_break=True)
        ]

    def breaks(self) -> list[tuple[int, str]]:
        ends = {"adBreakComplete": "completed", "adBreakStart": "aborted", "sessionEnd": "aborted"}
        return [
            (self.events[k].ms - self.events[i].ms, outcome)
            for i, k, outcome in self.pieces("adBreakStart", ends, in_break=False)
        ]

    def chapters(self) -> list[tuple[int, str]]:
        ends = {"chapterComplete": "completed", "chapterSkip": "skipped"}
        ends |= {"chapterStart": "aborted", "sessionEnd": "aborted"}
        return [
            (self.count("content", self.events[i].ms, self.events[k].ms), outcome)
            for i, k, outcome in self.pieces("chapterStart", ends, in_break=False)
        ]

    def states(self) -> dict[str, tuple[int, int]]:
        changes: list[tuple[int, Any, bool]] = []
        for event in self.events:
            if event.name in ("stateStart", "stateEnd"):
                changes.append((event.ms, event.params.get("media.state.name"), event.name == "stateStart"))
            for key, on in (("statesEnd", False), ("statesStart", True)):
                for entry in event.params.get(key) or [] if event.name == "statesUpdate" else []:
                    changes.append((event.ms, entry.get("media.state.name"), on))
        changes = [change for change in changes if isinstance(change[1], str)]
        names = list(dict.fromkeys(name for _, name, _ in changes))[:10]
        result = {}
        for name in names:
            lit = bytearray(len(self.labels))
            starts, since = 0, None
            for ms, other, begins in [*changes, (self.events[-1].ms, name, False)]:
                if other != name or begins == (since is not None):
                    continue
                if begins:
                    starts, since = starts + 1, ms
                elif since is not None:
                    lit[since - self.first : ms - self.first] = bytes([1]) * (ms - since)
                    since = None
            result[name] = (starts, lit.count(1))
        return result

    def average_bitrate(self) -> float | None:
        marks = [
            (event.ms, bitrate)
            for event in self.events
            if (bitrate := positive(event.qoe.get("media.qoe.bitrate")))
        ]
        weight, total = 0, 0.0
        for i, (since, bitrate) in enumerate(marks):
            until = marks[i + 1][0] if i + 1 < len(marks) else self.events[-1].ms
            played = self.count("content", since, until)
            weight, total = weight + played, total + played * bitrate
        return total / weight if weight else None

    # ---- counts

    def begun(self, move: str) -> list[int]:
        """Return the indexes of the events with which the player began to be paused, or to buffer."""
        found = []
        for i, event in enumerate(self.events):
            if MOVES.get(event.name) != move:
                continue
            was = "starting" if i == 0 else self.of_break(i - 1) if self.moves_ad(i) else self.main(i - 1)
            if was != move:
                found.append(i)
        return found

    def main_heads(self, *, but: set[int] | None = None) -> list[float]:
        found = []
        for i in range(len(self.events)):
            begins = self.events[i].name == "play" and self.moves_main(i)
            plays = i > 0 and self.doing(i - 1) == "content"
            head = self.heads[i]
            if head is not None and (begins or plays) and i not in (but or ()):
                found.append(head)
        return found

    def last_dropped(self) -> int | None:
        found: int | None = None
        for event in self.events:
            dropped = event.qoe.get("media.qoe.droppedFrames")
            if dropped == 0 or positive(dropped):
                found = int(dropped or 0)
        return found

    def is_failed(self) -> bool:
        errors = [i for i, event in enumerate(self.events) if event.name == "error"]
        later = {event.name for event in self.events[errors[-1] :]} if errors else set()
        return bool(errors) and "play" not in later and self.heads[errors[-1]] == self.heads[-1]

    def clock_offset(self) -> int:
        arrivals = [event.received_ms for event in self.all]
        span = self.all[-1].ms - self.all[0].ms
        if self.is_downloaded or (span >= 10_000 and (max(arrivals) - min(arrivals)) * 2 < span):
            return 0
        return min(event.received_ms - event.ms for event in self.all)

    def last_moved(self) -> int:
        moved = [self.all[0].received_ms]
        for i, event in enumerate(self.events):
            if self.heads[i] != (self.heads[i - 1] if i else None):
                moved.append(event.received_ms)
        return max(moved)

    def progress(self) -> int | None:
        if self.end_s is None:
            return None
        heads = self.main_heads(but=self.slips)
        passed = [pct for pct in (10, 25, 50, 75, 95) for head in heads if head * 100 >= pct * self.end_s]
        return max(passed, default=0)

    def clipped(self, head: float | None) -> float | None:
        return min(head, self.end_s) if head is not None and self.end_s is not None else head

    def numbers(self) -> dict[str, Any]:
        """Return all numbers by the names of the facts; durations in milliseconds."""
        names = [event.name for event in self.events]
        main_plays = [i for i, name in enumerate(names) if name == "play" and self.moves_main(i)]
        begun = main_plays[0] if main_plays else len(names)
        first_ms = self.events[begun].ms if main_plays else self.events[-1].ms
        early = self.count("join", None, first_ms) + self.count("buffer", None, first_ms)
        buffers, known = self.begun("buffering"), [head for head in self.heads if head is not None]
        ads, chapters, passes, heads = self.ads(), self.chapters(), self.passes(), self.main_heads()
        outcomes = [outcome for _, outcome in ads]
        offset = self.clock_offset()
        delays = [event.received_ms - event.ms for event in self.all]
        states = self.states()
        return {
            "events": len(names),
            "repeats": len(self.all) - len(names) - self.after_end,
            "events_after_end": self.after_end,
            "events_ignored": self.ignored,
            "events_over_limit": self.over_limit,
            "has_start": self.start is not None,
            "is_started": bool(main_plays),
            "is_completed": "sessionComplete" in names,
            "is_failed": self.is_failed() and "sessionComplete" not in names,
            "started_ms": self.start_ms + offset,
            "ended_ms": self.events[-1].ms + offset,
            "end_ms": self.end.ms if self.end else None,
            "last_event_ms": self.all[-1].ms,
            "clock_offset_ms": offset,
            "clock_spread_ms": max(delays) - min(delays),
            "first_received_ms": min(event.received_ms for event in self.all),
            "last_received_ms": max(event.received_ms for event in self.all),
            "last_moved_received_ms": self.last_moved(),
            "startup_s": early if main_plays else None,
            "join_s": self.count("join"),
            "content_time_s": self.count("content"),
            "ad_time_s": self.count("ad"),
            "media_time_s": self.count("content") + self.count("ad"),
            "pause_time_s": self.count("pause") + self.count("ad-pause"),
            "buffer_time_s": self.count("buffer") + self.count("ad-buffer"),
            "rebuffer_time_s": self.count("buffer", first_ms) if main_plays else 0,
            "stall_time_s": self.count("stall"),
            "gap_s": self.count("gap"),
            "idle_s": self.count("idle"),
            "pauses": len(self.begun("paused")),
            "buffers": len(buffers),
            "rebuffers": sum(i > begun and not self.in_break(i) for i in buffers),
            "stalls": self.stalls,
            "seeks": self.seeks,
            "errors": names.count("error"),
            "errors_before_start": names[:begun].count("error"),
            "bitrate_changes": names.count("bitrateChange"),
            "average_bitrate_bps": self.average_bitrate(),
            "dropped_frames": self.last_dropped(),
            "ads_started": len(ads),
            "ads_completed": outcomes.count("completed"),
            "ads_skipped": outcomes.count("skipped"),
            "ads_aborted": outcomes.count("aborted"),
            "ads_outside_break": names.count("adStart") - len(ads),
            "ad_breaks": names.count("adBreakStart"),
            "ad_breaks_completed": [outcome for _, outcome in self.breaks()].count("completed"),
            "chapters_started": len(chapters),
            "chapters_completed": [outcome for _, outcome in chapters].count("completed"),
            "states": len(states),
            "progress_pct": self.progress(),
            "first_playhead_s": self.clipped(heads[0] if heads else None),
            "last_playhead_s": self.clipped(known[-1] if known else None),
            "unique_played_s": sum(high - low for low, high, _ in passes),
            "ads": ads,
            "breaks": self.breaks(),
            "chapters": chapters,
            "player_states": states,
            "played_intervals": passes,
        }
