"""All kinds of session, and one session of a kind. Pure."""

import random

from players import everyday, lies, trouble
from players.kind import Kind
from players.screen import Seen, Sent

KINDS: dict[str, Kind] = {**everyday.KINDS, **trouble.KINDS, **lies.KINDS}


def play_kind(name: str, seed: int, number: int) -> tuple[list[Sent], Seen]:
    """Return the events of one session in the order of arrival, and what its viewer saw."""
    screen = KINDS[name].play(random.Random(f"{name}/{seed}/{number}"))
    return sorted(screen.sent, key=lambda sent: sent.received_ms), screen.seen()
