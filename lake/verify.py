"""Verifies a live lake from its rows: every offset exactly once, no duplicates, every listed file present.

It trusts no counter: it counts rows, and then compares the ledger's counters with the counts.
"""

from collections.abc import Mapping
from pathlib import Path

import duckdb
import msgspec

from lake.catalog import NAME, Location, connect, glob_literal
from lake.errors import cause
from lake.schema import check_schema, partitions_of
from lake.tables import tables_of

FOOTERS_AT_ONCE = 200

_OFFSETS = """
    SELECT log_partition, log_offset, 'event' AS kind FROM events
    UNION ALL SELECT log_partition, log_offset, 'event' FROM tracking_events
    UNION ALL SELECT log_partition, log_offset, 'quarantined' FROM quarantine
    UNION ALL SELECT log_partition, log_offset, 'duplicate' FROM duplicates
    UNION ALL SELECT log_partition, unnest(range(first_offset, next_offset)), 'gap' FROM gaps
    UNION ALL SELECT log_partition, unnest(range(first_offset, next_offset)), 'removed' FROM removals
"""


class Finding(msgspec.Struct, frozen=True):
    """One violation of a promise."""

    code: str
    partition: int | None
    detail: str

    @property
    def where_and_what(self) -> str:
        """The detail, after the partition if there is one."""
        return self.detail if self.partition is None else f"partition {self.partition}: {self.detail}"


class PartitionCount(msgspec.Struct, frozen=True):
    """What was counted in one partition, from the first offset read to the next to read."""

    partition: int
    first_offset: int
    next_offset: int
    events: int
    quarantined: int
    duplicates: int
    lost: int
    removed: int


class Verdict(msgspec.Struct, frozen=True):
    """The result of a verification: counts and findings; without findings all is well."""

    partitions: list[PartitionCount]
    findings: list[Finding]


def verify(place: Location) -> Verdict:
    """Count every row of a lake, in one snapshot, while others write. Raises SchemaMismatch."""
    connection = connect(place, read_only=True, threads=2, one_snapshot=True)
    try:
        counts: list[PartitionCount] = []
        findings: list[Finding] = []
        findings += _unreadable_files(connection, place)
        if any(finding.code == "files_elsewhere" for finding in findings):
            return Verdict(counts, findings)
        try:
            check_schema(connection, place)
            for partition in partitions_of(connection):
                _verify_partition(connection, partition, counts, findings)
            findings += _doubles(connection)
            findings += _miscounted_sessions(connection)
        except duckdb.Error as error:  # a damaged file shows in many ways
            findings.append(Finding("file_unreadable", None, cause(error)))
        return Verdict(counts, findings)
    finally:
        connection.close()


def _verify_partition(
    connection: duckdb.DuckDBPyConnection,
    partition: int,
    counts: list[PartitionCount],
    findings: list[Finding],
) -> None:
    rows = connection.execute(
        "SELECT first_offset, next_offset, inserted, duplicates, quarantined, lost, halted_at, halted_reason "
        f"FROM ledger_p{partition:03}"
    ).fetchall()
    if len(rows) != 1:
        findings.append(Finding("ledger_rows", partition, f"the ledger has {len(rows)} rows instead of 1"))
        return
    first, following, inserted, duplicates, quarantined, lost, halted_at, halted_reason = rows[0]
    if halted_at is not None:
        findings.append(
            Finding("halted", partition, f"not read since {halted_at:%Y-%m-%d %H:%M:%S}: {halted_reason}")
        )
    (counted,) = connection.execute(
        f"""
        SELECT count(*), count(DISTINCT log_offset), min(log_offset), max(log_offset) + 1,
            count(*) FILTER (kind = 'event'), count(*) FILTER (kind = 'quarantined'),
            count(*) FILTER (kind = 'duplicate'), count(*) FILTER (kind = 'gap'),
            count(*) FILTER (kind = 'removed')
        FROM ({_OFFSETS}) WHERE log_partition = ?
        """,
        [partition],
    ).fetchall()
    total, distinct, lowest, highest, events, bad, double, gone, removed = counted
    counts.append(PartitionCount(partition, first, following, events, bad, double, gone, removed))
    if total and (lowest < first or highest > following):
        findings.append(
            Finding(
                "offset_outside", partition, f"offsets {lowest}..{highest - 1} outside {first}..{following - 1}"
            )
        )
    if distinct != following - first:
        findings.append(Finding("offset_missing", partition, _missing(connection, partition, first, following)))
    if total != distinct:
        findings.append(Finding("offset_twice", partition, f"{total - distinct} offsets are stored repeatedly"))
    kept = {"inserted": (inserted, events), "duplicates": (duplicates, double), "quarantined": (quarantined, bad)}
    for name, (ledger, found) in {**kept, "lost": (lost, gone)}.items():
        if ledger != found and not removed:
            findings.append(
                Finding("counter", partition, f"the ledger counts {ledger} {name}, the tables {found}")
            )


def _missing(connection: duckdb.DuckDBPyConnection, partition: int, first: int, following: int) -> str:
    rows = connection.execute(
        f"""
        WITH present AS (SELECT DISTINCT log_offset FROM ({_OFFSETS}) WHERE log_partition = ?),
        edges AS (SELECT log_offset FROM present UNION SELECT ? - 1 UNION SELECT ?)
        SELECT log_offset + 1, lead(log_offset) OVER (ORDER BY log_offset) - 1 AS upto FROM edges
        QUALIFY upto > log_offset ORDER BY 1 LIMIT 5
        """,
        [partition, first, following],
    ).fetchall()
    return "offsets without a row: " + ", ".join(f"{low}..{high}" for low, high in rows)


def _doubles(connection: duckdb.DuckDBPyConnection) -> list[Finding]:
    findings = []
    for table, key in (
        ("events", "event_id"),
        ("tracking_events", "event_id"),
        ("session_versions", "session_id, version"),
        ("settled_sessions", "session_id"),
    ):
        ((many, example),) = connection.execute(
            "SELECT count(*), min(id) FROM "
            f"(SELECT ({key})::VARCHAR AS id FROM {table} GROUP BY ALL HAVING count(*) > 1)"
        ).fetchall()
        if many:
            found = f"{many} of {key} are stored twice in {table}, such as {example}"
            findings.append(Finding("double", None, found))
    return findings


def _miscounted_sessions(connection: duckdb.DuckDBPyConnection) -> list[Finding]:
    """Compare each session with its stored events: those counted, and those listed as not counted."""
    ((many, example),) = connection.execute(
        """
        WITH stored AS (
            SELECT s.session_id, count(*) AS found
            FROM sessions AS s JOIN events AS e USING (session_id, log_partition)
            WHERE e.log_offset < s.as_of_offset AND NOT list_has_all(e.flags, ['over_limit', 'after_close'])
            GROUP BY s.session_id
        )
        SELECT count(*), min(s.session_id)
        FROM sessions AS s LEFT JOIN stored USING (session_id)
        WHERE s.events + s.events_after_end + s.repeats
            + coalesce(s.events_ignored, 0) + coalesce(s.events_over_limit, 0) <> coalesce(found, 0)
            AND NOT EXISTS (SELECT 1 FROM removals AS r WHERE r.log_partition = s.log_partition)
        """
    ).fetchall()
    if many:
        found = f"{many} sessions do not match their stored events, such as {example}"
        return [Finding("session_count", None, found)]
    return []


def _unreadable_files(connection: duckdb.DuckDBPyConnection, place: Location) -> list[Finding]:
    """Check every file that the catalogue lists, because queries may be answered from statistics alone."""
    named = {
        file: table
        for table in tables_of(connection)
        for files in connection.execute(
            f"SELECT data_file, delete_file FROM ducklake_list_files('{NAME}', '{table}', schema => 'main')"
        ).fetchall()
        for file in files
        if file is not None
    }
    if place.is_local:
        absent = [file for file in named if not Path(file).exists()]
    else:
        pattern = f"{glob_literal(place.files).rstrip('/')}/**"
        stored = {row[0] for row in connection.execute("SELECT file FROM glob(?)", [pattern]).fetchall()}
        absent = [file for file in named if file not in stored]
    if named and len(absent) == len(named):
        return [Finding("files_elsewhere", None, elsewhere(place, len(named)))]
    findings = [Finding("file_missing", None, missing(named[file], file)) for file in absent]
    there = sorted(named.keys() - set(absent))
    for start in range(0, len(there), FOOTERS_AT_ONCE):
        findings += _unreadable_footers(connection, there[start : start + FOOTERS_AT_ONCE], named)
    return findings


def missing(table: str, file: str) -> str:
    """Return the sentence for a file that is missing."""
    return f"{table} needs {file}, which is missing"


def elsewhere(place: Location, files: int) -> str:
    """Return the sentence for a lake whose files are all missing, so that its folder may be another."""
    is_absent = place.is_local and not Path(place.files).is_dir()
    has = "is not a folder" if is_absent else "has none of them"
    return f"the catalogue lists {files} files, and {place.files} {has}: is PLAYHEAD_LAKE_FILES right?"


def _unreadable_footers(
    connection: duckdb.DuckDBPyConnection, files: list[str], tables: Mapping[str, str]
) -> list[Finding]:
    """Read the footers of Parquet files at once, and one by one only if one cannot be read."""
    try:
        connection.execute(
            "SELECT count(*) FROM parquet_file_metadata(?)", [[glob_literal(file) for file in files]]
        )
    except duckdb.Error as error:
        if len(files) == 1:
            reason = cause(error)
            return [Finding("file_unreadable", None, f"{tables[files[0]]} needs {files[0]}: {reason}")]
        return [finding for file in files for finding in _unreadable_footers(connection, [file], tables)]
    return []
