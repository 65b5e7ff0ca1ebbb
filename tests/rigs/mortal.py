"""Work on a lake in a process that is killed before one of its SQL statements, as by `kill -9`."""

import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from types import TracebackType
from typing import Any, Concatenate, ParamSpec

import duckdb

from commands.unneeded import leave_out_unneeded

P = ParamSpec("P")

END_S_MAX = 120.0
# Children are forked from a server that has imported what they need: 50 ms each, not 2 s.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["lake.tables", "lake.upkeep"])


class Mortal:
    """Counts the statements of its `with` block, and kills the process before the one with the number `last`."""

    def __init__(self, last: int | None) -> None:
        self._last = last
        self._execute = duckdb.DuckDBPyConnection.execute
        self.statements: list[str] = []

    def __enter__(self) -> None:
        def execute(connection: duckdb.DuckDBPyConnection, statement: str, *values: Any) -> Any:
            if len(self.statements) == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.statements.append(statement.strip())
            # The statement may name a variable of the function that called this one.
            self._execute(connection, "SET python_scan_all_frames = true")
            return self._execute(connection, statement, *values)

        duckdb.DuckDBPyConnection.execute = execute  # type: ignore[method-assign, assignment]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        duckdb.DuckDBPyConnection.execute = self._execute  # type: ignore[method-assign]


def statements_of(work: Callable[Concatenate[Mortal, P], None], *args: P.args, **kwargs: P.kwargs) -> list[str]:
    """Do some work in a process of its own, and return the statements of its `with mortal` block."""
    statements = _done(None, work, *args, **kwargs)
    assert statements is not None
    return statements


def dies_before(
    last: int, work: Callable[Concatenate[Mortal, P], None], *args: P.args, **kwargs: P.kwargs
) -> bool:
    """Do some work in a process that is killed before the statement `last`; return False if it ended before."""
    return _done(last, work, *args, **kwargs) is None


def _done(
    last: int | None, work: Callable[Concatenate[Mortal, P], None], *args: P.args, **kwargs: P.kwargs
) -> list[str] | None:
    """Return the statements of a child that did its work, or None if it was killed."""
    answer, told = _FORKS.Pipe(duplex=False)
    child = _FORKS.Process(target=_work, args=(told, last, work, args, kwargs), daemon=True)
    child.start()
    told.close()
    statements: list[str] | None = None
    with answer, contextlib.suppress(EOFError):  # it was killed
        if answer.poll(END_S_MAX):
            statements = answer.recv()
    child.join(END_S_MAX)
    assert child.exitcode == (-signal.SIGKILL if statements is None else 0), (
        f"the child ended with {child.exitcode}"
    )
    return statements


def _work(told: Any, last: int | None, work: Callable[..., None], args: Any, kwargs: Any) -> None:
    leave_out_unneeded()
    mortal = Mortal(last)
    work(mortal, *args, **kwargs)
    told.send(mortal.statements)
