"""A connection to the lake on which only queries can run, whatever SQL is given.

There are two barriers. The first is DuckDB's: external access is limited to the lake's files, extensions and
configuration are locked, and the catalogue is attached read only. It still lets two kinds of SQL through: COPY to
a file of the lake, and table functions that write to the catalogue or open databases. So, second, each statement
is parsed by DuckDB first, and may only use tables, views, macros and table functions that only read.
"""

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any, Self

import duckdb
import pyarrow as pa

from lake.catalog import NAME, Location, connect
from schemas.faults import Fault

QUESTIONS = "SELECT, FROM, WITH, VALUES, TABLE, PIVOT, UNPIVOT, DESCRIBE, SUMMARIZE, SHOW, and EXPLAIN of these"
# DuckDB's table functions that neither read files or other databases nor show settings or secrets.
TABLE_FUNCTIONS = frozenset(
    (
        *("generate_series", "json_each", "json_tree", "range", "repeat", "repeat_row", "unnest"),
        *(
            "duckdb_columns",
            "duckdb_constraints",
            "duckdb_databases",
            "duckdb_functions",
            "duckdb_keywords",
            "duckdb_schemas",
        ),
        *("duckdb_tables", "duckdb_types", "duckdb_views", "icu_calendar_names", "pg_timezone_names"),
        *("pragma_table_info", "pragma_version"),
        *("ducklake_current_snapshot", "ducklake_snapshots", "ducklake_table_changes", "ducklake_table_deletions"),
        *("ducklake_table_info", "ducklake_table_insertions"),
    )
)
_SETTINGS = frozenset(("current_setting", "getenv", "pg_settings", "write_log"))
_CATALOGUE = "__ducklake_metadata_"
_EXPLAIN_OPTION = r"(?:ANALYZE|FORMAT\s+\w+)"
_EXPLAIN = re.compile(
    rf"\s*EXPLAIN\b(?:\s+ANALYZE\b)?(?:\s*\(\s*{_EXPLAIN_OPTION}(?:\s*,\s*{_EXPLAIN_OPTION})*\s*\))?",
    re.IGNORECASE,
)
# What ibis sets when it is given a connection. Other settings are not compared: that would tell their values.
_SET = re.compile(r"SET (timezone|python_enable_replacements) = '(\w+)'")
_WORD = re.compile(r'"(?:[^"]|"")*"|\w+|.', re.DOTALL)


class QueryRefused(Fault):
    """The statement is not a query that only reads, or it failed; then the message is DuckDB's."""

    code = "query_refused"


class Reader:
    """A connection to a lake that runs only queries. Tables need no qualified name; times are UTC."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    @property  # type: ignore[misc]
    def __class__(self) -> type:  # marimo's SQL cells accept only DuckDB's connections
        return duckdb.DuckDBPyConnection

    def execute(self, query: str, parameters: object = None) -> Self:
        """Run one query. Raises QueryRefused, or DuckDB's error.

        A SET of what is set already does nothing, because ibis begins with two of them.
        """
        if not _is_set(self._connection, query):
            check(self._connection, query)
            self._connection.execute(query, parameters)
        return self

    def sql(self, query: str, *, params: object = None) -> duckdb.DuckDBPyRelation:
        """Return one query as a relation, which runs when it is used. Raises QueryRefused, or DuckDB's error."""
        check(self._connection, query)
        return self._connection.sql(query, params=params)

    def cursor(self) -> "Reader":
        """Return another connection to the same lake, for concurrent use."""
        cursor = self._connection.cursor()
        cursor.execute(f"USE {NAME}")
        return Reader(cursor)

    def close(self) -> None:
        """Close the connection; its cursors stay open."""
        self._connection.close()

    @property
    def description(self) -> list[tuple[Any, ...]]:
        """The columns of the result, as DB-API 2.0 describes them."""
        return self._connection.description

    def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row of the result."""
        return self._connection.fetchone()

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        """Return the next rows of the result."""
        return self._connection.fetchmany(size)

    def fetchall(self) -> list[tuple[Any, ...]]:
        """Return all remaining rows of the result."""
        return self._connection.fetchall()

    def to_arrow_table(self) -> pa.Table:
        """Return the result as an Arrow table."""
        return self._connection.to_arrow_table()

    fetch_arrow_table = to_arrow_table  # the name by which ibis asks for it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_reader(place: Location, *, memory: str = "1GB", threads: int = 2) -> Reader:
    """Open a lake for queries only. Raises NotReady if there is none yet."""
    connection = connect(place, read_only=True, memory=memory, threads=threads)
    try:
        confine(connection, [place.files])
    except duckdb.Error:
        connection.close()
        raise
    return Reader(connection)


def confine(connection: duckdb.DuckDBPyConnection, folders: list[str]) -> None:
    """Let a connection reach only files in these folders, and what it has attached already; for good."""
    connection.execute("SET allowed_directories = $folders", {"folders": folders})
    # DuckDB itself allows what is attached by now, and its folder for spilled data.
    connection.execute("SET enable_external_access = false")
    connection.execute("SET GLOBAL python_enable_replacements = false")  # names are never variables of the program
    connection.execute("SET lock_configuration = true")


def _is_set(connection: duckdb.DuckDBPyConnection, statement: str) -> bool:
    """Return whether a statement only sets what is set already."""
    if (match := _SET.fullmatch(statement)) is None:
        return False
    ((found,),) = connection.execute(f"SELECT current_setting('{match[1]}')::VARCHAR").fetchall()
    return str(found).lower() == match[2].lower()


def check(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Raise QueryRefused unless a statement is exactly one query that only reads."""
    tree = _tree(connection, statement)
    if not tree["error"]:
        _expect_one(len(tree["statements"]))
        _check_tree(connection, tree)
        return
    statements = connection.extract_statements(statement)
    kinds = [found.type for found in statements]
    if _is_expanded_pivot(statements):
        _check_words(connection, statement)
        return
    _expect_one(len(statements))
    if kinds == [duckdb.StatementType.EXPLAIN] and (match := _EXPLAIN.match(statement)):
        explained = _tree(connection, statement[match.end() :])
        if not explained["error"] and len(explained["statements"]) == 1:
            _check_tree(connection, explained)
            return
    words = re.findall(r"[A-Za-z]+", statement)
    kind = kinds[0].name.replace("_", " ")
    kind = words[0].upper() if words and kind in ("SELECT", "LOGICAL PLAN", "MULTI") else kind
    raise QueryRefused(f"{kind} is refused, the lake is read only here; allowed are {QUESTIONS}")


def _tree(connection: duckdb.DuckDBPyConnection, statement: str) -> dict[str, Any]:
    """Return DuckDB's parse tree of a SELECT, or of what it treats as one, such as SHOW."""
    ((written,),) = connection.execute(
        "SELECT json_serialize_sql($statement)", {"statement": statement}
    ).fetchall()
    tree: dict[str, Any] = json.loads(written)
    return tree


def _expect_one(count: int) -> None:
    if count != 1:
        raise QueryRefused(f"expected one statement, got {count}")


def _is_expanded_pivot(statements: list[duckdb.Statement]) -> bool:
    """Return whether this is a PIVOT without values, which DuckDB expands to a CREATE TYPE and a SELECT."""
    kinds = [statement.type for statement in statements]
    return (
        not any(statement.query for statement in statements)
        and kinds[-1:] == [duckdb.StatementType.SELECT]
        and set(kinds[:-1]) == {duckdb.StatementType.CREATE}
    )


def _check_tree(connection: duckdb.DuckDBPyConnection, tree: dict[str, Any]) -> None:
    for node in _nodes(tree):
        if node.get("type") == "TABLE_FUNCTION":
            _check_table_function(connection, node["function"])
        for key in ("function_name", "table_name", "schema_name", "schema", "catalog_name", "catalog"):
            _check_name(str(node.get(key) or ""))


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Return every object of a tree."""
    if isinstance(tree, dict):
        yield tree
    if isinstance(tree, dict | list):
        for child in tree.values() if isinstance(tree, dict) else tree:
            yield from _nodes(child)


def _check_table_function(connection: duckdb.DuckDBPyConnection, call: dict[str, Any]) -> None:
    name = str(call["function_name"]).lower()
    is_duckdb_s = "system" in (str(call["catalog"]).lower(), str(call["schema"]).lower())
    # Listing the macros costs 25 ms, ten times as much as the rest.
    if name not in TABLE_FUNCTIONS and (is_duckdb_s or name not in _macros(connection)):
        raise _refused(name)


def _check_name(name: str) -> None:
    if name.lower() in _SETTINGS or name.lower().startswith(_CATALOGUE):
        raise _refused(name)


def _check_words(connection: duckdb.DuckDBPyConnection, statement: str) -> None:
    """Check a statement without a parse tree: whatever looks like a call must be of a function that only reads."""
    text = statement.encode()
    tokens = [*duckdb.tokenize(statement), (len(text), None)]
    words = [
        (kind, match[0].strip('"').lower())
        for (start, kind), (end, _) in itertools.pairwise(tokens)
        if (match := _WORD.match(text[start:end].decode().strip()))
    ]
    calls = _calls(connection)
    for (kind, word), (_, following) in itertools.pairwise([*words, (None, "")]):
        _check_name(word)
        if following == "(" and kind == duckdb.token_type.identifier and word not in calls:
            raise _refused(word)


def _calls(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the names of all functions that only read."""
    rows = connection.execute(
        "SELECT lower(function_name) FROM duckdb_functions() GROUP BY 1 "
        "HAVING bool_and(function_type IN ('scalar', 'aggregate', 'macro'))"
    ).fetchall()
    return frozenset(row[0] for row in rows) | TABLE_FUNCTIONS | _macros(connection)


def _macros(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Return the names of the lake's table macros."""
    rows = connection.execute(
        "SELECT function_name FROM duckdb_functions() WHERE database_name = ? AND function_type = 'table_macro'",
        [NAME],
    ).fetchall()
    return frozenset(row[0].lower() for row in rows)


def _refused(name: str) -> QueryRefused:
    return QueryRefused(
        f"{name} is refused, the lake is read only here; "
        "use its tables, views and macros, with functions that only read"
    )
