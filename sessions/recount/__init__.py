"""The numbers of a session the slow way: all events in a list, and a label for every millisecond.

Nothing here shares code or tables with the fold, on purpose: `playhead verify --metrics` and the tests compare
the two. The fold carries a small state from event to event, and adds. This keeps every event and every
interval; what is found later about an earlier interval is painted over its milliseconds, and only at the end
they are counted. A second of content was played as often as there are ranges that cover it.
"""

from sessions.recount.numbers import DURATIONS, Recount, joined
from sessions.recount.report import Report

__all__ = ["DURATIONS", "Recount", "Report", "joined"]
