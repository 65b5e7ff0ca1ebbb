"""Wait for a condition, with a deadline: the one way to wait in these tests."""

import asyncio
import inspect
import itertools
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar, overload

import duckdb
import httpx
import psycopg

T = TypeVar("T")
Complaint = str | Callable[[], object]

WITHIN_S = 120.0
# What a server says that does not answer just now; also a lake whose catalogue is locked for a moment.
NOT_YET = (OSError, duckdb.Error, httpx.TransportError, psycopg.OperationalError)
LOOK_S_MIN, LOOK_S_MAX = 0.01, 0.2


def until(condition: Callable[[], T | None], complaint: Complaint = "", *, within_s: float = WITHIN_S) -> T:
    """Return the condition's value once it is true.

    A neighbour that does not answer (`NOT_YET`) is asked again. At the deadline its last error is raised, or
    AssertionError with the complaint, which may be a function that says how things are then.
    """
    deadline_s = time.monotonic() + within_s
    for look_s in _looks_s():
        is_late = time.monotonic() > deadline_s
        try:
            if value := condition():
                return value
        except NOT_YET:
            if is_late:
                raise
        assert not is_late, _said(complaint, within_s)
        time.sleep(look_s)
    raise AssertionError


@overload
async def until_async(
    condition: Callable[[], Coroutine[Any, Any, T | None]],
    complaint: Complaint = "",
    *,
    within_s: float = WITHIN_S,
) -> T: ...
@overload
async def until_async(
    condition: Callable[[], T | None], complaint: Complaint = "", *, within_s: float = WITHIN_S
) -> T: ...
async def until_async(
    condition: Callable[[], Any], complaint: Complaint = "", *, within_s: float = WITHIN_S
) -> Any:
    """Do as `until`. A condition that is no coroutine is asked in a thread of its own."""
    deadline_s = time.monotonic() + within_s
    for look_s in _looks_s():
        is_late = time.monotonic() > deadline_s
        try:
            found = await asyncio.to_thread(condition)
            if value := await found if inspect.isawaitable(found) else found:
                return value
        except NOT_YET:
            if is_late:
                raise
        assert not is_late, _said(complaint, within_s)
        await asyncio.sleep(look_s)
    raise AssertionError


def _looks_s() -> Iterator[float]:
    """Give the seconds between two looks: short at first, longer as it takes longer."""
    return itertools.accumulate(
        itertools.repeat(1.5), lambda wait_s, by: min(wait_s * by, LOOK_S_MAX), initial=LOOK_S_MIN
    )


def _said(complaint: Complaint, within_s: float) -> str:
    text = complaint() if callable(complaint) else complaint
    return f"not within {within_s:g} s: {text}"
