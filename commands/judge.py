"""The judgement at the end of `playhead up`: the lake against what its viewers know and what its ingest counted.

Viewers know every number of their own sessions. Of what others posted meanwhile only the ingest knows anything:
how many records it handed to the log, and how many of them it answered 2xx. The lake must hold at least the second
number of records and at most the first.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence

import duckdb
import httpx
import msgspec

from commands.ingests import counts_of
from lake.catalog import Location, connect
from lake.received import count_duplicates, read_received
from players.truth import (
    COLUMNS,
    LISTS,
    MOMENTS,
    RUN_METADATA,
    Finding,
    LakeSession,
    Truth,
    allowed,
    compare,
    divide,
    metrics_of,
    totals,
)
from schemas.terminal import quantity

LOOK_AGAIN_S = 0.2
REPLY_S_MAX = 5.0


class Baseline(msgspec.Struct, frozen=True):
    """The lake before anything of a run is posted: the time (milliseconds since 1970), and its duplicates."""

    at_ms: int
    duplicates: int


class IngestCounts(msgspec.Struct, frozen=True):
    """What an ingest has counted since it started.

    `handed` records were handed to the log, with whatever result; `accepted` of them were answered 2xx. `kept`
    refused bodies went to the log too. Of `dropped` ones it is not known.
    """

    handed: int
    accepted: int
    kept: int
    dropped: int


class LakeCounts(msgspec.Struct, frozen=True):
    """What a lake has stored since the baseline: its sessions; how many records, duplicates and refused bodies."""

    sessions: list[LakeSession]
    records: int
    duplicates: int
    refused: int


class Judgement(msgspec.Struct, frozen=True):
    """The lines to print, and every difference; without differences the lake is right."""

    lines: list[str]
    findings: list[Finding]


def look_before(place: Location) -> Baseline:
    """Return the baseline of a run; call it before the run's ingest starts."""
    with contextlib.closing(connect(place, read_only=True)) as lake:
        return Baseline(time.time_ns() // 1_000_000, count_duplicates(lake))


def judge(
    place: Location,
    truth: Truth,
    *,
    url: str,
    baseline: Baseline,
    counted: IngestCounts,
    session_length_s: float,
    limit_s: float,
) -> Judgement:
    """Return how the lake differs from what the ingest at `url` had accepted when it `counted`.

    The lake must have read the log up to that point. Open sessions are written less often than events, so only
    differences that remain after `limit_s` are findings. A session is heard from for `session_length_s` at most.
    Raises httpx.HTTPError if the ingest does not answer.
    """
    until = time.monotonic() + limit_s
    with contextlib.closing(connect(place, read_only=True, threads=2)) as lake:
        while True:
            stored = _count_lake(lake, truth, baseline, session_length_s)
            of_viewers, of_others = divide(truth, stored.sessions)
            counted_since = ask(url)
            findings = compare(truth, of_viewers, refused=stored.refused + counted_since.dropped)
            findings += compare_counts(stored, counted, counted_since)
            if not findings or time.monotonic() > until:
                break
            time.sleep(LOOK_AGAIN_S)
    sums = _sums(truth, len(findings), of_others, refused=max(stored.refused - truth.refused, 0))
    return Judgement([*_table(truth, of_viewers), *sums], findings)


def ask(url: str) -> IngestCounts:
    """Return what an ingest has counted. Raises httpx.HTTPError."""
    reply = httpx.get(f"{url}/metrics", timeout=REPLY_S_MAX, trust_env=False).raise_for_status()
    counted, _ = counts_of(reply.text)
    return IngestCounts(
        handed=counted["append_seconds_count"],
        accepted=counted["accepted_total"],
        kept=counted["rejected_kept_total"],
        dropped=counted["rejected_dropped_total"],
    )


def compare_counts(stored: LakeCounts, counted: IngestCounts, counted_since: IngestCounts) -> list[Finding]:
    """Return invented and missing records, whoever posted them.

    `counted` is what the ingest reported before the lake was read, `counted_since` what it reported after.
    """
    findings = []
    there, posted = stored.records + stored.duplicates, counted_since.handed
    if there < counted.accepted:
        findings.append(Finding("lost", "", f"{counted.accepted} records were accepted, {there} are there"))
    if there > posted:
        findings.append(Finding("invented", "", f"{there} records are there, {posted} were posted"))
    if stored.refused < counted.kept:
        findings.append(
            Finding("lost", "", f"{counted.kept} refused bodies were kept, {stored.refused} are there")
        )
    if stored.refused > counted_since.kept + counted_since.dropped:
        findings.append(
            Finding("invented", "", f"{stored.refused} refused bodies are there, {counted_since.kept} were kept")
        )
    return findings


def _count_lake(
    lake: duckdb.DuckDBPyConnection, truth: Truth, baseline: Baseline, session_length_s: float
) -> LakeCounts:
    received = read_received(
        lake,
        since_ms=baseline.at_ms,
        starts_since_ms=baseline.at_ms - round(session_length_s * 1000),
        run_key=RUN_METADATA,
        columns=[*COLUMNS, *LISTS],
        moments=MOMENTS,
        moments_from_ms=truth.began_ms,
    )
    sessions = [
        LakeSession(row["session_id"], row["stored"], row["has_user_id"], metrics_of(row), row["started_by"])
        for row in received.sessions
    ]
    duplicates = received.duplicates - baseline.duplicates
    return LakeCounts(sessions, received.records, duplicates, received.refused)


def _table(truth: Truth, sessions: Sequence[LakeSession]) -> Iterator[str]:
    """Return a line for each metric: its sum over the sessions whose players know it, and the lake's sum."""
    yield f"{'metric':22} {'sessions':>8} {'truth':>18} {'lake':>18} {'difference':>11}  allowed in each"
    for name, count, true, lake in totals(truth, sessions):
        digits = 3 if name.endswith("_s") else 0
        figures = f"{true:18.{digits}f} {lake:18.{digits}f} {lake - true:11.{digits}f}"
        low, high = allowed(name)
        yield f"{name:22} {count:8} {figures}  {f'{low:g} to {high:g}' if low < high else 'none'}"


def _sums(truth: Truth, differences: int, of_others: Sequence[LakeSession], *, refused: int) -> Iterator[str]:
    """Return what the viewers did, and what others did, if anything; `refused` counts the others' alone."""
    yield (
        f"truth: {quantity(truth.accepted, 'event')} accepted in {quantity(len(truth.sessions), 'session')}, "
        f"{truth.refused:,} refused, {truth.unknown:,} unknown; {quantity(differences, 'difference')} in the lake"
    )
    if of_others or refused:
        events = sum(session.events for session in of_others)
        did = f"{quantity(events, 'event')} in {quantity(len(of_others), 'session')}"
        yield f"of others, not the viewers': {did}, {refused:,} refused"
