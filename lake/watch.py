"""How a long statement is watched while it runs: who starts it says what it makes, another shows how far it is."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import duckdb

# Watches a statement that runs on a connection, from its beginning to its end; the text says what is made.
Watch = Callable[[duckdb.DuckDBPyConnection, str], AbstractContextManager[None]]


@contextlib.contextmanager
def unwatched(connection: duckdb.DuckDBPyConnection, what: str) -> Iterator[None]:
    """Watch nothing."""
    yield
