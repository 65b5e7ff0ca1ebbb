"""Every number of a session, counted from its labels and from the whole list of its events."""

import re
from collections.abc import Iterable
from typing import Any

from sessions.recount.claims import Piece
from sessions.recount.clocks import dated
from sessions.recount.content import LABELS, NOTHING
from sessions.recount.labels import Labels
from sessions.recount.report import Report, Session, positive

SEEK_MS = 2_000
RANGES_MAX = 256
# Of equal labels: one byte is a millisecond, and a session of hours has ten million.
RUN = re.compile(b"|".join(re.escape(bytes([label])) + b"+" for label in (*range(len(LABELS)), NOTHING)))
DURATIONS = frozenset(("startup_s", "join_s", "gap_s", "idle_s", "fast_forward_s", "ad_time_outside_breaks_s"))
DURATIONS |= {f"{name}_time_s" for name in ("content", "ad", "media", "pause", "buffer", "rebuffer", "stall")}
DURATIONS |= {"seek_buffer_time_s"}
DOING = {
    "join": "joining",
    "content": "playing",
    "ad": "ad",
    "pause": "paused",
    "buffer": "buffering",
    "idle": "idle",
    "stall": "stalled",
    "gap": "unknown",
    "ad-pause": "ad_paused",
    "ad-buffer": "ad_buffering",
    "outside": "ad_outside",
}


def joined(spans: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Return spans with neighbours of one kind as one."""
    found: list[tuple[str, int, int]] = []
    for doing, since, until in spans:
        if found and found[-1][0] == doing and found[-1][2] == since:
            found[-1] = (doing, found[-1][1], until)
        else:
            found.append((doing, since, until))
    return found


class Recount:
    """One session, its reports in any order. `numbers()` has what the fold's facts must equal."""

    def __init__(self, reports: list[Report], *, length_ms: int, is_downloaded: bool = False) -> None:
        self.session = Session(dated(reports), length_ms=length_ms, is_downloaded=is_downloaded)
        self.labels = Labels(self.session)
        self.played, self.claims = self.labels.played, self.labels.claims
        self.events = self.session.events
        self.names = [event.name for event in self.events]

    # ---- lists

    def pieces(self, pieces: list[Piece], label: str | None) -> list[tuple[int, str]]:
        """Return (time, outcome) of ads, breaks or chapters: the time of a label, or by the clock."""
        found = []
        for piece in pieces:
            until = self.events[-1].ms if piece.until_ms is None else piece.until_ms
            time = until - piece.since_ms
            if label is not None:
                time = self.labels.sum_ms("outside" if piece.is_outside else label, piece.since_ms, until)
            found.append((time + (piece.kept_ms if self.played.ranges else 0), piece.outcome))
        return found

    def states(self) -> dict[str, tuple[int, int]]:
        changes = [
            (event.ms, name, key == "statesStart")
            for event in self.events
            for key in ("statesEnd", "statesStart")
            for name in event.states(key)
        ]
        result = {}
        for name in list(dict.fromkeys(name for _, name, _ in changes))[:10]:
            starts, total, since = 0, 0, None
            for ms, other, begins in [*changes, (self.events[-1].ms, name, False)]:
                if other != name or begins == (since is not None):
                    continue
                if since is None:
                    starts, since = starts + 1, ms
                else:
                    total, since = total + ms - since, None
            result[name] = (starts, total)
        return result

    def average_bitrate(self) -> float | None:
        marks = [
            (event.ms, bitrate)
            for event in self.events
            for said in event.quality("bitrate")
            if (bitrate := positive(said))
        ]
        weight, total = 0, 0.0
        for i, (since, bitrate) in enumerate(marks):
            until = marks[i + 1][0] if i + 1 < len(marks) else self.events[-1].ms
            played = self.labels.sum_ms("content", since, until)
            weight, total = weight + played, total + played * bitrate
        return total / weight if weight else None

    def spans(self) -> list[tuple[str, int, int]]:
        """Return what the session did, from when to when, whatever the playhead."""
        found: list[tuple[str, int, int]] = []
        at = self.events[0].ms + self.clock_offset()
        for run in RUN.finditer(self.labels.labels):
            label = self.labels.labels[run.start()]
            if label != NOTHING:
                found.append((DOING[LABELS[label]], at + run.start(), at + run.end()))
        return found

    # ---- counts

    def last_dropped(self) -> int | None:
        found: int | None = None
        for event in self.events:
            for dropped in event.quality("droppedFrames"):
                if dropped == 0 or positive(dropped):
                    found = int(dropped or 0)
        return found

    def is_failed(self) -> bool:
        errors = [i for i, event in enumerate(self.events) if event.name == "error"]
        later = {event.name for event in self.events[errors[-1] :]} if errors else set()
        return bool(errors) and "play" not in later and self.place(errors[-1]) == self.place(len(self.events) - 1)

    def place(self, i: int) -> float | None:
        """Return the playhead of an event; where a player was torn down, the one before that."""
        reset = self.played.reset_at()
        head = self.session.heads[i]
        if reset is None or i < reset or head is None:
            return head
        return next(other for other in reversed(self.session.heads[:reset]) if other is not None)

    def clock_offset(self) -> int:
        arrivals = [event.received_ms for event in self.session.all]
        span = self.session.last_ms - self.session.all[0].ms
        least = min(event.received_ms - event.ms for event in self.session.all)
        is_late = span >= 10_000 and (max(arrivals) - min(arrivals)) * 2 < span
        return min(0, least) if is_late or self.session.is_downloaded else least

    def last_moved(self) -> int:
        moved = [self.session.all[0].received_ms]
        for i, event in enumerate(self.events):
            if self.session.heads[i] != (self.session.heads[i - 1] if i else None):
                moved.append(event.received_ms)
        return max(moved)

    def progress(self) -> int | None:
        if self.session.end_s is None:
            return None
        heads = [self.session.heads[i] for i in self.labels.counted_heads if i not in self.played.slips]
        passed = [
            pct
            for pct in (10, 25, 50, 75, 95)
            for head in heads
            if head is not None and head * 100 >= pct * self.session.end_s
        ]
        return max(passed, default=0)

    def clipped(self, head: float | None) -> float | None:
        return min(head, self.session.end_s) if head is not None and self.session.end_s is not None else head

    def seek_buffers(self) -> tuple[int, int]:
        """Return how many bufferings followed a jump or contain one, and how long they were."""
        count, total, begun = 0, 0, set(self.claims.rebuffers)
        for i in self.claims.rebuffers:
            ends = (k for k in range(i + 1, len(self.events)) if self.claims.mains[k] != "buffering" or k in begun)
            stop = next(ends, None)
            last = len(self.events) - 1 if stop is None else stop
            since = self.events[i].ms
            near = [k for k in self.played.found if k <= last and self.events[k].ms >= since - SEEK_MS]
            if near:
                count += 1
                total += self.labels.sum_ms("buffer", since, self.events[last].ms)
        return count, total

    # ---- all of them

    def numbers(self) -> dict[str, Any]:
        """Return all numbers by the names of the facts; durations in milliseconds."""
        return {
            **self.reported_numbers(),
            **self.durations(),
            **self.counts(),
            **self.playhead_numbers(),
            **self.list_numbers(),
        }

    def reported_numbers(self) -> dict[str, Any]:
        """Return what the telling itself says: which events count, when they came."""
        session, names, offset = self.session, self.names, self.clock_offset()
        arrivals = [event.received_ms for event in session.all]
        delays = [event.received_ms - event.ms for event in session.all]
        return {
            "events": len(names),
            "repeats": len(session.all) - len(names) - session.after_end,
            "events_after_end": session.after_end,
            "events_ignored": session.ignored,
            "events_over_limit": session.over_limit,
            "has_start": session.start is not None,
            "is_completed": "sessionComplete" in names,
            "is_failed": self.is_failed() and "sessionComplete" not in names,
            "started_ms": session.start_ms + offset,
            "ended_ms": self.events[-1].ms + offset,
            "end_ms": session.end.ms if session.end else None,
            "last_event_ms": session.last_ms,
            "clock_offset_ms": offset,
            "clock_spread_ms": max(delays) - min(delays),
            "first_received_ms": min(arrivals),
            "last_received_ms": max(arrivals),
            "last_moved_received_ms": self.last_moved(),
        }

    def startup(self) -> int | None:
        """Return how long main content took to start; None if no event tells it."""
        first_ms = self.claims.started_ms
        if first_ms is None or self.labels.is_startup_unknown or self.labels.is_start_unsaid:
            return None
        return self.labels.sum_ms("join", None, first_ms) + self.labels.sum_ms("buffer", None, first_ms)

    def durations(self) -> dict[str, Any]:
        """Return how long each was that the player did."""
        count, first_ms = self.labels.sum_ms, self.claims.started_ms
        return {
            "startup_s": self.startup(),
            "join_s": count("join"),
            "content_time_s": count("content"),
            "ad_time_s": count("ad"),
            "ad_time_outside_breaks_s": count("outside"),
            "media_time_s": count("content") + count("ad") + count("outside"),
            "pause_time_s": count("pause") + count("ad-pause"),
            "buffer_time_s": count("buffer") + count("ad-buffer"),
            "rebuffer_time_s": 0 if first_ms is None else count("buffer", first_ms),
            "seek_buffer_time_s": self.seek_buffers()[1],
            "stall_time_s": count("stall"),
            "gap_s": count("gap"),
            "idle_s": count("idle"),
            "fast_forward_s": self.labels.speed.fast_ms,
        }

    def counts(self) -> dict[str, Any]:
        """Return how often each happened."""
        begun = self.claims.started_at
        return {
            "is_started": begun is not None,
            "pauses": len(self.claims.pauses),
            "buffers": len(self.claims.buffers),
            "rebuffers": len(self.claims.rebuffers),
            "seek_buffers": self.seek_buffers()[0],
            "stalls": self.labels.stalls,
            "seeks": self.played.seeks(),
            "loops": len(self.played.loops_at()),
            "errors": self.names.count("error"),
            "errors_before_start": self.names[: len(self.names) if begun is None else begun].count("error"),
            "bitrate_changes": self.names.count("bitrateChange"),
            "average_bitrate_bps": self.average_bitrate(),
            "dropped_frames": self.last_dropped(),
            "playback_rate": self.labels.speed.of_session(),
        }

    def playhead_numbers(self) -> dict[str, Any]:
        """Return what the playhead says of the content."""
        reset, heads = self.played.reset_at(), self.session.heads
        known = [head for head in heads[:reset] if head is not None]
        first_at = self.labels.first_at
        found = {
            "progress_pct": self.progress(),
            "first_playhead_s": self.clipped(None if first_at is None else heads[first_at]),
            "last_playhead_s": self.clipped(known[-1] if known else None),
        }
        if len(self.played.ranges) > RANGES_MAX:  # the fold may have joined some
            return found
        passes = self.played.passes()
        unique_s = sum(high - low for low, high, _ in passes)
        return {**found, "unique_played_s": unique_s, "played_error_s": 0, "played_intervals": passes}

    def list_numbers(self) -> dict[str, Any]:
        """Return ads, breaks, chapters, player states and spans, and their counts."""
        claims, states = self.claims, self.states()
        inside = [ad.outcome for ad in claims.ads if not ad.is_outside]
        return {
            "ads_started": len(inside),
            "ads_completed": inside.count("completed"),
            "ads_skipped": inside.count("skipped"),
            "ads_aborted": inside.count("aborted"),
            "ads_outside_break": len(claims.ads) - len(inside),
            "ad_breaks": len(claims.breaks),
            "ad_breaks_completed": [piece.outcome for piece in claims.breaks].count("completed"),
            "chapters_started": len(claims.chapters),
            "chapters_completed": [piece.outcome for piece in claims.chapters].count("completed"),
            "states": len(states),
            "ads": self.pieces(claims.ads, "ad"),
            "breaks": self.pieces(claims.breaks, None),
            "chapters": self.pieces(claims.chapters, "content"),
            "player_states": states,
            "spans": self.spans(),
        }
