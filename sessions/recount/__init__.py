"""The numbers of a session the slow way: label every millisecond, then ask the whole session.

Nothing here shares code or tables with the fold, on purpose: `playhead verify --metrics` and the tests hold the
two against each other. The fold carries a state from event to event; this looks at the whole list of events, again
for each question: what the player did in a millisecond is found by looking back for the last event that decides
it, durations are counted millisecond by millisecond, and a second of content was played as often as there are
stretches that cover it.
"""

from sessions.recount.numbers import Recount
from sessions.recount.told import Told

__all__ = ["Recount", "Told"]
