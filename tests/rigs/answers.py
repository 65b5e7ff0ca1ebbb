"""What a lake answers: by its own definitions, and by those of schema 2 on the same rows."""

import contextlib
import math
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import duckdb

from lake.catalog import Location, connect
from lake.metrics import SETS, Metric, read_catalogue
from lake.schema import partitions_of

DEFINITIONS = Path(__file__).parents[1] / "data/definitions_of_schema_2.sql"
# Every metric as a column, a line each, as schema 3 first had it. It stays as it is: a metric that is to mean
# something else since then, or is gone, is named below, and not compared.
METRICS = DEFINITIONS.with_name("metrics_of_schema_3.sql")
CHANGED_METRICS: frozenset[str] = frozenset()
_DAYS = "'2026-08-05 03:00:00+00'::TIMESTAMPTZ", "'2026-08-09 21:30:00+00'::TIMESTAMPTZ"
_BETWEEN = ", ".join(_DAYS)
_CALLS = (
    f"metrics_between({_BETWEEN})",
    f"concurrency_between({_BETWEEN})",
    f"timeline_between({_BETWEEN})",
    f"timeline_between({_BETWEEN}, content := 'content-1')",
    f"audience_by_minute({_BETWEEN})",
    f"programme_audience([{{programme: 'p', since: {_DAYS[0]}, until: {_DAYS[1]}}}])",
    f"seeks_between({_BETWEEN})",
    f"viewers_between({_BETWEEN})",
    "start_funnel_of('content-1')",
    "leaving_points('content-1')",
    "retention('content-1', bucket_s := 60)",
    "heat_map('content-1', bucket_s := 60)",
    "relative_retention('content-1', buckets := 20)",
    "sequences_within(48)",
)


def old_definitions(partitions: int, *, sessions: str = "true") -> str:
    """Return the views and macros of schema 2 as temporary ones, which hide those of the lake.

    `sessions` is a condition that all of them see: there are no other sessions.
    """
    numbers = range(partitions)
    text = DEFINITIONS.read_text().replace("{metrics}", _first_columns())
    for name, table in (("ledgers", "ledger"), ("open_sessions", "open_sessions")):
        union = " UNION ALL ".join(f"SELECT * FROM lake.{table}_p{number:03}" for number in numbers)
        text = text.replace(f"{{{name}}}", union)
    before, head, after = text.partition("CREATE OR REPLACE VIEW sessions AS")
    whole, end, rest = after.partition(";\n")
    chosen = f"CREATE OR REPLACE VIEW sessions AS FROM every_session WHERE {sessions};\n"
    text = before + head.replace("sessions", "every_session") + whole + end + chosen + rest
    return re.sub(r"^CREATE OR REPLACE (VIEW|MACRO)", r"CREATE OR REPLACE TEMP \1", text, flags=re.MULTILINE)


def _first_columns() -> str:
    lines = METRICS.read_text().splitlines()
    columns = {line.rpartition(" AS ")[2].rstrip(","): line.rstrip(",") for line in lines if line[:2] != "--"}
    return ", ".join(column for name, column in columns.items() if name not in CHANGED_METRICS)


def old_columns() -> str:
    """Return every metric as a column, computed from today's catalogue as schema 2 did."""
    return ", ".join(f"{old_aggregate(metric)} AS {metric.name}" for metric in read_catalogue().metric)


def old_aggregate(metric: Metric) -> str:
    """Return a metric's aggregate as it was in schema 2: over the rows that a FILTER leaves."""
    condition, value = SETS[metric.of].condition, f"({metric.numerator})::DOUBLE"
    within = f"FILTER (WHERE {condition})"
    if metric.how == "ratio":
        known = f"({metric.numerator}) IS NOT NULL AND ({metric.denominator}) IS NOT NULL"
        both = f"FILTER (WHERE {condition} AND {known})"
        return f"sum({value}) {both} / nullif(sum(({metric.denominator})::DOUBLE) {both}, 0)"
    if metric.how == "sum" and metric.unit == "count":
        return f"coalesce(sum(({metric.numerator})::BIGINT) {within}, 0)::BIGINT"
    aggregate = {
        "sum": f"sum({value})",
        "mean": f"avg({value})",
        "median": f"quantile_cont({value}, 0.5)",
        "p75": f"quantile_cont({value}, 0.75)",
        "p95": f"quantile_cont({value}, 0.95)",
    }
    return f"{aggregate[metric.how]} {within}"


def answers(place: Location, *, by_schema_2: bool) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every view and macro that schema 2 had, in an order of their own."""
    with contextlib.closing(connect(place, read_only=True, threads=2)) as lake:
        lake.execute("BEGIN")
        columns = _columns_of_schema_2(lake)
        if by_schema_2:
            lake.execute(old_definitions(len(partitions_of(lake))))
        return {name: _answer(lake, name, columns[name]) for name in columns}


def views_of(place: Location) -> dict[str, list[str]]:
    """Return the columns that the views of schema 2 have in a lake."""
    with contextlib.closing(connect(place, read_only=True)) as lake:
        names = re.findall(r"^CREATE OR REPLACE VIEW (\w+)", DEFINITIONS.read_text(), re.MULTILINE)
        return {name: [row[0] for row in lake.execute(f"DESCRIBE FROM {name}").fetchall()] for name in names}


def answers_of(place: Location, views: dict[str, list[str]]) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of these columns of views, in an order of their own."""
    with contextlib.closing(connect(place, read_only=True, threads=2)) as lake:
        lake.execute("BEGIN")
        return {name: _answer(lake, name, columns) for name, columns in views.items()}


def _columns_of_schema_2(lake: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    names = re.findall(r"^CREATE OR REPLACE VIEW (\w+)", DEFINITIONS.read_text(), re.MULTILINE)
    with lake.cursor() as other:
        other.execute("USE lake")
        other.execute(old_definitions(len(partitions_of(lake))))
        return {
            name: [row[0] for row in other.execute(f"DESCRIBE FROM {name}").fetchall()]
            for name in (*names, *_CALLS)
        }


def _answer(lake: duckdb.DuckDBPyConnection, name: str, columns: Iterable[str]) -> list[tuple[Any, ...]]:
    listed = ", ".join(f'"{column}"' for column in columns)
    rows = lake.execute(f"SELECT {listed} FROM {name}").fetchall()
    return sorted(rows, key=lambda row: repr(_rounded(row)))


def is_equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal; sums of the same numbers in another order differ in the last digits."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    if isinstance(one, datetime) and not isinstance(other, datetime) and isinstance(other, date):
        return one == datetime.combine(other, time(), UTC)  # a day, as metrics_by_day has it since schema 3
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(is_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(one[key], other[key]) for key in one)
    return bool(one == other)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    return tuple(map(_rounded, value)) if isinstance(value, list | tuple) else value
