"""The verdict: a journal compared with a lake by SQL, in a process of its own that knows DuckDB alone."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import duckdb_extension_ducklake  # type: ignore[import-untyped]
import duckdb_extension_postgres_scanner  # type: ignore[import-untyped]
import duckdb_extension_sqlite_scanner  # type: ignore[import-untyped]

from soak.load import UPLOADED


@dataclass(frozen=True)
class Verdict:
    """What the checker found. Clean is: no event lost, doubled or invented."""

    acknowledged: int
    rows: int
    unanswered: int
    lost: int
    doubled: int
    invented: int
    examples: tuple[str, ...] = ()

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.doubled or self.invented)


def check_apart(journal: Path, data: Path, catalog: str = "sqlite") -> Verdict:
    """Run the checker in a process of its own."""
    return Verdict(**json.loads(_apart("check", str(journal), str(data), catalog)))


def count_apart(data: Path, catalog: str = "sqlite") -> int:
    """Return the number of events in the lake, counted in a process of its own: cheap, whatever there is."""
    return int(_apart("count", "", str(data), catalog))


def _apart(*arguments: str) -> bytes:
    command = [sys.executable, "-m", "soak.verdict", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.run(command, check=True, capture_output=True, timeout=1800, env=environment).stdout


SEEN = """
CREATE TEMP TABLE journal AS
    SELECT * FROM read_csv(getvariable('journal'), delim='\t', header=false, quote='', escape='', columns={
        'mark': 'VARCHAR', 'key': 'VARCHAR', 'session': 'VARCHAR', 'event_type': 'VARCHAR', 'ts': 'BIGINT'});
CREATE TEMP TABLE tried AS SELECT DISTINCT key, session, event_type, ts FROM journal WHERE mark = 'tried';
CREATE TEMP TABLE acknowledged AS SELECT DISTINCT key, session FROM journal WHERE mark = 'acknowledged';
CREATE TEMP TABLE refused AS SELECT DISTINCT key FROM journal WHERE mark = 'refused';
CREATE TEMP TABLE seen AS
    SELECT coalesce(custom_metadata::JSON ->> 'journal', '') AS key, session_id AS session, event_type,
           epoch_ms(client_ts) AS ts, event_id, count(*) AS copies
    FROM lake.events GROUP BY ALL;
"""
LOST = """
SELECT 'lost: ' || key || ' of session ' || session FROM acknowledged
WHERE NOT EXISTS (FROM seen WHERE seen.key = acknowledged.key AND seen.session = acknowledged.session)
"""
DOUBLED = """
SELECT 'doubled: ' || key || ' is there ' || sum(copies) || ' times' FROM seen GROUP BY key HAVING sum(copies) > 1
UNION ALL
SELECT 'doubled: event id ' || event_id FROM seen GROUP BY event_id HAVING count(*) > 1
"""
INVENTED = f"""
SELECT 'invented: ' || key || ' ' || event_type || ' in session ' || session FROM seen
WHERE NOT EXISTS (
        FROM tried WHERE tried.key = seen.key AND tried.event_type = seen.event_type AND tried.ts = seen.ts
            AND (tried.event_type = 'sessionStart' OR tried.session IN ('{UPLOADED}', seen.session)))
    OR EXISTS (FROM refused WHERE refused.key = seen.key)
    OR EXISTS (FROM acknowledged AS a WHERE a.key = seen.key AND a.session <> seen.session)
"""


def attached(data: Path, catalog: str = "sqlite", *, read_only: bool) -> duckdb.DuckDBPyConnection:
    """Attach the lake in a data folder as anybody's DuckDB would, under the name `lake`."""
    # To check the signatures of the extensions would take half a second.
    connection = duckdb.connect(config={"allow_unsigned_extensions": True})
    for package in (duckdb_extension_ducklake, duckdb_extension_sqlite_scanner, duckdb_extension_postgres_scanner):
        (path,) = Path(package.__path__[0]).glob("extensions/*/*.duckdb_extension")
        connection.execute(f"LOAD '{path}'")
    connection.execute("SET TimeZone = 'UTC'")
    lake = data / "lake"
    options = f"DATA_PATH '{lake}/files'" + (", READ_ONLY" if read_only else "")
    address = f"sqlite:{lake}/catalog.sqlite" if catalog == "sqlite" else catalog
    connection.execute(f"ATTACH 'ducklake:{address}' AS lake ({options})")
    return connection


def check(journal: Path, data: Path, catalog: str) -> Verdict:
    """Compare the journal with the lake, by SQL."""
    connection = attached(data, catalog, read_only=True)
    connection.execute("SET VARIABLE journal = ?", [str(journal)])
    connection.execute(SEEN)

    def number(query: str) -> int:
        return int(connection.sql(query).fetchall()[0][0])

    return Verdict(
        acknowledged=number("SELECT count(*) FROM acknowledged"),
        rows=number("SELECT coalesce(sum(copies), 0) FROM seen"),
        unanswered=number("SELECT count(*) FROM tried ANTI JOIN acknowledged USING (key)"),
        lost=number(f"SELECT count(*) FROM ({LOST})"),
        doubled=number(f"SELECT count(*) FROM ({DOUBLED})"),
        invented=number(f"SELECT count(*) FROM ({INVENTED})"),
        examples=tuple(
            row[0] for query in (LOST, DOUBLED, INVENTED) for row in connection.sql(query).fetchmany(3)
        ),
    )


def main(what: str, journal: str, data: str, catalog: str) -> None:
    """Print a verdict as JSON, or a count."""
    if what == "check":
        print(json.dumps(asdict(check(Path(journal), Path(data), catalog))))
    else:
        with attached(Path(data), catalog, read_only=True) as connection:
            print(connection.sql("SELECT count(*) FROM lake.events").fetchall()[0][0])


if __name__ == "__main__":
    main(*sys.argv[1:])
