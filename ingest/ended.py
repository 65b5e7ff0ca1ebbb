"""Media sessions whose end this process has received, and which of their events are still accepted."""

from collections import OrderedDict

import msgspec

GRACE_S = 30.0
BEHIND_MS_MAX = 300_000  # an end dated earlier may come from anyone
SESSIONS_MAX = 100_000


class _End(msgspec.Struct, frozen=True):
    ts_ms: int
    seen_s: float


class RecentEnds:
    """Remembers a bounded number of the newest ends; forgotten sessions count as open, and the lake decides.

    Posts overtake each other, so after its end a session takes anything for `GRACE_S`, and for ever what its
    player says happened before the end. An end far before its arrival ends nothing here: it may lie far before the
    session's other events, and only the lake has all of these.
    """

    def __init__(self, *, sessions_max: int = SESSIONS_MAX) -> None:
        self._sessions_max = sessions_max
        self._ends: OrderedDict[str, _End] = OrderedDict()

    def remember(self, session_id: str, *, ts_ms: int, received_ms: int, now_s: float) -> None:
        """Note a sessionEnd; only the first one of a session counts. `now_s` is on a monotonic clock."""
        if session_id not in self._ends and ts_ms >= received_ms - BEHIND_MS_MAX:
            self._ends[session_id] = _End(ts_ms, now_s)
            if len(self._ends) > self._sessions_max:
                self._ends.popitem(last=False)

    def is_over(self, session_id: str, *, ts_ms: int, now_s: float) -> bool:
        """Return whether an event with this timestamp is too late."""
        end = self._ends.get(session_id)
        return end is not None and ts_ms > end.ts_ms and now_s - end.seen_s > GRACE_S
