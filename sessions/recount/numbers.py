"""Every number of a session, counted from its labels and from the whole list of its events."""

from typing import Any

from sessions.recount.labels import Labels
from sessions.recount.played import Played
from sessions.recount.told import MOVES, Session, Told, positive, state_name


class Recount:
    """One session, told in any order. `numbers()` has what the fold's facts must equal."""

    def __init__(self, told: list[Told], *, gap_ms: int, length_ms: int, is_downloaded: bool = False) -> None:
        self.session = Session(told, length_ms=length_ms, is_downloaded=is_downloaded)
        self.labels = Labels(self.session, gap_ms=gap_ms)
        self.played = Played(self.session, self.labels)
        self.events = self.session.events
        self.names = [event.name for event in self.events]
        # The index of the first play of main content.
        self.begins_at = next((i for i in range(len(self.events)) if self.is_main_play(i)), None)

    def is_main_play(self, i: int) -> bool:
        return self.names[i] == "play" and self.session.moves_main(i)

    # ---- lists

    def pieces(self, starts: str, ends: dict[str, str], *, in_break: bool) -> list[tuple[int, int, str]]:
        """Return (index of the start, index of the end, outcome) of ads, breaks or chapters."""
        found = []
        for i, event in enumerate(self.events):
            if event.name != starts or (in_break and not self.session.in_break(i)):
                continue
            last = len(self.events) - 1
            stop = next((k for k in range(i + 1, last + 1) if self.events[k].name in ends), None)
            found.append((i, last, "open") if stop is None else (i, stop, ends[self.events[stop].name]))
        return found

    def ads(self) -> list[tuple[int, str]]:
        ends = {"adComplete": "completed", "adSkip": "skipped"}
        ends |= dict.fromkeys(("adStart", "adBreakStart", "adBreakComplete", "sessionEnd"), "aborted")
        return [
            (self.labels.count("ad", self.events[i].ms, self.events[k].ms), outcome)
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
            (self.labels.count("content", self.events[i].ms, self.events[k].ms), outcome)
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
        changes = [(ms, name, on) for ms, said, on in changes if (name := state_name(said)) is not None]
        names = list(dict.fromkeys(name for _, name, _ in changes))[:10]
        result = {}
        for name in names:
            lit = bytearray(len(self.labels.labels))
            starts, since = 0, None
            for ms, other, begins in [*changes, (self.events[-1].ms, name, False)]:
                if other != name or begins == (since is not None):
                    continue
                if begins:
                    starts, since = starts + 1, ms
                elif since is not None:
                    lit[since - self.labels.first : ms - self.labels.first] = bytes([1]) * (ms - since)
                    since = None
            result[name] = (starts, lit.count(1))
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
            played = self.labels.count("content", since, until)
            weight, total = weight + played, total + played * bitrate
        return total / weight if weight else None

    # ---- counts

    def begun(self, move: str) -> list[int]:
        """Return the indexes of the events with which the player began to be paused, or to buffer."""
        found, session = [], self.session
        for i, event in enumerate(self.events):
            if MOVES.get(event.name) != move:
                continue
            was = "starting" if i == 0 else session.of_break(i - 1) if session.moves_ad(i) else session.main(i - 1)
            if was != move:
                found.append(i)
        return found

    def main_heads(self, *, but: set[int] | None = None) -> list[float]:
        found = []
        for i in range(len(self.events)):
            begins = self.events[i].name == "play" and self.session.moves_main(i)
            plays = i > 0 and self.session.doing(i - 1) == "content"
            head = self.session.heads[i]
            if head is not None and (begins or plays) and i not in (but or ()):
                found.append(head)
        return found

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
        return bool(errors) and "play" not in later and self.session.heads[errors[-1]] == self.session.heads[-1]

    def clock_offset(self) -> int:
        arrivals = [event.received_ms for event in self.session.all]
        span = self.session.all[-1].ms - self.session.all[0].ms
        if self.session.is_downloaded or (span >= 10_000 and (max(arrivals) - min(arrivals)) * 2 < span):
            return 0
        return min(event.received_ms - event.ms for event in self.session.all)

    def last_moved(self) -> int:
        moved = [self.session.all[0].received_ms]
        for i, event in enumerate(self.events):
            if self.session.heads[i] != (self.session.heads[i - 1] if i else None):
                moved.append(event.received_ms)
        return max(moved)

    def progress(self) -> int | None:
        if self.session.end_s is None:
            return None
        heads = self.main_heads(but=self.played.slips)
        passed = [pct for pct in (10, 25, 50, 75, 95) for head in heads if head * 100 >= pct * self.session.end_s]
        return max(passed, default=0)

    def clipped(self, head: float | None) -> float | None:
        return min(head, self.session.end_s) if head is not None and self.session.end_s is not None else head

    # ---- all of them

    def numbers(self) -> dict[str, Any]:
        """Return all numbers by the names of the facts; durations in milliseconds."""
        return {
            **self.told_numbers(),
            **self.durations(),
            **self.counts(),
            **self.playhead_numbers(),
            **self.list_numbers(),
        }

    def told_numbers(self) -> dict[str, Any]:
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
            "last_event_ms": session.all[-1].ms,
            "clock_offset_ms": offset,
            "clock_spread_ms": max(delays) - min(delays),
            "first_received_ms": min(arrivals),
            "last_received_ms": max(arrivals),
            "last_moved_received_ms": self.last_moved(),
        }

    def durations(self) -> dict[str, Any]:
        """Return how long each was that the player did."""
        count, begun = self.labels.count, self.begins_at
        first_ms = self.events[-1].ms if begun is None else self.events[begun].ms
        early = count("join", None, first_ms) + count("buffer", None, first_ms)
        return {
            "startup_s": None if begun is None else early,
            "join_s": count("join"),
            "content_time_s": count("content"),
            "ad_time_s": count("ad"),
            "media_time_s": count("content") + count("ad"),
            "pause_time_s": count("pause") + count("ad-pause"),
            "buffer_time_s": count("buffer") + count("ad-buffer"),
            "rebuffer_time_s": 0 if begun is None else count("buffer", first_ms),
            "stall_time_s": count("stall"),
            "gap_s": count("gap"),
            "idle_s": count("idle"),
        }

    def counts(self) -> dict[str, Any]:
        """Return how often each happened."""
        names, buffers = self.names, self.begun("buffering")
        begun = len(names) if self.begins_at is None else self.begins_at
        return {
            "is_started": self.begins_at is not None,
            "pauses": len(self.begun("paused")),
            "buffers": len(buffers),
            "rebuffers": sum(i > begun and not self.session.in_break(i) for i in buffers),
            "stalls": self.labels.stalls,
            "seeks": self.played.seeks,
            "errors": names.count("error"),
            "errors_before_start": names[:begun].count("error"),
            "bitrate_changes": names.count("bitrateChange"),
            "average_bitrate_bps": self.average_bitrate(),
            "dropped_frames": self.last_dropped(),
        }

    def playhead_numbers(self) -> dict[str, Any]:
        """Return what the playhead says of the content."""
        known, heads = [head for head in self.session.heads if head is not None], self.main_heads()
        passes = self.played.passes()
        return {
            "progress_pct": self.progress(),
            "first_playhead_s": self.clipped(heads[0] if heads else None),
            "last_playhead_s": self.clipped(known[-1] if known else None),
            "unique_played_s": sum(high - low for low, high, _ in passes),
            "played_intervals": passes,
        }

    def list_numbers(self) -> dict[str, Any]:
        """Return ads, breaks, chapters and player states, and their counts."""
        ads, breaks, chapters, states = self.ads(), self.breaks(), self.chapters(), self.states()
        outcomes = [outcome for _, outcome in ads]
        return {
            "ads_started": len(ads),
            "ads_completed": outcomes.count("completed"),
            "ads_skipped": outcomes.count("skipped"),
            "ads_aborted": outcomes.count("aborted"),
            "ads_outside_break": self.names.count("adStart") - len(ads),
            "ad_breaks": self.names.count("adBreakStart"),
            "ad_breaks_completed": [outcome for _, outcome in breaks].count("completed"),
            "chapters_started": len(chapters),
            "chapters_completed": [outcome for _, outcome in chapters].count("completed"),
            "states": len(states),
            "ads": ads,
            "breaks": breaks,
            "chapters": chapters,
            "player_states": states,
        }
