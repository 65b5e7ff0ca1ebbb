"""How events travel from a player to the ingest: a reply that gets lost, a tunnel. Pure."""

import random

import msgspec

from players.screen import Sent

REPLY_MS = 25
RETRY_MS = 3_000
LOST_REPLIES = 0.012  # of starts
TUNNELS = {"android": 0.03, "ios": 0.03}  # by channel: how many sessions pass one
SHORT_S, LONG_S = (20.0, 240.0), (900.0, 2_400.0)
LONG = 0.12  # of tunnels


def arrivals(sent: list[Sent], rng: random.Random, *, channel: str) -> list[Sent]:
    """Return the events of a session in the order of arrival; none comes before the reply to the start.

    A start whose reply was lost comes twice, byte for byte. What a phone says in a tunnel arrives at its end.
    """
    start, *rest = sent
    starts = [start]
    if rng.random() < LOST_REPLIES:
        starts.append(msgspec.structs.replace(start, received_ms=start.received_ms + RETRY_MS))
    if rest and rng.random() < TUNNELS.get(channel, 0.0):
        rest = _through_tunnel(rest, rng)
    first_ms = starts[-1].received_ms + REPLY_MS
    return starts + sorted((_not_before(each, first_ms) for each in rest), key=lambda each: each.received_ms)


def _through_tunnel(sent: list[Sent], rng: random.Random) -> list[Sent]:
    from_ms = rng.choice(sent).received_ms
    to_ms = from_ms + int(rng.uniform(*(LONG_S if rng.random() < LONG else SHORT_S)) * 1000)
    return [_not_before(each, to_ms) if each.received_ms >= from_ms else each for each in sent]


def _not_before(sent: Sent, at_ms: int) -> Sent:
    return sent if sent.received_ms >= at_ms else msgspec.structs.replace(sent, received_ms=at_ms)
