"""A deadline that moves with every request, on one timer of the event loop.

A timer costs an event loop more to start and to cancel than a request's headers cost to parse. So it is left to
run when the deadline moves on; when it fires too early, it is started again for what remains.
"""

import asyncio
from collections.abc import Callable


class Deadline:
    """One deadline. `expire` is called once it has passed, unless it was cleared or moved."""

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._at_s: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_set(self) -> bool:
        """Whether it is still to come."""
        return self._at_s is not None

    def set(self, within_s: float) -> None:
        """Move it to so many seconds from now."""
        self._at_s = at_s = self._loop.time() + within_s
        if self._timer is None:
            self._timer = self._loop.call_at(at_s, self._look)
        elif at_s < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(at_s, self._look)

    def clear(self) -> None:
        """Let nothing expire until it is set again."""
        self._at_s = None

    def close(self) -> None:
        """Stop the timer, for good."""
        self._at_s = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._at_s is None:
            return
        if self._at_s > self._loop.time():
            self._timer = self._loop.call_at(self._at_s, self._look)
            return
        self._at_s = None
        self._expire()
