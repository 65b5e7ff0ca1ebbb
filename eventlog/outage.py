"""An outage of the log, as one process meets it: logged when it begins, each minute, and when it is over.

Every failure in between is only counted: an outage at 5,000 requests a second would fill a disk.
"""

import structlog

QUIET_S = 1.0  # without a failure, before the log counts as available again
REPEATED_S = 60.0

logger = structlog.get_logger(__name__)


class Outage:
    """What one process tells of the log, with which it does `doing`. Times are of one monotonic clock, seconds."""

    def __init__(self, doing: str) -> None:
        self.is_on = False
        self._doing = doing
        self._failures = 0
        self._began_s = self._failed_s = self._told_s = 0.0

    def failed(self, why: str, *, now_s: float) -> None:
        """Note a failure."""
        self._failures += 1
        self._failed_s = now_s
        if not self.is_on:
            self.is_on = True
            self._began_s = self._told_s = now_s
            logger.warning("log unavailable", doing=self._doing, error=why)
        elif now_s - self._told_s >= REPEATED_S:
            self._told_s = now_s
            logger.warning("log still unavailable", error=why, **self._so_far())

    def worked(self, *, now_s: float) -> None:
        """Note that the log did what it was asked to; the outage is over if nothing has failed for a while."""
        if self.is_on and now_s - self._failed_s >= QUIET_S:
            logger.warning("log available again", **self._so_far())
            self.is_on = False
            self._failures = 0

    def _so_far(self) -> dict[str, object]:
        lasted_s = round(self._failed_s - self._began_s, 1)
        return {"doing": self._doing, "failures": self._failures, "lasted_s": lasted_s}
