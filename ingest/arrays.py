"""An array of events: counted before objects are created, and processed without blocking other requests."""

import asyncio
import contextlib
import itertools
import re
import time
from collections.abc import AsyncIterator, Iterator
from typing import ClassVar, Final, TypeVar

import msgspec

from schemas.faults import InvalidEvent, NotJson, TooLarge
from schemas.not_json import no_json

EVENTS_MAX: Final = 20_000
SLICE_S: Final = 0.001

T = TypeVar("T")


class _TooMany(Exception):  # noqa: N818
    pass


class _Element(msgspec.Struct, frozen=True, gc=False):
    """A JSON object of which nothing is kept; the first one above the limit ends the decoding."""

    count: ClassVar[Iterator[int]] = itertools.count()

    def __post_init__(self) -> None:
        if next(self.count) >= EVENTS_MAX:
            raise _TooMany


_count = msgspec.json.Decoder(list[_Element]).decode
_cut = msgspec.json.Decoder(list[msgspec.Raw]).decode
_index = re.compile(r"at `\$\[(\d+)\]`").search


def cut(body: bytes) -> list[msgspec.Raw]:
    """Split an array into its events, each still JSON as it was sent. Neither strings nor depths are checked.

    Raises NotJson, TooLarge if there are more than `EVENTS_MAX`, InvalidEvent if it is not an array of objects or
    an empty one.
    """
    _Element.count = itertools.count()
    try:
        _count(body)
        events = _cut(body)
    except _TooMany:
        raise TooLarge(f"Expected an array of at most {EVENTS_MAX} events") from None
    except msgspec.ValidationError as error:
        if (place := _index(str(error))) is None:
            raise InvalidEvent("Expected an array of events, the first a sessionStart") from None
        index = int(place[1])
        raise InvalidEvent(f"event {index}: Expected one event, a JSON object", (index,)) from None
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise no_json(body, error) from None
    if not events:
        raise InvalidEvent("Expected an array of events, the first a sessionStart, got an empty one")
    return events


def cut_as_meant(body: bytes) -> tuple[list[msgspec.Raw], NotJson | None]:
    """Split an array into its events as `cut` does; with flaws that can be mended, return their fault too.

    Raises what `cut` raises.
    """
    try:
        return cut(body), None
    except NotJson as fault:
        if fault.mended is not None:
            with contextlib.suppress(InvalidEvent):
                return cut(fault.mended), fault
        raise


class Turns:
    """Lets long work share the event loop: one piece runs for `SLICE_S`, then all other tasks."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def take(self, steps: Iterator[T], *, at_most: int | None = None) -> list[T]:
        """Take all steps, or so many, and return their results. Raises what a step raises."""
        results: list[T] = []
        while True:
            async with self._turn:
                until_s = time.perf_counter() + SLICE_S
                for result in steps:
                    results.append(result)
                    if len(results) == at_most:
                        return results
                    if time.perf_counter() > until_s:
                        break
                else:
                    return results
                await asyncio.sleep(
                    0
                )  # while holding the turn, otherwise other long work would follow in the same round

    async def groups(self, steps: Iterator[T], size: int) -> AsyncIterator[list[T]]:
        """Yield the results of all steps in groups of this size, computed on demand."""
        while group := await self.take(steps, at_most=size):
            yield group
