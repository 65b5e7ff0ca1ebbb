"""A script being written: what the viewer does, the events that its player sends, and what is then true. Pure.

The truth is not computed from the events, but kept while they are written: whoever lets eight seconds of content
pass adds eight seconds. Nothing here remembers what an event means; the scenes in `scripts.py` say it each time.
"""

import itertools
import random
import zlib
from typing import Any, Literal

import msgspec

from players.personas import Persona, opaque
from players.truth import Metrics

DAY_S = 86_400
MARKERS_PCT = (10, 25, 50, 75, 95)
BITRATES_BPS = (800_000, 2_400_000, 5_800_000)

Activity = Literal[
    "joining",
    "first buffering",
    "content",
    "ad",
    "ad outside",
    "paused",
    "rebuffering",
    "seeking",
    "ad buffering",
    "stalled",
    "away",
    "idle",
]

# Which durations grow while the viewer does what.
_DURATIONS: dict[Activity, tuple[str, ...]] = {
    "joining": ("join_s",),
    "first buffering": ("buffer_time_s",),
    "content": ("content_time_s", "media_time_s"),
    "ad": ("ad_time_s", "media_time_s"),
    "ad outside": ("ad_time_outside_breaks_s", "media_time_s"),
    "paused": ("pause_time_s",),
    "rebuffering": ("buffer_time_s", "rebuffer_time_s"),
    "seeking": ("buffer_time_s", "rebuffer_time_s", "seek_buffer_time_s"),
    "ad buffering": ("buffer_time_s",),
    "stalled": ("stall_time_s",),
    "away": ("gap_s",),
    "idle": ("idle_s",),
}
_SILENT: frozenset[Activity] = frozenset(("joining", "first buffering", "away", "idle"))
_PLAYING: frozenset[Activity] = frozenset(("content", "stalled"))


class Step(msgspec.Struct, frozen=True):
    """One event of a script: when, what (all of the body but `playerTime.ts`), and what is true after it.

    `number` counts events in the order of happening. `fault` names what is wrong with a body that must be refused.
    """

    number: int
    at_ms: int
    body: dict[str, Any]
    so_far: Metrics
    fault: str = ""

    @property
    def event_type(self) -> str:
        return str(self.body["eventType"])


class Tape:
    """The script so far: the time and position it has come to, its steps, and what is true.

    `unclear` names metrics of which the events so far cannot show what is true; the steps then leave them out.
    """

    def __init__(
        self, name: str, rng: random.Random, persona: Persona, *, title: str, length_s: float, is_live: bool
    ) -> None:
        self.name, self.rng, self.persona, self.player = name, rng, persona, persona.player
        self.title, self.length_s, self.is_live = title, length_s, is_live
        self.at_ms = 0
        self.position_s = 0.0
        self.knows_position = False
        self.steps: list[Step] = []
        self.unclear: tuple[str, ...] = ()
        self.metrics = Metrics(is_live=is_live, is_downloaded=bool(self.player.upload))
        if not is_live:
            self.set(length_s=length_s, progress_pct=0)
        self.chapter = ""
        self.ad_break = ""
        self.ad = ""
        self._states_on: set[str] = set()
        self._played: list[tuple[float, float]] = []
        self._pinged_ms = 0
        self._startup_s = 0.0
        self._frames_dropped = 0
        self._bitrate_bps: int | None = None
        self._says_bitrate = True
        self._bits = 0.0
        self._bits_s = 0.0

    @property
    def content_id(self) -> str:
        return f"{'channel' if self.is_live else 'film'}-{zlib.crc32(self.title.encode()):08x}"

    @property
    def left_s(self) -> float:
        """Seconds to the end of the content."""
        return float("inf") if self.is_live else self.length_s - self.position_s

    # ---- what is true

    def add(self, **amounts: float) -> None:
        """Add to what is true."""
        sums = {name: round(getattr(self.metrics, name) + amount, 3) for name, amount in amounts.items()}
        self.metrics = msgspec.structs.replace(self.metrics, **sums)

    def add_to(self, name: str, part: str, amount: float) -> None:
        """Add to one part of what is true in parts."""
        parts = getattr(self.metrics, name)
        self.set(**{name: {**parts, part: round(parts.get(part, 0) + amount, 3)}})

    def set(self, **values: Any) -> None:
        """State what is true."""
        self.metrics = msgspec.structs.replace(self.metrics, **values)

    def begin_content(self) -> None:
        """The first frame is shown."""
        self.knows_position = True
        self.set(
            is_started=True,
            is_failed=False,
            startup_s=round(self._startup_s, 3),
            first_playhead_s=self._playhead(),
        )

    def turn_on(self, *names: str) -> None:
        """Player states begin, such as fullscreen."""
        for name in set(names) - self._states_on:
            self._states_on.add(name)
            self.add_to("state_starts", name, 1)
        self.set(
            states=len(self.metrics.state_starts),
            concurrent_states_max=max(self.metrics.concurrent_states_max, len(self._states_on)),
        )

    def turn_off(self, *names: str) -> None:
        """Player states end."""
        self._states_on -= set(names)

    def measure(self) -> dict[str, Any]:
        """The bitrate changes; return the quality of experience that a player would send."""
        self._frames_dropped += self.rng.randrange(4)
        self._bitrate_bps = self.rng.choice([each for each in BITRATES_BPS if each != self._bitrate_bps])
        self.set(dropped_frames=self._frames_dropped)
        return {
            "media.qoe.bitrate": self._bitrate_bps,
            "media.qoe.droppedFrames": self._frames_dropped,
            "media.qoe.framesPerSecond": self.rng.choice((25, 30, 50, 23.5)),
        }

    def lose_bitrate(self) -> None:
        """The bitrate changes, and the player does not report the new one."""
        self._says_bitrate = False
        self.set(average_bitrate_bps=None)

    # ---- time

    def wait(self, seconds: float, activity: Activity) -> None:
        """Let the viewer do something for a while; the player pings as it does."""
        ping_ms = round((self.player.ad_ping_s if activity == "ad" else self.player.ping_s) * 1000)
        end_ms = self.at_ms + round(seconds * 1000)
        while self.at_ms < end_ms:
            self._pass(max(1, min(end_ms, self._pinged_ms + ping_ms) - self.at_ms), activity)
            if self.at_ms - self._pinged_ms >= ping_ms:
                self._pinged_ms = self.at_ms
                if self.at_ms < end_ms and self._pings_while(activity):
                    self.post("ping")

    def _pings_while(self, activity: Activity) -> bool:
        return activity not in _SILENT and (self.player.pings_while_waiting or activity in _PLAYING)

    def _pass(self, milliseconds: int, activity: Activity) -> None:
        self.at_ms += milliseconds
        seconds = milliseconds / 1000
        self.add(**dict.fromkeys(_DURATIONS[activity], seconds))
        for state in self._states_on:
            self.add_to("state_time_s", state, seconds)
        if self.ad_break:
            self.add_to("ad_break_time_s", self.ad_break, seconds)
        if activity in ("ad", "ad outside"):
            self.add_to("time_of_ads_s", self.ad, seconds)
        elif activity == "content":
            self._play(seconds)
        elif activity in ("joining", "first buffering"):
            self._startup_s += seconds

    def _play(self, seconds: float) -> None:
        if self._played and self._played[-1][1] == self.position_s:
            start_s, _ = self._played.pop()
        else:
            start_s = self.position_s
        self.position_s = round(self.position_s + seconds, 3)
        self._played.append((start_s, self.position_s))
        self.set(is_failed=False)
        if self.chapter:
            self.add_to("chapter_time_s", self.chapter, seconds)
        if self._bitrate_bps is not None and self._says_bitrate:
            self._bits += self._bitrate_bps * seconds
            self._bits_s += seconds
            self.set(average_bitrate_bps=self._bits / self._bits_s)

    # ---- events

    def post(
        self,
        event_type: str,
        params: dict[str, Any] | None = None,
        *,
        qoe: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
        playhead_s: float | None = None,
        early_ms: int = 0,
    ) -> None:
        """Write one event at the present time and playhead, or at another playhead, or stamped too early."""
        true_s = self._playhead()
        sent_s = true_s if playhead_s is None else playhead_s
        if not self.knows_position:
            sent_s = self.player.unknown_playhead
        body: dict[str, Any] = {"eventType": event_type, "playerTime": {"playhead": sent_s}}
        if metadata is not None:
            body["customMetadata"] = {"journal": opaque(self.name, len(self.steps)), **metadata}
        if params is not None:
            body["params"] = params
        if qoe is not None:
            body["qoeData"] = qoe
        self.add(events=1)
        if self.metrics.is_started:
            self._look(true_s)
        self._pinged_ms = self.at_ms
        self._append(body, self.at_ms - early_ms)

    def post_again(self) -> None:
        """Write the newest event again, with the same bytes."""
        self.add(repeats=1)
        self._append(self.steps[-1].body, self.steps[-1].at_ms)

    def _append(self, body: dict[str, Any], at_ms: int) -> None:
        so_far = msgspec.structs.replace(self.metrics, **dict.fromkeys(self.unclear))
        self.steps.append(Step(len(self.steps), at_ms, body, so_far))

    def _playhead(self) -> float:
        return round(self.position_s % DAY_S if self.is_live else self.position_s, 3)

    def _look(self, playhead_s: float) -> None:
        """State what the viewer has seen of the content."""
        passes = _passes(self._played, day_s=DAY_S if self.is_live else None)
        self.set(
            last_playhead_s=playhead_s,
            played_passes={f"{start:.3f}-{end:.3f}": count for (start, end), count in passes.items()},
            unique_played_s=round(sum(end - start for start, end in passes), 3),
        )
        if not self.is_live:
            passed = [marker for marker in MARKERS_PCT if playhead_s >= self.length_s * marker / 100]
            self.set(progress_pct=max([*passed, self.metrics.progress_pct or 0]))


def _passes(played: list[tuple[float, float]], *, day_s: int | None) -> dict[tuple[float, float], int]:
    """Count how often each piece of the content was played; a live stream continues at 0 after `day_s`."""
    if day_s is not None:
        played = [
            (max(start, midnight) - midnight, min(end, midnight + day_s) - midnight)
            for start, end in played
            for midnight in (0, day_s, 2 * day_s)
            if start < midnight + day_s and end > midnight
        ]
    borders = sorted({round(border, 3) for piece in played for border in piece})
    pieces: dict[tuple[float, float], int] = {}
    for start, end in itertools.pairwise(borders):
        middle = (start + end) / 2
        count = sum(low < middle < high for low, high in played)
        before = next(reversed(pieces), None)
        if before is not None and before[1] == start and pieces[before] == count:
            del pieces[before]
            start = before[0]
        if count:
            pieces[start, end] = count
    return pieces
