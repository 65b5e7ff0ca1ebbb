"""What is true about the sessions that were played, and how it differs from what a lake says about them. Pure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

SECONDS_TOLERANCE = 0.1
"""Durations may differ by this much: scripts count whole milliseconds, and a queued event may be early by some."""


class Metrics(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a script knows of its session. Names are those of the columns; None is "not known here"."""

    is_started: bool = False
    is_completed: bool = False
    startup_s: float | None = None
    content_time_s: float = 0.0
    ad_time_s: float = 0.0
    media_time_s: float = 0.0
    pause_time_s: float = 0.0
    buffer_time_s: float = 0.0
    unique_played_s: float | None = None
    pauses: int = 0
    buffers: int = 0
    errors: int = 0
    bitrate_changes: int = 0
    dropped_frames: int | None = None
    ads_started: int = 0
    ads_completed: int = 0
    ads_skipped: int = 0
    ad_breaks: int = 0
    chapters_started: int = 0
    chapters_completed: int = 0
    progress_pct: int | None = None


METRICS = Metrics.__struct_fields__


class SessionTruth(msgspec.Struct, frozen=True):
    """One session whose id is known, because its start was answered.

    `accepted` events were answered 2xx: each must be a row. `unknown` requests ended without a 2xx or a 4xx (a
    5xx, a timeout, a lost connection): each may be a row. `metrics` is None where an event in the middle is
    missing or unknown, so that nothing certain can be said; `clock_offset_ms` is the player's clock minus the
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
    """What a whole run did. `began_ms` to `finished_ms` (since 1970) is when its requests were under way.

    `unknown_starts` has, for each request that would have made a session and whose outcome is unknown, how many
    events were in it. `refused` counts bodies that were refused as they should be. `surprises` are replies that
    the protocol does not foresee, in words.
    """

    seed: int
    viewers: int
    began_ms: int
    finished_ms: int
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


class Found(msgspec.Struct, frozen=True):
    """What the lake says about one session. `metrics` has whichever columns were asked for."""

    session_id: str
    events: int
    has_user_id: bool | None = None
    metrics: Mapping[str, float | bool | None] = {}


class Finding(msgspec.Struct, frozen=True):
    """One difference. `kind` is lost, doubled, invented, identity, refused, surprise or metric."""

    kind: str
    session_id: str
    detail: str

    def __str__(self) -> str:
        where = f" {self.session_id[:16]}" if self.session_id else ""
        return f"{self.kind}{where}: {self.detail}"


def compare(truth: Truth, rows: Sequence[Found], *, refused: int | None = None) -> list[Finding]:
    """Name every difference between what is true and what the lake says; an empty list means there is none.

    `rows` has one entry for each session that the lake holds of the time of the run. `refused`, where given, is
    the number of refused bodies that the lake holds.
    """
    found = {row.session_id: row for row in rows}
    findings = [Finding("surprise", "", text) for text in truth.surprises]
    for session in truth.sessions:
        row = found.pop(session.session_id, None) or Found(session.session_id, 0)
        findings += _compare_counts(session, row)
        findings += _compare_metrics(session, row)
    findings += _compare_strangers(truth, tuple(found.values()))
    if refused is not None and refused < truth.refused:
        findings.append(Finding("refused", "", f"{truth.refused} bodies were refused, {refused} are kept"))
    return findings


def _compare_counts(session: SessionTruth, row: Found) -> list[Finding]:
    findings = []
    if row.events < session.accepted:
        detail = f"{session.accepted - row.events} of {session.accepted} accepted events are not there"
        findings.append(Finding("lost", session.session_id, detail))
    if row.events > session.accepted + session.unknown:
        detail = f"{row.events} events, but only {session.accepted} were accepted and {session.unknown} unknown"
        findings.append(Finding("doubled", session.session_id, detail))
    if row.has_user_id is not None and row.events and row.has_user_id != session.has_user_id:
        detail = "has a user id that was denied or never given" if row.has_user_id else "lacks its user id"
        findings.append(Finding("identity", session.session_id, detail))
    return findings


def _compare_metrics(session: SessionTruth, row: Found) -> list[Finding]:
    if session.metrics is None or not row.events:
        return []
    findings = []
    for name, value in row.metrics.items():
        true = getattr(session.metrics, name)
        if true is not None and not is_close(name, true, value):
            findings.append(Finding("metric", session.session_id, f"{name} is {value}, true is {true}"))
    return findings


def is_close(name: str, true: float, value: float | None) -> bool:
    """Tell whether a metric is right: durations within SECONDS_TOLERANCE, all else exactly."""
    if value is None:
        return False
    return abs(value - true) <= (SECONDS_TOLERANCE if name.endswith("_s") else 0)


def _compare_strangers(truth: Truth, strangers: Sequence[Found]) -> list[Finding]:
    """Judge sessions that nobody was told of: each start without an answer may have made one, whole or in part."""
    findings = []
    unclaimed = sorted(truth.unknown_starts)
    for row in sorted(strangers, key=lambda row: row.events, reverse=True):
        if unclaimed and row.events <= unclaimed[-1]:
            unclaimed.pop()
        else:
            findings.append(Finding("invented", row.session_id, f"{row.events} events of a session nobody played"))
    return findings


def write_truth(truth: Truth, path: Path) -> None:
    """Write the truth as JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(truth), indent=1))


def read_truth(path: Path) -> Truth:
    """Read what `write_truth` wrote. Raises msgspec.ValidationError for anything else."""
    return msgspec.json.decode(path.read_bytes(), type=Truth)
