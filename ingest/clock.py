"""The difference between this process's clock and the log's, estimated from acknowledgements.

An acknowledgement carries the log's time of the append, which was between handing the record over and the answer.
The quicker the answer was, the closer that fits; so of a few seconds the quickest counts.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog

from eventlog import Receipt

WINDOW_S: Final = 5.0
WARN_S: Final = 2.0
WARN_EVERY_S: Final = 60.0

logger = structlog.get_logger(__name__)


class ClockSkew:
    """The skew, and a warning from two seconds on. Nothing is lost by a wrong clock: workers go by the log's.

    `skew_s` is how far this clock is ahead; None while nothing is known.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._until_s = 0.0
        self._quickest_s = 0.0
        self.skew_s: float | None = None
        self._warn_at_s = 0.0

    def compare(self, appended: Receipt, *, began_s: float, took_s: float) -> None:
        """Record an append that began at `began_s`, on a monotonic clock, and its duration."""
        if took_s >= self._quickest_s and began_s < self._until_s:
            return
        if appended.appended_ms is None:
            return
        if began_s >= self._until_s:
            self._until_s = began_s + WINDOW_S
        self._quickest_s = took_s
        # To the middle of the possible range, unless our own time is in it.
        middle_s = self._clock() - took_s / 2 - appended.appended_ms / 1000
        self.skew_s = 0.0 if abs(middle_s) <= took_s / 2 + 0.001 else middle_s
        if abs(self.skew_s) >= WARN_S and began_s >= self._warn_at_s:
            self._warn_at_s = began_s + WARN_EVERY_S
            logger.warning("clock differs from log", skew_s=round(self.skew_s, 3))
