"""The judgement at the end of `playhead up`: the lake against what its viewers know and what its ingest counted.

Viewers know every number of their own sessions. Of what others posted meanwhile nobody here knows more than the
ingest does: how many records it handed to the log, and how many of them it answered 2xx. So all records together
must be at least the ones, and at most the others.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence

import duckdb
import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from lake.catalog import Location, connect
from players.truth import (
    COLUMNS,
    LISTS,
    MOMENTS,
    RUN_METADATA,
    Finding,
    Found,
    Truth,
    allowed,
    compare,
    divide,
    metrics_of,
    totals,
)

LOOK_AGAIN_S = 0.2
REPLY_S_MAX = 5.0


class Before(msgspec.Struct, frozen=True):
    """The lake when nothing of a run had been posted: the time (milliseconds since 1970), and its duplicates."""

    at_ms: int
    duplicates: int


class Counted(msgspec.Struct, frozen=True):
    """What an ingest counted since it began.

    `handed` records went to the log, whatever came of it; of those `accepted` were answered 2xx. `kept` refused
    bodies went there too, `dropped` ones did not, or perhaps.
    """

    handed: int
    accepted: int
    kept: int
    dropped: int


class Held(msgspec.Struct, frozen=True):
    """What a lake holds since a moment: each session; records, records stored before, refused bodies in number."""

    sessions: list[Found]
    records: int
    duplicates: int
    refused: int


class Judgement(msgspec.Struct, frozen=True):
    """What there is to say, line by line, and every difference; none means all is as it should be."""

    lines: list[str]
    findings: list[Finding]


def look_before(place: Location) -> Before:
    """Look at a lake before the ingest of a run is started."""
    with contextlib.closing(connect(place, read_only=True)) as lake:
        return Before(time.time_ns() // 1_000_000, _count(lake, "SELECT count(*) FROM duplicates"))


def judge(
    place: Location,
    truth: Truth,
    *,
    url: str,
    before: Before,
    counted: Counted,
    session_length_s: float,
    limit_s: float,
) -> Judgement:
    """Say how the lake differs from what the ingest at `url` had accepted when it `counted`.

    The lake must have read the log up to there. Differences that are still there after `limit_s` are findings:
    open sessions are written less often than events. A session is heard of for `session_length_s` at most. Raises
    httpx.HTTPError where the ingest does not answer.
    """
    until = time.monotonic() + limit_s
    with contextlib.closing(connect(place, read_only=True, threads=2)) as lake:
        while True:
            held = _hold(lake, truth, before, session_length_s)
            of_viewers, of_others = divide(truth, held.sessions)
            counted_since = ask(url)
            findings = compare(truth, of_viewers, refused=held.refused + counted_since.dropped)
            findings += compare_counts(held, counted, counted_since)
            if not findings or time.monotonic() > until:
                break
            time.sleep(LOOK_AGAIN_S)
    sums = _sums(truth, len(findings), of_others, refused=max(held.refused - truth.refused, 0))
    return Judgement([*_table(truth, of_viewers), *sums], findings)


def ask(url: str) -> Counted:
    """Ask an ingest what it has counted. Raises httpx.HTTPError."""
    reply = httpx.get(f"{url}/metrics", timeout=REPLY_S_MAX, trust_env=False).raise_for_status()
    families = {family.name: family.samples for family in text_string_to_metric_families(reply.text)}

    def total(name: str, ending: str) -> int:
        samples = families[f"playhead_ingest_{name}"]
        return sum(int(sample.value) for sample in samples if sample.name.endswith(ending))

    return Counted(
        handed=total("append_seconds", "_count"),
        accepted=total("accepted", "_total"),
        kept=total("rejected_kept", "_total"),
        dropped=total("rejected_dropped", "_total"),
    )


def compare_counts(held: Held, counted: Counted, counted_since: Counted) -> list[Finding]:
    """Name invented and missing records, whoever posted them.

    `counted` is what the ingest said before the lake was looked at, `counted_since` after.
    """
    findings = []
    there, posted = held.records + held.duplicates, counted_since.handed
    if there < counted.accepted:
        findings.append(Finding("lost", "", f"{counted.accepted} records were accepted, {there} are there"))
    if there > posted:
        findings.append(Finding("invented", "", f"{there} records are there, {posted} were posted"))
    if held.refused < counted.kept:
        findings.append(Finding("lost", "", f"{counted.kept} refused bodies were kept, {held.refused} are there"))
    if held.refused > counted_since.kept + counted_since.dropped:
        findings.append(
            Finding("invented", "", f"{held.refused} refused bodies are there, {counted_since.kept} were kept")
        )
    return findings


def _hold(lake: duckdb.DuckDBPyConnection, truth: Truth, before: Before, session_length_s: float) -> Held:
    since = f"received_at >= make_timestamptz({before.at_ms * 1000})"
    lake.execute("BEGIN")
    try:
        return Held(
            _sessions(lake, truth, before, session_length_s),
            _count(lake, f"SELECT count(*) FROM events WHERE {since}")
            + _count(lake, f"SELECT count(*) FROM tracking_events WHERE {since}"),
            _count(lake, "SELECT count(*) FROM duplicates") - before.duplicates,
            _count(lake, f"SELECT count(*) FROM quarantine WHERE source = 'ingest' AND {since}"),
        )
    finally:
        lake.execute("ROLLBACK")


def _count(lake: duckdb.DuckDBPyConnection, statement: str) -> int:
    row = lake.execute(statement).fetchone()
    return int(row[0]) if row else 0


def _sessions(
    lake: duckdb.DuckDBPyConnection, truth: Truth, before: Before, session_length_s: float
) -> list[Found]:
    columns = [f"epoch_ms({name}) - {truth.began_ms} AS {name}" if name in MOMENTS else name for name in COLUMNS]
    started_ms = before.at_ms - round(session_length_s * 1000)
    query = lake.execute(
        f"""
        WITH counted AS (
            SELECT session_id, count(*) AS stored FROM events
            WHERE received_at >= make_timestamptz({before.at_ms * 1000}) GROUP BY session_id
        ), starts AS (
            SELECT session_id, any_value(coalesce(custom_metadata ->> '{RUN_METADATA}', '')) AS started_by
            FROM events
            WHERE event_type = 'sessionStart' AND received_at >= make_timestamptz({started_ms * 1000})
            GROUP BY session_id
        ), known AS (
            SELECT session_id, user_id IS NOT NULL AS has_user_id, {", ".join([*columns, *LISTS])} FROM sessions
        )
        SELECT * FROM counted LEFT JOIN starts USING (session_id) LEFT JOIN known USING (session_id)
        """
    )
    names = [column[0] for column in query.description]
    rows = [dict(zip(names, row, strict=True)) for row in query.fetchall()]
    return [
        Found(row["session_id"], row["stored"], row["has_user_id"], metrics_of(row), row["started_by"])
        for row in rows
    ]


def _table(truth: Truth, sessions: Sequence[Found]) -> Iterator[str]:
    """Sum up each metric over the sessions whose players know it, and what the lake says of the same sessions."""
    yield f"{'metric':22} {'sessions':>8} {'truth':>18} {'lake':>18} {'difference':>11}  allowed in each"
    for name, count, true, lake in totals(truth, sessions):
        digits = 3 if name.endswith("_s") else 0
        figures = f"{true:18.{digits}f} {lake:18.{digits}f} {lake - true:11.{digits}f}"
        low, high = allowed(name)
        yield f"{name:22} {count:8} {figures}  {f'{low:g} to {high:g}' if low < high else 'none'}"


def _sums(truth: Truth, differences: int, of_others: Sequence[Found], *, refused: int) -> Iterator[str]:
    """Sum up what the viewers did, and what others did, if they did anything; `refused` is the others' alone."""
    yield (
        f"truth: {truth.accepted} events accepted in {len(truth.sessions)} sessions, {truth.refused} refused, "
        f"{truth.unknown} unknown; {differences} differences in the lake"
    )
    if of_others or refused:
        events = sum(session.events for session in of_others)
        yield f"of others, not the viewers': {events} events in {len(of_others)} sessions, {refused} refused"
