"""What is true of the sessions that were played, and where a lake differs from it. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from schemas.terminal import quantity

Value = float | bool | dict[str, float] | None

NEARLY_EQUAL = 0.0015
"""Durations and playheads may differ by this: players and lake count whole milliseconds, and round."""

BITRATE_TOLERANCE_BPS = 1.0
"""A mean of bitrates may differ by this: the same sums, divided in another order."""

RUN_METADATA = "run"
"""The key of custom metadata by which a sessionStart names the run that plays it."""

DELAY_MS_MAX = 2000
"""Corrected moments may be up to this late, never early: the smallest delay of a session's requests looks like a
clock that is slow by as much. On one machine it is milliseconds, on a busy one it may be more."""


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is true of one session. Names are those of the columns of `sessions`; None is "not known here".

    Those in parts sum up a list of the session: `state_*` player_states by name, `errors_by_source` by
    "source/id", `chapter_time_s` by index, `chapters_by_outcome`, `ad_break_time_s` by index, `time_of_ads_s` by
    "break/position" ("None/1" outside of a break), `played_passes` how often each range "from-to" was played.

    Moments (`*_ts` by the player's own clock, `*_at` by the true one) are milliseconds since the run began.
    """

    events: int = 0
    repeats: int = 0
    events_after_end: int = 0
    is_started: bool = False
    is_completed: bool = False
    is_failed: bool = False
    is_resumed: bool = False
    is_downloaded: bool = False
    is_live: bool = False
    length_s: float | None = None

    start_ts: int | None = None
    end_ts: int | None = None
    last_event_ts: int | None = None
    started_at: int | None = None
    ended_at: int | None = None
    clock_offset_ms: int | None = None

    startup_s: float | None = None
    time_to_start_ms: int | None = None
    join_s: float = 0.0
    content_time_s: float | None = 0.0
    ad_time_s: float = 0.0
    ad_time_outside_breaks_s: float = 0.0
    media_time_s: float | None = 0.0
    pause_time_s: float = 0.0
    buffer_time_s: float = 0.0
    rebuffer_time_s: float = 0.0
    seek_buffer_time_s: float | None = 0.0
    stall_time_s: float | None = 0.0
    gap_s: float = 0.0
    idle_s: float = 0.0

    pauses: int = 0
    buffers: int = 0
    rebuffers: int = 0
    seek_buffers: int | None = 0
    stalls: int | None = 0
    seeks: int | None = 0

    errors: int = 0
    errors_before_start: int = 0
    errors_by_source: dict[str, float] = {}
    bitrate_changes: int = 0
    average_bitrate_bps: float | None = None
    dropped_frames: int | None = None

    ads_started: int = 0
    ads_completed: int = 0
    ads_skipped: int = 0
    ads_aborted: int = 0
    ads_outside_break: int = 0
    time_of_ads_s: dict[str, float] = {}
    ad_breaks: int = 0
    ad_breaks_completed: int = 0
    ad_break_time_s: dict[str, float] = {}
    chapters_started: int = 0
    chapters_completed: int = 0
    chapters_by_outcome: dict[str, float] = {}
    chapter_time_s: dict[str, float] | None = {}
    states: int = 0
    concurrent_states_max: int = 0
    state_starts: dict[str, float] = {}
    state_time_s: dict[str, float] = {}

    first_playhead_s: float | None = None
    last_playhead_s: float | None = None
    progress_pct: int | None = None
    unique_played_s: float | None = 0.0
    played_passes: dict[str, float] | None = {}


METRICS = Metrics.__struct_fields__
MOMENTS = ("start_ts", "end_ts", "last_event_ts", "started_at", "ended_at")
LISTS = ("player_states", "playback_errors", "chapters", "ads", "breaks", "played_intervals")
COLUMNS = tuple(name for name in METRICS if not isinstance(getattr(Metrics(), name), dict))
"""The metrics that are a column of `sessions` by themselves."""


def metrics_of(row: Mapping[str, Any]) -> dict[str, Value]:
    """Return the metrics in a row of `sessions`: its COLUMNS, and sums of its LISTS."""
    states, errors, chapters = (row[name] or () for name in ("player_states", "playback_errors", "chapters"))
    return {name: row[name] for name in COLUMNS} | {
        "state_starts": _sums((state["name"], state["starts"]) for state in states),
        "state_time_s": _sums((state["name"], state["time_s"]) for state in states),
        "errors_by_source": _sums((f"{error['source']}/{error['error_id']}", 1) for error in errors),
        "chapters_by_outcome": _sums((chapter["outcome"], 1) for chapter in chapters),
        "chapter_time_s": _sums((chapter["index"], chapter["time_s"]) for chapter in chapters),
        "ad_break_time_s": _sums((each["index"], each["time_s"]) for each in row["breaks"] or ()),
        "time_of_ads_s": _sums((f"{ad['break_index']}/{ad['position']}", ad["time_s"]) for ad in row["ads"] or ()),
        "played_passes": _sums(
            (f"{played['start_s']:.3f}-{played['end_s']:.3f}", played["passes"])
            for played in row["played_intervals"] or ()
        ),
    }


def _sums(parts: Iterable[tuple[object, float]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for part, amount in parts:
        sums[str(part)] = sums.get(str(part), 0) + amount
    return sums


class SessionTruth(msgspec.Struct, frozen=True):
    """One session whose id is known, because its start was answered.

    `accepted` events were answered 2xx: each must be a row. `unknown` requests ended without a 2xx or a 4xx (a
    5xx, a timeout, a lost connection): each may be a row. `metrics` is None if an event in the middle is
    missing or unknown, so that nothing is certain; `clock_offset_ms` is the player's clock minus the
    true one.
    """

    session_id: str
    script: str
    viewer: int
    accepted: int
    unknown: int = 0
    refused: int = 0
    is_offline: bool = False
    is_ended: bool = False
    has_user_id: bool = False
    tracking_session_id: str | None = None
    clock_offset_ms: int = 0
    metrics: Metrics | None = None


class Truth(msgspec.Struct, frozen=True):
    """What a whole run did. Its requests were sent between `began_ms` and `finished_ms` (since 1970).

    `run` is the name that each sessionStart of this run carries as RUN_METADATA, and that no other run has.
    `unknown_starts` has, for each request that would have made a session and whose outcome is unknown, how many
    events were in it. `refused` counts bodies that were refused as they should be. `surprises` are replies that
    the protocol does not foresee, in words.
    """

    seed: int
    viewers: int
    began_ms: int
    finished_ms: int
    run: str = ""
    sessions: tuple[SessionTruth, ...] = ()
    unknown_starts: tuple[int, ...] = ()
    refused: int = 0
    tracking_sessions: tuple[str, ...] = ()
    tracking_deleted: int = 0
    surprises: tuple[str, ...] = ()

    @property
    def accepted(self) -> int:
        """Number of events answered 2xx."""
        return sum(session.accepted for session in self.sessions)

    @property
    def unknown(self) -> int:
        """Number of events that may or may not have been taken."""
        return sum(session.unknown for session in self.sessions) + sum(self.unknown_starts)

    @property
    def sessions_with_user_id(self) -> int:
        """Number of sessions that a viewer may be known by."""
        return sum(session.has_user_id for session in self.sessions)


class LakeSession(msgspec.Struct, frozen=True):
    """One session in the lake. `metrics` has whichever columns were asked for.

    `started_by` is the run that its sessionStart names, empty if it names none; None: there is no sessionStart.
    """

    session_id: str
    events: int
    has_user_id: bool | None = None
    metrics: Mapping[str, Value] = {}
    started_by: str | None = None


class Finding(msgspec.Struct, frozen=True):
    """One difference. `kind` is lost, doubled, invented, identity, refused, surprise or metric."""

    kind: str
    session_id: str
    detail: str

    def __str__(self) -> str:
        where = f" {self.session_id[:16]}" if self.session_id else ""
        return f"{self.kind}{where}: {self.detail}"


def divide(truth: Truth, rows: Sequence[LakeSession]) -> tuple[list[LakeSession], list[LakeSession]]:
    """Divide the sessions of a lake into those of the run, and those of others.

    Sessions of others have a sessionStart that does not name this run, and no viewer played them. A session that
    names this run although no viewer played it, or that has no sessionStart, is left to `compare`, which reports
    it as invented.
    """
    played = {session.session_id for session in truth.sessions}
    parts: tuple[list[LakeSession], list[LakeSession]] = ([], [])
    for row in rows:
        parts[row.session_id not in played and row.started_by not in (None, truth.run)].append(row)
    return parts


def compare(truth: Truth, rows: Sequence[LakeSession], *, refused: int | None = None) -> list[Finding]:
    """Return every difference between the truth and the lake.

    `rows` has one entry for each session that the lake holds of the time of the run; where others post too, only
    those that `divide` leaves to the run. `refused`, where given, is the number of refused bodies that it holds.
    """
    found = {row.session_id: row for row in rows}
    findings = [Finding("surprise", "", text) for text in truth.surprises]
    for session in truth.sessions:
        row = found.pop(session.session_id, None) or LakeSession(session.session_id, 0)
        findings += _compare_counts(session, row)
        findings += _compare_metrics(session, row)
    findings += _compare_strangers(truth, tuple(found.values()))
    if refused is not None and refused < truth.refused:
        findings.append(Finding("refused", "", f"{truth.refused} bodies were refused, {refused} are kept"))
    return findings


def _compare_counts(session: SessionTruth, row: LakeSession) -> list[Finding]:
    findings = []
    if row.events < session.accepted:
        detail = f"{session.accepted - row.events} of {session.accepted} accepted events are not there"
        findings.append(Finding("lost", session.session_id, detail))
    if row.events > session.accepted + session.unknown:
        taken = f"only {session.accepted} were accepted and {session.unknown} unknown"
        detail = f"{quantity(row.events, 'event')}, but {taken}"
        findings.append(Finding("doubled", session.session_id, detail))
    if row.has_user_id is not None and row.events and row.has_user_id != session.has_user_id:
        detail = "has a user id that was denied or never given" if row.has_user_id else "lacks its user id"
        findings.append(Finding("identity", session.session_id, detail))
    return findings


def _compare_metrics(session: SessionTruth, row: LakeSession) -> list[Finding]:
    if session.metrics is None or not row.events:
        return []
    findings = []
    for name, value in row.metrics.items():
        true = getattr(session.metrics, name)
        if true is not None and not is_close(name, true, value):
            findings.append(Finding("metric", session.session_id, f"{name} is {value}, true is {true}"))
    return findings


def is_close(name: str, true: Value, value: Value) -> bool:
    """Return whether a metric is right in each of its parts; a missing part is 0."""
    if isinstance(true, dict) or isinstance(value, dict):
        assert isinstance(true, dict)
        assert isinstance(value, dict)
        return all(is_close(name, true.get(part, 0), value.get(part, 0)) for part in true | value)
    if true is None or value is None:
        return true is value
    low, high = allowed(name)
    return low <= value - true <= high


def allowed(name: str) -> tuple[float, float]:
    """Return by how much a metric may be below and above the truth; counts must be equal."""
    if name in ("clock_offset_ms", "started_at", "ended_at"):
        return (0, DELAY_MS_MAX)
    if name.endswith("_s"):
        return (-NEARLY_EQUAL, NEARLY_EQUAL)
    if name.endswith("_bps"):
        return (-BITRATE_TOLERANCE_BPS, BITRATE_TOLERANCE_BPS)
    return (0, 0)


def totals(truth: Truth, rows: Sequence[LakeSession]) -> Iterator[tuple[str, int, float, float]]:
    """Yield each metric, summed over the sessions whose players know it: name, sessions, truth, lake."""
    found = {row.session_id: row.metrics for row in rows}
    known = [(session.metrics, found.get(session.session_id, {})) for session in truth.sessions if session.metrics]
    for name in METRICS:
        pairs = [
            (true, metrics.get(name)) for session, metrics in known if (true := getattr(session, name)) is not None
        ]
        yield name, len(pairs), sum(_total(true) for true, _ in pairs), sum(_total(value) for _, value in pairs)


def _total(value: Value) -> float:
    return sum(value.values()) if isinstance(value, dict) else value or 0


def _compare_strangers(truth: Truth, strangers: Sequence[LakeSession]) -> list[Finding]:
    """Check sessions without a known reply: each unanswered start may have created one, whole or in part."""
    findings = []
    unclaimed = sorted(truth.unknown_starts)
    for row in sorted(strangers, key=lambda row: row.events, reverse=True):
        if unclaimed and row.events <= unclaimed[-1]:
            unclaimed.pop()
        else:
            detail = f"{quantity(row.events, 'event')} of a session nobody played"
            findings.append(Finding("invented", row.session_id, detail))
    return findings


def write_truth(truth: Truth, path: Path) -> None:
    """Write the truth as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(truth), indent=1))


def read_truth(path: Path) -> Truth:
    """Read what `write_truth` wrote. Raises msgspec.ValidationError for anything else."""
    return msgspec.json.decode(path.read_bytes(), type=Truth)
